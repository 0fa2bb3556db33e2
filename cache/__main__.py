"""`python -m cache`."""

from cache.command import main

if __name__ == "__main__":
    main()
