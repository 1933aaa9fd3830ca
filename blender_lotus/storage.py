"""Where map images are kept: as files beside the .blend, or packed into it."""

from __future__ import annotations

import os
from pathlib import Path

import bpy

from lotus_core.errors import LotusError
from lotus_core.files import atomic_path

FOLDER = "lotus_maps"
FORMATS = {".exr": "OPEN_EXR", ".png": "PNG"}


def save_map(image: bpy.types.Image, path: Path) -> None:
    """Write a float image as 32-bit EXR or 16-bit PNG, by suffix, atomically. Raises LotusError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = image.file_format
    with atomic_path(path) as temporary:
        image.file_format = FORMATS[path.suffix.lower()]
        try:
            image.save(filepath=str(temporary))
        except RuntimeError as error:
            raise OSError(str(error).strip()) from error
        finally:
            image.file_format = before
        if not temporary.is_file() or temporary.stat().st_size == 0:
            raise OSError("Blender could not write the file")


def keep(image: bpy.types.Image, stem: str, *, place: str, suffix: str) -> str:
    """Make a new map survive saving and loading the .blend: a file in `lotus_maps` beside it, or packed.

    place: "BESIDE" or "PACKED". stem: name of the file without its suffix. Returns "" or a sentence that says why the
    map was packed although it should have become a file.
    """
    problem = ""
    if place == "BESIDE":
        if not bpy.data.filepath:
            problem = "The .blend has no file yet, so the maps are packed into it."
        else:
            path = Path(bpy.data.filepath).parent / FOLDER / f"{stem}{suffix}"
            try:
                save_map(image, path)
            except (LotusError, OSError) as error:
                problem = f"{error} The maps are packed into the .blend instead."
            else:
                image.file_format = FORMATS[suffix]
                image.filepath_raw = relative(path)
                image.source = "FILE"
                return ""
    image.pack()
    return problem


def relative(path: Path) -> str:
    """A path as Blender writes it beside the .blend (`//…`), absolute where that is impossible."""
    try:
        return bpy.path.relpath(str(path))
    except ValueError:  # another drive on Windows
        return os.fspath(path)


def file_stem(photo: bpy.types.Image) -> str:
    """The photo's name as a file name: without its suffix and what file systems refuse."""
    name = photo.name
    head, dot, number = name.rpartition(".")
    copy = f"_{number}" if dot and number.isdigit() and len(number) == 3 else ""  # Blender's .001 of equal names
    return bpy.path.clean_name(Path(head if copy else name).stem).strip("._") + copy or "photo"
