"""The results as values: depth, normals and uncertainty with their conventions, files and colour previews.

numpy is all it needs; Pillow (to read PNG) and OpenEXR are imported when such a file is read or written.
"""

from .depth import Depth
from .normals import Normals
from .uncertainty import Uncertainty

__all__ = ["Depth", "Normals", "Uncertainty"]
