"""Whole scenes from a random generator: the first four kinds, and the choice among all of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from torch import Tensor

from .build import Palette, Rng, any_material, make, moved, shrunk, vector
from .busy import clutter, thin
from .figures import SOFT, person
from .furniture import LARGE, SMALL
from .materials import Material
from .outdoors import OUTDOORS
from .places import alley, forest, height_at, rolling
from .portraits import figures
from .primitives import Primitive, Shape
from .scene import Light, Scene, View
from .staging import facing, indoors, keep_clear, light_colour, pick, sun_direction, under_the_sky
from .thin import THIN_INDOORS, THIN_OUTDOORS

# Every kind with its share. The first four alone, in these proportions, are what checkpoints were trained on before
# there were others: FIRST_KINDS.
_SHARES = {
    "room": 0.3,
    "tabletop": 0.12,
    "street": 0.12,
    "hills": 0.06,
    "figures": 0.15,
    "clutter": 0.1,
    "thin": 0.06,
    "alley": 0.05,
    "forest": 0.04,
}
KINDS = tuple(_SHARES)
FIRST_KINDS = KINDS[:4]
_CLEARANCE_ROOM_M = 0.8  # in a room one near thing would take most of the disparity range


def compose(rng: Rng, height: int, width: int, photos: list[Tensor], kinds: tuple[str, ...] = KINDS) -> Scene:
    """A random scene of one of `kinds`, by their shares, for a picture of height × width pixels."""
    kind = draw_kind(rng, kinds)
    palette = Palette(photos, float(rng.uniform(0.2, 1.0)))
    return _COMPOSERS[kind](rng, palette, height, width)


def draw_kind(rng: Rng, kinds: tuple[str, ...] = KINDS) -> str:
    """One of `kinds`, by their shares: what `compose` takes first from a scene's generator."""
    shares = np.array([_SHARES[kind] for kind in kinds])
    return str(rng.choice(kinds, p=shares / shares.sum()))


def _room(rng: Rng, palette: Palette, height: int, width: int) -> Scene:
    half = np.array([rng.uniform(1.4, 4.0), rng.uniform(1.15, 1.7), rng.uniform(1.6, 4.5)])
    top = 2 * half[1]
    walls = any_material(rng, palette, 0.5, ("plain", "plain", "plain", "stripes", "bricks", "noise", "photo"), 0.1)
    floor = any_material(
        rng, palette, 0.25, ("planks", "planks", "checker", "wood", "noise", "marble", "photo", "plain")
    )
    white = vector((float(rng.uniform(0.5, 0.9)),) * 3)
    ceiling = Material("plain", white, white * 0.8, 1.0, vector((0, 0, 0)))
    parts = [
        make(Shape.ROOM, (0, half[1], 0), half, walls),
        make(Shape.RECTANGLE, (0, 0.002, 0), (half[0], 1, half[2]), floor),
        make(Shape.RECTANGLE, (0, top - 0.002, 0), (half[0], 1, half[2]), ceiling),
    ]
    skirting = any_material(rng, palette, 0.3, ("plain", "wood"))
    for axis, sign in ((0, -1), (0, 1), (2, -1), (2, 1)):
        parts += _wall_things(rng, palette, half, axis, sign, skirting)
    eye = np.array([rng.uniform(-0.75, 0.75) * half[0], rng.uniform(0.5, 1.9), rng.uniform(0.45, 0.85) * half[2]])
    eye[1] = min(eye[1], top - 0.3)
    target = np.array([rng.uniform(-0.6, 0.6) * half[0], 0, rng.uniform(-0.9, -0.1) * half[2]])
    yaw = math.atan2(target[0] - eye[0], -(target[2] - eye[2])) + rng.normal(0, 0.15)
    pitch = rng.normal(-0.12, 0.14) - 0.1 * (eye[1] - 1.2)
    fov = rng.uniform(50, 90)
    if rng.random() < 0.5:  # a rug
        parts.append(
            make(
                Shape.RECTANGLE,
                (rng.uniform(-0.4, 0.4) * half[0], 0.012, rng.uniform(-0.5, 0.4) * half[2]),
                (rng.uniform(0.4, 0.5) * half[0], 1, rng.uniform(0.3, 0.45) * half[2]),
                any_material(rng, palette, 0.3, shiny=0),
            )
        )
    for _ in range(int(rng.integers(2, 8))):
        x, z = rng.uniform(-0.85, 0.85) * (half[0] - 0.4), rng.uniform(-0.9, 0.8) * (half[2] - 0.4)
        builder = pick(rng, (LARGE, SMALL, (*THIN_INDOORS, person, *SOFT))[int(rng.choice(3, p=(0.55, 0.25, 0.2)))])
        parts += keep_clear(moved(builder(rng, palette), x, 0.003, z, facing(rng)), eye, _CLEARANCE_ROOM_M)
    lamps = []
    for _ in range(int(rng.integers(1, 3))):
        where = (rng.uniform(-0.7, 0.7) * half[0], top - rng.uniform(0.15, 0.6), rng.uniform(-0.7, 0.7) * half[2])
        lamps.append(Light(vector(where), light_colour(rng) * float(rng.uniform(1.5, 6.0)), False))
    view = View.look(vector(eye), yaw, pitch, rng.normal(0, 0.04), fov, height, width)
    return indoors(rng, palette, view, parts, lamps, float(rng.uniform(0.12, 0.5)))


