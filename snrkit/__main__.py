"""``python -m snrkit``: the program from a source tree that is not installed."""

from snrkit.cli.main import main

if __name__ == "__main__":
    main()
