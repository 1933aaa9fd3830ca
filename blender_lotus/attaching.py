"""A map becomes an image of its photo. It is always a new one, so that undo finds the earlier map as it was."""

from __future__ import annotations

import bpy
import numpy as np

from lotus_core.errors import LotusError
from lotus_core.maps import Depth, Normals, Uncertainty
from lotus_core.maps.textures import Meaning, Texture, write_texture

from . import images, photos, reliefs, storage
from .thumbnails import set_thumbnail
from .timeline import follow_span, span_of

_SAME_SHAPE = 0.02  # of the ratio of the sides; maps may be smaller than the photo, and then rounded


def put_map(
    photo: bpy.types.Image,
    kind: str,
    value: Depth | Normals | Uncertainty,
    *,
    place: str = "PACKED",
    suffix: str = ".exr",
) -> str:
    """Make a map the photo's map of this kind. place: "BESIDE" or "PACKED"; suffix: ".exr" or ".png".

    Returns "" or a sentence as `storage.adopt` does. Raises LotusError where the map is of another shape than the photo
    or cannot be written.
    """
    check_shape(photo, kind, value)
    folder = storage.workspace("PACKED")
    try:
        return put_texture(photo, kind, write_texture(value, folder / f"{kind}{suffix}"), place=place)
    finally:
        storage.clear(folder)


def put_texture(photo: bpy.types.Image, kind: str, texture: Texture, model: str = "", *, place: str) -> str:
    """The same with the image of a map, whose file is moved away or packed. Raises LotusError."""
    photos.check_own(photo)
    stem = f"{storage.file_stem(photo)}_{kind}"
    image, note = storage.adopt(texture.file, f"{photo.name} {kind}", stem, place=place)
    attach(photo, kind, image, texture.meaning, np.load(texture.thumbnail, allow_pickle=False), model)
    return note


def attach(
    photo: bpy.types.Image, kind: str, image: bpy.types.Image, meaning: Meaning, thumbnail: np.ndarray, model: str
) -> None:
    """Make an image the photo's map of this kind, wherever its predecessor was used. thumbnail: uint8 h×w×3.

    Raises LotusError for a photo of another .blend.
    """
    photos.check_own(photo)
    images.describe(image, meaning, model)
    set_thumbnail(image, thumbnail)
    photo.use_fake_user = True  # else saving the .blend drops a photo that only its maps make worth keeping
    _let_blender_follow(photo)
    old = images.map_of(photo, kind)
    setattr(photo.lotus, kind, image)
    if old is not None:
        _replace(old, image, kind)


def _replace(old: bpy.types.Image, image: bpy.types.Image, kind: str) -> None:
    """Put a map in the place of another, except where the other belongs to copies of the photo, which keep it."""
    name = old.name
    copies = [photo for photo in bpy.data.images if images.map_of(photo, kind) == old]
    old.user_remap(image)
    follow_span(image, span_of(old))
    reliefs.follow(image, old.lotus.space)
    for photo in copies:
        setattr(photo.lotus, kind, old)
    if copies:
        old.name = f"{copies[0].name} {kind}"
    else:
        bpy.data.images.remove(old)
    image.name = name


def _let_blender_follow(photo: bpy.types.Image) -> None:
    """Let Blender see that the photo points to its maps, so that deleting or replacing one clears that pointer.

    Blender 5.0 looks for pointers from one image to another only on images that have a group of custom properties, even
    an empty one; `photo.lotus` is kept elsewhere since then. Without it the pointer leads to freed memory.
    """
    photo["lotus_maps"] = True
    del photo["lotus_maps"]


def check_shape(photo: bpy.types.Image, kind: str, value: Depth | Normals | Uncertainty) -> None:
    """Raise LotusError where a map is of another shape than its photo."""
    rows, columns = (value.std if isinstance(value, Uncertainty) else value.values).shape[:2]
    width, height = photos.size_of(photo)
    if abs(columns * height - rows * width) > _SAME_SHAPE * rows * width:
        raise LotusError(
            f"The {kind} map is {columns}×{rows} pixels, which is another shape than the photo's {width}×{height}:"
            " crop or turn one of them. (Blender does not turn photos as their EXIF data ask.)"
        )
