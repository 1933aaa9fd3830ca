"""Analytic primitives: ray intersection and exact normals.

Every primitive is a canonical shape (a unit sphere, the cube [−1, 1]³, ...) under rotation, scale and translation. A
ray is brought into the canonical frame without renormalising its direction, so its parameter t means the same in both.
World frame: x right, y up, z backward (right-handed), metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import torch
from torch import Tensor

from .materials import Material

NO_HIT = math.inf
_EPS = 1e-4
_TORUS_STEPS = 1000  # few rays need many: those that graze
_TORUS_EPS = 1e-4  # of the ring


class Shape(Enum):
    """Canonical shapes; `parameter` is the taper of a frustum (top radius) or the tube radius of a torus."""

    ELLIPSOID = "ellipsoid"
    BOX = "box"
    ROOM = "room"  # a box seen from inside
    FRUSTUM = "frustum"  # axis y, radius 1 at y = −1 to `parameter` at y = 1: cylinder, cone and all between
    TORUS = "torus"  # around y, ring radius 1, tube radius `parameter`; uniform scale only
    LEAF = "leaf"  # flat elliptical disc in y = 0, two-sided
    RECTANGLE = "rectangle"  # y = 0, |x|, |z| ≤ 1, two-sided
    GROUND = "ground"  # the unbounded plane y = 0
    FIELD = "field"  # the zero set of `Primitive.field`


class Field(Protocol):
    """A smooth surface in the canonical frame, inside the sphere of `radius` around the origin."""

    @property
    def radius(self) -> float: ...

    def intersect(self, origins: Tensor, directions: Tensor, exact: bool = True) -> Tensor:
        """Nearest t > 0 of N rays (directions of any length); +inf where missed. Not `exact`: enough for a shadow."""

    def normals(self, points: Tensor) -> Tensor:
        """Outward, N×3, of any length."""


@dataclass(frozen=True)
class Primitive:
    """A shape in the world. rotation: 3×3 (columns are the local axes), scale: 3, centre: 3, all float32."""

    shape: Shape
    centre: Tensor
    scale: Tensor
    rotation: Tensor
    material: Material
    parameter: float = 1.0
    field: Field | None = None

    @property
    def bounding_radius(self) -> float:
        """Radius of the sphere around `centre` that holds the primitive; infinite for grounds and rooms."""
        if self.shape in (Shape.GROUND, Shape.ROOM):
            return math.inf
        x, y, z = self.scale.tolist()
        match self.shape:
            case Shape.ELLIPSOID:
                return max(x, y, z)
            case Shape.LEAF:
                return max(x, z)
            case Shape.RECTANGLE:
                return math.hypot(x, z)
            case Shape.TORUS:
                return x * (1.0 + self.parameter)
            case Shape.FIELD:
                assert self.field is not None
                return max(x, y, z) * self.field.radius
            case Shape.FRUSTUM:
                return math.hypot(max(x, z) * max(1.0, self.parameter), y)
            case _:
                return math.sqrt(x * x + y * y + z * z)

    def to_local(self, points: Tensor) -> Tensor:
        """World points N×3 → canonical frame N×3."""
        return (points - self.centre) @ self.rotation / self.scale

    def intersect(self, origins: Tensor, directions: Tensor, exact: bool = True) -> Tensor:
        """Nearest t > 0 of N world-frame rays (N×3 each); +inf where missed. Exact, but a torus to 1e-4 of its ring."""
        o = self.to_local(origins)
        d = directions @ self.rotation / self.scale
        if self.field is not None:
            return self.field.intersect(o, d, exact)
        return intersect_local(self.shape, o, d, torch.full_like(o[:, 0], self.parameter))

    def normals(self, points: Tensor) -> Tensor:
        """Outward unit normals N×3 (world frame) at surface points N×3."""
        local = self.to_local(points)
        local = _NORMAL[self.shape](local, self.parameter) if self.field is None else self.field.normals(local)
        return torch.nn.functional.normalize((local / self.scale) @ self.rotation.T, dim=-1)


def intersect_local(shape: Shape, origins: Tensor, directions: Tensor, parameter: Tensor) -> Tensor:
    """Nearest t > 0 of N rays in the canonical frame of a shape (any but FIELD), each with its own parameter (N)."""
    return _INTERSECT[shape](origins, directions, parameter)


def _roots(a: Tensor, half_b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Both roots of a t² + 2 half_b t + c = 0; +inf where there are none."""
    discriminant = half_b * half_b - a * c
    root = discriminant.clamp_min(0).sqrt()
    a = torch.where(a.abs() < 1e-12, torch.full_like(a, 1e-12), a)
    near, far = (-half_b - root) / a, (-half_b + root) / a
    miss = discriminant < 0
    return near.masked_fill(miss, NO_HIT), far.masked_fill(miss, NO_HIT)


