"""Smooth bodies: ellipsoids that melt into each other, with dents and ripples, found by sphere tracing.

Every ellipsoid has the function (|q| − 1)·r, with q the point in the frame where it is the unit sphere and r its
smallest half axis: zero on it, negative inside, and never steeper than 1. A soft minimum of such functions (Quilez,
"smooth minimum") is no steeper, so a step of its value along a ray never passes the surface. Along a ray every |q|² is
a quadratic in t, so a step costs one multiply-add per ellipsoid. Normals are the analytic gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from .build import Triple, shaped, vector
from .materials import Material
from .primitives import NO_HIT, Primitive

_STEPS = 64
_SHADOW_STEPS = 32
_ARRIVED = 2e-4  # of the body's radius; Newton's method takes over there
_GRAZING = 2e-3  # rays that creep along this near to the surface until the steps end count as hits
_NEWTON = 2
_CROWDED = 0.75  # rays are left in place until fewer than this share of them is under way
_CLOSE, _BOLD = 0.2, 2.0  # within this of the surface steps may be longer than is safe everywhere, by up to this factor


@dataclass(frozen=True)
class Lump:
    """An ellipsoid of a body. half_size: 3. rotation: 3×3, its columns are the axes. Carved lumps are taken away."""

    centre: Triple
    half_size: Triple
    rotation: Tensor | None = None
    carved: bool = False


@dataclass(frozen=True)
class Blob:
    """A field for `Primitive`.

    softness: over about this distance neighbouring lumps melt together. ripples: M×3 frequencies in rad per unit,
    amplitude and phase M: sines added to the function, so wrinkles, fur and dents of that height.
    """

    lumps: Sequence[Lump]
    softness: float
    ripples: Tensor | None = None
    amplitude: Tensor | None = None
    phase: Tensor | None = None

    def centred(self) -> tuple[Blob, Tensor]:
        """The same body (but for where its ripples fall) around its own middle, and where that was."""
        solid = [lump for lump in self.lumps if not lump.carved]
        centres, reach = (
            torch.stack([vector(lump.centre) for lump in solid]),
            torch.stack([vector(lump.half_size).max() for lump in solid])[:, None],
        )
        middle = ((centres - reach).amin(0) + (centres + reach).amax(0)) / 2
        lumps = [replace(lump, centre=(vector(lump.centre) - middle).tolist()) for lump in self.lumps]
        return replace(self, lumps=lumps), middle

    @cached_property
    def radius(self) -> float:
        """Of the sphere around the origin that holds the body."""
        solid = [lump for lump in self.lumps if not lump.carved]
        reach = max(float(vector(lump.centre).norm()) + max(float(h) for h in lump.half_size) for lump in solid)
        swell = self.softness * math.log(len(solid))
        return reach + self._stretch * (swell + self._swing)

    def value(self, points: Tensor) -> Tensor:
        """The function at N×3 points: N, negative inside."""
        return self._mixed(self._squares(points), points)[0]

    def normals(self, points: Tensor) -> Tensor:
        """Its gradient N×3."""
        return self._gradient(points, self._squares(points))

    def intersect(self, origins: Tensor, directions: Tensor, exact: bool = True) -> Tensor:
        """Nearest t > 0 of N rays; +inf where missed. To float precision where `exact`, but where a ray grazes."""
        arrived, bold, steps = (_ARRIVED, _BOLD, _STEPS) if exact else (5 * _ARRIVED, 2 * _BOLD, _SHADOW_STEPS)
        at_start, turn = self._local(origins), self._turned(directions)
        # |q|² = a t² + 2 b t + c of every ellipsoid.
        a, b, c = (turn**2).sum(-1), (turn * at_start).sum(-1), (at_start**2).sum(-1)
        t, end = self._span(a, b, c)
        result = torch.full_like(t, NO_HIT)
        going = (end > t).nonzero()[:, 0]
        if not len(going):
            return result
        t, end, o, d, a, b, c = (x[going] for x in (t, end, origins, directions, a, b, c))
        pace = (a.sqrt() * self._thickness).amax(-1)  # how fast the function can fall along the ray
        if self.ripples is not None and self.amplitude is not None:
            pace = pace + (d @ self.ripples.T).abs() @ self.amplitude.abs()
        found: list[tuple[Tensor, Tensor]] = []
        before, step, open_ = torch.full_like(t, NO_HIT), torch.ones_like(t), torch.ones_like(t, dtype=torch.bool)
        for number in range(steps):
            value = self._mixed((a * t[:, None] + 2 * b) * t[:, None] + c, o + t[:, None] * d)[0]
            near = open_ & (value < (arrived if number < steps - 1 else _GRAZING) * self.radius)
            # Where the last step went too far, back to where a straight line falls through zero.
            back = torch.where(value < 0, step * value / (before - value), torch.zeros_like(t))
            found.append((going[near], (t + back)[near]))
            open_ = open_ & ~near & (t < end)
            left = int(open_.sum())
            if not left:
                break
            # As it fell over the last step, so it will go on falling, near enough: up to `bold` safe steps at once.
            safe = value / pace
            after = torch.where(value < _CLOSE * self.radius, value * step / (before - value).clamp_min(1e-9), safe)
            before, step = value, torch.minimum(torch.maximum(after, safe), bold * safe)
            t = t + step
            if left < _CROWDED * len(t):
                going, t, end, o, d, a, b, c, pace, before, step, open_ = (
                    x[open_] for x in (going, t, end, o, d, a, b, c, pace, before, step, open_)
                )
        hits = torch.cat([index for index, _ in found])
        when = torch.cat([when for _, when in found])
        result[hits] = self._polished(origins[hits], directions[hits], when) if exact else when
        return result

    def _span(self, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Where rays first enter and last leave the solid ellipsoids, swollen as far as melting and ripples can reach;
        the end lies before the start where they meet none."""
        a, b, c = (x[:, : self._solid] for x in (a, b, c))
        swell = self.softness * math.log(self._solid) + self._swing
        size = 1 + swell / self._thickness[: self._solid]
        spare = b * b - a * (c - size**2)
        root = spare.clamp_min(0).sqrt()
        enter, leave = (-b - root) / a, (-b + root) / a
        missed = (spare < 0) | (leave < 0)
        return enter.masked_fill(missed, NO_HIT).amin(-1).clamp_min(0), leave.masked_fill(missed, -1.0).amax(-1)

    def _polished(self, o: Tensor, d: Tensor, t: Tensor) -> Tensor:
        furthest = 4 * _GRAZING * self.radius / d.norm(dim=-1)
        for _ in range(_NEWTON):
            points = o + t[:, None] * d
            squares = self._squares(points)
            value = self._mixed(squares, points)[0]
            slope = (self._gradient(points, squares) * d).sum(-1)
            move = torch.where(slope < 0, -value / slope.clamp_max(-1e-6), torch.zeros_like(t))
            t = t + torch.minimum(torch.maximum(move, -furthest), furthest)
        off = self.value(o + t[:, None] * d).abs() > _ARRIVED * self.radius
        return t.masked_fill(off | (t < 1e-4), NO_HIT)

    def _mixed(self, squares: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """The function N, and its slope with respect to each ellipsoid's own, N×K (zero or positive, or negative where
        carved)."""
        each = (squares.clamp_min(1e-12).sqrt() - 1) * self._thickness
        value = torch.logsumexp(each[:, : self._solid] * (-1 / self.softness), 1) * -self.softness
        if self._solid < each.shape[1]:
            dents = torch.cat([value[:, None], -each[:, self._solid :]], 1)
            value = torch.logsumexp(dents / self.softness, 1) * self.softness
        if self.ripples is not None:
            assert self.amplitude is not None
            assert self.phase is not None
            value = value + (points @ self.ripples.T + self.phase).sin() @ self.amplitude
        return value, each

    def _gradient(self, points: Tensor, squares: Tensor) -> Tensor:
        _, each = self._mixed(squares, points)
        solid, dents = each[:, : self._solid], -each[:, self._solid :]
        weights = torch.softmax(solid / -self.softness, 1)
        if dents.shape[1]:
            union = torch.logsumexp(solid / -self.softness, 1) * -self.softness
            shares = torch.softmax(torch.cat([union[:, None], dents], 1) / self.softness, 1)
            weights = torch.cat([weights * shares[:, :1], -shares[:, 1:]], 1)
        local = self._local(points)
        scaled = weights * self._thickness / squares.clamp_min(1e-12).sqrt()
        gradient = (local * scaled[:, :, None]).flatten(1) @ self._frames.reshape(-1, 3)
        if self.ripples is not None:
            assert self.amplitude is not None
            assert self.phase is not None
            gradient = gradient + ((points @ self.ripples.T + self.phase).cos() * self.amplitude) @ self.ripples
        return gradient

    def _local(self, points: Tensor) -> Tensor:
        """N×3 → N×K×3, into the frames where the ellipsoids are unit spheres."""
        return self._turned(points) - torch.einsum("kij,kj->ki", self._frames, self._centres)

    def _turned(self, vectors: Tensor) -> Tensor:
        """N×3 → N×K×3: the same, of directions."""
        return (vectors @ self._frames.reshape(-1, 3).T).view(len(vectors), len(self.lumps), 3)

    def _squares(self, points: Tensor) -> Tensor:
        return (self._local(points) ** 2).sum(-1)

    @cached_property
    def _ordered(self) -> list[Lump]:
        return sorted(self.lumps, key=lambda lump: lump.carved)

    @cached_property
    def _solid(self) -> int:
        return sum(not lump.carved for lump in self.lumps)

    @cached_property
    def _centres(self) -> Tensor:
        return torch.stack([vector(lump.centre) for lump in self._ordered])

    @cached_property
    def _frames(self) -> Tensor:
        """K×3×3: to the axes of each ellipsoid, over its half size."""
        turns = [torch.eye(3) if lump.rotation is None else lump.rotation.T for lump in self._ordered]
        return torch.stack(turns) / torch.stack([vector(lump.half_size) for lump in self._ordered])[:, :, None]

    @cached_property
    def _thickness(self) -> Tensor:
        return torch.stack([vector(lump.half_size).min() for lump in self._ordered])

    @cached_property
    def _stretch(self) -> float:
        """How far a level set is from the surface, at most, for each unit of level: longest over shortest half axis."""
        return max(max(lump.half_size) / min(lump.half_size) for lump in self.lumps if not lump.carved)

    @cached_property
    def _swing(self) -> float:
        return 0.0 if self.amplitude is None else float(self.amplitude.abs().sum())


def body(blob: Blob, material: Material) -> Primitive:
    """The blob where its lumps say, with a bounding sphere as small as may be."""
    centred, middle = blob.centred()
    return shaped(centred, material, middle.numpy())
