"""Depth benchmarks in the layout and with the split lists of Marigold's evaluation data (Ke et al. 2024).

Depth ranges, crops and masks are those of that protocol, which the Lotus paper's Table 1 follows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..data.reading import keep_complete, read_rgb, read_uint16
from ..errors import LotusError
from ..maps.storage import load_npy
from .benchmarks import BenchmarkSample, check_names, name_in, read_entries

Area = Literal["eigen", "garg"]

# Rows and columns scored, as shares of height and width (top, bottom, left, right).
_KITTI_AREAS: dict[Area, tuple[float, float, float, float]] = {
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),  # Garg et al. 2016
    "eigen": (0.3324324, 0.91351351, 0.0359477, 0.96405229),  # Eigen et al. 2014; what Marigold's and Lotus' code score
}
_NYU_AREA = (slice(45, 471), slice(41, 601))  # Eigen et al. 2014, of 480×640
_KITTI_CROP = (352, 1216)  # KITTI's benchmark size, bottom centre


@dataclass(frozen=True)
class DepthSpec:
    """How one depth benchmark is stored and scored.

    list_name: split list inside the folder. columns: picture, depth [, mask] of each line.
    near, far: metres; depth outside is not scored, predictions are clipped to it.
    read:      depth in metres from a file, given the picture's (height, width).
    resolution: longest edge the network sees, 0 for the picture's own. fit_resolution: see `aligned_depth`.
    """

    title: str
    list_name: str
    near: float
    far: float
    read: Callable[[Path, tuple[int, ...]], NDArray[np.float32]]
    columns: int = 2
    resolution: int = 0
    fit_resolution: int | None = None


class DepthBenchmark:
    """One depth benchmark in a folder.

    name: a key of `DEPTH_BENCHMARKS`. split: list file, None for the usual one inside the folder. area: which part of
    KITTI's pictures is scored. allow_missing: leave out entries whose files are missing (named in `report`).

    Attributes:
        title:      what tables call it.
        report:     which frames can be used, which files are missing.
        without_truth: entries of the list that the protocol itself leaves out, because they have no ground truth.
        resolution: longest edge at which the paper's protocol shows pictures to the network; 0 for their own size.

    Raises:
        LotusError: an unknown name; the folder, the list or (unless allowed) a file is missing; while reading, a
            damaged file or sizes that do not fit.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        split: Path | None = None,
        *,
        area: Area = "garg",
        allow_missing: bool = False,
    ) -> None:
        if name not in DEPTH_BENCHMARKS:
            raise LotusError(f"There is no depth benchmark {name}: choose one of {', '.join(DEPTH_BENCHMARKS)}.")
        if area not in _KITTI_AREAS:
            raise LotusError(f'The scored area is "eigen" or "garg", not "{area}".')
        self.name, self.root, self.area = name, root, area
        self.spec = DEPTH_BENCHMARKS[name]
        self.title, self.resolution = self.spec.title, self.spec.resolution
        entries = read_entries(root, split, self.spec.list_name, self.spec.columns)
        with_truth = [entry for entry in entries if entry[1] != "None"]  # KITTI: 45 of 697 have no improved depth
        self.without_truth = len(entries) - len(with_truth)
        files = [tuple(root / part for part in entry[: self.spec.columns]) for entry in with_truth]
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
        image_path, depth_path, *rest = self.frames[index]
        image = np.asarray(read_rgb(image_path))
        depth = self.spec.read(depth_path, image.shape[:2])
        if depth.shape != image.shape[:2]:
            raise LotusError(f"{image_path} and {depth_path} differ in size: {image.shape[:2]} and {depth.shape}.")
        if rest:
            mask = (_read_npy(rest[0], depth.shape) > 0) & np.isfinite(depth) & (depth > 0)
        else:
            mask = (depth > self.spec.near) & (depth < self.spec.far)
        if self.name == "nyu":
            mask &= _nyu_area(depth.shape, image_path)
        if self.name == "kitti":
            crop = _kitti_crop(depth.shape, image_path)
            image, depth = image[crop], depth[crop]
            mask = mask[crop] & _kitti_area(depth.shape, self.area)
        return BenchmarkSample(self.name_of(index), image, depth, mask)


def _nyu_area(shape: tuple[int, ...], path: Path) -> NDArray[np.bool_]:
    if shape != (480, 640):
        raise LotusError(f"{path} is {shape[1]}×{shape[0]}, but NYUv2's scored area is defined for 640×480.")
    area = np.zeros(shape, dtype=bool)
    area[_NYU_AREA] = True
    return area


def _kitti_crop(shape: tuple[int, ...], path: Path) -> tuple[slice, slice]:
    height, width = _KITTI_CROP
    top, left = shape[0] - height, (shape[1] - width) // 2
    if top < 0 or left < 0:
        raise LotusError(f"{path} is {shape[1]}×{shape[0]}, smaller than KITTI's {width}×{height}.")
    return slice(top, top + height), slice(left, left + width)


def _kitti_area(shape: tuple[int, ...], area: Area) -> NDArray[np.bool_]:
    height, width = shape
    top, bottom, left, right = _KITTI_AREAS[area]
    mask = np.zeros(shape, dtype=bool)
    mask[int(top * height) : int(bottom * height), int(left * width) : int(right * width)] = True
    return mask


def _read_png(steps_per_metre: float) -> Callable[[Path, tuple[int, ...]], NDArray[np.float32]]:
    def read(path: Path, _: tuple[int, ...]) -> NDArray[np.float32]:
        return (read_uint16(path) / np.float64(steps_per_metre)).astype(np.float32)

    return read


def _read_npy(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    values = load_npy(path)
    if values.shape not in (shape, (*shape, 1)):
        raise LotusError(f"{path} holds an array of shape {values.shape}, but {shape} is expected.")
    return values.reshape(shape).astype(np.float32)


def _read_raw_float(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """ETH3D: float32, row by row, no header; infinity where nothing was measured."""
    stored = path.read_bytes()
    if len(stored) != 4 * shape[0] * shape[1]:
        raise LotusError(
            f"{path} holds {len(stored) / 4:g} depths of 4 bytes, but its picture has {shape[1]}×{shape[0]} pixels."
        )
    values = np.frombuffer(stored, dtype="<f4").reshape(shape)
    return np.where(np.isfinite(values), values, 0).astype(np.float32)


DEPTH_BENCHMARKS = {
    "nyu": DepthSpec("NYUv2", "filename_list_test.txt", 1e-3, 10.0, _read_png(1000)),
    "kitti": DepthSpec("KITTI", "eigen_test_files_with_gt.txt", 1e-5, 80.0, _read_png(256)),
    "eth3d": DepthSpec(
        "ETH3D", "eth3d_filename_list.txt", 1e-5, float("inf"), _read_raw_float, resolution=768, fit_resolution=1024
    ),
    "scannet": DepthSpec("ScanNet", "scannet_val_sampled_list_800_1.txt", 1e-3, 10.0, _read_png(1000)),
    "diode": DepthSpec("DIODE", "diode_val_all_filename_list.txt", 0.6, 350.0, _read_npy, columns=3, resolution=640),
}
