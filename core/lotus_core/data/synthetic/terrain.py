"""Height fields: y = h(x, z) as a sum of sines, so that slopes (and with them normals) are exact."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .materials import Material

_MARCH_STEPS = 96
_BISECTIONS = 18


@dataclass(frozen=True)
class Terrain:
    """h(x, z) = base + Σ amplitude · sin(frequency·(x, z) + phase). frequency: K×2 rad/m; amplitude, phase: K."""

    frequency: Tensor
    amplitude: Tensor
    phase: Tensor
    base: float
    material: Material

    def height(self, points: Tensor) -> Tensor:
        """Height in metres at N×3 points (their y is not used)."""
        return self.base + (self._angle(points).sin() * self.amplitude).sum(-1)

    def normals(self, points: Tensor) -> Tensor:
        """Unit normals N×3, pointing up."""
        slope = (self._angle(points).cos() * self.amplitude) @ self.frequency
        normal = torch.stack([-slope[:, 0], torch.ones_like(slope[:, 0]), -slope[:, 1]], -1)
        return torch.nn.functional.normalize(normal, dim=-1)

    def intersect(self, origins: Tensor, directions: Tensor, near: float = 0.05, far: float = 120.0) -> Tensor:
        """First crossing of N rays, by geometric marching and bisection (to 4e-6 of a step); +inf where none."""
        steps = near * (far / near) ** torch.linspace(0, 1, _MARCH_STEPS, device=origins.device)
        low = torch.zeros(len(origins), device=origins.device)
        high = torch.full_like(low, math.inf)
        searching = torch.arange(len(origins), device=origins.device)
        for t in steps.tolist():
            point = origins[searching] + t * directions[searching]
            below = point[:, 1] < self.height(point)
            high[searching[below]] = t
            searching = searching[~below]
            low[searching] = t
            if not len(searching):
                break
        hit = torch.isfinite(high).nonzero()[:, 0]
        a, b, o, d = low[hit], high[hit], origins[hit], directions[hit]
        for _ in range(_BISECTIONS):
            middle = (a + b) / 2
            point = o + middle[:, None] * d
            below = point[:, 1] < self.height(point)
            a, b = torch.where(below, a, middle), torch.where(below, middle, b)
        high[hit] = b
        return high

    def _angle(self, points: Tensor) -> Tensor:
        return points[:, [0, 2]] @ self.frequency.T + self.phase
