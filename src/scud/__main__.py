"""python -m scud: the command line, as `scud` is."""

import sys

from scud.cli import main

sys.exit(main())
