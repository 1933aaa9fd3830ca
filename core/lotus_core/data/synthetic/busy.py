"""Crowded scenes: desks, bookcases and floors dense with small things; and what is seen through bars and wires."""

from __future__ import annotations

import math

import numpy as np

from .build import Palette, Rng, any_material, make, moved, shrunk, vector
from .clutter import THINGS, book_row, books, box
from .figures import person
from .furniture import LARGE, SMALL
from .outdoors import OUTDOORS
from .primitives import Primitive, Shape
from .scene import Light, Scene, View
from .staging import facing, indoors, keep_clear, light_colour, pick, studio_lights, sun_direction, under_the_sky
from .thin import THIN_INDOORS, THIN_OUTDOORS


def clutter(rng: Rng, palette: Palette, height: int, width: int) -> Scene:
    """A desk, a bookcase or a floor."""
    made = (_desk, _bookcase, _floor)
    return made[int(rng.choice(3, p=(0.55, 0.2, 0.25)))](rng, palette, height, width)


def _strewn(
    rng: Rng, palette: Palette, count: int, half: tuple[float, float], y: float, eye: np.ndarray, scale: float = 1.0
) -> list[Primitive]:
    """Things over a rectangle, mostly beside each other: each takes the freest of a few places."""
    taken: list[tuple[float, float, float]] = []
    parts: list[Primitive] = []
    for _ in range(count):
        thing = shrunk(pick(rng, THINGS)(rng, palette), scale * float(np.exp(rng.normal(0, 0.15))))
        reach = (
            max(math.hypot(float(p.centre[0]), float(p.centre[2])) + min(p.bounding_radius, 0.3) for p in thing) * 0.6
        )
        places = rng.uniform(-1, 1, (6, 2)) * np.array(half)
        room = [min((math.hypot(x - u, z - v) - r - reach for u, v, r in taken), default=1.0) for x, z in places]
        x, z = places[int(np.argmax(room))]
        if max(room) < -0.5 * reach:
            continue
        taken.append((x, z, reach))
        parts += keep_clear(moved(thing, x, y, z, facing(rng)), eye, 0.22)
    return parts


def _desk(rng: Rng, palette: Palette, height: int, width: int) -> Scene:
    half_x, half_z, thick = rng.uniform(0.4, 0.8), rng.uniform(0.28, 0.45), 0.02
    top = any_material(
        rng, palette, 0.25, ("wood", "planks", "plain", "marble", "noise", "woven", "checker", "stains", "photo")
    )
    desk = 0.75
    distance = half_z + rng.uniform(0.25, 0.6)
    low = rng.uniform(0.18, 0.8)
    eye = np.array([rng.normal(0, 0.2), desk + low, distance])
    parts = [
        make(Shape.GROUND, (0, 0, 0), (1, 1, 1), any_material(rng, palette, 0.3)),
        make(Shape.BOX, (0, desk - thick, 0), (half_x, thick, half_z), top),
        *(
            make(
                Shape.BOX, (s * (half_x - 0.05), (desk - 2 * thick) / 2, 0), (0.03, desk / 2 - thick, half_z * 0.9), top
            )
            for s in (-1, 1)
        ),
    ]
    wall = any_material(rng, palette, 0.4)
    parts += moved(
        [make(Shape.BOX, (0, 2, -0.1), (8, 4, 0.1), wall)],
        0,
        0,
        -half_z - float(rng.choice([0.05, 0.1, 0.8, 2.0])),
        rng.normal(0, 0.08),
    )
    parts += _strewn(rng, palette, int(rng.integers(8, 26)), (half_x * 0.9, half_z * 0.9), desk, eye)
    if rng.random() < 0.4:
        for i in range(int(rng.integers(1, 4))):
            parts += moved(book_row(rng, palette, rng.uniform(0.15, 0.4)), (i - 1) * 0.4 * half_x, desk, -half_z * 0.8)
    pitch = -math.atan2(low - 0.06, distance) + rng.normal(0, 0.08)
    yaw = math.atan2(-eye[0], distance) + rng.normal(0, 0.1)
    view = View.look(vector(eye), yaw, pitch, rng.normal(0, 0.05), rng.uniform(45, 75), height, width)
    lights = studio_lights(rng, (0, desk + 0.3, 0))
    return indoors(rng, palette, view, parts, lights, float(rng.uniform(0.15, 0.5)))


def _bookcase(rng: Rng, palette: Palette, height: int, width: int) -> Scene:
    half, tall, deep = rng.uniform(0.5, 1.1), rng.uniform(1.4, 2.2), rng.uniform(0.12, 0.18)
    wood, levels = any_material(rng, palette, 0.4, ("wood", "plain", "planks", "noise")), int(rng.integers(4, 7))
    eye = np.array([rng.uniform(-0.5, 0.5), rng.uniform(0.6, 1.6), rng.uniform(1.0, 2.2)])
    wall, floor = any_material(rng, palette, 0.4), any_material(rng, palette, 0.3)
    parts = [
        make(Shape.GROUND, (0, 0, 0), (1, 1, 1), floor),
        make(Shape.BOX, (0, 2, -deep - 0.12), (8, 4, 0.1), wall),
        make(Shape.BOX, (0, tall / 2, -deep), (half, tall / 2, 0.01), wood),
        *(make(Shape.BOX, (s * half, tall / 2, 0), (0.015, tall / 2, deep), wood) for s in (-1, 1)),
    ]
    for level in range(levels):
        y = 0.03 + (tall - 0.06) * level / (levels - 1)
        parts.append(make(Shape.BOX, (0, y, 0), (half, 0.012, deep), wood))
        x = -half + 0.08
        while level < levels - 1 and x < half - 0.1:
            if rng.random() < 0.6:
                length = min(float(rng.uniform(0.1, 0.4)), half - x)
                parts += moved(book_row(rng, palette, length), x + length / 2, y + 0.012, 0)
            else:
                length = 0.16
                thing = pick(rng, (books, box, *THINGS))(rng, palette)
                parts += moved(thing, x + 0.08, y + 0.012, 0, rng.normal(0, 0.3))
            x += length + rng.uniform(0.01, 0.15)
    for _ in range(int(rng.integers(0, 4))):
        x, z = rng.uniform(-1.2, 1.2), rng.uniform(0.3, 0.9)
        parts += keep_clear(moved(pick(rng, SMALL)(rng, palette), x, 0, z, facing(rng)), eye, 0.5)
    aim = np.array([rng.uniform(-0.3, 0.3), tall * rng.uniform(0.35, 0.65)])
    yaw = math.atan2(aim[0] - eye[0], eye[2]) + rng.normal(0, 0.05)
    pitch = math.atan2(aim[1] - eye[1], eye[2])
    view = View.look(vector(eye), yaw, pitch, rng.normal(0, 0.03), rng.uniform(50, 75), height, width)
    return indoors(rng, palette, view, parts, studio_lights(rng, (0, 1.3, 0.3), 1.3), float(rng.uniform(0.2, 0.5)))


