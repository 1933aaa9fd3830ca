"""Photos taken with the camera on its side: the network sees them upright, Blender as they are stored."""

from __future__ import annotations

import numpy as np

from lotus_core.maps import Depth, Normals, Uncertainty

# EXIF 2.32, table 4: how stored pixels become upright ones: whether rows and columns change places, and after that
# whether the order of the rows and of the columns is reversed.
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels, H×W or H×W×C, as the photographer saw them."""
    transposed, rows, columns = _TURNS[orientation]
    turned = pixels.swapaxes(0, 1) if transposed else pixels
    return turned[:: -1 if rows else 1, :: -1 if columns else 1]


def as_stored(value: Depth | Normals | Uncertainty, orientation: int) -> Depth | Normals | Uncertainty:
    """A map of an upright photo as that of the stored one. Normals turn with the picture."""
    if orientation == 1:
        return value
    if isinstance(value, Depth):
        valid = None if value.valid is None else _back(value.valid, orientation)
        return Depth(_back(value.values, orientation), value.space, valid)
    if isinstance(value, Uncertainty):
        return Uncertainty(_back(value.std, orientation), None, value.samples, value.unit)
    transposed, rows, columns = _TURNS[orientation]
    right, up, front = np.moveaxis(_back(value.to("opengl").values, orientation), 2, 0)
    right, up = (-right if columns else right), (-up if rows else up)
    if transposed:  # what pointed right points down, and the reverse
        right, up = -up, -right
    return Normals(np.stack([right, up, front], axis=2), "opengl", copy=False)


def _back(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The reverse of `upright`."""
    transposed, rows, columns = _TURNS[orientation]
    turned = pixels[:: -1 if rows else 1, :: -1 if columns else 1]
    return turned.swapaxes(0, 1) if transposed else turned
