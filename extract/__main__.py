"""`python -m extract`, for `accelerate launch -m extract`."""

from extract.command import main

if __name__ == "__main__":
    main()
