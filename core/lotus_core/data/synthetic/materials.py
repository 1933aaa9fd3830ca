"""Surface colour: solid textures over the object's own metric coordinates, so they stay put on every side of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .noise import flatten
from .patterns import weight


@dataclass(frozen=True)
class Material:
    """How a surface looks.

    pattern: one of `patterns.PATTERNS`. first, second: linear RGB, 3 floats in [0, 1]. size: metres of one repeat.
    offset: 3 metres. specular, gloss: Blinn-Phong strength and exponent. photo: 3×h×w linear RGB for "photo", else
    None.
    """

    pattern: str
    first: Tensor
    second: Tensor
    size: float
    offset: Tensor
    specular: float = 0.0
    gloss: float = 20.0
    photo: Tensor | None = None

    def colour(self, points: Tensor, normals: Tensor) -> Tensor:
        """Linear RGB N×3 at N×3 points in metres in the object's frame; N×3 local normals pick the flat axes."""
        p = (points + self.offset) / self.size
        if self.pattern == "photo" and self.photo is not None:
            return _photo(self.photo, flatten(p, normals))
        share = weight(self.pattern, p, normals).clamp(0, 1)[:, None]
        return self.first + share * (self.second - self.first)


def _photo(photo: Tensor, uv: Tensor) -> Tensor:
    mirrored = (uv.remainder(2) - 1).abs()
    grid = torch.stack([mirrored[:, 0], 1 - mirrored[:, 1]], -1) * 2 - 1
    sampled = F.grid_sample(photo[None].to(uv.device), grid.view(1, -1, 1, 2), mode="bilinear", align_corners=False)
    return sampled[0, :, :, 0].T
