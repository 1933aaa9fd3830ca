"""Which ray meets which primitive: bounding spheres in two levels, and many small primitives crossed at once."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from .primitives import Primitive, Shape, intersect_local

_BLOCK = 8192  # rays at once in the culling, so that its temporaries stay in cache
_GROUP = 10  # primitives of one outer sphere, at most
_ALONE = 3000  # rays from which a primitive is crossed by itself rather than together with others of its shape


class Index:
    """The primitives of a scene, grouped by place. Rays are N×3 origins and directions in the world frame."""

    def __init__(self, primitives: list[Primitive]) -> None:
        self.primitives = primitives
        radii = [p.bounding_radius for p in primitives]
        self.unbounded = [i for i, r in enumerate(radii) if math.isinf(r)]
        if not primitives:
            return
        self._centres = torch.stack([p.centre for p in primitives])
        self._rotations = torch.stack([p.rotation for p in primitives])
        self._scales = torch.stack([p.scale for p in primitives])
        self._parameters = torch.tensor([p.parameter for p in primitives], device=self._centres.device)
        self._radii = torch.tensor([min(r, 1e6) for r in radii], device=self._centres.device) * 1.001
        # Rods are culled by the distance to their axis too: their spheres are mostly empty.
        self._axes = self._rotations[:, :, 1].contiguous()
        girth = [
            max(float(p.scale[0]), float(p.scale[2])) * max(1.0, p.parameter) if p.shape is Shape.FRUSTUM else 1e6
            for p in primitives
        ]
        self._girth2 = (torch.tensor(girth, device=self._centres.device) * 1.001) ** 2
        self._groups = self._grouped([i for i, r in enumerate(radii) if math.isfinite(r)])
        if self._groups:
            middles, reaches = zip(*(self._around(group) for group in self._groups), strict=True)
            self._group_centres, self._group_radii = torch.stack(middles), torch.stack(reaches)

    def nearest(self, origins: Tensor, directions: Tensor, t: Tensor, what: Tensor) -> tuple[Tensor, Tensor]:
        """The nearer of what is known (t, what: N) and the primitives."""
        for index in self.unbounded:
            hit = self.primitives[index].intersect(origins, directions)
            closer = hit < t
            t, what = torch.where(closer, hit, t), torch.where(closer, index, what)
        for number, ray, hit in self._crossings(origins, directions):
            best = t.scatter_reduce(0, ray, hit, "amin")
            wins = (hit == best[ray]) & (hit < t[ray])
            first = torch.full_like(what, len(self.primitives))
            first.scatter_reduce_(0, ray[wins], number[wins], "amin")  # of two at one place, always the same
            t, what = best, torch.where(first < len(self.primitives), first, what)
        return t, what

    def blocked(self, origins: Tensor, directions: Tensor, reach: float) -> Tensor:
        """bool N: a bounded primitive is met before t = reach."""
        blocked = torch.zeros(len(origins), dtype=torch.bool, device=origins.device)
        for _, ray, hit in self._crossings(origins, directions, exact=False):
            blocked[ray[hit < reach]] = True
        return blocked

    def _crossings(
        self, origins: Tensor, directions: Tensor, exact: bool = True
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Pairs of primitive and ray that may meet, with their t (+inf where they do not), in batches."""
        small: dict[Shape, list[tuple[Tensor, Tensor]]] = {}
        if not len(origins) or not self.primitives or not self._groups:
            return
        near = self._group_hits(origins, directions)
        for group, meets in zip(self._groups, near, strict=True):
            rays = meets.nonzero()[:, 0]
            if not len(rays):
                continue
            maybe = self._may_meet(group, origins[rays], directions[rays])
            counts = maybe.sum(1).tolist()
            for row, index in enumerate(group.tolist()):
                if not counts[row]:
                    continue
                ray = rays[maybe[row].nonzero()[:, 0]]
                shape = self.primitives[index].shape
                number = torch.full_like(ray, index)
                if counts[row] > _ALONE or shape is Shape.FIELD:
                    yield number, ray, self.primitives[index].intersect(origins[ray], directions[ray], exact)
                else:
                    small.setdefault(shape, []).append((number, ray))
        for shape, pairs in small.items():
            number, ray = torch.cat([n for n, _ in pairs]), torch.cat([r for _, r in pairs])
            yield number, ray, self._intersect(shape, number, origins[ray], directions[ray])

    def _intersect(self, shape: Shape, number: Tensor, origins: Tensor, directions: Tensor) -> Tensor:
        rotation, scale = self._rotations[number], self._scales[number]
        o = ((origins - self._centres[number])[:, :, None] * rotation).sum(1) / scale
        d = (directions[:, :, None] * rotation).sum(1) / scale
        return intersect_local(shape, o, d, self._parameters[number])

    def _group_hits(self, origins: Tensor, directions: Tensor) -> Tensor:
        blocks = [
            _spheres_met(self._group_centres, self._group_radii, o, d)
            for o, d in zip(origins.split(_BLOCK), directions.split(_BLOCK), strict=True)
        ]
        return torch.cat(blocks, 1)

    def _may_meet(self, group: Tensor, origins: Tensor, directions: Tensor) -> Tensor:
        """bool K×N: does the ray meet the bounding sphere of the primitive, and the endless cylinder around a rod?"""
        centres, axes = self._centres[group], self._axes[group]
        meets = _spheres_met(centres, self._radii[group], origins, directions)
        if bool((self._girth2[group] > 1e11).all()):
            return meets
        # Distance of two lines: |(c − o) · (d × u)| / |d × u|.
        moment = torch.linalg.cross(origins, directions)
        triple = torch.linalg.cross(axes, centres) @ directions.T - axes @ moment.T
        sine2 = (directions**2).sum(-1) - (axes @ directions.T) ** 2
        return meets & (triple**2 <= self._girth2[group, None] * sine2 + 1e-7)

    def _grouped(self, numbers: list[int]) -> list[Tensor]:
        """Halved along the longest side until small enough."""
        if len(numbers) <= _GROUP:
            return [torch.tensor(numbers, device=self._centres.device)] if numbers else []
        radii = self._radii[numbers]
        large = radii > 6 * radii.median()
        if large.any() and not large.all():
            alone = [n for n, is_large in zip(numbers, large.tolist(), strict=True) if is_large]
            rest = [n for n, is_large in zip(numbers, large.tolist(), strict=True) if not is_large]
            return [torch.tensor([n], device=self._centres.device) for n in alone] + self._grouped(rest)
        places = self._centres[numbers]
        axis = int((places.amax(0) - places.amin(0)).argmax())
        order = places[:, axis].argsort(stable=True).tolist()
        half = len(numbers) // 2
        return self._grouped([numbers[i] for i in order[:half]]) + self._grouped([numbers[i] for i in order[half:]])

    def _around(self, group: Tensor) -> tuple[Tensor, Tensor]:
        centres, radii = self._centres[group], self._radii[group]
        middle = ((centres - radii[:, None]).amin(0) + (centres + radii[:, None]).amax(0)) / 2
        return middle, ((centres - middle).norm(dim=-1) + radii).amax()


def _spheres_met(centres: Tensor, radii: Tensor, origins: Tensor, directions: Tensor) -> Tensor:
    """bool K×N: does ray n meet sphere k ahead of its origin?"""
    along = centres @ directions.T - (origins * directions).sum(-1)
    outside2 = ((centres**2).sum(-1) - radii**2)[:, None] - 2 * (centres @ origins.T) + (origins**2).sum(-1)
    meets = along * along >= (directions**2).sum(-1) * outside2
    return meets & ((along > 0) | (outside2 < 0))
