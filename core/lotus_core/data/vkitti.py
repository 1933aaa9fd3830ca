"""Virtual KITTI 2 (Cabon et al. 2020) as its archives unpack: rendered drives with depth.

SceneSS/<variation>/frames/rgb/Camera_C/rgb_FFFFF.jpg
SceneSS/<variation>/frames/depth/Camera_C/depth_FFFFF.png      uint16, centimetres, 65535 on the sky
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from ..errors import LotusError
from .normals_from_depth import normals_from_depth
from .reading import keep_complete, read_rgb, read_uint16
from .sample import Sample

FOCAL = 725.0087
"""Pixels, at the data set's 1242×375 (its intrinsic.txt); the principal point is the picture's centre."""

TRAIN_SCENES = ("Scene02", "Scene06", "Scene18", "Scene20")
"""The scenes the paper's code trains on; Scene01 is held out."""

_SKY_CM = 65535
_STEP_NOISE = 0.01 / np.sqrt(12)  # m; standard deviation of rounding to whole centimetres
# On a made street stored in centimetres: mean error 1.0°, against 4.7° for a radius of 1 alone.
_RADII = (4, 2, 1)


class VirtualKitti(Dataset[Sample]):
    """Frames of one Virtual KITTI 2 folder, cropped to `height`×`width` at the bottom centre (paper: 352×1216).

    Depth at or beyond `far_plane` (paper: 80 m) counts as sky: it has no normals and is not valid. Normals are computed
    from the depth before cropping. `variations` empty means all that are found. Frames that lack a file are left out,
    named in `report` and logged; `strict` refuses them.

    Raises:
        LotusError: the folder or a scene in it is missing, nothing is usable, files are missing under `strict`; while
            reading, a damaged file or a picture smaller than the crop.
    """

    name = "vkitti"

    def __init__(
        self,
        path: str | Path,
        *,
        scenes: Sequence[str] = TRAIN_SCENES,
        variations: Sequence[str] = (),
        cameras: Sequence[int] = (0, 1),
        height: int = 352,
        width: int = 1216,
        far_plane: float = 80.0,
        strict: bool = False,
    ) -> None:
        root = Path(path)
        pairs: set[tuple[Path, Path]] = set()
        for scene in scenes:
            if not (root / scene).is_dir():
                raise LotusError(f"There is no {scene} in {root}: unpack it, or leave it out of scenes.")
            for variation in variations or sorted(p.name for p in (root / scene).iterdir() if p.is_dir()):
                for camera in cameras:
                    pairs |= _frames_in_folder(root / scene / variation / "frames", camera)
        self.size = (height, width)
        self.far_plane = far_plane
        self.frames, self.report = keep_complete("Virtual KITTI 2", sorted(pairs), strict)
        self.report.warn()

    def __len__(self) -> int:
        return len(self.frames)

    def files(self) -> list[tuple[Path, ...]]:
        """Those of each frame."""
        return self.frames

    def __getitem__(self, index: int) -> Sample:
        image_path, depth_path = self.frames[index]
        image = np.array(read_rgb(image_path), dtype=np.float32)
        centimetres = read_uint16(depth_path)
        if image.shape[:2] != centimetres.shape:
            raise LotusError(
                f"{image_path} and {depth_path} differ in size: {image.shape[:2]} and {centimetres.shape}."
            )
        height, width = self.size
        top, left = image.shape[0] - height, (image.shape[1] - width) // 2
        if top < 0 or left < 0:
            raise LotusError(
                f"{image_path} is smaller than the crop {width}×{height}: choose a smaller height and width."
            )
        depth = centimetres.astype(np.float32) / 100
        normals, known = normals_from_depth(
            depth, FOCAL, valid=centimetres < _SKY_CM, radii=_RADII, noise=float(_STEP_NOISE)
        )
        sky = depth >= self.far_plane
        valid = known & ~sky
        normals[~valid] = 0
        depth[sky] = np.inf
        depth[~valid & ~sky] = 1.0
        crop = (slice(top, top + height), slice(left, left + width))
        return Sample(
            image=torch.from_numpy(np.ascontiguousarray(image[crop])).permute(2, 0, 1) / 127.5 - 1,
            depth=torch.from_numpy(np.ascontiguousarray(depth[crop])),
            normals=torch.from_numpy(np.ascontiguousarray(normals[crop])).permute(2, 0, 1),
            valid=torch.from_numpy(np.ascontiguousarray(valid[crop])),
            sky=torch.from_numpy(np.ascontiguousarray(sky[crop])),
            focal_px=FOCAL,
        )


def _frames_in_folder(frames: Path, camera: int) -> set[tuple[Path, Path]]:
    """(picture, depth) paths of all frames of which either file is there; the folder itself where there is none."""
    rgb, depth = frames / "rgb" / f"Camera_{camera}", frames / "depth" / f"Camera_{camera}"
    numbers = {path.stem.removeprefix("rgb_") for path in rgb.glob("rgb_*.jpg")}
    numbers |= {path.stem.removeprefix("depth_") for path in depth.glob("depth_*.png")}
    if not numbers:
        return {(rgb, depth)}  # reported as missing
    return {(rgb / f"rgb_{number}.jpg", depth / f"depth_{number}.png") for number in numbers}
