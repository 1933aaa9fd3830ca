"""Which images can be photos: those that Blender shows as one picture, and that the .blend itself keeps."""

from __future__ import annotations

import os

import bpy

from lotus_core.errors import LotusError

from . import images, sequences


def open_still(path: str) -> bpy.types.Image:
    """The image of a file, the one that the .blend has already where there is one. Raises LotusError."""
    known = next((image for image in bpy.data.images if _is_photo_of(image, path)), None)
    if known is not None and 0 in known.size:
        known.reload()  # its file may be there again
    image = known or _load(path)
    try:
        size_of(image)
    except LotusError:
        if known is None:
            bpy.data.images.remove(image)
        raise
    return image


def open_sequence(path: str) -> bpy.types.Image:
    """A new image of the numbered files that start with this one. Raises LotusError."""
    image = _load(path)
    image.source = "SEQUENCE"
    try:
        frames = sequences.frames_of(image)
        size_of(image)
    except LotusError:
        bpy.data.images.remove(image)
        raise
    image.lotus.frames, image.lotus.frame_offset = len(frames), frames[0][0] - 1
    return image


def size_of(photo: bpy.types.Image) -> tuple[int, int]:
    """Width and height. Raises LotusError where Blender has none, and so no pixels either."""
    width, height = images.size_of(photo)
    if width == 0 or height == 0:
        if photo.type == "MULTILAYER":
            raise LotusError(
                f"{photo.name} is a multilayer EXR, which is many pictures in one file: save the one that you want as"
                " an EXR or PNG of its own, and open that."
            )
        raise LotusError(f"{photo.name} cannot be read as a picture: check that its file is there and whole.")
    return width, height


def check_own(photo: bpy.types.Image) -> None:
    """Raise LotusError for a photo that is linked from another .blend, which would forget its maps on loading."""
    if photo.library is not None:
        raise LotusError(
            f"{photo.name} is linked from {bpy.path.basename(photo.library.filepath)}, so this .blend cannot keep its"
            " maps: make it local first (in the Outliner, Blender File › Images: right-click it, ID Data › Make Local)."
        )


def _load(path: str) -> bpy.types.Image:
    try:
        return bpy.data.images.load(path, check_existing=False)
    except RuntimeError:
        raise LotusError(f"{path} is not an image that Blender can read; choose another.") from None


def _is_photo_of(image: bpy.types.Image, path: str) -> bool:
    """Whether an image of this .blend is the picture of a file: no sequence that starts with it, and no map."""
    if image.library is not None or image.source != "FILE" or image.lotus.kind != "NONE" or not image.filepath_raw:
        return False
    return os.path.abspath(bpy.path.abspath(image.filepath_raw)) == os.path.abspath(path)
