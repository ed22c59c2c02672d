"""python -m scud: the command line, as `scud` is."""

import sys

from scud.cli import main

if __name__ == "__main__":
    sys.exit(main())
