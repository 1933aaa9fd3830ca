"""`python -m lotus_core` is the `lotus` command."""

import sys

from .cli import main

sys.exit(main())
