"""Small coloured pictures of maps as the previews of their images, shown by panels and the file browser."""

from __future__ import annotations

import bpy
import numpy as np


def set_thumbnail(image: bpy.types.Image, picture: np.ndarray) -> None:
    """Give the image of a map its preview: uint8 h×w×3, top row first."""
    height, width = picture.shape[:2]
    rgba = np.ones((height, width, 4), np.float32)
    rgba[..., :3] = picture[::-1] / np.float32(255)
    preview = image.preview_ensure()
    preview.image_size = (width, height)
    preview.image_pixels_float.foreach_set(rgba.ravel())
