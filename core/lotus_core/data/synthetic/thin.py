"""Things of bars, wires and twigs, built at the origin on y = 0."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from .build import Palette, Rng, any_material, make, rod, turned
from .furniture import Builder
from .materials import Material
from .primitives import Primitive, Shape

Point = tuple[float, float, float]
_METAL = ("plain", "plain", "noise", "stripes", "speckle")
_WOOD = ("wood", "plain", "noise", "strands")


def _bar(rng: Rng, palette: Palette) -> Material:
    return any_material(rng, palette, 0.2, _METAL if rng.random() < 0.6 else _WOOD, shiny=0.5)


def path(points: list[Point] | np.ndarray, radius: float, material: Material) -> list[Primitive]:
    """Bars from point to point."""
    return [rod(a, b, radius, material) for a, b in pairwise(points)]


def sagging(
    start: Point, end: Point, sag: float, radius: float, material: Material, pieces: int = 8
) -> list[Primitive]:
    """A wire that hangs `sag` metres below the straight line in its middle."""
    share = np.linspace(0, 1, pieces + 1)[:, None]
    points = np.asarray(start) + share * (np.asarray(end) - np.asarray(start))
    points[:, 1] -= sag * 4 * share[:, 0] * (1 - share[:, 0])
    return path(points, radius, material)


def ladder(rng: Rng, palette: Palette) -> list[Primitive]:
    wood, height, half, thick = (
        _bar(rng, palette),
        rng.uniform(1.2, 3.2),
        rng.uniform(0.18, 0.28),
        rng.uniform(0.012, 0.03),
    )
    lean = -rng.uniform(0.1, 0.4) * height
    parts = [rod((s * half, 0, 0), (s * half * 0.85, height, lean), thick, wood) for s in (-1, 1)]
    for step in np.arange(0.25, height - 0.1, rng.uniform(0.22, 0.35)):
        z = lean * step / height
        parts.append(rod((-half, step, z), (half, step, z), thick * 0.7, wood))
    return parts


def railing(rng: Rng, palette: Palette) -> list[Primitive]:
    iron, half, height = _bar(rng, palette), rng.uniform(0.8, 2.5), rng.uniform(0.7, 1.2)
    gap, thick = rng.uniform(0.09, 0.2), rng.uniform(0.006, 0.018)
    parts = [rod((-half, y, 0), (half, y, 0), thick * 1.6, iron) for y in (0.1, height)]
    for x in np.arange(-half, half + 1e-3, gap):
        parts.append(rod((x, 0.1, 0), (x, height, 0), thick, iron))
    return parts + [rod((s * half, 0, 0), (s * half, height + 0.05, 0), thick * 2.5, iron) for s in (-1, 1)]


def lattice(rng: Rng, palette: Palette) -> list[Primitive]:
    """A grid or a trellis, upright."""
    bar, half, height = _bar(rng, palette), rng.uniform(0.4, 1.2), rng.uniform(0.8, 2.0)
    gap, thick = rng.uniform(0.1, 0.3), rng.uniform(0.004, 0.02)
    parts = [rod((x, 0, 0), (x, height, 0), thick, bar) for x in np.arange(-half, half + 1e-3, gap)]
    return parts + [rod((-half, y, 0), (half, y, 0), thick, bar) for y in np.arange(gap / 2, height, gap)]


def bare_tree(rng: Rng, palette: Palette) -> list[Primitive]:
    bark = any_material(rng, palette, 0.2, ("noise", "wood", "strands", "plain"), shiny=0.0)
    parts: list[Primitive] = []

    def grow(foot: np.ndarray, way: np.ndarray, length: float, thick: float, level: int) -> None:
        tip = foot + way * length
        parts.append(rod(foot.tolist(), tip.tolist(), thick, bark, 0.7))
        if level == 0:
            return
        for _ in range(int(rng.integers(2, 4))):
            turn = way + rng.normal(0, 0.45, 3) + np.array([0, 0.1, 0])
            start = foot + way * length * rng.uniform(0.6, 1.0)
            grow(
                start,
                turn / np.linalg.norm(turn),
                length * rng.uniform(0.55, 0.85),
                thick * rng.uniform(0.45, 0.65),
                level - 1,
            )

    height = rng.uniform(0.7, 1.8)
    lean = np.array([rng.normal(0, 0.08), 1.0, rng.normal(0, 0.08)])
    grow(np.zeros(3), lean / np.linalg.norm(lean), height, height * rng.uniform(0.03, 0.07), 4)
    return parts


def bicycle(rng: Rng, palette: Palette) -> list[Primitive]:
    paint, black = any_material(rng, palette, 0.5, ("plain",), shiny=1.0), any_material(rng, palette, 0.1, ("plain",))
    parts: list[Primitive] = []
    for x in (-0.5, 0.5):
        parts.append(make(Shape.TORUS, (x, 0.34, 0), (0.32,) * 3, black, turned(tilt=math.pi / 2), 0.06))
        for spoke in np.arange(0, math.pi, math.pi / 6):
            dx, dy = 0.31 * math.cos(spoke), 0.31 * math.sin(spoke)
            parts.append(rod((x - dx, 0.34 - dy, 0), (x + dx, 0.34 + dy, 0), 0.002, black))
    frame: list[tuple[Point, Point]] = [
        ((-0.5, 0.34, 0), (-0.05, 0.3, 0)),
        ((-0.5, 0.34, 0), (-0.18, 0.8, 0)),
        ((-0.05, 0.3, 0), (-0.2, 0.88, 0)),
        ((-0.05, 0.3, 0), (0.36, 0.72, 0)),
        ((-0.18, 0.8, 0), (0.35, 0.78, 0)),
        ((0.5, 0.34, 0), (0.33, 0.95, 0)),
    ]
    parts += [rod(a, b, 0.016, paint) for a, b in frame]
    parts.append(rod((0.33, 0.95, -0.27), (0.33, 0.95, 0.27), 0.012, black))
    parts.append(make(Shape.ELLIPSOID, (-0.22, 0.9, 0), (0.13, 0.035, 0.07), black))
    return parts


def spindle_chair(rng: Rng, palette: Palette) -> list[Primitive]:
    wood, seat, half, thick = (
        _bar(rng, palette),
        rng.uniform(0.4, 0.48),
        rng.uniform(0.18, 0.24),
        rng.uniform(0.008, 0.016),
    )
    back = seat + rng.uniform(0.3, 0.55)
    parts = [make(Shape.FRUSTUM, (0, seat, 0), (half, 0.018, half), wood)]
    for sx in (-1, 1):
        for sz in (-1, 1):
            parts.append(
                rod((sx * half * 1.1, 0, sz * half * 1.1), (sx * half * 0.7, seat, sz * half * 0.7), thick * 1.3, wood)
            )
    parts.append(rod((-half, back, -half - 0.06), (half, back, -half - 0.06), thick * 1.6, wood))
    for x in np.linspace(-0.85, 0.85, int(rng.integers(4, 8))) * half:
        parts.append(rod((x * 0.8, seat, -half * 0.8), (x, back, -half - 0.06), thick * 0.8, wood))
    return parts


def scaffold(rng: Rng, palette: Palette) -> list[Primitive]:
    steel, x, z, height = _bar(rng, palette), rng.uniform(0.7, 1.5), rng.uniform(0.3, 0.7), rng.uniform(1.5, 2.2)
    thick, levels = rng.uniform(0.015, 0.03), int(rng.integers(1, 4))
    top = height * levels
    parts = [rod((sx * x, 0, sz * z), (sx * x, top, sz * z), thick, steel) for sx in (-1, 1) for sz in (-1, 1)]
    for level in range(1, levels + 1):
        y = height * level
        for s in (-1, 1):
            parts.append(rod((-x, y, s * z), (x, y, s * z), thick, steel))
            parts.append(rod((s * x, y, -z), (s * x, y, z), thick, steel))
        parts.append(rod((-x, y - height, z), (x, y, z), thick * 0.8, steel))
        parts.append(make(Shape.BOX, (0, y, 0), (x, 0.02, z * 0.8), any_material(rng, palette, 0.3, _WOOD)))
    return parts


def wired_poles(rng: Rng, palette: Palette) -> list[Primitive]:
    """Poles in a row with wires between them."""
    wood, wire = any_material(rng, palette, 0.3, _WOOD), any_material(rng, palette, 0.3, ("plain",))
    height, gap, count = rng.uniform(3.5, 6.5), rng.uniform(4, 9), int(rng.integers(2, 4))
    parts = []
    for i in range(count):
        x = (i - (count - 1) / 2) * gap
        parts += [
            rod((x, 0, 0), (x, height, 0), 0.1, wood, 0.7),
            rod((x, height - 0.3, -0.6), (x, height - 0.3, 0.6), 0.04, wood),
        ]
        if i:
            for z in (-0.55, 0, 0.55):
                parts += sagging(
                    (x - gap, height - 0.25, z), (x, height - 0.25, z), rng.uniform(0.1, 0.5), 0.012, wire, 6
                )
    return parts


def tripod(rng: Rng, palette: Palette) -> list[Primitive]:
    """Three legs and something on top: an easel, a telescope, a music stand."""
    bar, height, spread = _bar(rng, palette), rng.uniform(0.9, 1.6), rng.uniform(0.25, 0.5)
    parts = []
    for angle in (0.3, 2.4, 4.5):
        parts.append(rod((spread * math.sin(angle), 0, spread * math.cos(angle)), (0, height, 0), 0.012, bar))
    top = any_material(rng, palette, 0.2)
    if rng.random() < 0.5:
        parts.append(
            make(
                Shape.BOX,
                (0, height, 0.05),
                (rng.uniform(0.1, 0.4), rng.uniform(0.1, 0.3), 0.015),
                top,
                turned(tilt=-0.25),
            )
        )
    else:
        parts.append(rod((0, height - 0.1, -0.25), (0, height + 0.2, 0.3), 0.05, top, 1.2))
    return parts


def twigs(rng: Rng, palette: Palette) -> list[Primitive]:
    """A bunch of bent stalks: reeds, dry grass, flowers without leaves."""
    stalk, height = any_material(rng, palette, 0.1, ("plain", "noise", "strands")), rng.uniform(0.4, 1.3)
    bloom = any_material(rng, palette, 0.05, ("plain", "noise", "dots"))
    parts: list[Primitive] = []
    with_blooms = rng.random() < 0.5
    for _ in range(int(rng.integers(8, 20))):
        foot, way = rng.normal(0, 0.06 * height, 2), rng.normal(0, 0.3, 2)
        share = np.linspace(0, 1, 4)
        points = np.stack(
            [
                foot[0] + way[0] * share**2 * height,
                share * height * rng.uniform(0.6, 1),
                foot[1] + way[1] * share**2 * height,
            ],
            1,
        )
        parts += path(points, 0.004 + 0.004 * height, stalk)
        if with_blooms:
            parts.append(
                make(Shape.ELLIPSOID, points[-1].tolist(), (0.04 * height, 0.03 * height, 0.04 * height), bloom)
            )
    return parts


def rack(rng: Rng, palette: Palette) -> list[Primitive]:
    """A clothes rack, a wire shelf, or a frame with hoops."""
    bar, half, height = _bar(rng, palette), rng.uniform(0.4, 0.8), rng.uniform(1.0, 1.8)
    parts = [rod((s * half, 0, z), (s * half, height, 0), 0.012, bar) for s in (-1, 1) for z in (-0.25, 0.25)]
    parts.append(rod((-half, height, 0), (half, height, 0), 0.012, bar))
    for x in np.linspace(-0.8, 0.8, int(rng.integers(2, 7))) * half:
        size = rng.uniform(0.06, 0.16)
        centre = (float(x), height - size - 0.05, 0.0)
        parts.append(make(Shape.TORUS, centre, (size,) * 3, bar, turned(rng.uniform(0, 3), math.pi / 2), 0.06))
        parts.append(rod((x, height, 0), (x, height - 0.05, 0), 0.004, bar))
    return parts


THIN_INDOORS: tuple[Builder, ...] = (
    ladder,
    lattice,
    spindle_chair,
    spindle_chair,
    tripod,
    twigs,
    rack,
    bicycle,
    railing,
)
THIN_OUTDOORS: tuple[Builder, ...] = (
    ladder,
    railing,
    railing,
    lattice,
    bare_tree,
    bare_tree,
    bicycle,
    scaffold,
    wired_poles,
    twigs,
)
