"""Small things of daily life in their own size, built at the origin on y = 0."""

from __future__ import annotations

import math

import numpy as np

from .blobs import Blob, Lump, body
from .build import Palette, Rng, any_material, make, moved, rod, turned, vector
from .furniture import Builder
from .materials import Material
from .primitives import Primitive, Shape
from .thin import path

_COVER = ("plain", "text", "photo", "stripes", "gradient", "noise", "dots", "woven")
_PAPER = ("text", "text", "photo", "plain", "gradient")


def _white(level: float = 0.8) -> Material:
    return Material("plain", vector((level, level, level * 0.95)), vector((0.6, 0.6, 0.55)), 0.1, vector((0, 0, 0)))


def _paper(rng: Rng, palette: Palette) -> Material:
    made = any_material(rng, palette, 0.06, _PAPER, shiny=0.0)
    if made.pattern != "text":
        return made
    return Material(
        "text", vector((0.8, 0.8, 0.76)), vector((0.05, 0.05, 0.06)), float(rng.uniform(0.04, 0.12)), made.offset
    )


def book(rng: Rng, palette: Palette) -> list[Primitive]:
    x, z, half = rng.uniform(0.06, 0.12), rng.uniform(0.08, 0.16), rng.uniform(0.006, 0.025)
    cover = any_material(rng, palette, 0.1, _COVER)
    return [
        make(Shape.BOX, (0, half, 0), (x, half * 0.85, z), _white()),
        *(make(Shape.BOX, (0, y, 0), (x * 1.03, half * 0.1, z * 1.03), cover) for y in (half * 0.1, half * 1.9)),
        make(Shape.BOX, (-x, half, 0), (x * 0.03, half, z * 1.03), cover),
    ]


def books(rng: Rng, palette: Palette) -> list[Primitive]:
    """A pile."""
    parts, top = [], 0.0
    for _ in range(int(rng.integers(2, 6))):
        one = book(rng, palette)
        parts += moved(one, rng.normal(0, 0.01), top, rng.normal(0, 0.01), rng.normal(0, 0.25))
        top += 2 * float(one[0].centre[1])
    return parts


def book_row(rng: Rng, palette: Palette, length: float = 0.3) -> list[Primitive]:
    """Upright, spines forward."""
    parts, x = [], -length / 2
    while x < length / 2:
        half, height, deep = rng.uniform(0.008, 0.028), rng.uniform(0.085, 0.15), rng.uniform(0.07, 0.1)
        lean = turned(roll=-rng.uniform(0.05, 0.2)) if rng.random() < 0.1 else None
        parts.append(
            make(
                Shape.BOX,
                (x + half, height, 0.1 - deep),
                (half * 0.96, height, deep),
                any_material(rng, palette, 0.08, _COVER),
                lean,
            )
        )
        x += 2 * half + (0.03 if lean is not None else 0)
    return parts


def sheets(rng: Rng, palette: Palette) -> list[Primitive]:
    return [
        part
        for i in range(int(rng.integers(1, 5)))
        for part in moved(
            [make(Shape.BOX, (0, 0.001, 0), (0.105, 0.0008, 0.148), _paper(rng, palette))],
            rng.normal(0, 0.04),
            0.0016 * i,
            rng.normal(0, 0.04),
            rng.normal(0, 0.5),
        )
    ]


def bottle(rng: Rng, palette: Palette) -> list[Primitive]:
    radius, height = rng.uniform(0.025, 0.045), rng.uniform(0.07, 0.13)
    glass, label = (
        any_material(rng, palette, 0.1, ("plain", "gradient"), shiny=1.0),
        any_material(rng, palette, 0.05, _PAPER, shiny=0.1),
    )
    neck = radius * rng.uniform(0.25, 0.45)
    return [
        make(Shape.FRUSTUM, (0, height, 0), (radius, height, radius), glass),
        make(
            Shape.FRUSTUM, (0, height * 0.9, 0), (radius * 1.01, height * rng.uniform(0.2, 0.6), radius * 1.01), label
        ),
        make(Shape.ELLIPSOID, (0, 2 * height, 0), (radius, radius * 0.9, radius), glass),
        make(Shape.FRUSTUM, (0, 2 * height + radius, 0), (neck, rng.uniform(0.03, 0.06), neck), glass),
        make(Shape.FRUSTUM, (0, 2 * height + radius + 0.05, 0), (neck * 1.2, 0.012, neck * 1.2), label),
    ]


