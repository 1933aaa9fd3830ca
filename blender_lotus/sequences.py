"""Numbered image files: which frames there are, and which one the timeline shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy

from lotus_core.errors import LotusError


def frames_of(image: bpy.types.Image) -> list[tuple[int, Path]]:
    """Number and file of each frame of a sequence, from its first file on without gaps. Raises LotusError."""
    first = Path(bpy.path.abspath(image.filepath_raw))
    match = re.fullmatch(r"(.*?)(\d+)(\.[^.]+)", first.name)
    if match is None:
        raise LotusError(f"{first.name} has no number; a sequence is a row of files such as frame_0001.png.")
    head, digits, suffix = match.groups()
    found, number = [], int(digits)
    while (path := first.with_name(f"{head}{number:0{len(digits)}d}{suffix}")).is_file():
        found.append((number, path))
        number += 1
    if not found:
        raise LotusError(f"{first} does not exist; find the sequence again.")
    return found


@contextmanager
def frame_image(image: bpy.types.Image, frame: int) -> Iterator[bpy.types.Image]:
    """The file that the timeline's frame shows, the nearest one outside the sequence, as an image of its own for as
    long as the context lasts. Raises LotusError.
    """
    files = frames_of(image)
    path = files[min(max(frame - 1, 0), len(files) - 1)][1]
    try:
        still = bpy.data.images.load(str(path), check_existing=False)
    except RuntimeError:
        raise LotusError(f"{path} is not an image that Blender can read; predict it again.") from None
    try:
        still.colorspace_settings.name, still.alpha_mode = image.colorspace_settings.name, image.alpha_mode
        yield still
    finally:
        bpy.data.images.remove(still)


def as_data(image: bpy.types.Image) -> None:
    """Keep Blender from changing the numbers: no colour space, no multiplying by alpha."""
    image.colorspace_settings.name = "Non-Color"
    image.alpha_mode = "CHANNEL_PACKED"


def load_sequence(first: Path, name: str, frames: int, number: int) -> bpy.types.Image:
    """A sequence of float maps as one image; number: of the first file."""
    image = bpy.data.images.load(str(first))
    image.name = name
    image.source = "SEQUENCE"
    as_data(image)
    image.lotus.frames, image.lotus.frame_offset = frames, number - 1
    return image
