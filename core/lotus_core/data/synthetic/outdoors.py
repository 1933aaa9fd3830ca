"""Things under the open sky, built at the origin on y = 0."""

from __future__ import annotations

import math

from .build import Palette, Rng, any_material, make, turned, vector
from .furniture import Builder
from .materials import Material
from .primitives import Primitive, Shape


def house(rng: Rng, palette: Palette) -> list[Primitive]:
    x, height, z = rng.uniform(2, 6), rng.uniform(1.5, 6), rng.uniform(2, 6)
    wall = any_material(rng, palette, 2.2, ("windows", "windows", "bricks", "plain", "photo"), shiny=0.1)
    parts = [make(Shape.BOX, (0, height, 0), (x, height, z), wall)]
    if rng.random() < 0.5:  # a hipped roof: a box turned on its edge, squashed into the walls
        roof = any_material(rng, palette, 0.5, ("bricks", "plain", "noise"), shiny=0.0)
        parts.append(make(Shape.BOX, (0, 2 * height, 0), (x * 1.05, z * 0.6, z * 0.74), roof, turned(tilt=math.pi / 4)))
    return parts


def tree(rng: Rng, palette: Palette) -> list[Primitive]:
    height, crown = rng.uniform(1.5, 5), rng.uniform(0.8, 2.0)
    bark = any_material(rng, palette, 0.3, ("wood", "noise"), shiny=0.0)
    green = vector((rng.uniform(0.03, 0.25), rng.uniform(0.12, 0.4), rng.uniform(0.02, 0.12)))
    leaves = Material(
        "noise", green, green * 0.35, float(rng.uniform(0.2, 0.6)), vector(rng.uniform(-5, 5, 3).tolist())
    )
    parts = [make(Shape.FRUSTUM, (0, height / 2, 0), (0.16, height / 2, 0.16), bark, parameter=0.6)]
    if rng.random() < 0.35:
        for level in range(3):
            width = crown * (1 - 0.25 * level)
            centre = (0, height * 0.5 + crown * (0.6 + 0.7 * level), 0)
            parts.append(make(Shape.FRUSTUM, centre, (width, crown * 0.6, width), leaves, parameter=0.05))
        return parts
    for _ in range(int(rng.integers(3, 7))):
        where = rng.normal(0, 0.45, 3) * crown
        size = crown * rng.uniform(0.45, 0.9, 3)
        parts.append(
            make(Shape.ELLIPSOID, (where[0], height + 0.5 * crown + where[1], where[2]), size.tolist(), leaves)
        )
    return parts


def post(rng: Rng, palette: Palette) -> list[Primitive]:
    metal, height, radius = any_material(rng, palette, 0.5, shiny=0.4), rng.uniform(1.2, 5), rng.uniform(0.03, 0.09)
    parts = [make(Shape.FRUSTUM, (0, height / 2, 0), (radius, height / 2, radius), metal)]
    if rng.random() < 0.5:
        sign = any_material(rng, palette, 0.3)
        parts.append(make(Shape.BOX, (0, height, 0), (rng.uniform(0.2, 0.6), rng.uniform(0.15, 0.4), 0.02), sign))
    return parts


def car(rng: Rng, palette: Palette) -> list[Primitive]:
    paint, glass = (
        any_material(rng, palette, 2.0, ("plain",), shiny=1.0),
        any_material(rng, palette, 1.0, ("plain",), shiny=1.0),
    )
    tyre = Material("plain", vector((0.03, 0.03, 0.03)), vector((0.05, 0.05, 0.05)), 1.0, vector((0, 0, 0)))
    parts = [
        make(Shape.BOX, (0, 0.65, 0), (0.85, 0.35, 2.0), paint),
        make(Shape.BOX, (0, 1.2, 0.1), (0.72, 0.25, 1.0), glass),
    ]
    for sx in (-1, 1):
        for sz in (-1, 1):
            on_side = turned(roll=math.pi / 2)
            parts.append(make(Shape.FRUSTUM, (sx * 0.78, 0.32, sz * 1.25), (0.32, 0.11, 0.32), tyre, on_side))
    return parts


def rock(rng: Rng, palette: Palette) -> list[Primitive]:
    stone = any_material(rng, palette, 0.4, ("noise", "speckle", "photo", "marble"), shiny=0.1)
    size = rng.uniform(0.3, 1.3)
    parts = []
    for _ in range(int(rng.integers(1, 4))):
        where, half = rng.normal(0, 0.4, 2) * size, size * rng.uniform(0.5, 1.1, 3)
        parts.append(
            make(Shape.ELLIPSOID, (where[0], 0.3 * half[1], where[1]), half.tolist(), stone, turned(rng.uniform(0, 3)))
        )
    return parts


def fence(rng: Rng, palette: Palette) -> list[Primitive]:
    wood, count = any_material(rng, palette, 0.3, ("wood", "plain", "noise")), int(rng.integers(4, 9))
    parts = [make(Shape.BOX, (0, y, 0), (count * 0.35, 0.04, 0.015), wood) for y in (0.4, 0.9)]
    for i in range(count):
        parts.append(make(Shape.BOX, ((i - (count - 1) / 2) * 0.7, 0.6, 0), (0.06, 0.6, 0.03), wood))
    return parts


OUTDOORS: tuple[Builder, ...] = (house, house, tree, tree, tree, post, car, rock, fence)
