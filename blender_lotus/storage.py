"""Where map images are kept: as files beside the .blend, or packed into it."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import bpy

from lotus_core.errors import LotusError
from lotus_core.files import atomic_path

from .sequences import as_data

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
    if image.lotus.unit == "degrees":
        suffix = ".exr"  # a PNG holds nothing above 1
    path, problem = _destination(place, f"{stem}{suffix}")
    if path is not None:
        try:
            save_map(image, path)
        except (LotusError, OSError) as error:
            problem = _packed_because(error, path)
        else:
            image.file_format = FORMATS[suffix]
            image.filepath_raw = relative(path)
            image.source = "FILE"
            return ""
    image.pack()
    return problem


def adopt(file: Path, name: str, stem: str, *, place: str) -> tuple[bpy.types.Image, str]:
    """A new image of a map's file: the file itself, moved into `lotus_maps`, or packed. Reads no pixels.

    Returns the image and a sentence as `keep` does. Raises LotusError where the file cannot be read.
    """
    path, problem = _destination(place, f"{stem}{file.suffix}")
    if path is not None:
        try:
            move(file, path)
        except (LotusError, OSError) as error:
            problem = _packed_because(error, path)
            path = None
    try:
        image = bpy.data.images.load(str(path or file), check_existing=False)
    except RuntimeError:
        raise LotusError(f"{path or file} is gone or cannot be read; predict again.") from None
    image.name = name
    as_data(image)
    if path is None:
        image.pack()
        image.filepath_raw = f"//{FOLDER}/{stem}{file.suffix}"  # where unpacking would put it
    else:
        image.filepath_raw = relative(path)
    return image, problem


def move(file: Path, target: Path) -> None:
    """Put a file at `target`, atomically. Raises LotusError and OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(file, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with atomic_path(target) as temporary:
            shutil.copyfile(file, temporary)


def workspace(place: str) -> Path:
    """A new folder for the files of a run: where maps become files, on their own disk, so that moving them is quick."""
    path, _ = _destination(place, "")
    if path is not None:
        with suppress(OSError):
            path.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=".lotus-", dir=path))
    return Path(tempfile.mkdtemp(prefix="lotus-", dir=bpy.app.tempdir or None))


def clear(workspace: Path) -> None:
    """Delete a run's folder, and `lotus_maps` where it was made for it alone."""
    shutil.rmtree(workspace, ignore_errors=True)
    if workspace.parent.name == FOLDER:
        with suppress(OSError):
            workspace.parent.rmdir()


def _packed_because(error: Exception, path: Path) -> str:
    reason = getattr(error, "strerror", None) or str(error).rstrip(".")
    return f"{path.parent} cannot be written ({reason}), so the maps are packed into the .blend."


def _destination(place: str, name: str) -> tuple[Path | None, str]:
    """Where a file of this name belongs, or None and why it is packed although the user wants files."""
    if place != "BESIDE":
        return None, ""
    if not bpy.data.filepath:
        return None, "The .blend has no file yet, so the maps are packed into it."
    return Path(bpy.data.filepath).parent / FOLDER / name, ""


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