def _wall_things(
    rng: Rng, palette: Palette, half: np.ndarray, axis: int, sign: int, skirting: Material
) -> list[Primitive]:
    """Skirting board, and perhaps pictures, a window, a door or a cupboard, on one wall."""
    along = 2 - axis
    parts = []

    def on_wall(
        thickness: float, position: float, y: float, half_along: float, half_up: float, material: Material
    ) -> None:
        centre, size = [0.0, y, 0.0], [0.0, half_up, 0.0]
        centre[axis], centre[along] = sign * (half[axis] - thickness), position
        size[axis], size[along] = thickness, half_along
        parts.append(make(Shape.BOX, centre, size, material))

    on_wall(0.012, 0.0, 0.06, half[along], 0.06, skirting)
    for _ in range(int(rng.integers(0, 4))):
        position = rng.uniform(-0.8, 0.8) * half[along]
        match str(rng.choice(["picture", "picture", "window", "door", "cupboard"])):
            case "picture":
                w, h = rng.uniform(0.12, 0.5, 2)
                patterns = ("photo", "photo", "noise", "stripes", "checker")
                on_wall(
                    0.015, position, half[1] * rng.uniform(0.95, 1.3), w, h, any_material(rng, palette, 0.3, patterns)
                )
            case "window":
                w, h = rng.uniform(0.35, 0.8), rng.uniform(0.35, 0.6)
                on_wall(0.03, position, half[1] * 1.1, w + 0.06, h + 0.06, skirting)
                pane = Material(
                    "plain", vector((0.9, 0.92, 0.92)), vector((0.7, 0.8, 0.9)), 1.0, vector((0, 0, 0)), 0.8, 80
                )
                on_wall(0.035, position, half[1] * 1.1, w, h, pane)
            case "door":
                on_wall(0.03, position, 1.0, 0.45, 1.0, any_material(rng, palette, 0.4, ("wood", "plain", "planks")))
            case _:
                depth, w, h = rng.uniform(0.15, 0.3), rng.uniform(0.3, 0.8), rng.uniform(0.4, 1.0)
                on_wall(depth, position, h, w, h, any_material(rng, palette, 0.4, ("wood", "plain", "planks", "noise")))
    return parts


