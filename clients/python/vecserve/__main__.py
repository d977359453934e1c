"""`python -m vecserve`, the same as `vecserve`."""

import sys

from vecserve.cli import main

sys.exit(main())
