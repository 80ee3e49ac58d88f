"""``python -m anomirror.cli``."""

from anomirror.cli import main

if __name__ == "__main__":
    main()