def _first_positive(near: Tensor, far: Tensor) -> Tensor:
    t = torch.where(near > _EPS, near, far)
    return torch.where(t > _EPS, t, torch.full_like(t, NO_HIT))


def _hit_ellipsoid(o: Tensor, d: Tensor, _: Tensor) -> Tensor:
    return _first_positive(*_roots((d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1))


def _slabs(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    inverse = 1.0 / torch.where(d.abs() < 1e-12, torch.full_like(d, 1e-12), d)
    a, b = (-1 - o) * inverse, (1 - o) * inverse
    return torch.minimum(a, b).amax(-1), torch.maximum(a, b).amin(-1)


def _hit_box(o: Tensor, d: Tensor, _: Tensor) -> Tensor:
    enter, leave = _slabs(o, d)
    t = _first_positive(enter, leave)
    return t.masked_fill(enter > leave, NO_HIT)


def _hit_room(o: Tensor, d: Tensor, _: Tensor) -> Tensor:
    enter, leave = _slabs(o, d)
    return leave.masked_fill((leave <= _EPS) | (enter > leave), NO_HIT)


def _hit_plane(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dy = torch.where(d[:, 1].abs() < 1e-12, torch.full_like(d[:, 1], 1e-12), d[:, 1])
    t = -o[:, 1] / dy
    t = torch.where(t > _EPS, t, torch.full_like(t, NO_HIT))
    safe = t.clamp_max(1e9)
    return t, o[:, 0] + safe * d[:, 0], o[:, 2] + safe * d[:, 2]


def _hit_ground(o: Tensor, d: Tensor, _: Tensor) -> Tensor:
    return _hit_plane(o, d)[0]


def _hit_leaf(o: Tensor, d: Tensor, _: Tensor) -> Tensor:
    t, x, z = _hit_plane(o, d)
    return t.masked_fill(x * x + z * z > 1, NO_HIT)


def _hit_rectangle(o: Tensor, d: Tensor, _: Tensor) -> Tensor:
    t, x, z = _hit_plane(o, d)
    return t.masked_fill(torch.maximum(x.abs(), z.abs()) > 1, NO_HIT)


def _hit_frustum(o: Tensor, d: Tensor, top: Tensor) -> Tensor:
    # Side: x² + z² = (m + k y)², with k the slope of the radius.
    k, m = (top - 1) / 2, (top + 1) / 2
    radius, slope = m + k * o[:, 1], k * d[:, 1]
    a = d[:, 0] ** 2 + d[:, 2] ** 2 - slope**2
    half_b = o[:, 0] * d[:, 0] + o[:, 2] * d[:, 2] - radius * slope
    c = o[:, 0] ** 2 + o[:, 2] ** 2 - radius**2
    best = torch.full_like(a, NO_HIT)
    for t in _roots(a, half_b, c):
        y = o[:, 1] + t.clamp(-1e9, 1e9) * d[:, 1]
        good = (t > _EPS) & (y.abs() <= 1) & torch.isfinite(t)
        best = torch.where(good & (t < best), t, best)
    dy = torch.where(d[:, 1].abs() < 1e-12, torch.full_like(d[:, 1], 1e-12), d[:, 1])
    for height, limit in ((-1.0, torch.ones_like(top)), (1.0, top)):
        t = (height - o[:, 1]) / dy
        safe = t.clamp(-1e9, 1e9)
        inside = (o[:, 0] + safe * d[:, 0]) ** 2 + (o[:, 2] + safe * d[:, 2]) ** 2 <= limit * limit
        best = torch.where((t > _EPS) & inside & (t < best), t, best)
    return best


def _torus_distance(p: Tensor, tube: Tensor) -> Tensor:
    ring = (p[:, 0] ** 2 + p[:, 2] ** 2).sqrt() - 1
    return (ring**2 + p[:, 1] ** 2).sqrt() - tube


def _hit_torus(o: Tensor, d: Tensor, tube: Tensor) -> Tensor:
    """Sphere tracing of the exact distance, from the entry into the bounding sphere."""
    length = d.norm(dim=-1)
    near, far = _roots((d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - (1 + tube) ** 2)
    t = near.clamp_min(_EPS)
    hit = torch.zeros_like(t, dtype=torch.bool)
    going = torch.isfinite(far).nonzero()[:, 0]
    for _ in range(_TORUS_STEPS):
        distance = _torus_distance(o[going] + t[going, None] * d[going], tube[going])
        arrived = distance.abs() < _TORUS_EPS
        hit[going[arrived]] = True
        t[going] += torch.where(arrived, torch.zeros_like(distance), distance / length[going])
        going = going[~arrived & (t[going] <= far[going])]
        if not len(going):
            break
    return t.masked_fill(~(hit & (t > _EPS)), NO_HIT)


def _normal_ellipsoid(p: Tensor, _: float) -> Tensor:
    return p


def _normal_box(p: Tensor, _: float) -> Tensor:
    axis = p.abs().argmax(-1, keepdim=True)
    return torch.zeros_like(p).scatter_(-1, axis, p.gather(-1, axis).sign())


def _normal_room(p: Tensor, _: float) -> Tensor:
    return -_normal_box(p, 1.0)


def _normal_up(p: Tensor, _: float) -> Tensor:
    return torch.tensor([0.0, 1.0, 0.0], device=p.device).expand_as(p)


def _normal_frustum(p: Tensor, top: float) -> Tensor:
    k, m = (top - 1) / 2, (top + 1) / 2
    radius = m + k * p[:, 1]
    side = torch.stack([p[:, 0], -k * radius, p[:, 2]], -1)
    cap = torch.zeros_like(p)
    cap[:, 1] = p[:, 1].sign()
    on_side = ((p[:, 0] ** 2 + p[:, 2] ** 2).sqrt() - radius).abs() < (p[:, 1].abs() - 1).abs()
    return torch.where(on_side[:, None], side, cap)


def _normal_torus(p: Tensor, _: float) -> Tensor:
    flat = torch.stack([p[:, 0], torch.zeros_like(p[:, 1]), p[:, 2]], -1)
    return p - torch.nn.functional.normalize(flat, dim=-1)


_INTERSECT = {
    Shape.ELLIPSOID: _hit_ellipsoid,
    Shape.BOX: _hit_box,
    Shape.ROOM: _hit_room,
    Shape.FRUSTUM: _hit_frustum,
    Shape.TORUS: _hit_torus,
    Shape.LEAF: _hit_leaf,
    Shape.RECTANGLE: _hit_rectangle,
    Shape.GROUND: _hit_ground,
}
_NORMAL = {
    Shape.ELLIPSOID: _normal_ellipsoid,
    Shape.BOX: _normal_box,
    Shape.ROOM: _normal_room,
    Shape.FRUSTUM: _normal_frustum,
    Shape.TORUS: _normal_torus,
    Shape.LEAF: _normal_up,
    Shape.RECTANGLE: _normal_up,
    Shape.GROUND: _normal_up,
}
