"""Narrow and wooded places: alleys with stairs and bridges, and forests of trunks."""

from __future__ import annotations

import math

import numpy as np
import torch

from .build import Palette, Rng, any_material, make, moved, rod, turned, vector
from .figures import animal, lump, person
from .furniture import SMALL
from .materials import Material
from .outdoors import car, fence, post, rock, tree
from .primitives import Primitive, Shape
from .scene import Scene, View
from .staging import facing, keep_clear, pick, under_the_sky
from .terrain import Terrain, Waves
from .thin import bare_tree, bicycle, ladder, railing, sagging, twigs


def rolling(
    rng: Rng, soil: Material, shortest: float = 4.0, longest: float = 40.0, steep: tuple[float, float] = (0.01, 0.05)
) -> Terrain:
    """Ground of a few waves; `steep` is the range of amplitude over wavelength."""
    waves = int(rng.integers(3, 7))
    length = np.exp(rng.uniform(math.log(shortest), math.log(longest), waves))
    heading = rng.uniform(0, 6.3, waves)
    frequency = 2 * math.pi / length[:, None] * np.stack([np.cos(heading), np.sin(heading)], 1)
    return Terrain(
        torch.tensor(frequency, dtype=torch.float32),
        torch.tensor(length * rng.uniform(*steep, waves), dtype=torch.float32),
        torch.tensor(rng.uniform(0, 6.3, waves), dtype=torch.float32),
        0.0,
        soil,
    )


def height_at(ground: Waves, x: float, z: float) -> float:
    """Of the ground, in metres."""
    return float(ground.height(vector((x, 0, z))[None])[0])


def alley(rng: Rng, palette: Palette, height: int, width: int) -> Scene:
    """Between two rows of houses: doors, balconies, awnings, steps, wires, an arch, people."""
    half = rng.uniform(1.2, 4.0)
    pavement = any_material(
        rng, palette, 0.6, ("bricks", "tiles", "noise", "speckle", "photo", "cracks", "planks"), 0.1
    )
    parts = [make(Shape.GROUND, (0, 0, 0), (1, 1, 1), pavement)]
    eye = np.array([rng.uniform(-0.5, 0.5) * half, rng.uniform(1.0, 2.2), 0.0])
    for side in (-1, 1):
        z, climb = 3.0, 0.0
        while z > -rng.uniform(25, 45):
            long, tall, deep = rng.uniform(1.5, 4.0), rng.uniform(1.6, 4.5), rng.uniform(1.5, 3)
            set_back = abs(rng.normal(0, 0.25))
            x = side * (half + deep + set_back)
            wall = any_material(
                rng, palette, 1.3, ("windows", "bricks", "plain", "photo", "stains", "cracks", "planks"), 0.1
            )
            parts.append(make(Shape.BOX, (x, tall, z - long), (deep, tall, long * 0.995), wall))
            parts += keep_clear(_frontage(rng, palette, side, half + set_back, z, long, tall), eye, 0.7)
            z -= 2 * long + (rng.uniform(0.5, 2) if rng.random() < 0.2 else 0)
            climb += 0.1
    if rng.random() < 0.35:
        parts += _stairs(rng, palette, half, -rng.uniform(5, 12))
    elif rng.random() < 0.4:
        parts += _arch(rng, palette, half, -rng.uniform(6, 16))
    for _ in range(int(rng.integers(0, 5))):
        z, y = -rng.uniform(2, 18), rng.uniform(3, 5.5)
        wire = any_material(rng, palette, 0.3, ("plain",))
        parts += sagging(
            (-half, y, z), (half, y + rng.normal(0, 0.4), z - rng.uniform(0, 2)), rng.uniform(0.1, 0.5), 0.012, wire
        )
    for _ in range(int(rng.integers(3, 10))):
        z = -float(np.exp(rng.uniform(math.log(2), math.log(20))))
        builder = pick(
            rng, (*SMALL, person, person, bicycle, post, ladder, twigs, animal, *((car,) if half > 2.5 else ()))
        )
        x = rng.uniform(-0.85, 0.85) * half
        parts += keep_clear(moved(builder(rng, palette), x, 0, z, facing(rng)), eye, 0.9)
    view = View.look(
        vector(eye), rng.normal(0, 0.15), rng.normal(0.0, 0.1), rng.normal(0, 0.03), rng.uniform(50, 85), height, width
    )
    return under_the_sky(rng, parts, None, view)


