"""A pack that brings a diffusers of its own and puts it before everybody else's."""

import os
import sys

sys.path.insert(0, os.environ["OLD_DIFFUSERS"])

NODE_CLASS_MAPPINGS = {}
