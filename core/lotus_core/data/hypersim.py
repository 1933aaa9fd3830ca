"""Hypersim (Roberts et al. 2021) as its download script lays it out: rendered rooms with depth and normals.

ai_XXX_YYY/images/scene_cam_NN_final_preview/frame.FFFF.tonemap.jpg
ai_XXX_YYY/images/scene_cam_NN_geometry_hdf5/frame.FFFF.depth_meters.hdf5, frame.FFFF.normal_cam.hdf5
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

from ..errors import LotusError
from .reading import keep_complete, read_hdf5, read_lines, read_rgb, sample_nearest
from .sample import Sample

REFERENCE_FOCAL, REFERENCE_WIDTH = 886.81, 1024
"""Focal length in pixels at 1024×768, the same for all scenes (apple/ml-hypersim#9)."""

_CSV_COLUMNS = ("scene_name", "camera_name", "frame_id", "included_in_public_release", "split_partition_name")


class Hypersim(Dataset[Sample]):
    """Frames of one Hypersim folder at `height`×`width` (paper: 576×768).

    Which frames: those of `split` in `split_csv` (the official metadata_images_split_scene_v1.csv) that are publicly
    released; or those of `frames`, a text file with one path of a tonemap.jpg per line, relative to `path`; or, with
    neither, every frame found. Frames that lack a file are left out, named in `report`, and logged; `strict`
    refuses them.

    Raises:
        LotusError: both lists are given, a list cannot be read or names no frame, nothing is usable, files are missing
            under `strict`, the size is not 4:3; while reading, a damaged file.
    """

    name = "hypersim"

    def __init__(
        self,
        path: str | Path,
        *,
        split: str = "train",
        split_csv: str | Path = "",
        frames: str | Path = "",
        height: int = 576,
        width: int = 768,
        strict: bool = False,
    ) -> None:
        if abs(height * 4 - width * 3) > 4:
            raise LotusError(
                f"Hypersim pictures are 4:3, so {width}×{height} would distort them: use 768×576 or the like."
            )
        if split_csv and frames:
            raise LotusError("Give Hypersim either split_csv or frames, not both.")
        root = Path(path)
        if split_csv:
            images = _frames_of_split(root, Path(split_csv), split)
        elif frames:
            images = [root / line for line in read_lines(Path(frames))]
        else:
            images = _frames_in_folder(root)
        self.size = (height, width)
        self.frames, self.report = keep_complete("Hypersim", [_files_of_frame(image) for image in images], strict)
        self.report.warn()

    def __len__(self) -> int:
        return len(self.frames)

    def files(self) -> list[tuple[Path, ...]]:
        """Those of each frame."""
        return self.frames

    def __getitem__(self, index: int) -> Sample:
        image_path, depth_path, normal_path = self.frames[index]
        height, width = self.size
        image = read_rgb(image_path).resize(
            (width, height), Image.Resampling.BILINEAR
        )  # PIL antialiases when shrinking
        distance = read_hdf5(depth_path, (None, None))
        normals = read_hdf5(normal_path, (*distance.shape, 3))
        focal = focal_of_width(distance.shape[1])
        normals = to_model_normals(normals, focal)
        depth = sample_nearest(distance_to_depth(distance, focal), height, width)
        normals = sample_nearest(normals, height, width)
        # NaN depth: the ray left the scene (a window, a gap). Neither its depth nor that it is sky is known.
        valid = np.isfinite(depth) & (depth > 0) & (normals != 0).any(axis=-1)
        normals[~valid] = 0.0
        depth[~valid] = 1.0
        return Sample(
            image=torch.from_numpy(np.asarray(image, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1,
            depth=torch.from_numpy(depth),
            normals=torch.from_numpy(normals).permute(2, 0, 1),
            valid=torch.from_numpy(valid),
            sky=torch.zeros(height, width, dtype=torch.bool),
            focal_px=focal_of_width(width),
        )


def focal_of_width(width: int) -> float:
    """Focal length in pixels of a Hypersim picture of this width."""
    return REFERENCE_FOCAL * width / REFERENCE_WIDTH


def distance_to_depth(distance: NDArray[np.float32], focal_px: float) -> NDArray[np.float32]:
    """Distance to the camera's centre (what depth_meters holds, H×W) → depth along the optical axis, metres."""
    x, y = _slopes(distance.shape[:2], focal_px)
    return (distance / np.sqrt(x**2 + y**2 + 1)).astype(np.float32)


def to_model_normals(normals: NDArray[np.float32], focal_px: float) -> NDArray[np.float32]:
    """normal_cam (H×W×3; x right, y up, z backward) → model convention (x left, y up, z toward the camera), unit.

    Hypersim's normals follow the meshes' winding, so some face away from the camera (apple/ml-hypersim#26): those are
    turned round. Normals that are missing (zero or not finite) become zero.
    """
    known = np.isfinite(normals).all(axis=-1)
    length = np.linalg.norm(np.where(known[..., None], normals, 0), axis=-1)
    known &= length > 0.5  # unit up to float16's rounding; anything shorter is no normal
    out = np.zeros_like(normals)
    out[known] = normals[known] / length[known, None]
    x, y = _slopes(normals.shape[:2], focal_px)
    # In normal_cam's axes the viewing ray is (x, −y, −1).
    away = out[..., 0] * x - out[..., 1] * y - out[..., 2] > 0
    out[away] *= -1
    out[..., 0] *= -1
    return out


def _slopes(shape: tuple[int, ...], focal_px: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Right and down components of each pixel's viewing ray with forward component 1; shapes 1×W and H×1."""
    height, width = shape
    x = (np.arange(width) + 0.5 - width / 2) / focal_px
    y = (np.arange(height) + 0.5 - height / 2) / focal_px
    return x[None, :], y[:, None]


def _files_of_frame(image: Path) -> tuple[Path, Path, Path]:
    geometry = image.parent.parent / image.parent.name.replace("final_preview", "geometry_hdf5")
    stem = image.name.removesuffix("tonemap.jpg")
    return image, geometry / f"{stem}depth_meters.hdf5", geometry / f"{stem}normal_cam.hdf5"


def _frames_in_folder(root: Path) -> list[Path]:
    """Pictures of all frames of which any file is there, so that a missing picture is noticed as well."""
    if not root.is_dir():
        raise LotusError(f"There is no Hypersim folder {root}.")
    images = set(root.glob("*/images/scene_cam_*_final_preview/frame.*.tonemap.jpg"))
    for kind in ("depth_meters", "normal_cam"):
        for path in root.glob(f"*/images/scene_cam_*_geometry_hdf5/frame.*.{kind}.hdf5"):
            preview = path.parent.parent / path.parent.name.replace("geometry_hdf5", "final_preview")
            images.add(preview / path.name.replace(f"{kind}.hdf5", "tonemap.jpg"))
    return sorted(images)


def _frames_of_split(root: Path, table: Path, split: str) -> list[Path]:
    try:
        with open(table, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise LotusError(
            f"Cannot read the split table {table}: {getattr(error, 'strerror', None) or error}."
        ) from error
    absent = [column for column in _CSV_COLUMNS if not rows or column not in rows[0]]
    if absent:
        raise LotusError(f"{table} is not Hypersim's split table: the column {absent[0]} is missing.")
    images = [
        root
        / row["scene_name"]
        / "images"
        / f"scene_{row['camera_name']}_final_preview"
        / f"frame.{int(row['frame_id']):04d}.tonemap.jpg"
        for row in rows
        if row["included_in_public_release"].strip().lower() == "true" and row["split_partition_name"] == split
    ]
    if not images:
        known = sorted({row["split_partition_name"] for row in rows} - {""})
        raise LotusError(f'{table} has no frames of the split "{split}": it has {", ".join(known)}.')
    return images