def _frontage(rng: Rng, palette: Palette, side: int, x: float, z: float, long: float, tall: float) -> list[Primitive]:
    """What one house has on the side of the alley."""
    trim = any_material(rng, palette, 0.4, ("wood", "plain", "planks", "noise", "gradient"))
    parts = []
    for _ in range(int(rng.integers(1, 4))):
        at = z - long + rng.uniform(-0.7, 0.7) * long
        match str(rng.choice(["door", "awning", "balcony", "pipe", "step", "sign", "shutter"])):
            case "door":
                parts.append(make(Shape.BOX, (side * x, 1.0, at), (0.05, 1.0, 0.45), trim))
            case "awning":
                cloth = any_material(rng, palette, 0.4, ("stripes", "plain"))
                parts.append(
                    make(Shape.BOX, (side * (x - 0.45), 2.4, at), (0.5, 0.02, 0.9), cloth, turned(roll=-side * 0.4))
                )
            case "balcony":
                y = rng.uniform(2.6, max(2.7, 1.6 * tall))
                parts.append(make(Shape.BOX, (side * (x - 0.35), y, at), (0.35, 0.05, 0.8), trim))
                for s in np.linspace(-0.78, 0.78, 9):
                    parts.append(
                        rod((side * (x - 0.68), y, at + s), (side * (x - 0.68), y + 0.85, at + s), 0.014, trim)
                    )
                parts.append(
                    rod((side * (x - 0.68), y + 0.85, at - 0.8), (side * (x - 0.68), y + 0.85, at + 0.8), 0.025, trim)
                )
            case "pipe":
                parts.append(rod((side * (x - 0.06), 0, at), (side * (x - 0.06), 2 * tall, at), 0.05, trim))
            case "step":
                for i in range(3):
                    parts.append(
                        make(
                            Shape.BOX,
                            (side * (x - 0.15 * (3 - i)), 0.09 * (i + 1), at),
                            (0.15, 0.09 * (i + 1), 0.6),
                            trim,
                        )
                    )
            case "sign":
                face = any_material(rng, palette, 0.3, ("text", "plain", "photo", "dots"))
                parts.append(make(Shape.BOX, (side * (x - 0.4), rng.uniform(2.3, 3.2), at), (0.35, 0.25, 0.03), face))
            case _:
                parts.append(make(Shape.BOX, (side * x, rng.uniform(1.3, 3.0), at), (0.06, 0.55, 0.35), trim))
    return parts


def _stairs(rng: Rng, palette: Palette, half: float, z: float) -> list[Primitive]:
    stone = any_material(rng, palette, 0.5, ("noise", "bricks", "speckle", "photo", "plain", "cracks"))
    rise, going, count = rng.uniform(0.14, 0.2), rng.uniform(0.26, 0.4), int(rng.integers(8, 20))
    parts = [
        make(Shape.BOX, (0, rise * (i + 1) / 2, z - going * (i + 0.5)), (half, rise * (i + 1) / 2, going / 2), stone)
        for i in range(count)
    ]
    top, end = rise * count, z - going * count
    parts.append(make(Shape.BOX, (0, top / 2, end - 15), (half, top / 2, 15), stone))
    iron = any_material(rng, palette, 0.3, ("plain",), shiny=0.5)
    x = float(rng.uniform(-0.3, 0.3)) * half
    parts.append(rod((x, 0.9, z), (x, top + 0.9, end), 0.03, iron))
    for share in np.linspace(0, 1, 7):
        y, at = share * top, z + share * (end - z)
        parts.append(rod((x, y, at), (x, y + 0.9, at), 0.02, iron))
    return parts


