"""Things that stand around: each function builds one at the origin, standing on y = 0, as a list of primitives."""

from __future__ import annotations

import math
from collections.abc import Callable

from .build import Palette, Rng, any_material, make, moved, shrunk, turned
from .primitives import Primitive, Shape

Builder = Callable[[Rng, Palette], list[Primitive]]


def crate(rng: Rng, palette: Palette) -> list[Primitive]:
    x, y, z = rng.uniform(0.12, 0.5, 3)
    return [make(Shape.BOX, (0, y, 0), (x, y, z), any_material(rng, palette))]


def stack(rng: Rng, palette: Palette) -> list[Primitive]:
    parts, top, size = [], 0.0, rng.uniform(0.2, 0.45)
    for _ in range(int(rng.integers(2, 5))):
        half = rng.uniform(0.06, 0.22)
        box = make(Shape.BOX, (0, top + half, 0), (size, half, size * rng.uniform(0.6, 1)), any_material(rng, palette))
        parts += moved([box], 0, 0, 0, rng.uniform(-0.5, 0.5))
        top += 2 * half
        size *= rng.uniform(0.7, 1.0)
    return parts


def ball(rng: Rng, palette: Palette) -> list[Primitive]:
    a, b, c = rng.uniform(0.1, 0.4) * rng.uniform(0.7, 1.3, 3)
    return [make(Shape.ELLIPSOID, (0, b, 0), (a, b, c), any_material(rng, palette, shiny=0.6))]


def pillar(rng: Rng, palette: Palette) -> list[Primitive]:
    radius, half, top = rng.uniform(0.06, 0.3), rng.uniform(0.15, 0.9), rng.choice([1.0, 1.0, 0.6, 1.4, 0.02])
    return [make(Shape.FRUSTUM, (0, half, 0), (radius, half, radius), any_material(rng, palette), parameter=float(top))]


def ring(rng: Rng, palette: Palette) -> list[Primitive]:
    size, tube = rng.uniform(0.15, 0.4), rng.uniform(0.15, 0.4)
    standing = rng.random() < 0.5
    height = size * (1 + tube) if standing else size * tube
    tilt = math.pi / 2 if standing else 0.0
    material = any_material(rng, palette, shiny=0.6)
    return [make(Shape.TORUS, (0, height, 0), (size,) * 3, material, turned(tilt=tilt), float(tube))]


def vase(rng: Rng, palette: Palette) -> list[Primitive]:
    material, radius = any_material(rng, palette, shiny=0.7), rng.uniform(0.08, 0.2)
    body, neck = radius * rng.uniform(1.0, 1.7), rng.uniform(0.08, 0.25)
    return [
        make(Shape.ELLIPSOID, (0, body, 0), (radius, body, radius), material),
        make(
            Shape.FRUSTUM,
            (0, 1.8 * body + neck, 0),
            (radius * 0.4, neck, radius * 0.4),
            material,
            parameter=float(rng.uniform(0.8, 2.2)),
        ),
    ]


def table(rng: Rng, palette: Palette) -> list[Primitive]:
    x, z, height = rng.uniform(0.35, 0.9), rng.uniform(0.3, 0.6), rng.uniform(0.4, 0.85)
    wood = any_material(rng, palette, 0.4, ("wood", "plain", "noise", "marble", "planks"))
    leg = rng.uniform(0.015, 0.05)
    shape = Shape.BOX if rng.random() < 0.5 else Shape.FRUSTUM
    parts = [make(Shape.BOX, (0, height, 0), (x, 0.025, z), wood)]
    for sx in (-1, 1):
        for sz in (-1, 1):
            parts.append(make(shape, (sx * (x - 0.06), height / 2, sz * (z - 0.06)), (leg, height / 2, leg), wood))
    for _ in range(int(rng.integers(0, 4))):
        small = SMALL[int(rng.integers(len(SMALL)))](rng, palette)
        scale = rng.uniform(0.25, 0.5)
        parts += moved(
            shrunk(small, scale),
            rng.uniform(-0.6, 0.6) * x,
            height + 0.025,
            rng.uniform(-0.6, 0.6) * z,
            rng.uniform(0, 6),
        )
    return parts


def chair(rng: Rng, palette: Palette) -> list[Primitive]:
    seat, half, leg = rng.uniform(0.38, 0.5), rng.uniform(0.18, 0.26), rng.uniform(0.012, 0.03)
    wood, cushion = any_material(rng, palette, 0.3), any_material(rng, palette, 0.2)
    parts = [make(Shape.BOX, (0, seat, 0), (half, 0.03, half), cushion)]
    for sx in (-1, 1):
        for sz in (-1, 1):
            top = seat if sz > 0 else seat + 0.45
            parts.append(make(Shape.BOX, (sx * (half - leg), top / 2, sz * (half - leg)), (leg, top / 2, leg), wood))
    for bar in range(int(rng.integers(1, 4))):
        parts.append(make(Shape.BOX, (0, seat + 0.15 + 0.13 * bar, leg - half), (half, 0.04, 0.012), wood))
    return parts


