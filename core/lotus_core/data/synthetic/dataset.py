"""Synthetic scenes as a data set: item i of a seed is the same scene on every machine's CPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ...errors import LotusError
from ..sample import Sample
from .compose import KINDS, compose
from .render import render
from .sensor import photograph

HELD_OUT_SEED = 990_001  # evaluation only: training configurations refuse it
_PUBLIC_TEXTURES = (  # each CC0 or in the public domain, as scikit-image says
    *("brick", "grass", "gravel", "astronaut", "rocket", "hubble_deep_field"),
    *("camera", "chelsea", "coffee", "clock_motion", "retina", "text"),
)
_TEXTURE_EDGE = 256


class SyntheticScenes(Dataset[Sample]):
    """`count` ray-cast scenes of height × width pixels, drawn from `seed`.

    textures: "public" (the CC0 and public-domain photographs that scikit-image ships), a folder of images, or None for
    procedural surfaces only. kinds: one or several of `compose.KINDS` to draw from. Depth and normals are exact at
    pixel centres.
    """

    name = "synthetic"

    def __init__(
        self,
        count: int,
        height: int = 192,
        width: int = 256,
        seed: int = 0,
        textures: str | None = "public",
        kinds: str | Sequence[str] = KINDS,
        antialias: bool = True,
    ) -> None:
        self.count, self.height, self.width, self.seed = count, height, width, seed
        self.kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            named = ", ".join(unknown) or "none given"
            raise LotusError(f"Not kinds of scenes: {named}; choose from {', '.join(KINDS)}.")
        self.antialias, self.textures = antialias, textures

    def __len__(self) -> int:
        return self.count

    def files(self) -> list[tuple[Path, ...]]:
        """The photographs on its surfaces."""
        return [(path,) for path in _texture_paths(self.textures)]

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, index])
        scene = compose(rng, self.height, self.width, load_textures(self.textures), self.kinds)
        seen = render(scene, self.antialias)
        sky = torch.isinf(seen.depth)
        return Sample(
            image=photograph(seen.image, rng).float() / 127.5 - 1,
            depth=seen.depth,
            normals=-seen.normals.permute(2, 0, 1),  # OpenCV camera frame → x left, y up, z toward the camera
            valid=~sky,
            sky=sky,
            focal_px=scene.view.focal_px,
        )


@cache
def load_textures(source: str | None) -> list[Tensor]:
    """Photographs as linear RGB 3×h×w, at most 256 pixels a side. Raises LotusError where the source is not there."""
    return [_linear(path) for path in _texture_paths(source)]


def _texture_paths(source: str | None) -> list[Path]:
    if source is None:
        return []
    if source == "public":
        try:
            folder = Path(str(import_module("skimage.data").__file__)).parent
        except ImportError:
            raise LotusError(
                "The public textures come with scikit-image: pip install scikit-image, or set textures to a folder."
            ) from None
        paths = [path for name in _PUBLIC_TEXTURES for path in sorted(folder.glob(f"{name}.*"))]
    else:
        paths = sorted(p for p in Path(source).glob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
    if not paths:
        raise LotusError(f"No photographs in {source}: put .jpg or .png files there, or set textures to 'public'.")
    return paths


def _linear(path: Path) -> Tensor:
    with Image.open(path) as image:
        small = image.convert("RGB")
        small.thumbnail((_TEXTURE_EDGE, _TEXTURE_EDGE), Image.Resampling.LANCZOS)
        return (torch.from_numpy(np.asarray(small).copy()).float() / 255).permute(2, 0, 1) ** 2.2