def _arch(rng: Rng, palette: Palette, half: float, z: float) -> list[Primitive]:
    """A bridge across, its deck on an arch of blocks, with a parapet or a railing."""
    stone = any_material(rng, palette, 0.5, ("bricks", "noise", "plain", "photo", "cracks"))
    spring, deep = rng.uniform(1.6, 2.6), rng.uniform(0.5, 2)
    top = spring + half
    parts = [make(Shape.BOX, (0, top + 0.3, z), (half * 1.3, 0.3, deep), stone)]
    count = 14
    for i in range(count):
        angle = math.pi * (i + 0.5) / count
        x, y = half * math.cos(angle), spring + half * math.sin(angle)
        parts.append(
            make(Shape.BOX, (x, y, z), (half * 1.7 / count, 0.22, deep), stone, turned(roll=angle - math.pi / 2))
        )
    parts += moved(railing(rng, palette), 0, top + 0.6, z + deep - 0.1)
    return parts


def forest(rng: Rng, palette: Palette, height: int, width: int) -> Scene:
    """Trunks near and far on uneven ground, undergrowth, rocks, now and then a person, an animal or a fence."""
    soil = any_material(rng, palette, 0.7, ("leaves", "leaves", "noise", "speckle", "photo", "stains"), 0.0)
    ground = rolling(rng, soil, 3.0, 30.0, (0.005, 0.03))
    eye = np.array([0.0, height_at(ground, 0, 0) + rng.uniform(0.7, 2.2), 0.0])
    bark = [
        any_material(rng, palette, 0.25, ("strands", "noise", "wood", "stains", "cracks"), shiny=0.0) for _ in range(3)
    ]
    parts: list[Primitive] = []
    for _ in range(int(rng.integers(12, 45))):
        z = -float(np.exp(rng.uniform(math.log(1.8), math.log(40))))
        x, tall, thick = rng.uniform(-0.9, 0.9) * (1 - z), rng.uniform(5, 14), rng.uniform(0.06, 0.35)
        y = height_at(ground, x, z) - 0.15
        lean = rng.normal(0, 0.04, 2) * tall
        trunk = [rod((x, y, z), (x + lean[0], y + tall, z + lean[1]), thick, bark[int(rng.integers(3))], 0.5)]
        for _ in range(int(rng.integers(0, 4))):
            share, way = rng.uniform(0.15, 0.6), rng.normal(0, 1, 2)
            foot = (x + share * lean[0], y + share * tall, z + share * lean[1])
            tip = (foot[0] + way[0], foot[1] + rng.uniform(0.0, 1.0), foot[2] + way[1])
            trunk.append(rod(foot, tip, thick * 0.25, trunk[0].material, 0.4))
        if float((trunk[0].centre[[0, 2]]).norm()) > 1.0:
            parts += trunk
    low = (rock, rock, twigs, twigs, lump, bare_tree, tree, tree, fence, person, animal)
    for _ in range(int(rng.integers(4, 14))):
        z = -float(np.exp(rng.uniform(math.log(2), math.log(25))))
        x = rng.uniform(-0.8, 0.8) * (1 - z)
        parts += keep_clear(
            moved(pick(rng, low)(rng, palette), x, height_at(ground, x, z) - 0.05, z, rng.uniform(0, 6.3)), eye, 1.0
        )
    view = View.look(
        vector(eye),
        rng.normal(0, 0.2),
        rng.normal(-0.05, 0.12),
        rng.normal(0, 0.03),
        rng.uniform(50, 85),
        height,
        width,
    )
    return under_the_sky(rng, parts, ground, view)
