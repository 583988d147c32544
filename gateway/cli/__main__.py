"""`python -m gateway.cli`: the command where its script is not installed."""

import sys

from gateway.cli import main

sys.exit(main())
