"""Numbered image files: which frames there are, and which one the timeline shows."""

from __future__ import annotations

import re
from pathlib import Path

import bpy

from lotus_core.errors import LotusError

from .images import as_data


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


def at_frame(image: bpy.types.Image, frame: int) -> Path:
    """The file that the timeline's frame shows, the nearest one outside the sequence. Raises LotusError."""
    files = frames_of(image)
    return files[min(max(frame - 1, 0), len(files) - 1)][1]


def load_sequence(first: Path, name: str, frames: int, number: int) -> bpy.types.Image:
    """A sequence of float maps as one image; number: of the first file."""
    image = bpy.data.images.load(str(first))
    image.name = name
    image.source = "SEQUENCE"
    as_data(image)
    image.lotus.frames, image.lotus.frame_offset = frames, number - 1
    return image
