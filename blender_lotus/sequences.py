"""Numbered image files: which frames there are, and which one the timeline shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import bpy

from lotus_core.errors import LotusError


def path_of(image: bpy.types.Image) -> Path:
    """The file of an image; one that is linked from another .blend counts its path from there."""
    return Path(bpy.path.abspath(image.filepath_raw, library=image.library))


def frames_of(image: bpy.types.Image) -> list[tuple[int, Path]]:
    """Number and file of each frame of a sequence, from its first file on without gaps. Raises LotusError."""
    first = path_of(image)
    head, digits, suffix = _parts(first)
    found, number = [], int(digits)
    while (path := first.with_name(f"{head}{number:0{len(digits)}d}{suffix}")).is_file():
        found.append((number, path))
        number += 1
    if not found:
        raise LotusError(f"{first} does not exist; find the sequence again.")
    return found


def gap_of(image: bpy.types.Image) -> str:
    """One sentence where a file is missing and numbered ones follow, which `frames_of` leaves out; else "". Raises
    LotusError.
    """
    number, last = frames_of(image)[-1]
    head, digits, suffix = _parts(last)
    named = re.compile(re.escape(head) + r"(\d+)" + re.escape(suffix))
    matches = (named.fullmatch(path.name) for path in last.parent.iterdir())
    later = sorted(int(match[1]) for match in matches if match and len(match[1]) >= len(digits))
    after = len([other for other in later if other > number])
    if not after:
        return ""
    missing = f"{head}{number + 1:0{len(digits)}d}{suffix}"
    files = "file follows" if after == 1 else "files follow"
    return (
        f"The sequence ends with {last.name}, because there is no {missing}; {after} {files}, which are left out:"
        " number the files without gaps."
    )


def _parts(path: Path) -> tuple[str, str, str]:
    match = re.fullmatch(r"(.*?)(\d+)(\.[^.]+)", path.name)
    if match is None:
        raise LotusError(f"{path.name} has no number; a sequence is a row of files such as frame_0001.png.")
    head, digits, suffix = match.groups()
    return head, digits, suffix


@contextmanager
def frame_image(image: bpy.types.Image, frame: int) -> Iterator[bpy.types.Image]:
    """The file that the timeline's frame shows, the nearest one outside the sequence, as an image of its own for as
    long as the context lasts. Raises LotusError.
    """
    files = frames_of(image)
    with file_image(image, files[min(max(frame - 1, 0), len(files) - 1)][1]) as still:
        yield still


@contextmanager
def file_image(image: bpy.types.Image, path: Path) -> Iterator[bpy.types.Image]:
    """The same for one of its files."""
    try:
        still = bpy.data.images.load(str(path), check_existing=False)
    except RuntimeError:
        raise LotusError(f"{path} is not an image that Blender can read; predict it again.") from None
    try:
        with suppress(TypeError):  # a space that this configuration of OpenColorIO lacks: Blender has chosen another
            still.colorspace_settings.name = image.colorspace_settings.name
        still.alpha_mode = image.alpha_mode
        yield still
    finally:
        bpy.data.images.remove(still)


def as_data(image: bpy.types.Image) -> None:
    """Keep Blender from changing the numbers: no colour space, no multiplying by alpha."""
    image.colorspace_settings.is_data = True  # the space's name differs between configurations of OpenColorIO
    image.alpha_mode = "CHANNEL_PACKED"


def load_sequence(first: Path, name: str, frames: int, number: int) -> bpy.types.Image:
    """A sequence of float maps as one image; number: of the first file."""
    image = bpy.data.images.load(str(first))
    image.name = name
    image.source = "SEQUENCE"
    as_data(image)
    image.lotus.frames, image.lotus.frame_offset = frames, number - 1
    return image
