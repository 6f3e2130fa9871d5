"""`python -m lftreg` is `lftreg`."""

import sys

from lftreg.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
