"""What a backend is given of a photo, and what the photo's file says of how it was taken."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import bpy
import numpy as np

from lotus_core.errors import LotusError

from . import images, sequences
from .exif import read_exif
from .turning import upright

_LINEAR = {".exr", ".hdr", ".dpx", ".cin"}  # linear light, or logarithmic: Blender shows them otherwise than stored


class Picture(NamedTuple):
    """file: a picture file or .npy pixels. orientation: of EXIF, by which the stored pixels were turned upright."""

    file: Path
    orientation: int = 1


def picture_of(photo: bpy.types.Image, pixels: Path) -> Picture:
    """What Blender shows of a photo, upright: its own file where that is the same, else its pixels, written to a file.

    Blender ignores EXIF's orientation, which the programs of the backends apply.
    """
    source = None if photo.is_dirty else _file_of(photo)  # once painted or turned, it is as the user wants it
    orientation = 1 if source is None else read_exif(source).orientation
    if isinstance(source, Path) and orientation == 1 and not photo.is_float:
        return Picture(source.absolute())
    orientation = max(orientation, 1)
    np.save(pixels, upright(images.photo_pixels(photo), orientation))
    return Picture(pixels, orientation)


def picture_of_frame(photo: bpy.types.Image, file: Path, pixels: Path) -> Picture:
    """The same for one file of a sequence. Raises LotusError."""
    if file.suffix.lower() not in _LINEAR and read_exif(file).orientation == 1:
        return Picture(file)
    with sequences.file_image(photo, file) as still:
        return picture_of(still, pixels)


def photo_path(photo: bpy.types.Image) -> Path:
    """The file of a photo. Raises LotusError where it has none, or it is gone."""
    path = sequences.path_of(photo)
    if not photo.filepath_raw or not path.is_file():
        raise LotusError(f"{photo.name} has no file, and maps are found by its name; save it, or use Import Map.")
    return path.absolute()


def focal_35mm_of(photo: bpy.types.Image) -> float:
    """From the photo's EXIF data; 0 where unknown."""
    source = _file_of(photo)
    return 0.0 if source is None else read_exif(source).focal_35mm


def _file_of(photo: bpy.types.Image) -> Path | bytes | None:
    """The file that a photo's pixels come from, or the bytes of a packed one; None where there is neither."""
    if photo.packed_file is not None:
        return bytes(photo.packed_file.data)
    path = sequences.path_of(photo)
    return path if photo.source in {"FILE", "SEQUENCE"} and path.is_file() else None
