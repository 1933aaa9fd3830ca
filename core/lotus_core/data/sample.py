"""The one type that every training data set yields, and what such a data set is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch


@dataclass(frozen=True)
class Sample:
    """One image with its ground truth.

    image:    float32 3×H×W, RGB in [−1, 1].
    depth:    float32 H×W, metres along the optical axis (distance to the camera plane); +inf on the sky, any value
              where neither `valid` nor `sky`.
    normals:  float32 3×H×W, unit length, model convention (x left, y up, z toward the camera); zero where not `valid`.
    valid:    bool H×W, True where depth and normals are known (so never on the sky).
    sky:      bool H×W.
    focal_px: focal length in pixels of this image.
    """

    image: torch.Tensor
    depth: torch.Tensor
    normals: torch.Tensor
    valid: torch.Tensor
    sky: torch.Tensor
    focal_px: float


class SampleSource(Protocol):
    """A map-style data set of samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def files(self) -> Sequence[tuple[Path, ...]]:
        """What it is read from, in order, the files of one sample (or one shard of samples) together."""
        ...


def to_bytes(image: torch.Tensor) -> np.ndarray:
    """A picture 3×H×W in [−1, 1], clipped to that, as uint8 H×W×3 on the CPU."""
    pixels: np.ndarray = ((image.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
    return pixels


def flip(sample: Sample) -> Sample:
    """Mirror a sample left to right. Normals are mirrored as vectors too: their x changes sign."""
    normals = sample.normals.flip(-1)
    return replace(
        sample,
        image=sample.image.flip(-1),
        depth=sample.depth.flip(-1),
        normals=torch.cat([-normals[:1], normals[1:]]),
        valid=sample.valid.flip(-1),
        sky=sample.sky.flip(-1),
    )
