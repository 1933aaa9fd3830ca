"""The results as values: depth, normals and uncertainty with their conventions, files and colour previews.

numpy is all it needs; Pillow (to read PNG) and OpenEXR are imported when such a file is read or written.
"""

from .depth import Depth
from .normals import Normals
from .uncertainty import Uncertainty

TYPES: dict[str, type[Depth] | type[Normals] | type[Uncertainty]] = {
    "depth": Depth,
    "normal": Normals,
    "uncertainty": Uncertainty,
}

__all__ = ["TYPES", "Depth", "Normals", "Uncertainty"]
