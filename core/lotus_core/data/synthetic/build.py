"""Small words for building scenes: place a shape, pick a material, turn a thing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .materials import Material
from .patterns import PATTERNS
from .primitives import Field, Primitive, Shape

Rng = np.random.Generator
Triple = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Palette:
    """What one scene draws its surfaces from: photographs to use as textures, and how colourful it is (0…1)."""

    photos: list[Tensor]
    saturation: float


def vector(values: Triple) -> Tensor:
    return torch.tensor([float(v) for v in values], dtype=torch.float32)


def turned(yaw: float = 0.0, tilt: float = 0.0, roll: float = 0.0) -> Tensor:
    """Rotation matrix: roll about z, then tilt about x, then yaw about the up axis, in radians."""
    cy, sy, ct, st, cr, sr = (f(a) for a in (yaw, tilt, roll) for f in (math.cos, math.sin))
    about_y = torch.tensor([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = torch.tensor([[1, 0, 0], [0, ct, -st], [0, st, ct]])
    about_z = torch.tensor([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_y @ about_x @ about_z


def make(
    shape: Shape,
    centre: Triple,
    half_size: Triple,
    material: Material,
    rotation: Tensor | None = None,
    parameter: float = 1.0,
) -> Primitive:
    """A primitive with its centre and half extents in metres."""
    return Primitive(
        shape, vector(centre), vector(half_size), torch.eye(3) if rotation is None else rotation, material, parameter
    )


def shaped(field: Field, material: Material, centre: Triple = (0, 0, 0)) -> Primitive:
    """A smooth body whose frame is in metres, its origin at `centre`."""
    return Primitive(Shape.FIELD, vector(centre), torch.ones(3), torch.eye(3), material, field=field)


def rod(start: Triple, end: Triple, radius: float, material: Material, taper: float = 1.0) -> Primitive:
    """A round bar between two points; `taper` is the radius at its end over that at its start."""
    a, b = vector(start), vector(end)
    axis = (b - a) / (b - a).norm().clamp_min(1e-6)
    aside = torch.linalg.cross(axis, vector((0.0, 0.0, 1.0) if abs(float(axis[2])) < 0.9 else (1.0, 0.0, 0.0)))
    aside = aside / aside.norm()
    rotation = torch.stack([aside, axis, torch.linalg.cross(aside, axis)], 1)
    half = vector((radius, float((b - a).norm()) / 2, radius))
    return Primitive(Shape.FRUSTUM, (a + b) / 2, half, rotation, material, taper)


def moved(parts: list[Primitive], x: float, y: float, z: float, yaw: float = 0.0) -> list[Primitive]:
    """Parts built around the origin, turned about the up axis and put at (x, y, z)."""
    rotation, offset = turned(yaw), vector((x, y, z))
    return [replace(p, centre=rotation @ p.centre + offset, rotation=rotation @ p.rotation) for p in parts]


def shrunk(parts: list[Primitive], scale: float) -> list[Primitive]:
    """The same thing, smaller."""
    return [replace(p, centre=p.centre * scale, scale=p.scale * scale) for p in parts]


def colour(rng: Rng, palette: Palette, low: float = 0.06, high: float = 0.85) -> Tensor:
    """A random linear RGB albedo: a grey level, pulled toward a random hue."""
    level = low + (high - low) * rng.beta(1.2, 1.5)
    hue = rng.dirichlet((1.0, 1.0, 1.0)) * 3
    amount = palette.saturation * rng.random()
    return vector(np.clip(level * ((1 - amount) + amount * hue), 0.02, 0.92).tolist())


def any_material(
    rng: Rng, palette: Palette, size: float = 0.3, patterns: Sequence[str] | None = None, shiny: float = 0.35
) -> Material:
    """A random material; size is the usual repeat of its pattern in metres."""
    pattern = str(rng.choice(list(patterns or ("plain", "plain", *PATTERNS))))
    photo = None
    if pattern == "photo":
        if palette.photos:
            photo = palette.photos[int(rng.integers(len(palette.photos)))]
            photo = photo * (0.4 + 0.8 * colour(rng, palette, 0.4, 1.0))[:, None, None]
        else:
            pattern = "noise"
    first = colour(rng, palette)
    second = colour(rng, palette) if rng.random() < 0.5 else first * rng.uniform(0.35, 0.8)
    return Material(
        pattern,
        first,
        second,
        size * float(np.exp(rng.normal(0, 0.5))) * (3.0 if pattern == "photo" else 1.0),
        vector(rng.uniform(-5, 5, 3).tolist()),
        specular=float(rng.uniform(0.05, 0.9)) if rng.random() < shiny else 0.0,
        gloss=float(np.exp(rng.uniform(1.5, 5.0))),
        photo=photo,
    )
