"""Surface colour: solid textures over the object's own metric coordinates, so they stay put on every side of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

PATTERNS = ("plain", "noise", "checker", "planks", "bricks", "stripes", "marble", "wood", "speckle", "windows", "photo")
_LATTICE = 32


@dataclass(frozen=True)
class Material:
    """How a surface looks.

    pattern: one of PATTERNS. first, second: linear RGB, 3 floats in [0, 1]. size: metres of one repeat. offset: 3
    metres.
    specular, gloss: Blinn-Phong strength and exponent. photo: 3×h×w linear RGB for "photo", else None.
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
            return _photo(self.photo, _flatten(p, normals))
        weight = self._weight(p, normals).clamp(0, 1)[:, None]
        return self.first + weight * (self.second - self.first)

    def _weight(self, p: Tensor, normals: Tensor) -> Tensor:
        match self.pattern:
            case "noise":
                return fractal(p, 4) * 1.6 - 0.3
            case "checker":
                return torch.floor(p + 1e-3).sum(-1).remainder(2)
            case "stripes":
                return ((p[:, 0] + p[:, 1]).remainder(1) < 0.5).float()
            case "marble":
                return 0.5 + 0.5 * torch.sin(6.28 * (p[:, 0] + 2.5 * fractal(p * 0.7, 4)))
            case "wood":
                ring = (p[:, 0] ** 2 + (p[:, 2] * 0.3) ** 2).sqrt() * 3 + 0.8 * fractal(p, 3)
                return ring.remainder(1)
            case "speckle":
                return ((value_noise(p * 6) - 0.62) * 12).clamp(0, 1)
            case "planks":
                uv = _flatten(p, normals)
                seam = (uv[:, 0].remainder(1) < 0.05) | ((uv[:, 1] * 0.2 + uv[:, 0].floor() * 0.37).remainder(1) < 0.01)
                tone = _hash(uv[:, 0].floor(), (uv[:, 1] * 0.2 + uv[:, 0].floor() * 0.37).floor())
                return torch.where(seam, torch.ones_like(tone), 0.15 + 0.5 * tone * fractal(p * 2, 2))
            case "bricks":
                uv = _flatten(p, normals)
                row = (uv[:, 1] * 2).floor()
                u = uv[:, 0] + 0.5 * row.remainder(2)
                mortar = ((uv[:, 1] * 2).remainder(1) < 0.12) | (u.remainder(1) < 0.06)
                return torch.where(mortar, torch.ones_like(u), 0.35 * _hash(u.floor(), row))
            case "windows":
                uv = _flatten(p, normals)
                inside = ((uv.remainder(1) - 0.5).abs() < 0.28).all(-1)
                wall = (normals[:, 1].abs() < 0.7) & inside
                return wall.float() * (0.7 + 0.3 * _hash(uv[:, 0].floor(), uv[:, 1].floor()))
            case _:
                return 0.12 * fractal(p * 2, 2)


def fractal(p: Tensor, octaves: int) -> Tensor:
    """Sum of value noise over octaves, N×3 → N, about [0, 1]."""
    total, amplitude, norm = torch.zeros_like(p[:, 0]), 1.0, 0.0
    for octave in range(octaves):
        total = total + amplitude * value_noise(p * 2.0**octave + 7.3 * octave)
        norm += amplitude
        amplitude *= 0.55
    return total / norm


def value_noise(p: Tensor) -> Tensor:
    """Smooth lattice noise of period 32 in each axis, N×3 → N in [0, 1]."""
    grid = (p.remainder(_LATTICE) + 0.5) / (_LATTICE + 1) * 2 - 1
    sampled = F.grid_sample(_lattice().to(p.device), grid.view(1, -1, 1, 1, 3), mode="bilinear", align_corners=False)
    return sampled.view(-1)


@cache
def _lattice() -> Tensor:
    values = torch.rand(_LATTICE, _LATTICE, _LATTICE, generator=torch.Generator().manual_seed(7))
    for axis in range(3):  # repeat the first layer at the end, so that the period closes without a seam
        values = torch.cat([values, values.narrow(axis, 0, 1)], axis)
    return values[None, None]


def _hash(a: Tensor, b: Tensor) -> Tensor:
    """A fixed pseudo-random number in [0, 1) for each pair of whole numbers."""
    return (torch.sin(a * 12.9898 + b * 78.233) * 43758.5453).remainder(1)


def _flatten(p: Tensor, normals: Tensor) -> Tensor:
    """Box mapping: the two coordinates across the dominant axis of the normal, N×2, the upright one second."""
    axis = normals.abs().argmax(-1)
    u = torch.where(axis == 0, p[:, 2], p[:, 0])
    v = torch.where(axis == 1, p[:, 2], p[:, 1])
    return torch.stack([u, v], -1)


def _photo(photo: Tensor, uv: Tensor) -> Tensor:
    mirrored = (uv.remainder(2) - 1).abs()
    grid = torch.stack([mirrored[:, 0], 1 - mirrored[:, 1]], -1) * 2 - 1
    sampled = F.grid_sample(photo[None].to(uv.device), grid.view(1, -1, 1, 2), mode="bilinear", align_corners=False)
    return sampled[0, :, :, 0].T
