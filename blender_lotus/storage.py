"""Where map images are kept: as files beside the .blend, or packed into it."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Generator
from contextlib import suppress
from itertools import chain, count
from pathlib import Path

import bpy

from lotus_core.errors import LotusError
from lotus_core.files import atomic_path

from .sequences import as_data

FOLDER = "lotus_maps"


def adopt(file: Path, name: str, stem: str, *, place: str) -> tuple[bpy.types.Image, str]:
    """A new image of a map's file, which survives saving and loading the .blend. Reads no pixels.

    The file is moved into `lotus_maps` beside the .blend (place: "BESIDE") or packed ("PACKED"). It is called `stem`,
    or `stem.001` and so on where that is taken: earlier maps stay, for undo and for other .blend files.

    Returns the image and "" or a sentence that says why the map was packed although it should have become a file.
    Raises LotusError where the file cannot be read.
    """
    folder, problem = _destination(place)
    path = None
    if folder is not None:
        try:
            path = folder / f"{free_stem(stem, file.suffix)}{file.suffix}"
            move(file, path)
        except (LotusError, OSError) as error:
            problem = _packed_because(error, folder)
            path = None
    try:
        image = bpy.data.images.load(str(path or file), check_existing=False)
    except RuntimeError:
        raise LotusError(f"{path or file} is gone or cannot be read; predict again.") from None
    image.name = name
    as_data(image)
    if path is None:
        image.pack()
        # Where unpacking would put it.
        image.filepath_raw = f"//{FOLDER}/{free_stem(stem, file.suffix)}{file.suffix}"
    else:
        image.filepath_raw = relative(path)
    return image, problem


def adopt_frames(
    finished: dict[str, list[Path]], stem: str, check: Callable[[], object]
) -> Generator[None, None, dict[str, list[Path]]]:
    """Move the maps of a sequence's frames into `lotus_maps`, all or none, under names that nothing has; one at a step,
    since the .blend may have been saved to another disk meanwhile.

    finished: kind of map → files called `<kind>_<number>.<suffix>`. Returns them at their new places. Raises LotusError
    and OSError, and what `check` raises before a move; closing the generator takes the moves back as well.
    """
    folder = _folder()
    placed: dict[str, list[Path]] = {}
    try:
        for kind, files in finished.items():
            ends = [file.name.removeprefix(kind) for file in files]
            free = free_stem(f"{stem}_{kind}", ends[0])
            placed[kind] = []
            for file, end in zip(files, ends, strict=True):
                yield
                check()
                move(file, folder / f"{free}{end}")
                placed[kind].append(folder / f"{free}{end}")
    except BaseException:  # closing raises GeneratorExit
        for path in (path for paths in placed.values() for path in paths):
            with suppress(OSError):
                path.unlink()
        raise
    return placed


def free_stem(stem: str, end: str) -> str:
    """`stem`, else `stem.001` and so on: the first for which `lotus_maps` has no file that it and `end` name, and which
    no image of the .blend uses. Frames take the name for all numbers: a sequence goes on as far as there are files.
    Raises LotusError where that cannot be told.
    """
    paths = (image.filepath_raw.replace("\\", "/") for image in bpy.data.images)
    taken = {_unnumbered(path.removeprefix(f"//{FOLDER}/")) for path in paths if path.startswith(f"//{FOLDER}/")}
    if bpy.data.filepath:
        taken.update(map(_unnumbered, _names_in(_folder())))
    numbered = (f"{stem}.{number:03d}" for number in count(1))
    return next(free for free in chain([stem], numbered) if _unnumbered(f"{free}{end}") not in taken)


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:  # there may be files, and none may be overwritten
        raise LotusError(f"{folder} cannot be read ({error.strerror}): allow that.") from None


def _unnumbered(name: str) -> str:
    """A file's name with its frame's number left open, the same for all names that a file system may take for it."""
    return unicodedata.normalize("NFC", re.sub(r"_\d+(\.[^.]+)$", r"_#\1", name).casefold())


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
    """A new folder for the files of a run: where maps become files if that can be, so that moving them is quick."""
    if _destination(place)[0] is not None:
        with suppress(LotusError):
            return workspace_beside()
    return Path(tempfile.mkdtemp(prefix="lotus-", dir=bpy.app.tempdir or None))


def workspace_beside() -> Path:
    """The same for maps that have to become files. Raises LotusError where they cannot."""
    if not bpy.data.filepath:
        raise LotusError("Save the .blend first: the maps of a sequence are files beside it.")
    folder = _folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".lotus-", dir=folder))
    except OSError as error:
        raise LotusError(
            f"{folder} cannot be written ({error.strerror}), and the maps of a sequence are files in it: allow that, or"
            " save the .blend elsewhere."
        ) from None


def clear(workspace: Path) -> None:
    """Delete a run's folder, and `lotus_maps` where it was made for it alone."""
    shutil.rmtree(workspace, ignore_errors=True)
    if workspace.parent.name == FOLDER:
        with suppress(OSError):
            workspace.parent.rmdir()


def _packed_because(error: Exception, folder: Path) -> str:
    reason = getattr(error, "strerror", None) or str(error).rstrip(".")
    return f"{folder} cannot be written ({reason}), so the maps are packed into the .blend."


def _destination(place: str) -> tuple[Path | None, str]:
    """The folder for map files, or None and why maps are packed although the user wants files."""
    if place != "BESIDE":
        return None, ""
    if not bpy.data.filepath:
        return None, "The .blend has no file yet, so the maps are packed into it."
    return _folder(), ""


def _folder() -> Path:
    return Path(bpy.data.filepath).parent / FOLDER


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