def mug(rng: Rng, palette: Palette) -> list[Primitive]:
    radius, half = rng.uniform(0.03, 0.05), rng.uniform(0.035, 0.06)
    glaze, drink = (
        any_material(rng, palette, 0.05, ("plain", "stripes", "dots", "speckle", "photo")),
        any_material(rng, palette, 0.1, ("plain",)),
    )
    return [
        make(Shape.FRUSTUM, (0, half, 0), (radius, half, radius), glaze, parameter=float(rng.uniform(0.9, 1.3))),
        make(Shape.LEAF, (0, 2 * half + 5e-4, 0), (radius * 0.85, 1, radius * 0.85), drink),
        make(Shape.TORUS, (radius * 1.15, half, 0), (half * 0.55,) * 3, glaze, turned(tilt=math.pi / 2), 0.22),
    ]


def plate(rng: Rng, palette: Palette) -> list[Primitive]:
    """With its rim, and food on it."""
    radius = rng.uniform(0.07, 0.13)
    china = any_material(rng, palette, 0.1, ("plain", "plain", "dots", "speckle", "stripes"), shiny=0.8)
    parts = [
        make(Shape.FRUSTUM, (0, 0.006, 0), (radius * 0.7, 0.006, radius * 0.7), china, parameter=1.35),
        make(Shape.TORUS, (0, 0.011, 0), (radius * 0.93,) * 3, china, parameter=0.045),
    ]
    if rng.random() < 0.6:
        lumps = [
            Lump(
                (*(rng.normal(0, 0.3, 1) * radius), float(rng.uniform(0, 0.02)), *(rng.normal(0, 0.3, 1) * radius)),
                rng.uniform(0.012, 0.035, 3).tolist(),
            )
            for _ in range(int(rng.integers(2, 7)))
        ]
        parts += moved([body(Blob(lumps, 0.004), any_material(rng, palette, 0.03))], 0, 0.014, 0)
    return parts


def cutlery(rng: Rng, palette: Palette) -> list[Primitive]:
    steel = any_material(rng, palette, 0.1, ("plain",), shiny=1.0)
    parts = []
    for i in range(int(rng.integers(1, 4))):
        x, long = 0.03 * i, rng.uniform(0.07, 0.1)
        parts.append(rod((x, 0.004, -long * 0.2), (x, 0.004, long), 0.0035, steel, 1.5))
        match str(rng.choice(["spoon", "fork", "knife"])):
            case "spoon":
                parts.append(make(Shape.ELLIPSOID, (x, 0.005, -long * 0.4), (0.018, 0.005, 0.028), steel))
            case "fork":
                for tine in (-0.009, -0.003, 0.003, 0.009):
                    parts.append(rod((x + tine, 0.005, -long * 0.15), (x + tine, 0.006, -long * 0.75), 0.0016, steel))
                parts.append(make(Shape.BOX, (x, 0.005, -long * 0.2), (0.011, 0.002, 0.01), steel))
            case _:
                parts.append(make(Shape.BOX, (x, 0.004, -long * 0.6), (0.009, 0.001, long * 0.45), steel))
    return parts


def pens(rng: Rng, palette: Palette) -> list[Primitive]:
    parts = []
    for _ in range(int(rng.integers(1, 5))):
        a, angle, half = rng.normal(0, 0.04, 2), rng.uniform(0, 3.1), rng.uniform(0.05, 0.09)
        dx, dz = math.cos(angle) * half, math.sin(angle) * half
        paint = any_material(rng, palette, 0.05, ("plain", "stripes"))
        parts.append(rod((a[0] - dx, 0.005, a[1] - dz), (a[0] + dx, 0.005, a[1] + dz), 0.0045, paint))
        parts.append(
            rod((a[0] + dx, 0.005, a[1] + dz), (a[0] + dx * 1.12, 0.005, a[1] + dz * 1.12), 0.0045, paint, 0.15)
        )
    return parts


def pen_pot(rng: Rng, palette: Palette) -> list[Primitive]:
    parts = [make(Shape.FRUSTUM, (0, 0.05, 0), (0.04, 0.05, 0.04), any_material(rng, palette, 0.05), parameter=1.1)]
    for _ in range(int(rng.integers(3, 9))):
        way = rng.normal(0, 0.022, 2)
        top = (way[0] * 2.2, rng.uniform(0.13, 0.19), way[1] * 2.2)
        parts.append(rod((way[0], 0.08, way[1]), top, 0.004, any_material(rng, palette, 0.05, ("plain", "stripes"))))
    return parts


def cable(rng: Rng, palette: Palette) -> list[Primitive]:
    """Lying in curves."""
    angle, at, points = rng.uniform(0, 6.3), rng.normal(0, 0.1, 2), []
    bend = 0.0
    for _ in range(int(rng.integers(8, 22))):
        points.append((at[0], 0.005, at[1]))
        bend = 0.8 * bend + rng.normal(0, 0.3)
        angle += bend
        at = at + 0.035 * np.array([math.cos(angle), math.sin(angle)])
    return path(points, rng.uniform(0.002, 0.005), any_material(rng, palette, 0.1, ("plain", "stripes")))


