"""Maps that were made elsewhere: PNG, EXR and NPY files beside their photo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lotus_core.errors import LotusError
from lotus_core.maps import Depth, Normals, Uncertainty
from lotus_core.maps.storage import StoredMap, mask_to_words, own_words, read_map

from .base import TYPES, Job, Prediction, Task, failed, read_record
from .words import read_words

SUFFIXES = (".npy", ".exr", ".png")  # what loses nothing comes first
# Beside the photo, or in this folder beside it. Not in lotus_maps: what lies there belongs to .blend files, which know
# of which photo each map is and what its numbers mean.
FOLDERS = ("", "maps")
NAMES = {"depth": ("depth", "disparity"), "normal": ("normal", "normals"), "uncertainty": ("uncertainty",)}
WORDS = {"depth": "space", "normal": "convention", "uncertainty": "unit"}  # what each map's `load` may have to be told

ReadPixels = Callable[[Path], np.ndarray]


def find_maps(image: Path) -> dict[str, Path]:
    """Map → file of the photo `image`, by name: for x.jpg x_depth.npy, .exr or .png, beside it or in maps/."""
    found: dict[str, Path] = {}
    for kind, names in NAMES.items():
        for folder in FOLDERS:
            paths = (image.parent / folder / f"{image.stem}_{name}{suffix}" for suffix in SUFFIXES for name in names)
            path = next((path for path in paths if path.is_file()), None)
            if path is not None:
                found.setdefault(kind, path)
    return found


class FilesBackend:
    """Finds and reads maps; there is nothing to wait for.

    Args:
        read_pixels: reads .png and .exr files as float32 H×W×C in [0, 1] (or any values, for .exr), top row first;
            None takes Pillow and OpenEXR. Blender has neither: see `blender_pixels`.
    """

    def __init__(self, read_pixels: ReadPixels | None = None) -> None:
        self._read_pixels = read_pixels

    def start(self, job: Job) -> Task:
        """A task that has ended: done with those of the wanted maps that there are, failed where there are none."""
        found = {map_: path for map_, path in find_maps(job.image).items() if map_ in job.maps}
        if not found:
            wanted = " or ".join(f"{job.image.stem}_{map_}" for map_ in job.maps)
            return failed(
                f"There are no maps of {job.image.name} in {job.image.parent}: files are called {wanted} and end in"
                f" {', '.join(SUFFIXES)}."
            )
        task = Task()
        try:
            record, hints = self._record(job.image, found)
        except LotusError as error:
            return failed(str(error))
        task.prediction = Prediction(found, record=record, hints=hints, read=self.read)
        task.finish("done")
        return task

    def read(self, path: Path, kind: str, **hints: Any) -> Depth | Normals | Uncertainty:
        """Read one map. hints: space, convention or unit, for files that do not say it. Raises LotusError.

        What the record `<photo>.json` beside the file says needs no hint.
        """
        word = WORDS[kind]
        stored = self._stored(path)
        if word not in stored.words and word not in hints:
            hints = {**self._hint_beside(path, kind), **hints}
        return TYPES[kind].from_stored(stored, path, **hints)

    def check(self) -> Task:
        """A task that is done: there is nothing to go wrong yet."""
        task = Task()
        task.finish("done")
        return task

    def close(self) -> None:
        """There is nothing to stop."""

    def log_tail(self, lines: int = 20) -> str:
        """There is no log."""
        return ""

    def _stored(self, path: Path) -> StoredMap:
        suffix = path.suffix.lower()
        if self._read_pixels is None or suffix == ".npy" or suffix not in SUFFIXES or not path.is_file():
            return read_map(path)
        pixels = self._read_pixels(path)
        # Blender gives grey files as colour ones.
        grey = pixels.shape[2] < 3 or not np.ptp(pixels[..., :3], axis=2).any()
        values = np.ascontiguousarray(pixels[..., 0] if grey else pixels[..., :3])
        words = _alpha_words(pixels) | own_words(read_words(path))
        return StoredMap(values, words, coded=suffix == ".png")

    def _record(self, image: Path, found: dict[str, Path]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """The record beside the maps, and what it and the files' names say that the files may not."""
        hints = {
            map_: {"space": "disparity"}
            for map_, path in found.items()
            if path.stem.endswith("_disparity") and "space" not in self._words(path)
        }
        for folder in {path.parent: None for path in found.values()}:
            record = folder / f"{image.stem}.json"
            if record.is_file():
                return read_record(record), hints
        return {}, hints

    def _words(self, path: Path) -> dict[str, str]:
        return own_words(read_words(path)) if path.suffix.lower() != ".npy" else read_map(path).words

    def _hint_beside(self, path: Path, kind: str) -> dict[str, Any]:
        ends = [f"_{name}" for name in NAMES[kind] if path.stem.endswith(f"_{name}")]
        record = path.with_name(path.stem.removesuffix(ends[0]) + ".json") if ends else None
        if record is None or not record.is_file():
            return {}
        entry = (read_record(record).get("maps") or {}).get(kind)
        word = WORDS[kind]
        return {word: entry[word]} if isinstance(entry, dict) and word in entry else {}


def _alpha_words(pixels: np.ndarray) -> dict[str, str]:
    """Which of H×W×C pixels are valid, as a word: those that are opaque, as in the images of our own maps."""
    opaque = pixels[..., 3] > 0.5 if pixels.shape[2] == 4 else np.ones(pixels.shape[:2], bool)
    return mask_to_words(opaque) if opaque.any() and not opaque.all() else {}