def shelf(rng: Rng, palette: Palette) -> list[Primitive]:
    x, height, z = rng.uniform(0.35, 0.8), rng.uniform(0.9, 2.1), rng.uniform(0.14, 0.22)
    wood, levels = any_material(rng, palette, 0.4), int(rng.integers(3, 6))
    parts = [make(Shape.BOX, (s * x, height / 2, 0), (0.015, height / 2, z), wood) for s in (-1, 1)]
    parts.append(make(Shape.BOX, (0, height / 2, -z), (x, height / 2, 0.01), any_material(rng, palette, 0.4)))
    for level in range(levels):
        y = 0.02 + (height - 0.04) * level / (levels - 1)
        parts.append(make(Shape.BOX, (0, y, 0), (x, 0.015, z), wood))
        if level < levels - 1:
            for _ in range(int(rng.integers(0, 3))):
                w, h = rng.uniform(0.03, 0.15), rng.uniform(0.05, 0.8) * height / levels / 2
                parts.append(
                    make(
                        Shape.BOX,
                        (rng.uniform(-0.75, 0.75) * x, y + 0.015 + h, 0),
                        (w, h, 0.1),
                        any_material(rng, palette, 0.1),
                    )
                )
    return parts


def sofa(rng: Rng, palette: Palette) -> list[Primitive]:
    cloth, x = any_material(rng, palette, 0.15, shiny=0.0), rng.uniform(0.6, 1.1)
    return [
        make(Shape.BOX, (0, 0.22, 0), (x, 0.22, 0.42), cloth),
        make(Shape.BOX, (0, 0.6, -0.34), (x, 0.25, 0.1), cloth, turned(tilt=-0.15)),
        make(Shape.BOX, (-x, 0.35, 0), (0.1, 0.35, 0.42), cloth),
        make(Shape.BOX, (x, 0.35, 0), (0.1, 0.35, 0.42), cloth),
        make(
            Shape.ELLIPSOID,
            (rng.uniform(-0.5, 0.5) * x, 0.58, -0.1),
            (0.2, 0.18, 0.09),
            any_material(rng, palette, 0.1),
        ),
    ]


def standing_lamp(rng: Rng, palette: Palette) -> list[Primitive]:
    metal, height = any_material(rng, palette, shiny=0.8), rng.uniform(1.0, 1.8)
    shade = any_material(rng, palette, 0.1, ("plain", "stripes"))
    return [
        make(Shape.FRUSTUM, (0, 0.02, 0), (0.16, 0.02, 0.16), metal),
        make(Shape.FRUSTUM, (0, height / 2, 0), (0.014, height / 2, 0.014), metal),
        make(Shape.FRUSTUM, (0, height, 0), (0.2, 0.13, 0.2), shade, parameter=float(rng.uniform(0.4, 0.9))),
    ]


def plant(rng: Rng, palette: Palette) -> list[Primitive]:
    pot, leaf = any_material(rng, palette, 0.2), any_material(rng, palette, 0.1, ("plain", "noise"))
    height = rng.uniform(0.3, 1.0)
    parts = [make(Shape.FRUSTUM, (0, 0.14, 0), (0.11, 0.14, 0.11), pot, parameter=1.4)]
    for _ in range(int(rng.integers(4, 10))):
        yaw, lean, length = rng.uniform(0, 6.28), rng.uniform(0.1, 1.1), height * rng.uniform(0.4, 0.8)
        reach = (
            math.sin(yaw) * math.sin(lean) * length,
            0.25 + math.cos(lean) * length,
            math.cos(yaw) * math.sin(lean) * length,
        )
        size = rng.uniform(0.05, 0.16)
        tilt = rng.uniform(-0.3, 1.3)
        parts.append(make(Shape.LEAF, reach, (size, 1.0, size * rng.uniform(1.2, 2.5)), leaf, turned(yaw, tilt)))
        half = tuple(v / 2 for v in reach)
        stem = turned(yaw, math.atan2(math.hypot(reach[0], reach[2]), reach[1]))
        parts.append(make(Shape.FRUSTUM, half, (0.008, math.dist((0, 0, 0), reach) / 2, 0.008), leaf, stem))
    return parts


SMALL: tuple[Builder, ...] = (crate, ball, pillar, ring, vase, stack)
LARGE: tuple[Builder, ...] = (table, chair, shelf, sofa, standing_lamp, plant, table, chair)
