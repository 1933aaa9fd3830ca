"""A synthetic scene filmed: frames of one exposure, with exact depth and exact motion."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .build import turned
from .compose import KINDS, compose
from .dataset import load_textures
from .render import render
from .scene import View
from .sensor import develop

SENSOR_NOISE = 0.01  # standard deviation at white; new in every frame, as in a camera
_EXPOSED_AT = 0.95  # the quantile of the first frame's light that comes out at white


@dataclass(frozen=True)
class Frame:
    """One frame.

    image: uint8 H×W×3. depth: float32 H×W, metres along the optical axis, +inf on the sky. flow: float32 H×W×2, for
    each pixel (x, y) how many pixels further right and down the same point was seen in the frame before; zero in the
    first frame. seen: bool H×W, the point was in sight in the frame before (all True in the first).
    """

    image: np.ndarray
    depth: np.ndarray
    flow: np.ndarray
    seen: np.ndarray


@dataclass(frozen=True)
class Move:
    """Of the camera from a frame to the next: metres to its right and forward, degrees to its right."""

    right: float = 0.0
    forward: float = 0.0
    yaw: float = 0.0


def film(
    count: int,
    height: int,
    width: int,
    seed: int,
    index: int = 0,
    move: Move | None = None,
    kind: str | None = None,
    noise: float = SENSOR_NOISE,
    textures: str | None = "public",
) -> Iterator[Frame]:
    """`count` frames of scene `index` of `seed` (the scene that SyntheticScenes has there, at this size)."""
    scene = compose(
        np.random.default_rng([seed, index]), height, width, load_textures(textures), (kind,) if kind else KINDS
    )
    view, gain, before = scene.view, 0.0, None
    for number in range(count):
        seen = render(replace(scene, view=view))
        light = seen.image.permute(2, 0, 1)
        if number == 0:
            gain = 1 / max(float(torch.quantile(light.mean(0).flatten()[::7], _EXPOSED_AT)), 1e-3)
        rng = np.random.default_rng([seed, index, number])
        grain = torch.from_numpy(rng.standard_normal((3, height, width), dtype=np.float32))
        pixels = develop(light * gain, grain, noise)
        flow, visible = _flow(view, seen.depth, *before) if before else (torch.zeros(height, width, 2), None)
        yield Frame(
            pixels.permute(1, 2, 0).numpy(),
            seen.depth.numpy(),
            flow.numpy(),
            np.ones((height, width), bool) if visible is None else visible.numpy(),
        )
        before, view = (view, seen.depth), _moved(view, move or Move())


def _moved(view: View, move: Move) -> View:
    position = view.position + view.axes[:, 0] * move.right + view.axes[:, 2] * move.forward
    return replace(view, position=position, axes=turned(-math.radians(move.yaw)) @ view.axes)


def _flow(view: View, depth: Tensor, before: View, depth_before: Tensor) -> tuple[Tensor, Tensor]:
    """Where each pixel's point was in the view before, and whether it was in sight there."""
    height, width = depth.shape
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    directions = view.directions(columns.reshape(-1), rows.reshape(-1))
    points = view.position + depth.reshape(-1, 1).clamp_max(1e4) * directions
    local = (points - before.position) @ before.axes
    z = local[:, 2]
    x = local[:, 0] / z * before.focal_px + width / 2
    y = local[:, 1] / z * before.focal_px + height / 2
    inside = (z > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    there = depth_before[y.clamp(0, height - 1).long(), x.clamp(0, width - 1).long()].clamp_max(1e4)
    visible = inside & ((there - z).abs() < 0.05 * z)
    flow = torch.stack([x - columns.reshape(-1), y - rows.reshape(-1)], -1).view(height, width, 2)
    return flow, visible.view(height, width)
