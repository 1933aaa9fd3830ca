"""Living and soft things: heads and whole people, animals, toys, all of ellipsoids melted together."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .blobs import Blob, Lump, body
from .build import Palette, Rng, any_material, make, moved, rod, shrunk, turned, vector
from .furniture import Builder
from .materials import Material
from .primitives import Primitive, Shape

_SKIN = ("plain", "noise", "noise", "speckle")
_CLOTH = ("plain", "stripes", "checker", "woven", "woven", "noise", "photo", "speckle", "stains")


def ripples(rng: Rng, count: int, height: float, length: float, stretch: float = 1.0) -> dict[str, Tensor]:
    """Keyword arguments of a Blob: sines of about this height and wavelength in metres; `stretch` lengthens folds
    along y."""
    ways = rng.normal(size=(count, 3)) / np.array([1.0, stretch, 1.0])
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    frequency = ways * 2 * math.pi / (length * np.exp(rng.normal(0, 0.4, (count, 1))))
    return {
        "ripples": torch.tensor(frequency, dtype=torch.float32),
        "amplitude": torch.tensor(height / count * rng.uniform(0.5, 1.5, count), dtype=torch.float32),
        "phase": torch.tensor(rng.uniform(0, 6.3, count), dtype=torch.float32),
    }


def skin(rng: Rng, palette: Palette) -> Material:
    """Skin of any tone, and sometimes stone, clay, bronze."""
    if rng.random() < 0.3:
        return any_material(rng, palette, 0.05, shiny=0.6)
    tone = float(rng.uniform(0.04, 0.75))
    first = vector((tone, tone * rng.uniform(0.55, 0.75), tone * rng.uniform(0.35, 0.6)))
    pattern = str(rng.choice(_SKIN))
    return Material(
        pattern,
        first,
        first * vector((1.0, 0.8, 0.75)) * float(rng.uniform(0.75, 1.0)),
        float(rng.uniform(0.02, 0.1)),
        vector(rng.uniform(-5, 5, 3).tolist()),
        specular=float(rng.uniform(0, 0.3)),
        gloss=20.0,
    )


def _pair(centre: tuple[float, float, float], half: tuple[float, float, float], roll: float = 0.0) -> list[Lump]:
    """The same lump on the right and mirrored on the left."""
    x, y, z = centre
    return [Lump((s * x, y, z), half, turned(roll=s * roll)) for s in (-1.0, 1.0)]


def _face(rng: Rng) -> Blob:
    """A head and neck, 24 cm high with its middle at the origin, looking along z."""

    def about(*values: float) -> tuple[float, ...]:
        return tuple(float(v * rng.uniform(0.88, 1.12)) for v in values)

    nose, jaw, mouth = rng.uniform(0.75, 1.4), rng.uniform(0.85, 1.15), float(rng.uniform(-0.062, -0.052))
    lumps = [
        Lump((0, 0.045, -0.015), about(0.076, 0.09, 0.095)),
        Lump((0, -0.035, 0.02), (0.056 * jaw, 0.078, 0.062)),
        Lump((0, -0.098, 0.052), about(0.026, 0.018, 0.02)),
        Lump((0, 0.0, 0.082), (0.011, 0.036, 0.014 * nose), turned(tilt=-0.35)),
        Lump((0, -0.022, 0.09 + 0.012 * nose), (0.015 * nose, 0.013, 0.016 * nose)),
        Lump((0, mouth + 0.007, 0.077), about(0.024, 0.007, 0.011)),
        Lump((0, mouth - 0.008, 0.075), about(0.021, 0.007, 0.011)),
        Lump((0, -0.15, -0.02), (0.048, 0.1, 0.05), turned(tilt=0.15)),
        *_pair((0.036, -0.022, 0.056), (0.024, 0.024, 0.022)),
        *_pair((0.029, 0.036, 0.074), (0.026, 0.008, 0.012), 0.12),
        *_pair((0.013, -0.028, 0.088), (0.008, 0.008, 0.01)),
        *_pair((0.079, 0.0, -0.015), (0.008, 0.032, 0.02), -0.15),
        Lump((-0.032, 0.014, 0.092), (0.02, 0.011, 0.014), carved=True),
        Lump((0.032, 0.014, 0.092), (0.02, 0.011, 0.014), carved=True),
        Lump((0, mouth, 0.094), (0.018, 0.0025, 0.014), carved=True),
    ]
    return Blob(lumps, float(rng.uniform(0.005, 0.009)))


def _hair(rng: Rng, palette: Palette) -> list[Primitive]:
    dark = float(rng.uniform(0.01, 0.4) ** 1.3)
    tint = vector((dark, dark * rng.uniform(0.5, 0.95), dark * rng.uniform(0.25, 0.85)))
    material = Material(
        "strands", tint, tint * 0.4, float(rng.uniform(0.01, 0.03)), vector((0, 0, 0)), 0.3 * float(rng.random()), 15.0
    )
    thick = float(rng.uniform(0.004, 0.03))
    lumps = [Lump((0, 0.052, -0.022), (0.078 + thick, 0.09 + thick, 0.094 + thick))]
    match str(rng.choice(["short", "long", "bun", "curly"])):
        case "long":
            length = float(rng.uniform(0.1, 0.22))
            lumps += [
                Lump((0, 0.03 - length, -0.06), (0.085, length, 0.05)),
                *_pair((0.075, -0.03, -0.02), (0.02, 0.1, 0.04)),
            ]
        case "bun":
            lumps.append(Lump((0, float(rng.uniform(0.06, 0.16)), -0.11), (0.045, 0.045, 0.045)))
        case "curly":
            for _ in range(7):
                where = rng.normal(size=3) + np.array([0, 0.8, -0.4])
                where = where / np.linalg.norm(where) * 0.085
                size = float(rng.uniform(0.03, 0.05))
                lumps.append(Lump((where + np.array([0, 0.05, -0.02])).tolist(), (size, size, size)))
        case _:
            pass
    lumps.append(Lump((0, float(rng.uniform(-0.06, -0.03)), 0.11), (0.1, 0.115, 0.085), carved=True))
    return [body(Blob(lumps, 0.006, **ripples(rng, 4, 0.004, 0.02, 4.0)), material)]


def _eyes(rng: Rng) -> list[Primitive]:
    white = Material("plain", vector((0.75, 0.72, 0.7)), vector((0.7, 0.7, 0.7)), 1.0, vector((0, 0, 0)), 0.8, 120.0)
    tint = vector(rng.uniform(0.01, 0.3, 3).tolist())
    iris = Material("plain", tint, tint, 1.0, vector((0, 0, 0)), 0.9, 120.0)
    gaze = rng.normal(0, 0.2, 2)
    parts = []
    for sign in (-1, 1):
        x, y, z = sign * 0.032, 0.014, 0.066
        parts.append(make(Shape.ELLIPSOID, (x, y, z), (0.0125, 0.0125, 0.0125), white))
        at = (x + 0.006 * gaze[0], y + 0.004 * gaze[1], z + 0.0068)
        parts.append(make(Shape.ELLIPSOID, at, (0.006, 0.006, 0.0064), iris))
    return parts


def _glasses(rng: Rng, palette: Palette) -> list[Primitive]:
    frame = any_material(rng, palette, 0.05, ("plain",), shiny=1.0)
    ring = [
        make(Shape.TORUS, (s * 0.034, 0.012, 0.1), (0.024,) * 3, frame, turned(tilt=math.pi / 2), 0.07) for s in (-1, 1)
    ]
    arms = [rod((s * 0.058, 0.016, 0.098), (s * 0.085, 0.012, -0.01), 0.0018, frame) for s in (-1, 1)]
    return [*ring, *arms, rod((-0.011, 0.014, 0.1), (0.011, 0.014, 0.1), 0.0018, frame)]


def _hat(rng: Rng, palette: Palette) -> list[Primitive]:
    felt = any_material(rng, palette, 0.05, _CLOTH, shiny=0.1)
    brim, tilt = float(rng.uniform(0.1, 0.18)), turned(tilt=float(rng.normal(-0.1, 0.1)))
    crown = make(Shape.FRUSTUM, (0, 0.15, -0.02), (0.095, 0.055, 0.1), felt, tilt, float(rng.uniform(0.5, 1.0)))
    return [crown, make(Shape.FRUSTUM, (0, 0.098, -0.015), (brim, 0.004, brim), felt, tilt)]


def head(rng: Rng, palette: Palette) -> list[Primitive]:
    """Head, neck, hair; its middle at the origin."""
    parts = [body(_face(rng), skin(rng, palette)), *_eyes(rng)]
    if rng.random() < 0.85:
        parts += _hair(rng, palette)
    if rng.random() < 0.25:
        parts += _glasses(rng, palette)
    if rng.random() < 0.2:
        parts += _hat(rng, palette)
    return parts


def bust(rng: Rng, palette: Palette) -> list[Primitive]:
    """Head and shoulders, the middle of the head at the origin."""
    broad = float(rng.uniform(0.85, 1.15))
    lumps = [
        Lump((0, -0.29, -0.03), (0.2 * broad, 0.07, 0.09)),
        Lump((0, -0.5, -0.02), (0.165 * broad, 0.26, 0.11)),
        Lump((0, -0.21, -0.03), (0.075, 0.04, 0.07)),
        *_pair((0.2 * broad, -0.5, -0.02), (0.055, 0.25, 0.062), 0.08),
    ]
    cloth = any_material(rng, palette, float(rng.uniform(0.02, 0.15)), _CLOTH, shiny=0.15)
    chest = body(Blob(lumps, 0.025, **ripples(rng, 5, float(rng.uniform(0.003, 0.012)), 0.12, 2.0)), cloth)
    turn = turned(float(rng.normal(0, 0.3)), float(rng.normal(0, 0.12)), float(rng.normal(0, 0.1)))
    top = head(rng, palette)
    for i, part in enumerate(top):
        top[i] = type(part)(
            part.shape, turn @ part.centre, part.scale, turn @ part.rotation, part.material, part.parameter, part.field
        )
    return [*top, chest]


def person(rng: Rng, palette: Palette) -> list[Primitive]:
    """A whole figure, standing or mid-step, 1.5 to 1.9 m."""
    parts = moved(head(rng, palette), 0, 1.58, 0)
    shirt, trousers = (any_material(rng, palette, 0.1, _CLOTH, shiny=0.1) for _ in range(2))
    swing = float(rng.normal(0, 0.25))

    def limb(top: tuple[float, float, float], angle: float, bend: float, half: float, girth: float) -> list[Lump]:
        lumps = []
        x, y, z = top
        for lean, width in ((angle, girth), (angle + bend, girth * 0.75)):
            dy, dz = -math.cos(lean) * half, math.sin(lean) * half
            lumps.append(Lump((x, y + dy, z + dz), (width, half * 1.15, width), turned(tilt=-lean)))
            y, z = y + 2 * dy, z + 2 * dz
        return lumps

    upper = [
        Lump((0, 1.24, -0.02), (0.16, 0.2, 0.1)),
        Lump((0, 1.38, -0.02), (0.19, 0.06, 0.08)),
        Lump((0, 1.02, -0.02), (0.15, 0.14, 0.1)),
    ]
    lower = [Lump((0, 0.93, -0.02), (0.155, 0.1, 0.11))]
    for sign in (-1, 1):
        upper += limb(
            (sign * 0.21, 1.4, -0.02), sign * swing + float(rng.normal(0, 0.3)), float(rng.uniform(0, 0.9)), 0.15, 0.05
        )
        lower += limb((sign * 0.09, 0.88, -0.02), -sign * swing, float(rng.uniform(-0.4, 0)), 0.21, 0.075)
        foot = -sign * swing * 0.84
        lower.append(Lump((sign * 0.09, 0.04, foot + 0.05), (0.045, 0.04, 0.12)))
    parts.append(body(Blob(upper, 0.015, **ripples(rng, 4, 0.006, 0.15)), shirt))
    parts.append(body(Blob(lower, 0.015, **ripples(rng, 4, 0.006, 0.15)), trousers))
    return shrunk(parts, float(rng.uniform(0.88, 1.12)))


def animal(rng: Rng, palette: Palette) -> list[Primitive]:
    """On four legs, standing, 0.3 to 1 m long, looking along z."""
    long, high, stout = rng.uniform(0.3, 0.5), rng.uniform(0.15, 0.45), rng.uniform(0.1, 0.2)
    neck = rng.uniform(0.02, 0.3)
    top = high + stout
    skull = np.array([0, top + neck, long + 0.5 * neck])
    size = rng.uniform(0.08, 0.14)
    lumps = [
        Lump((0, top, 0), (stout, stout, long)),
        Lump((0, top + 0.1 * stout, long * 0.6), (stout * 1.05, stout * 1.1, stout * 1.1)),
        Lump(
            ((skull + np.array([0, top, long * 0.7])) / 2).tolist(),
            (size * 0.6, 0.5 * neck + size, size * 0.7),
            turned(tilt=0.5),
        ),
        Lump(skull.tolist(), (size, size, size * 1.1)),
        Lump(
            (skull + np.array([0, -0.3 * size, size * 1.1])).tolist(),
            (size * 0.5, size * 0.45, size * rng.uniform(0.5, 1.2)),
        ),
        Lump(
            (0, top + 0.3 * stout, -long - 0.05),
            (0.03, 0.03, rng.uniform(0.08, 0.25)),
            turned(tilt=float(rng.uniform(-0.3, 1.0))),
        ),
    ]
    leg = rng.uniform(0.03, 0.06)
    for sx in (-1, 1):
        for sz in (-1, 1):
            lumps.append(Lump((sx * 0.6 * stout, high * 0.6, sz * 0.7 * long), (leg, high * 0.65, leg * 1.2)))
        ear = rng.uniform(0.4, 1.0) * size
        lumps.append(
            Lump(
                (sx * 0.7 * size, skull[1] + 0.9 * size, skull[2] - 0.2 * size),
                (size * 0.25, ear, size * 0.12),
                turned(roll=-0.3 * sx),
            )
        )
    fur = any_material(
        rng, palette, 0.12, ("noise", "speckle", "stains", "marble", "plain", "strands", "photo"), shiny=0.2
    )
    parts = [body(Blob(lumps, 0.02, **ripples(rng, 5, float(rng.uniform(0.001, 0.01)), 0.05)), fur)]
    dark = Material("plain", vector((0.02, 0.02, 0.02)), vector((0.02, 0.02, 0.02)), 1.0, vector((0, 0, 0)), 1.0, 100.0)
    for sx in (-1, 1):
        at = skull + size * np.array([sx * 0.5, 0.25, 0.93])
        parts.append(make(Shape.ELLIPSOID, at.tolist(), (0.14 * size,) * 3, dark))
    parts.append(
        make(
            Shape.ELLIPSOID,
            (skull + size * np.array([0, -0.2, 1.8])).tolist(),
            (0.2 * size, 0.16 * size, 0.2 * size),
            dark,
        )
    )
    return parts


def lump(rng: Rng, palette: Palette) -> list[Primitive]:
    """A smooth thing of no kind: fruit, stone, plush, sculpture, standing on y = 0."""
    size = rng.uniform(0.1, 0.3)
    count = int(rng.integers(2, 9))
    centres = rng.normal(0, 0.5, (count, 3)) * size
    halves = size * rng.uniform(0.25, 0.8, (count, 3))
    lumps = [Lump(c.tolist(), h.tolist(), turned(*rng.uniform(0, 3, 3))) for c, h in zip(centres, halves, strict=True)]
    lumps += [
        Lump((rng.normal(0, 0.6, 3) * size).tolist(), (size * rng.uniform(0.15, 0.4, 3)).tolist(), carved=True)
        for _ in range(int(rng.integers(0, 3)))
    ]
    wrinkles = ripples(rng, 4, size * float(rng.uniform(0.01, 0.08)), size * float(rng.uniform(0.4, 1.5)))
    field = Blob(lumps, size * float(rng.uniform(0.05, 0.2)), **(wrinkles if rng.random() < 0.6 else {}))
    lowest = float((centres[:, 1] - 0.8 * halves.min(1)).min())
    return moved([body(field, any_material(rng, palette, 0.1, shiny=0.5))], 0, -lowest, 0)


def mushroom(rng: Rng, palette: Palette) -> list[Primitive]:
    """Toy bricks in one: a cap on a stem, with dots."""
    height, cap = rng.uniform(0.1, 0.25), rng.uniform(0.08, 0.2)
    stem = Blob(
        [
            Lump((0, height / 2, 0), (0.3 * cap, height * 0.6, 0.3 * cap)),
            Lump((0, 0.02, 0), (0.45 * cap, 0.04, 0.45 * cap)),
        ],
        0.02,
    )
    top = Blob(
        [
            Lump((0, height, 0), (cap, 0.6 * cap, cap)),
            Lump((0, height - 0.45 * cap, 0), (0.9 * cap, 0.4 * cap, 0.9 * cap), carved=True),
        ],
        0.01,
    )
    return [
        body(stem, any_material(rng, palette, 0.1)),
        body(top, any_material(rng, palette, 0.1, ("speckle", "stains", "plain", "noise"))),
    ]


SOFT: tuple[Builder, ...] = (lump, lump, animal, mushroom)
