"""`python -m probe`, for `accelerate launch -m probe`."""

from probe.command import main

if __name__ == "__main__":
    main()
