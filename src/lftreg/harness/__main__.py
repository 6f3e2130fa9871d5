"""`python -m lftreg.harness` is `lm_eval` with `--model lftreg`."""

import sys

from lftreg.harness import main

if __name__ == "__main__":
    sys.exit(main())