def _tabletop(rng: Rng, palette: Palette, height: int, width: int) -> Scene:
    cloth = any_material(rng, palette, 0.12)
    parts = [make(Shape.GROUND, (0, 0, 0), (1, 1, 1), cloth)]
    yaw_back = rng.normal(0, 0.25)
    back = any_material(rng, palette, 0.5)
    distance = rng.uniform(0.5, 2.5)
    wall = make(Shape.BOX, (0, 5, -distance - 0.1), (20, 6, 0.1), back)
    parts += moved([wall], 0, 0, 0, yaw_back)
    eye = np.array([rng.uniform(-0.3, 0.3), rng.uniform(0.25, 0.9), rng.uniform(0.8, 1.6)])
    for _ in range(int(rng.integers(2, 10))):
        x, z = rng.normal(0, 0.35), rng.uniform(-0.85, 0.5) * min(distance, 1.0)
        thing = shrunk(pick(rng, (*SMALL, *SMALL, *SOFT))(rng, palette), float(rng.uniform(0.25, 0.7)))
        parts += keep_clear(moved(thing, x, 0, z, rng.uniform(0, 6.3)), eye)
    yaw = math.atan2(-eye[0], eye[2]) + rng.normal(0, 0.1)
    pitch = -math.atan2(eye[1] - 0.15, eye[2]) + rng.normal(0, 0.1)
    lights = [Light(sun_direction(rng, 0.5), light_colour(rng) * float(rng.uniform(0.4, 1.6)), True)]
    if rng.random() < 0.5:
        lamp = (rng.uniform(-1.5, 1.5), rng.uniform(0.8, 2), rng.uniform(-0.3, 1.5))
        lights.append(Light(vector(lamp), light_colour(rng) * float(rng.uniform(0.4, 2.0)), False))
    view = View.look(vector(eye), yaw, pitch, rng.normal(0, 0.06), rng.uniform(35, 65), height, width)
    return indoors(rng, palette, view, parts, lights, float(rng.uniform(0.15, 0.6)))


def _street(rng: Rng, palette: Palette, height: int, width: int) -> Scene:
    ground = any_material(rng, palette, 1.5, ("noise", "speckle", "photo", "bricks", "plain", "checker", "planks"), 0.1)
    parts = [make(Shape.GROUND, (0, 0, 0), (1, 1, 1), ground)]
    eye = np.array([0.0, rng.uniform(0.8, 3.5), 0.0])
    if rng.random() < 0.6:  # a road, and what stands along it
        lane = any_material(rng, palette, 1.0, ("speckle", "noise", "plain"), 0.0)
        half_width, yaw = rng.uniform(2, 4), rng.normal(0, 0.3)
        parts += moved([make(Shape.RECTANGLE, (0, 0.01, -40), (half_width, 1, 60), lane)], 0, 0, 0, yaw)
    things = (*OUTDOORS, *OUTDOORS, *THIN_OUTDOORS, person, person)
    for _ in range(int(rng.integers(5, 16))):
        z = -float(np.exp(rng.uniform(math.log(4), math.log(50))))
        x = rng.uniform(-0.9, 0.9) * (2.5 - z)
        parts += keep_clear(moved(pick(rng, things)(rng, palette), x, 0, z, facing(rng)), eye, 1.5)
    return under_the_sky(rng, parts, None, _outlook(rng, eye, rng.normal(-0.06, 0.1), height, width))


def _hills(rng: Rng, palette: Palette, height: int, width: int) -> Scene:
    soil = any_material(rng, palette, 1.5, ("noise", "speckle", "photo", "marble", "leaves", "stains", "cracks"), 0.0)
    terrain = rolling(rng, soil) if rng.random() < 0.6 else rolling(rng, soil, 15.0, 70.0, (0.02, 0.07))
    eye = np.array([0.0, height_at(terrain, 0, 0) + rng.uniform(1.2, 5.0), 0.0])
    parts: list[Primitive] = []
    for _ in range(int(rng.integers(2, 10))):
        z = -float(np.exp(rng.uniform(math.log(4), math.log(35))))
        x = rng.uniform(-0.7, 0.7) * (2 - z)
        builder = pick(rng, (*OUTDOORS[2:], OUTDOORS[-2], *THIN_OUTDOORS))
        parts += keep_clear(moved(builder(rng, palette), x, height_at(terrain, x, z) - 0.1, z, facing(rng)), eye, 1.5)
    return under_the_sky(rng, parts, terrain, _outlook(rng, eye, rng.normal(-0.12, 0.1), height, width))


def _outlook(rng: Rng, eye: np.ndarray, pitch: float, height: int, width: int) -> View:
    return View.look(vector(eye), rng.normal(0, 0.2), pitch, rng.normal(0, 0.03), rng.uniform(45, 90), height, width)


_COMPOSERS: dict[str, Callable[[Rng, Palette, int, int], Scene]] = {
    "room": _room,
    "tabletop": _tabletop,
    "street": _street,
    "hills": _hills,
    "figures": figures,
    "clutter": clutter,
    "thin": thin,
    "alley": alley,
    "forest": forest,
}
