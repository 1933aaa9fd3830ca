"""Scenes of figures: portraits, people, animals and soft things, and cloth that fills the picture."""

from __future__ import annotations

import math

import numpy as np
import torch

from .build import Palette, Rng, any_material, make, moved, shaped, turned, vector
from .figures import SOFT, bust, person
from .furniture import LARGE
from .outdoors import OUTDOORS
from .primitives import Primitive, Shape
from .scene import Focus, Light, Scene, View
from .staging import facing, indoors, keep_clear, light_colour, pick, studio_lights, sun_direction, under_the_sky
from .terrain import Sheet, Waves

_HEAD_M = 0.27


def figures(rng: Rng, palette: Palette, height: int, width: int) -> Scene:
    """One of the four."""
    made = (_portrait, _people, _soft_things, _cloth)
    return made[int(rng.choice(4, p=(0.45, 0.2, 0.2, 0.15)))](rng, palette, height, width)


def cloth(rng: Rng, palette: Palette, folds: int, depth: float, length: float) -> Primitive:
    """A sheet over |x|, |z| ≤ 1 with folds of this depth and length (the sheet is 2 wide), facing up."""
    heading = rng.normal(rng.uniform(0, 3.2), 0.5, folds)
    frequency = 2 * math.pi / (length * np.exp(rng.normal(0, 0.5, folds)))[:, None]
    frequency = frequency * np.stack([np.cos(heading), np.sin(heading)], 1)
    waves = Waves(
        torch.tensor(frequency, dtype=torch.float32),
        torch.tensor(depth / folds * rng.uniform(0.4, 1.6, folds), dtype=torch.float32),
        torch.tensor(rng.uniform(0, 6.3, folds), dtype=torch.float32),
        0.0,
    )
    return shaped(Sheet(waves), any_material(rng, palette, 0.15, shiny=0.2))


def _behind(rng: Rng, palette: Palette, eye: np.ndarray, distance: float) -> list[Primitive]:
    """A backdrop that far in front of the camera: a wall, a curtain, or a wall with things before it; and a floor."""
    z = eye[2] - distance
    wall = any_material(rng, palette, 0.5, None if rng.random() < 0.5 else ("plain", "gradient"), shiny=0.1)
    floor = any_material(rng, palette, 0.3, ("planks", "tiles", "noise", "plain", "woven", "marble"))
    parts = [
        make(Shape.GROUND, (0, 0, 0), (1, 1, 1), floor),
        *moved([make(Shape.BOX, (0, 2, -0.1), (12, 6, 0.1), wall)], 0, 0, z, rng.normal(0, 0.2)),
    ]
    choice = rng.random()
    if choice < 0.25:
        curtain = cloth(rng, palette, 6, 0.08, 0.25)
        hung = turned(rng.normal(0, 0.1), math.pi / 2, math.pi / 2)
        parts.append(
            Primitive(
                Shape.FIELD,
                vector((eye[0], 1.3, z + 0.4)),
                vector((2.2, 2.2, 2.2)),
                hung,
                curtain.material,
                field=curtain.field,
            )
        )
    elif choice < 0.8 and distance > 1.6:
        for _ in range(int(rng.integers(2, 6))):
            at = rng.uniform(-0.7, 0.7) * distance
            parts += moved(pick(rng, LARGE)(rng, palette), eye[0] + at, 0.0, z + rng.uniform(0.4, 0.9), facing(rng))
        for _ in range(int(rng.integers(0, 4))):
            frame = any_material(rng, palette, 0.2, ("photo", "photo", "stains", "text", "gradient"))
            x, y = rng.uniform(-0.6, 0.6) * distance, rng.uniform(1.2, 2.0)
            parts.append(make(Shape.BOX, (eye[0] + x, y, z + 0.03), (*rng.uniform(0.1, 0.4, 2), 0.03), frame))
    return parts


def _focus(rng: Rng, distance: float, width: int, share: float = 0.65) -> Focus | None:
    return Focus(distance, float(rng.uniform(0.006, 0.03)) * width) if rng.random() < share else None


def _portrait(rng: Rng, palette: Palette, height: int, width: int) -> Scene:
    fov = rng.uniform(25, 60)
    focal = max(height, width) / 2 / math.tan(math.radians(fov) / 2)
    distance = max(_HEAD_M * focal / (rng.uniform(0.28, 0.75) * min(height, 1.3 * width)), 0.45)
    face = np.array([0.0, rng.uniform(1.2, 1.7), 0.0])
    around = rng.normal(0, 0.35)
    pitch = rng.normal(-0.03, 0.12)
    eye = face + distance * np.array([0, -math.sin(pitch), math.cos(pitch)])
    parts = moved(bust(rng, palette), 0, float(face[1]), 0, around)
    extra = int(rng.choice([0, 0, 0, 1, 2]))
    for i in range(extra):
        side = (-1) ** i * rng.uniform(0.4, 0.6)
        other = moved(
            bust(rng, palette), side, face[1] + rng.normal(0, 0.08), -rng.uniform(0.0, 1.2), rng.normal(0, 0.5)
        )
        parts += keep_clear(other, eye, 0.3)
    # The face a little off the middle, as photographers have it.
    spare = 0.5 * distance / focal
    aim_x, aim_y = rng.normal(0, 0.18) * width * spare, rng.uniform(-0.1, 0.35) * height * spare
    yaw, tilt = math.atan2(aim_x, distance), pitch - math.atan2(aim_y, distance)
    view = View.look(vector(eye), yaw, tilt, rng.normal(0, 0.04), fov, height, width)
    focus = _focus(rng, distance + 0.15, width)
    if rng.random() < 0.3:
        return under_the_sky(rng, parts + _outside(rng, palette, eye, distance), None, view, focus)
    parts += _behind(rng, palette, eye, distance + rng.uniform(0.35, 3.0))
    return indoors(rng, palette, view, parts, studio_lights(rng, tuple(face)), float(rng.uniform(0.1, 0.5)), focus)


