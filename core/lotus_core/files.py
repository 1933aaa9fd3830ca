"""Writing files so that a reader never meets half of one nor stumbles over a name, and folders for one run only."""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import LotusError


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON with letters of all scripts as they are. Of file names that are not valid UTF-8, which Python holds as lone
    surrogates, those become escapes (`\\udce9`), which JSON reads back as they were."""
    return json.dumps(value, indent=indent, ensure_ascii=False).encode(errors="backslashreplace").decode()


def json_or_nothing(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one for a file that is missing, damaged or holds anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def same_file(one: Path, other: Path) -> bool:
    """Whether both paths lead to one file; False where either does not exist."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing. Raises LotusError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise LotusError(
            f"Cannot make the folder {folder}: a file has that name; move it, or write elsewhere."
        ) from error
    except OSError as error:
        raise LotusError(
            f"Cannot make the folder {folder}: {error.strerror or error}; choose another place."
        ) from error


@contextmanager
def exclusive(folder: str | os.PathLike[str], busy: str) -> Iterator[None]:
    """Inside, no other process that asks for it has `folder`, which is made where it is missing.

    Raises LotusError `busy` where another has it, or the folder cannot be made.
    """
    from filelock import FileLock, Timeout

    make_folder(Path(folder))
    lock = FileLock(Path(folder) / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LotusError(busy) from None
    except OSError as error:
        raise LotusError(f"Cannot write into {folder}: {error.strerror or error}; choose another place.") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix) that takes its place on success and is deleted on any error.

    Raises LotusError when the folder is missing or cannot be written, or the disk is full.
    """
    target = Path(path)
    if target.is_dir():
        raise LotusError(f"Cannot write {target}: it is a folder; give a file name.")
    if not target.parent.is_dir():
        raise LotusError(f"Cannot write {target}: there is no folder {target.parent}; create it or choose another.")
    # The suffix stays last because writers choose the format by it. No tempfile.mkstemp: its files are private (0600).
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        # numpy tells of a full disk by "9 requested and 3 written", without the system's reason.
        if isinstance(error, PermissionError) and target.exists():  # Windows locks files that a program has mapped
            raise LotusError(
                f"Cannot write {target}: it is write-protected or in use; close what uses it or choose another name."
            ) from error
        if error.errno == errno.ENAMETOOLONG:
            raise LotusError(f"Cannot write {target}: the name is too long; shorten that of the photo.") from error
        reason = error.strerror or ("the disk is full" if "requested and" in str(error) else str(error))
        raise LotusError(f"Cannot write {target}: {reason}; free some space or choose another place.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def shared_mode(path: str | os.PathLike[str]) -> None:
    """Give a file the permissions that the umask allows a new one: safetensors makes its files private (0600)."""
    target = Path(path)
    # The umask cannot be read without setting it, which other threads would notice: a new file shows it.
    probe = target.with_name(f".{secrets.token_hex(8)}")
    handle = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        target.chmod(stat.S_IMODE(os.fstat(handle).st_mode))
    finally:
        os.close(handle)
        probe.unlink()


def claim(path: Path, settings: dict[str, Any], holder: str, way_out: str, remove: Path) -> None:
    """Write `settings` to `path`, or make sure that they are what it holds.

    holder, way_out, remove: for the error: "FOLDER holds a run", what to do about it, and what to delete where `path`
    is damaged.

    Raises LotusError, naming the first setting that differs, or those that `path` was written without.
    """
    settings = json.loads(json.dumps(settings))  # as they will be read back
    if not path.is_file():
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        return
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(known, dict):
            raise ValueError("no object")
    except (ValueError, RecursionError) as error:
        raise LotusError(f"{path} is damaged: delete {remove} or {way_out}.") from error
    lacking = [name for name, value in settings.items() if value is not None and name not in known]
    if lacking:
        raise LotusError(
            f"{holder} of an older version, which did not record {' and '.join(lacking)}, so it may have been made with"
            f" others: {way_out}."
        )
    for name in sorted({*known, *settings}):
        if known.get(name) != settings.get(name):
            raise LotusError(f"{holder} with {name} = {known.get(name)}, not {settings.get(name)}: {way_out}.")
