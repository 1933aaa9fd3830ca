"""Normal benchmarks in the layout and with the split lists of DSINE (Bae & Davison 2024), which Table 2 follows.

    <folder of the data set>/<scene>/<frame>_img.png, <frame>_normal.png|.exr|.npy|.pkl

Normals are stored in the model's convention (x left, y up, z toward the camera); 8-bit PNG as 255 · (n + 1) / 2, and
(0, 0, 0) where unknown. OASIS's pickles hold a box of normals with x and y the other way round.
"""

from __future__ import annotations

import codecs
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.reading import keep_complete, read_rgb
from ..errors import LotusError
from ..maps.storage import read_map
from .benchmarks import BenchmarkSample, check_names, name_in, read_entries


@dataclass(frozen=True)
class NormalSpec:
    """Title, usual list file, and how normals are stored."""

    title: str
    list_name: str
    suffix: str


NORMAL_BENCHMARKS = {
    "nyu": NormalSpec("NYUv2", "test.txt", ".png"),
    "scannet": NormalSpec("ScanNet", "test.txt", ".png"),
    "ibims": NormalSpec("iBims-1", "ibims.txt", ".exr"),
    "sintel": NormalSpec("Sintel", "sintel.txt", ".exr"),
    "oasis": NormalSpec("OASIS", "val.txt", ".pkl"),
}


class NormalBenchmark:
    """One normal benchmark in a folder; arguments, attributes and errors as `DepthBenchmark`."""

    resolution = 0
    without_truth = 0

    def __init__(self, name: str, root: Path, split: Path | None = None, *, allow_missing: bool = False) -> None:
        if name not in NORMAL_BENCHMARKS:
            raise LotusError(f"There is no normal benchmark {name}: choose one of {', '.join(NORMAL_BENCHMARKS)}.")
        self.name, self.root = name, root
        self.spec = NORMAL_BENCHMARKS[name]
        self.title = self.spec.title
        files = []
        for line, *_ in read_entries(root, split, self.spec.list_name, 1):
            image = root / line
            if not image.stem.endswith("_img"):
                raise LotusError(f"The split list of {self.title} names {line}, but its pictures are called *_img.*.")
            files.append((image, image.with_name(image.stem.removesuffix("_img") + "_normal" + self.spec.suffix)))
        self.frames, self.report = keep_complete(
            self.title, files, not allow_missing, "docs/evaluation.md", " (--allow-missing)"
        )
        check_names(self.title, root, self.frames)

    def __len__(self) -> int:
        return len(self.frames)

    def name_of(self, index: int) -> str:
        """The name of a sample, without reading it."""
        return name_in(self.root, self.frames[index][0])

    def __getitem__(self, index: int) -> BenchmarkSample:
        image_path, normal_path = self.frames[index]
        image = np.asarray(read_rgb(image_path))
        normals, mask = read_normals(normal_path, image.shape[:2])
        return BenchmarkSample(self.name_of(index), image, normals, mask)


def read_normals(path: Path, shape: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Unit normals H×W×3 float32 (zero where unknown) and where they are known.

    Raises:
        LotusError: the file is damaged, of another kind, or its size is not `shape`.
    """
    if path.suffix == ".pkl":
        normals: NDArray = _read_oasis(path, shape)
        known = (normals != 0).any(axis=-1)
    else:
        stored = read_map(path)
        if stored.values.ndim != 3 or stored.values.shape[-1] != 3:
            raise LotusError(f"{path} is not a normal map: it needs three channels.")
        known = stored.values.sum(axis=-1) > 0 if stored.coded else np.linalg.norm(stored.values, axis=-1) > 0.5
        normals = stored.values * 2 - 1 if stored.coded else stored.values
    if normals.shape[:2] != shape:
        raise LotusError(f"{path} is {normals.shape[:2]}, but its picture is {shape}.")
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    known = known & np.isfinite(length[..., 0]) & (length[..., 0] > 0)
    unit: NDArray[np.float32] = np.divide(
        normals, length, out=np.zeros_like(normals, dtype=np.float32), where=known[..., None]
    )
    return unit, known


def _read_oasis(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    try:
        with open(path, "rb") as file:
            stored = _ArraysOnly(file).load()
        box = np.asarray(stored["normal"], dtype=np.float32)
        rows = slice(int(stored["min_y"]), int(stored["max_y"]) + 1)
        columns = slice(int(stored["min_x"]), int(stored["max_x"]) + 1)
        normals = np.zeros((*shape, 3), dtype=np.float32)
        if box.shape != normals[rows, columns].shape:  # numpy would spread a smaller one over the whole box
            raise ValueError(f"its normals are {box.shape}, its box is {normals[rows, columns].shape}")
        normals[rows, columns] = box
    except LotusError as error:
        raise LotusError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle raises anything
        raise LotusError(f"Cannot read the normals {path}: {str(error) or type(error).__name__}.") from error
    return normals * np.array([-1, -1, 1], dtype=np.float32)


class _ArraysOnly(pickle.Unpickler):
    """Reads dictionaries of numpy arrays and numbers; anything else a pickle could run is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "_codecs") and name in _ALLOWED:
            return _ALLOWED[name]
        raise LotusError(f"A normal file asks to run {module}.{name}: it is no file of OASIS, delete it.")


# What pickled arrays and numbers call to be rebuilt, wherever this version of numpy keeps it.
_ALLOWED: dict[str, Any] = {
    "ndarray": np.ndarray,
    "dtype": np.dtype,
    "_reconstruct": np.zeros(0).__reduce__()[0],
    "scalar": np.float64(0).__reduce__()[0],
    "encode": codecs.encode,
}
