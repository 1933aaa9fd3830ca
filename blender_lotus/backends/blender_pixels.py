"""Reading picture files with Blender itself. The only module of the backends that needs bpy."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np

from lotus_core.errors import LotusError

from ..sequences import as_data


def read_pixels(path: Path) -> np.ndarray:
    """The values in a .png or .exr file: float32 H×W×C, top row first, codes as [0, 1]. Raises LotusError.

    Exact: `as_data` keeps Blender from converting between colour spaces, and "channel packed" from multiplying by
    alpha.
    """
    try:
        image = bpy.data.images.load(str(path), check_existing=False)
    except RuntimeError:
        raise LotusError(f"{path} is not an image that Blender can read: choose another.") from None
    try:
        as_data(image)
        (width, height), channels = image.size, image.channels
        if width == 0 or height == 0 or channels == 0:
            raise LotusError(f"{path} is not an image that Blender can read: save it again or choose another.")
        flat = np.empty(width * height * channels, np.float32)
        image.pixels.foreach_get(flat)
    finally:
        bpy.data.images.remove(image)
    return np.ascontiguousarray(flat.reshape(height, width, channels)[::-1])
