"""Output folders that hold either all files of an image or none of them."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import LotusError


class OutputFolder:
    """A folder that is checked before any work starts, filled in whole sets, and not left behind empty.

    Use as a context manager. Entering makes the folder, with its parents, and writes and deletes a trial file. Leaving
    removes the folders it made that stayed empty. Raises LotusError where the folder cannot be made or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made: list[Path] = []

    def __enter__(self) -> OutputFolder:
        missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            for folder in reversed(missing):
                folder.mkdir(exist_ok=True)
                self._made.insert(0, folder)
            trial = self.path / f".{secrets.token_hex(4)}"
            trial.touch()
            trial.unlink()
        except OSError as error:
            self._remove_empty()
            reason = error.strerror or str(error)
            raise LotusError(f"Cannot write into {self.path}: {reason}; choose another folder with -o.") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._remove_empty()

    @contextmanager
    def all_or_nothing(self) -> Iterator[Path]:
        """Yield a hidden folder in this one. At the end its files move out of it; on any error they are deleted."""
        staging = self.path / f".{secrets.token_hex(4)}"
        try:
            staging.mkdir()
            yield staging
            files = sorted(staging.iterdir())
            for target in (self.path / file.name for file in files):
                if target.is_dir():  # found before the first file has moved
                    raise LotusError(f"Cannot write {target}: it is a folder; rename it or choose another output.")
            for file in files:
                os.replace(file, self.path / file.name)
        except OSError as error:
            reason = error.strerror or str(error)
            raise LotusError(
                f"Cannot write into {self.path}: {reason}; free some space or choose another folder."
            ) from error
        except LotusError as error:  # name the folder that the user knows, not the hidden one
            error.args = (str(error).replace(str(staging), str(self.path)),)
            raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _remove_empty(self) -> None:
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()