def _floor(rng: Rng, palette: Palette, height: int, width: int) -> Scene:
    """A floor strewn with things, seen from standing height, walls behind."""
    eye = np.array([rng.normal(0, 0.2), rng.uniform(0.6, 1.6), 1.3])
    deep = rng.uniform(1.0, 2.5)
    floor = any_material(
        rng, palette, 0.25, ("planks", "tiles", "woven", "checker", "noise", "photo", "marble", "stripes")
    )
    parts = [make(Shape.GROUND, (0, 0, 0), (1, 1, 1), floor)]
    parts += moved(
        [make(Shape.BOX, (0, 1.5, -0.1), (6, 3, 0.1), any_material(rng, palette, 0.5))], 0, 0, -deep, rng.normal(0, 0.3)
    )
    for _ in range(int(rng.integers(1, 4))):
        x, z = rng.uniform(-1.5, 1.5), rng.uniform(-0.8, -0.3) * deep
        parts += keep_clear(moved(pick(rng, (*LARGE, *THIN_INDOORS))(rng, palette), x, 0, z, facing(rng)), eye, 0.6)
    for _ in range(int(rng.integers(2, 6))):
        x, z = rng.uniform(-1.2, 1.2), rng.uniform(-0.8 * deep, 0.5)
        parts += keep_clear(
            moved(shrunk(pick(rng, SMALL)(rng, palette), float(rng.uniform(0.4, 0.9))), x, 0, z, facing(rng)), eye, 0.5
        )
    parts += _strewn(rng, palette, int(rng.integers(8, 20)), (1.3, 0.9), 0.0, eye, 1.8)
    pitch = -math.atan2(eye[1] - 0.1, 1.5) + rng.normal(0, 0.1)
    view = View.look(vector(eye), rng.normal(0, 0.15), pitch, rng.normal(0, 0.05), rng.uniform(50, 80), height, width)
    return indoors(rng, palette, view, parts, studio_lights(rng, (0, 1.0, 0), 2.0), float(rng.uniform(0.2, 0.5)))


def thin(rng: Rng, palette: Palette, height: int, width: int) -> Scene:
    """Bars, wires and twigs before a wall or under the sky, near and far, and things behind them."""
    outside = rng.random() < 0.55
    eye = np.array([0.0, rng.uniform(0.8, 1.7), 0.0])
    floor = (
        ("noise", "speckle", "photo", "leaves", "bricks", "tiles") if outside else ("planks", "tiles", "woven", "plain")
    )
    parts = [make(Shape.GROUND, (0, 0, 0), (1, 1, 1), any_material(rng, palette, 0.6, floor))]
    deep = rng.uniform(8, 30) if outside else rng.uniform(2.2, 5.0)
    thins, others = (THIN_OUTDOORS, OUTDOORS) if outside else (THIN_INDOORS, LARGE)
    for i in range(int(rng.integers(3, 8))):
        z = -float(np.exp(rng.uniform(math.log(1.3), math.log(deep if i > 1 else 3.0))))
        x = rng.uniform(-0.5, 0.5) * -z
        turn = rng.normal(0, 0.5) + (math.pi if rng.random() < 0.5 else 0)
        parts += keep_clear(moved(pick(rng, thins)(rng, palette), x, 0, z, turn), eye, 0.3)
    for _ in range(int(rng.integers(1, 5))):
        z = -rng.uniform(0.5, 0.95) * deep
        builder = person if rng.random() < 0.2 else pick(rng, others)
        parts += keep_clear(moved(builder(rng, palette), rng.uniform(-0.6, 0.6) * -z, 0, z, facing(rng)), eye, 1.2)
    pitch = rng.normal(-0.06, 0.1) - (0.12 if not outside else 0)
    view = View.look(vector(eye), rng.normal(0, 0.1), pitch, rng.normal(0, 0.04), rng.uniform(45, 80), height, width)
    if outside:
        return under_the_sky(rng, parts, None, view)
    parts += moved(
        [make(Shape.BOX, (0, 2, -0.1), (12, 4, 0.1), any_material(rng, palette, 0.5))], 0, 0, -deep, rng.normal(0, 0.2)
    )
    lights = [
        Light(sun_direction(rng, 0.4), light_colour(rng) * float(rng.uniform(0.3, 1.2)), True),
        *studio_lights(rng, (0, 1.5, -1.5), 1.2)[:1],
    ]
    return indoors(rng, palette, view, parts, lights, float(rng.uniform(0.2, 0.5)))
