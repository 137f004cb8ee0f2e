"""`python -m runner` is the same as `runner`."""

import os
import sys

# Python puts the working directory first, whose files would be loaded in place of Python's own: secrets.py, psutil.py.
if __name__ == "__main__" and not sys.flags.safe_path and sys.path[0] != os.path.dirname(os.path.dirname(__file__)):  # noqa: PTH120
    del sys.path[0]

from runner.cli import main

if __name__ == "__main__":
    main()
