"""What all scenes share: where things may stand, which way they face, the light, the sky."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from .build import Palette, Rng, colour, vector
from .furniture import Builder
from .primitives import Primitive
from .scene import Focus, Light, Scene, View
from .terrain import Terrain

CLEARANCE_M = 0.35  # nothing comes nearer to the camera than this


def pick(rng: Rng, builders: tuple[Builder, ...]) -> Builder:
    """One of them."""
    return builders[int(rng.integers(len(builders)))]


def facing(rng: Rng) -> float:
    """Mostly square to the world, as rooms and streets are; sometimes any way."""
    return float(
        rng.choice([0.0, math.pi / 2, math.pi, -math.pi / 2]) + rng.normal(0, 0.12 if rng.random() < 0.7 else 1.5)
    )


def keep_clear(parts: list[Primitive], eye: np.ndarray, clearance: float = CLEARANCE_M) -> list[Primitive]:
    """The thing, or nothing if any part of it comes too near to the camera."""
    position = vector(eye)
    near = any(float((p.centre - position).norm()) - p.bounding_radius < clearance for p in parts)
    return [] if near else parts


def sun_direction(rng: Rng, lowest: float) -> Tensor:
    """At least `lowest` radians above the horizon."""
    up, around = rng.uniform(lowest, 1.3), rng.uniform(0, 2 * math.pi)
    return vector((math.cos(up) * math.sin(around), math.sin(up), math.cos(up) * math.cos(around)))


def light_colour(rng: Rng) -> Tensor:
    """White, a little warm or cold."""
    warmth = rng.normal(0, 0.12)
    return vector((1 + warmth, 1.0, 1 - warmth))


def indoors(
    rng: Rng,
    palette: Palette,
    view: View,
    parts: list[Primitive],
    lights: list[Light],
    dome: float,
    focus: Focus | None = None,
) -> Scene:
    """Under a dome of soft light, `dome` bright; where nothing is hit, a colour."""
    return Scene(
        view,
        parts,
        None,
        lights,
        light_colour(rng) * dome,
        light_colour(rng) * dome * float(rng.uniform(0.4, 0.9)),
        colour(rng, palette),
        colour(rng, palette),
        0.0,
        math.inf,
        focus=focus,
    )


def studio_lights(rng: Rng, at: tuple[float, float, float], strength: float = 1.0) -> list[Light]:
    """One to three lamps in front of and beside a subject."""
    lights = []
    for _ in range(int(rng.integers(1, 4))):
        around, up, away = rng.uniform(-1.9, 1.9), rng.uniform(-0.1, 1.2), rng.uniform(0.8, 2.2)
        where = (
            at[0] + away * math.sin(around) * math.cos(up),
            at[1] + away * math.sin(up),
            at[2] + away * math.cos(around) * math.cos(up),
        )
        power = strength * (0.3 + away**2) * rng.uniform(0.3, 1.2)
        lights.append(Light(vector(where), light_colour(rng) * float(power), False))
    return lights


def under_the_sky(
    rng: Rng,
    parts: list[Primitive],
    terrain: Terrain | None,
    view: View,
    focus: Focus | None = None,
) -> Scene:
    """In daylight: sun or overcast, clouds, far mountains at times, haze."""
    blue = vector((rng.uniform(0.1, 0.4), rng.uniform(0.25, 0.5), rng.uniform(0.5, 0.9)))
    grey = vector((rng.uniform(0.5, 0.9),) * 3)
    overcast = float(rng.random() ** 1.5)
    zenith = blue + overcast * (grey - blue)
    horizon = 0.5 * zenith + 0.5 * vector((0.9, 0.88, 0.85))
    sun = Light(
        sun_direction(rng, 0.25), vector((1.0, 0.95, 0.85)) * float(rng.uniform(0.6, 2.2)) * (1 - 0.8 * overcast), True
    )
    return Scene(
        view,
        parts,
        terrain,
        [sun],
        zenith * 0.7 + 0.1,
        horizon * 0.25,
        zenith,
        horizon,
        float(rng.random()) if rng.random() < 0.6 else 0.0,
        float(np.exp(rng.uniform(math.log(60), math.log(600)))),
        focus=focus,
        mountains=vector(rng.uniform((0.02, 0.5, 0), (0.3, 4, 6.3))) if rng.random() < 0.4 else None,
    )
