"""Small coloured pictures of maps as the previews of their images, shown by panels and the file browser."""

from __future__ import annotations

import bpy
import numpy as np

from lotus_core.maps import Depth, Normals, Uncertainty

SIZE = 128


def picture_of(value: Depth | Normals | Uncertainty) -> np.ndarray:
    """uint8 h×w×3, longest edge at most SIZE: red = near for depth, the usual look for normals, yellow = unsure."""
    full = value.std if isinstance(value, Uncertainty) else value.values
    step = max(-(-max(full.shape[:2]) // SIZE), 1)
    thin = np.s_[::step, ::step]
    if isinstance(value, Depth):
        valid = None if value.valid is None else value.valid[thin]
        return Depth(value.values[thin], value.space, valid).preview()
    if isinstance(value, Normals):
        return Normals(value.values[thin], value.convention).preview("opengl")
    return Uncertainty(value.std[thin], None, value.samples, value.unit).preview()


def set_thumbnail(image: bpy.types.Image, value: Depth | Normals | Uncertainty) -> None:
    """Give the image of a map its preview."""
    picture = picture_of(value)
    height, width = picture.shape[:2]
    rgba = np.ones((height, width, 4), np.float32)
    rgba[..., :3] = picture[::-1] / np.float32(255)
    preview = image.preview_ensure()
    preview.image_size = (width, height)
    preview.image_pixels_float.foreach_set(rgba.ravel())
