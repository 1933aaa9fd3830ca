"""Maps as float images of Blender, and back to lotus_core's types.

Blender keeps rows bottom-up and RGBA. A map is a float image, Non-Color, coded as `lotus_core.maps.textures` says.
float32 throughout: reading back gives the numbers that were written.
"""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Color

from lotus_core.errors import LotusError
from lotus_core.maps import Depth, Normals, Uncertainty
from lotus_core.maps.textures import Meaning

from . import sequences
from .names import KINDS as KINDS
from .sequences import as_data

_SRGB_LINEAR_END = 0.0031308  # IEC 61966-2-1
_BRIGHTEST = 65504.0  # of half floats


def pixels_of(image: bpy.types.Image) -> np.ndarray:
    """float32 H×W×C, top row first, as stored (display-referred for 8-bit images); of a sequence the frame that the
    timeline shows. Raises LotusError.
    """
    if image.source == "SEQUENCE":
        with sequences.frame_image(image, bpy.context.scene.frame_current) as still:
            return pixels_of(still)
    width, height = image.size
    channels = image.channels
    if width == 0 or height == 0 or channels == 0:
        raise LotusError(f"The image {image.name} cannot be read; check its file.")
    flat = np.empty(width * height * channels, np.float32)
    image.pixels.foreach_get(flat)
    return flat.reshape(height, width, channels)[::-1]


def size_of(photo: bpy.types.Image) -> tuple[int, int]:
    """Width and height, also of a sequence, for which Blender itself says 0 × 0 before it has shown a frame."""
    if photo.source == "SEQUENCE":
        with sequences.frame_image(photo, bpy.context.scene.frame_current) as still:
            return size_of(still)
    width, height = photo.size
    return width, height


def photo_pixels(image: bpy.types.Image) -> np.ndarray:
    """uint8 H×W×3 or H×W×4, top row first, display-referred sRGB; "Non-Color" values are taken as they are.

    Blender converts the values of float images (16-bit files too, whatever their colour space) to its linear working
    space when it loads them, and multiplies them by alpha: both are undone here.
    """
    values = pixels_of(image)
    if image.is_float:  # infinities become NaN, which is black, where matrices multiply them by 0
        values = np.nan_to_num(values, nan=0, posinf=_BRIGHTEST, neginf=0)
    if values.shape[2] == 2:
        values = values[..., :1]
    if values.shape[2] == 1:
        values = values.repeat(3, axis=2)
    if image.is_float and not image.colorspace_settings.is_data:
        colour = values[..., :3]
        if values.shape[2] == 4 and image.alpha_mode in {"STRAIGHT", "PREMUL"}:
            colour = colour / np.where(values[..., 3:] > 0, values[..., 3:], 1)
        values = np.concatenate([_encoded(colour), values[..., 3:]], axis=2)
    opaque = values.shape[2] == 4 and bool((values[..., 3] >= 1).all())
    return np.rint(np.clip(values[..., :3] if opaque else values, 0, 1) * 255).astype(np.uint8)


def _encoded(linear: np.ndarray) -> np.ndarray:
    """Colours of the .blend's working space (H×W×3) as sRGB."""
    # Linear Rec.709 unless the .blend says otherwise, which it can from 5.0 on.
    to_rec709 = np.array([Color(axis).from_scene_linear_to_rec709_linear() for axis in np.eye(3)], np.float32)
    colour = np.clip(linear @ to_rec709, 0, 1)
    return np.where(colour <= _SRGB_LINEAR_END, 12.92 * colour, 1.055 * colour ** (1 / 2.4) - 0.055)


def new_data_image(name: str, rgb: np.ndarray) -> bpy.types.Image:
    """A new Non-Color float image of float32 H×W×3 values, top row first, packed so that it is saved and undone."""
    height, width = rgb.shape[:2]
    image = bpy.data.images.new(name, width, height, alpha=True, float_buffer=True, is_data=True)
    as_data(image)
    flat = np.ones((height, width, 4), np.float32)
    flat[..., :3] = rgb[::-1]
    image.pixels.foreach_set(flat.ravel())
    image.update()
    image.pack()
    return image


def describe(image: bpy.types.Image, meaning: Meaning, model: str = "") -> None:
    """Write into `image.lotus` which map it is."""
    image.lotus.model, image.lotus.kind = model, meaning.kind.upper()
    image.lotus.space, image.lotus.unit, image.lotus.samples = meaning.space, meaning.unit, meaning.samples


def map_of(photo: bpy.types.Image, kind: str) -> bpy.types.Image | None:
    """The image of one map ("depth", "normal", "uncertainty") of a photo, or None."""
    assert kind in KINDS
    return getattr(photo.lotus, kind)


def read_map(image: bpy.types.Image, kind: str) -> Depth | Normals | Uncertainty:
    """The map that an image holds. Raises LotusError."""
    if kind == "normal":
        return normals_in(pixels_of(image))
    return read_depth(image) if kind == "depth" else read_uncertainty(image)


def depth_of(photo: bpy.types.Image) -> Depth:
    """The depth of a photo. Raises LotusError where there is none or the image is no depth map any more."""
    image = photo.lotus.depth
    if image is None:
        raise LotusError(f"{photo.name} has no depth map; predict it first, or import one.")
    return read_depth(image)


def read_depth(image: bpy.types.Image) -> Depth:
    """A depth image as `Depth`. Raises LotusError."""
    values = pixels_of(image)
    valid = values[..., 3] > 0.5 if values.shape[2] == 4 else None
    if valid is not None and valid.all():
        valid = None
    grey = np.ascontiguousarray(values[..., 0])
    return Depth(grey if valid is None else np.where(valid, grey, 0), image.lotus.space or "disparity", valid)


def normals_of(photo: bpy.types.Image) -> Normals | None:
    """The normals of a photo, OpenGL axes, or None."""
    image = photo.lotus.normal
    return None if image is None else normals_in(pixels_of(image))


def normals_in(pixels: np.ndarray) -> Normals:
    """The normals that the pixels of a normal map's image hold, float32 H×W×C with C ≥ 3."""
    return Normals.from_vectors(2 * pixels[..., :3] - 1, "opengl")


def uncertainty_of(photo: bpy.types.Image) -> Uncertainty | None:
    """The uncertainty of a photo's depth, or None."""
    image = photo.lotus.uncertainty
    return None if image is None else read_uncertainty(image)


def read_uncertainty(image: bpy.types.Image) -> Uncertainty:
    """An uncertainty image as `Uncertainty` (without its mean). Raises LotusError."""
    std = np.ascontiguousarray(pixels_of(image)[..., 0])
    return Uncertainty(std, None, image.lotus.samples, image.lotus.unit or "depth")
