"""`python -m flows.cli`: the `lycoris` command without the installed script."""

import sys

from flows.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
