"""What a run has scored so far, on disk, so that a killed run goes on where it was.

run.json          the settings; a folder takes one run only
per_sample.csv    a line per sample, appended when the sample is done, with a checksum of its other cells
arrays/*.npz      per sample, what the whole benchmark's figures need beyond the table
"""

from __future__ import annotations

import csv
import io
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LotusError
from ..files import atomic_path, claim
from .scoring import Score


class Journal:
    """The record of one run in `folder`, which exists.

    settings: everything that decides the figures; a folder with other settings is refused.
    metrics:  the names every score brings besides `pixels`; the table's columns.
    arrays:   name → length of the arrays that every score brings.

    Attributes:
        rows:         name of a sample → its figures, `pixels` and `seconds`.
        figures:      the names of these.
        fingerprints: name → that of the prediction that was scored, "" for those of a model.

    Raises:
        LotusError: the folder belongs to another run, or cannot be written.
    """

    def __init__(
        self, folder: Path, settings: dict[str, Any], metrics: Sequence[str], arrays: Mapping[str, int]
    ) -> None:
        self.folder = folder
        self.columns = ("name", *metrics, "pixels", "seconds", "fingerprint", "checksum")
        self.figures = self.columns[1:-2]
        self._arrays = dict(arrays)
        self._table = folder / "per_sample.csv"
        way_out = "choose another folder with -o"
        if self._table.is_file() and not (folder / "run.json").is_file():
            raise LotusError(
                f"{self._table} holds the figures of a run whose run.json is gone: {way_out}, or delete it."
            )
        claim(folder / "run.json", settings, f"{folder} holds a run", way_out, folder)
        self.rows: dict[str, dict[str, float]] = {}
        self.fingerprints: dict[str, str] = {}
        self._read()

    def add(self, name: str, score: Score, seconds: float, fingerprint: str = "") -> None:
        """Record one sample, durably: its arrays first, then its line."""
        if score.arrays:
            path = self._arrays_path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                np.savez_compressed(temporary, **score.arrays)
        row = {**score.metrics, "seconds": seconds}
        self.rows[name] = {column: float(row[column]) for column in self.figures}
        self.fingerprints[name] = fingerprint
        with open(self._table, "a", newline="", encoding="utf-8") as file:
            file.write(self._row(name))
            file.flush()
            os.fsync(file.fileno())

    def keep(self, names: Iterable[str]) -> None:
        """Forget all samples but these, and put them in this order."""
        self.rows = {name: self.rows[name] for name in names if name in self.rows}
        with atomic_path(self._table) as temporary:
            temporary.write_text(self._line(self.columns) + "".join(map(self._row, self.rows)), encoding="utf-8")

    def pooled(self, operations: Mapping[str, np.ufunc]) -> dict[str, NDArray]:
        """Arrays of all recorded samples, each made one by its binary operation, such as np.add (in float64)."""
        total: dict[str, NDArray] = {}
        for name in self.rows:
            with np.load(self._arrays_path(name)) as arrays:
                for key, how in operations.items():
                    own = arrays[key].astype(np.float64) if how is np.add else arrays[key]
                    total[key] = how(total[key], own) if key in total else own
        return total

    def _arrays_path(self, name: str) -> Path:
        return self.folder / "arrays" / f"{name}.npz"

    def _read(self) -> None:
        """Take up the recorded samples; those whose line or arrays are cut off or damaged are to be scored again."""
        stored = self._table.read_bytes() if self._table.is_file() else b""
        whole = stored[: stored.rfind(b"\n") + 1]
        lines = [self._cells(line) for line in whole.decode("utf-8-sig", errors="replace").splitlines()]
        if whole != stored or not lines:
            with atomic_path(self._table) as temporary:
                temporary.write_bytes(whole or self._line(self.columns).encode())
        if lines and tuple(lines[0]) != self.columns:
            raise LotusError(
                f"{self._table} has other columns than this version writes: choose another folder with -o."
            )
        for line in lines[1:]:
            with suppress(ValueError):  # too few cells, or no number in one
                name, *figures, fingerprint, checksum = line
                row = dict(zip(self.figures, map(float, figures), strict=True))
                if checksum == _checksum(line[:-1]) and self._has_arrays(name):
                    self.rows[name], self.fingerprints[name] = row, fingerprint

    def _has_arrays(self, name: str) -> bool:
        """Whether those that belong to a line can be read."""
        if not self._arrays:
            return True
        try:
            with np.load(self._arrays_path(name)) as arrays:
                return all(arrays[key].shape == (length,) for key, length in self._arrays.items())
        except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
            return False

    def _row(self, name: str) -> str:
        figures = (repr(self.rows[name][column]) for column in self.figures)
        cells = [name, *figures, self.fingerprints[name]]
        return self._line([*cells, _checksum(cells)])

    @staticmethod
    def _cells(line: str) -> list[str]:
        """Of one line, so that a damaged one takes no other with it; none where it cannot be read."""
        try:
            return next(csv.reader([line]), [])
        except csv.Error:
            return []

    @staticmethod
    def _line(cells: Sequence[str]) -> str:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerow(cells)
        return buffer.getvalue()


def _checksum(cells: Sequence[str]) -> str:
    return f"{zlib.crc32(','.join(cells).encode()):08x}"
