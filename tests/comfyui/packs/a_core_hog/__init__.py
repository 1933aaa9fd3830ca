"""A pack as there are many: puts its own folder on the path and imports its top-level module `core` from there."""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))

from core import NODE_CLASS_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS"]
