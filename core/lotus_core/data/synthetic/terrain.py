"""Height fields: y = h(x, z) as a sum of sines, so that slopes (and with them normals) are exact."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .materials import Material
from .primitives import NO_HIT

_MOST_STEPS = 400
_GROWTH = 0.04
_BISECTIONS = 12
_SECANTS = 3
_CROWDED = 0.75  # rays are left in place until fewer than this share of them is under way


@dataclass(frozen=True)
class Waves:
    """h(x, z) = base + Σ amplitude · sin(frequency·(x, z) + phase). frequency: K×2 rad/m; amplitude, phase: K."""

    frequency: Tensor
    amplitude: Tensor
    phase: Tensor
    base: float

    def height(self, points: Tensor) -> Tensor:
        """Height in metres at N×3 points (their y is not used)."""
        return self.base + (self._angle(points).sin() * self.amplitude).sum(-1)

    def normals(self, points: Tensor) -> Tensor:
        """Unit normals N×3, pointing up."""
        slope = (self._angle(points).cos() * self.amplitude) @ self.frequency
        normal = torch.stack([-slope[:, 0], torch.ones_like(slope[:, 0]), -slope[:, 1]], -1)
        return torch.nn.functional.normalize(normal, dim=-1)

    @property
    def swing(self) -> float:
        """The height never leaves base ± this."""
        return float(self.amplitude.abs().sum())

    def crossing(self, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor, least: Tensor) -> Tensor:
        """First t in [near, far] (N each) at which N rays change sides; +inf where they do not.

        Steps are as long as the steepest slope allows, but no shorter than `least` (N), growing by _GROWTH of the way
        gone: a fold thinner than that can be missed. The crossing itself is exact to float precision.
        """
        steepest = float((self.amplitude.abs() * self.frequency.norm(dim=-1)).sum())
        # How fast a ray can approach the surface, in height per t.
        pace = directions[:, 1].abs() + steepest * directions[:, [0, 2]].norm(dim=-1)
        low, high = near.clone(), torch.full_like(near, NO_HIT)
        going = (near < far).nonzero()[:, 0]
        o, d, t = origins[going], directions[going], near[going]
        gap = o[:, 1] + t * d[:, 1] - self.height(o + t[:, None] * d)
        side, end, speed = gap.sign(), far[going], pace[going]
        short, start, on = least[going], t, torch.ones_like(t, dtype=torch.bool)
        for _ in range(_MOST_STEPS):
            step = torch.maximum(gap.abs() / speed, short + _GROWTH * (t - start))
            after = torch.minimum(t + step, end)
            gap = o[:, 1] + after * d[:, 1] - self.height(o + after[:, None] * d)
            crossed = on & (gap * side < 0)
            low[going[crossed]], high[going[crossed]] = t[crossed], after[crossed]
            on = on & ~crossed & (after < end)
            t = after
            left = int(on.sum())
            if not left:
                break
            if left < _CROWDED * len(on):
                going, o, d, side, end, speed, t, gap, short, start, on = (
                    x[on] for x in (going, o, d, side, end, speed, t, gap, short, start, on)
                )
        hit = torch.isfinite(high).nonzero()[:, 0]
        high[hit] = self._between(origins[hit], directions[hit], low[hit], high[hit])
        return high

    def _between(self, o: Tensor, d: Tensor, a: Tensor, b: Tensor) -> Tensor:
        def gap(t: Tensor) -> Tensor:
            return o[:, 1] + t * d[:, 1] - self.height(o + t[:, None] * d)

        at_a = gap(a)
        for _ in range(_BISECTIONS):
            middle = (a + b) / 2
            there = gap(middle)
            same = there * at_a > 0
            a, b = torch.where(same, middle, a), torch.where(same, b, middle)
            at_a = torch.where(same, there, at_a)
        at_b = gap(b)
        for _ in range(_SECANTS):
            weight = (at_a / (at_a - at_b)).nan_to_num(0.5).clamp(0, 1)
            middle = a + weight * (b - a)
            there = gap(middle)
            same = there * at_a > 0
            a, b = torch.where(same, middle, a), torch.where(same, b, middle)
            at_a, at_b = torch.where(same, there, at_a), torch.where(same, at_b, there)
        return middle

    def _angle(self, points: Tensor) -> Tensor:
        return points[:, [0, 2]] @ self.frequency.T + self.phase


@dataclass(frozen=True)
class Terrain(Waves):
    """Waves without end, of one material."""

    material: Material

    def intersect(
        self, origins: Tensor, directions: Tensor, near: float = 0.05, far: float = 120.0, fine: float = 0.04
    ) -> Tensor:
        """First crossing of N rays between near and far; +inf where none."""
        enter, leave = _slab(origins[:, 1], directions[:, 1], self.base, self.swing)
        enter = enter.clamp_min(near)
        return self.crossing(origins, directions, enter, leave.clamp_max(far), fine * enter)


@dataclass(frozen=True)
class Sheet:
    """A field for `Primitive`: waves over the square |x|, |z| ≤ 1, seen from both sides. Cloth, curtains, reliefs."""

    waves: Waves

    @property
    def radius(self) -> float:
        """Of the sphere around the origin that holds it."""
        return math.hypot(math.sqrt(2), abs(self.waves.base) + self.waves.swing)

    def intersect(self, origins: Tensor, directions: Tensor, exact: bool = True) -> Tensor:
        """Nearest t > 0 of N rays; +inf where missed."""
        spans = [_slab(origins[:, axis], directions[:, axis], 0.0, 1.0) for axis in (0, 2)]
        spans.append(_slab(origins[:, 1], directions[:, 1], self.waves.base, self.waves.swing))
        enter = torch.stack([s[0] for s in spans]).amax(0).clamp_min(1e-4)
        leave = torch.stack([s[1] for s in spans]).amin(0)
        return self.waves.crossing(origins, directions, enter, leave, (leave - enter) / (60 if exact else 25))

    def normals(self, points: Tensor) -> Tensor:
        """Unit normals N×3 of the upper side."""
        return self.waves.normals(points)


def _slab(o: Tensor, d: Tensor, middle: float, half: float) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave middle ± half along one axis (with a little to spare)."""
    inverse = 1 / torch.where(d.abs() < 1e-9, torch.full_like(d, 1e-9), d)
    half = half * 1.0001 + 1e-6
    a, b = (middle - half - o) * inverse, (middle + half - o) * inverse
    return torch.minimum(a, b), torch.maximum(a, b)