def box(rng: Rng, palette: Palette) -> list[Primitive]:
    x, y, z = rng.uniform(0.02, 0.12, 3)
    return [
        make(
            Shape.BOX,
            (0, y, 0),
            (x, y, z),
            any_material(
                rng, palette, 0.08, ("plain", "text", "photo", "stripes", "gradient", "noise", "stains", "checker")
            ),
        )
    ]


def can(rng: Rng, palette: Palette) -> list[Primitive]:
    radius, half = rng.uniform(0.025, 0.05), rng.uniform(0.03, 0.07)
    tin, label = any_material(rng, palette, 0.1, ("plain",), shiny=1.0), any_material(rng, palette, 0.06, _COVER)
    return [
        make(Shape.FRUSTUM, (0, half, 0), (radius, half, radius), label),
        make(Shape.FRUSTUM, (0, half, 0), (radius * 0.94, half * 1.04, radius * 0.94), tin),
    ]


def fruit(rng: Rng, palette: Palette) -> list[Primitive]:
    parts = []
    for _ in range(int(rng.integers(1, 5))):
        size = rng.uniform(0.025, 0.045)
        half = size * rng.uniform(0.8, 1.15, 3)
        at = rng.normal(0, 0.05, 2)
        flesh = Blob(
            [Lump((0, 0, 0), half.tolist()), Lump((0, half[1] * 1.05, 0), (size * 0.25,) * 3, carved=True)], size * 0.15
        )
        skin = any_material(rng, palette, 0.05, ("gradient", "noise", "speckle", "plain"), shiny=0.8)
        parts += moved(
            [body(flesh, skin), rod((0, half[1] * 0.7, 0), (0.005, half[1] * 1.2, 0), 0.002, skin)],
            at[0],
            float(half[1]),
            at[1],
        )
    return parts


def laptop(rng: Rng, palette: Palette) -> list[Primitive]:
    shell, tilt = any_material(rng, palette, 0.2, ("plain",), shiny=0.6), -rng.uniform(0.1, 0.6)
    screen = any_material(rng, palette, 0.1, ("photo", "text", "gradient"), shiny=0.5)
    parts = [make(Shape.BOX, (0, 0.008, 0), (0.16, 0.008, 0.11), shell)]
    for name, z, size in ((shell, 0.0, 0.16), (screen, 0.0045, 0.15)):
        lean = turned(tilt=tilt)
        centre = lean @ vector((0, 0.1, z)) + vector((0, 0.015, -0.11))
        parts.append(make(Shape.BOX, centre.numpy(), (size, size * 0.65, 0.004), name, lean))
    key = any_material(rng, palette, 0.1, ("plain",))
    for row in range(4):
        parts.append(make(Shape.BOX, (0, 0.017, -0.07 + 0.023 * row), (0.14, 0.003, 0.009), key))
    return parts


def jar(rng: Rng, palette: Palette) -> list[Primitive]:
    """A turned pot of random outline."""
    clay, top, parts = any_material(rng, palette, 0.08, shiny=0.6), 0.0, []
    radius = rng.uniform(0.02, 0.05)
    for _ in range(int(rng.integers(2, 5))):
        half, taper = rng.uniform(0.015, 0.04), rng.uniform(0.6, 1.5)
        parts.append(make(Shape.FRUSTUM, (0, top + half, 0), (radius, half, radius), clay, parameter=float(taper)))
        top, radius = top + 2 * half, radius * taper
    return parts


def desk_lamp(rng: Rng, palette: Palette) -> list[Primitive]:
    metal = any_material(rng, palette, 0.1, ("plain",), shiny=0.8)
    elbow, tip = (rng.uniform(-0.1, 0.1), 0.2, -0.1), (rng.uniform(-0.1, 0.1), rng.uniform(0.3, 0.4), 0.06)
    return [
        make(Shape.FRUSTUM, (0, 0.01, 0), (0.08, 0.01, 0.08), metal),
        rod((0, 0, 0), elbow, 0.006, metal),
        rod(elbow, tip, 0.006, metal),
        make(Shape.FRUSTUM, (tip[0], tip[1] - 0.02, tip[2] + 0.02), (0.07, 0.05, 0.07), metal, turned(tilt=0.5), 0.4),
    ]


THINGS: tuple[Builder, ...] = (
    *(book, books, sheets, bottle, bottle, mug, plate, cutlery, pens, pen_pot, cable, cable, box, box, can, fruit),
    *(laptop, jar, jar, desk_lamp),
)
