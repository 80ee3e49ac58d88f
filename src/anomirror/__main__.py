"""``python -m anomirror``."""

from anomirror.cli import main

if __name__ == "__main__":
    main()
