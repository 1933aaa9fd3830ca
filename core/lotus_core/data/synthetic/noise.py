"""Smooth and hashed noise, and the flat coordinates of a surface: what the patterns are made of."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

_LATTICE = 32


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


def hashed(a: Tensor, b: Tensor) -> Tensor:
    """A fixed pseudo-random number in [0, 1) for each pair of whole numbers."""
    return (torch.sin(a * 12.9898 + b * 78.233) * 43758.5453).remainder(1)


def flatten(p: Tensor, normals: Tensor) -> Tensor:
    """Box mapping: the two coordinates across the dominant axis of the normal, N×2, the upright one second."""
    axis = normals.abs().argmax(-1)
    u = torch.where(axis == 0, p[:, 2], p[:, 0])
    v = torch.where(axis == 1, p[:, 2], p[:, 1])
    return torch.stack([u, v], -1)