def _outside(rng: Rng, palette: Palette, eye: np.ndarray, distance: float) -> list[Primitive]:
    parts = [
        make(
            Shape.GROUND,
            (0, 0, 0),
            (1, 1, 1),
            any_material(rng, palette, 1.0, ("noise", "speckle", "photo", "leaves", "tiles", "bricks")),
        )
    ]
    for _ in range(int(rng.integers(3, 9))):
        z = eye[2] - distance - float(np.exp(rng.uniform(math.log(2.5), math.log(30))))
        x = rng.uniform(-0.8, 0.8) * (eye[2] - z)
        parts += keep_clear(moved(pick(rng, OUTDOORS)(rng, palette), x, 0, z, facing(rng)), eye, distance + 0.8)
    return parts


def _people(rng: Rng, palette: Palette, height: int, width: int) -> Scene:
    """Whole figures, one to five, in a room or outside."""
    fov = rng.uniform(40, 70)
    focal = max(height, width) / 2 / math.tan(math.radians(fov) / 2)
    distance = 1.8 * focal / (rng.uniform(0.5, 1.1) * height)
    eye = np.array([0.0, rng.uniform(0.9, 1.8), distance])
    parts = moved(person(rng, palette), rng.normal(0, 0.3), 0, 0, rng.normal(0, 0.6))
    for _ in range(int(rng.integers(0, 5))):
        z = -rng.uniform(-0.6, 3.0)
        x = rng.uniform(-0.45, 0.45) * (distance - z) * width / focal
        parts += keep_clear(moved(person(rng, palette), x, 0, z, rng.uniform(0, 6.3)), eye, 0.6)
    pitch = -math.atan2(eye[1] - 0.95, distance) + rng.normal(0, 0.05)
    view = View.look(vector(eye), rng.normal(0, 0.1), pitch, rng.normal(0, 0.03), fov, height, width)
    focus = _focus(rng, distance + 0.5, width, 0.3)
    if rng.random() < 0.5:
        return under_the_sky(rng, parts + _outside(rng, palette, eye, distance), None, view, focus)
    parts += _behind(rng, palette, eye, distance + rng.uniform(1.2, 4.0))
    return indoors(rng, palette, view, parts, studio_lights(rng, (0, 1.2, 0), 1.5), float(rng.uniform(0.2, 0.5)), focus)


def _soft_things(rng: Rng, palette: Palette, height: int, width: int) -> Scene:
    """Animals, toys, sculptures from close by."""
    fov = rng.uniform(35, 60)
    distance = rng.uniform(0.9, 1.8)
    low = rng.uniform(0.25, 1.0)
    eye = np.array([0.0, low, distance])
    parts: list[Primitive] = []
    for i in range(int(rng.integers(1, 6))):
        x, z = (rng.normal(0, 0.12), rng.normal(0, 0.1)) if i == 0 else (rng.normal(0, 0.6), rng.uniform(-1.5, 0.4))
        parts += keep_clear(moved(pick(rng, SOFT)(rng, palette), x, 0, z, rng.normal(0, 1.2)), eye, 0.3)
    pitch = -math.atan2(low - 0.2, distance) + rng.normal(0, 0.06)
    view = View.look(vector(eye), rng.normal(0, 0.12), pitch, rng.normal(0, 0.05), fov, height, width)
    focus = _focus(rng, distance + 0.4, width, 0.5)
    if rng.random() < 0.4:
        return under_the_sky(rng, parts + _outside(rng, palette, eye, distance), None, view, focus)
    parts += _behind(rng, palette, eye, distance + rng.uniform(0.6, 3.0))
    return indoors(rng, palette, view, parts, studio_lights(rng, (0, 0.3, 0)), float(rng.uniform(0.15, 0.5)), focus)


def _cloth(rng: Rng, palette: Palette, height: int, width: int) -> Scene:
    """A relief or a bed of cloth from edge to edge, with or without things on it."""
    sheet = cloth(rng, palette, int(rng.integers(4, 9)), float(rng.uniform(0.03, 0.15)), float(rng.uniform(0.15, 0.8)))
    big = make(Shape.BOX, (0, -0.5, 0), (30, 0.1, 30), any_material(rng, palette, 0.3))
    parts = moved(
        [Primitive(sheet.shape, sheet.centre, sheet.scale * 1.5, sheet.rotation, sheet.material, field=sheet.field)],
        0,
        0,
        0,
        rng.uniform(0, 3),
    )
    parts.append(big)
    tilt = -rng.uniform(0.35, 1.45)
    distance = rng.uniform(0.7, 1.5)
    eye = np.array([0.0, -math.sin(tilt) * distance + 0.12, math.cos(tilt) * distance])
    for _ in range(int(rng.choice([0, 0, 1, 3]))):
        at = rng.normal(0, 0.35, 2)
        parts += keep_clear(moved(pick(rng, SOFT)(rng, palette), at[0], -0.02, at[1], rng.uniform(0, 6)), eye, 0.3)
    view = View.look(vector(eye), rng.normal(0, 0.05), tilt, rng.normal(0, 0.2), rng.uniform(35, 55), height, width)
    lights = [Light(sun_direction(rng, 0.3), light_colour(rng) * float(rng.uniform(0.5, 1.6)), True)]
    return indoors(rng, palette, view, parts, lights, float(rng.uniform(0.15, 0.5)))
