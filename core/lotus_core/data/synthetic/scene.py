"""What a synthetic scene holds: camera, things, light."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .index import Index
from .primitives import Primitive
from .terrain import Terrain


@dataclass(frozen=True)
class View:
    """A pinhole camera with square pixels and its principal point at the centre.

    position: 3 metres, world frame. axes: 3×3, its columns are the camera's right, down and forward in the world frame.
    """

    position: Tensor
    axes: Tensor
    focal_px: float
    height: int
    width: int

    @classmethod
    def look(
        cls, position: Tensor, yaw: float, pitch: float, roll: float, fov_deg: float, height: int, width: int
    ) -> View:
        """Angles in radians: yaw about the up axis, pitch upward, roll clockwise; fov_deg along the longer side."""
        forward = torch.tensor(
            [math.sin(yaw) * math.cos(pitch), math.sin(pitch), -math.cos(yaw) * math.cos(pitch)], dtype=torch.float32
        )
        right = torch.tensor([math.cos(yaw), 0.0, math.sin(yaw)])
        down = torch.linalg.cross(forward, right)
        c, s = math.cos(roll), math.sin(roll)
        axes = torch.stack([c * right + s * down, c * down - s * right, forward], 1)
        focal = max(height, width) / 2 / math.tan(math.radians(fov_deg) / 2)
        return cls(position, axes, focal, height, width)

    def directions(self, columns: Tensor, rows: Tensor) -> Tensor:
        """World directions N×3 through image positions in pixels. Their forward part is 1, so ray parameter = depth."""
        x = (columns - self.width / 2) / self.focal_px
        y = (rows - self.height / 2) / self.focal_px
        return torch.stack([x, y, torch.ones_like(x)], -1) @ self.axes.T


@dataclass(frozen=True)
class Light:
    """A sun (`position` is the direction to it) or a lamp (`position` in metres, falls off with distance squared)."""

    position: Tensor
    colour: Tensor
    is_sun: bool


@dataclass(frozen=True)
class Focus:
    """A lens with a shallow depth of field: what lies behind `distance` metres blurs, far away by `blur` pixels."""

    distance: float
    blur: float


@dataclass(frozen=True)
class Scene:
    """Everything the renderer needs. Colours are linear RGB."""

    view: View
    primitives: list[Primitive]
    terrain: Terrain | None
    lights: list[Light]
    ambient_up: Tensor
    ambient_down: Tensor
    sky_zenith: Tensor
    sky_horizon: Tensor
    cloudiness: float
    haze_m: float  # distance over which the air takes over 63 % of the colour; inf = clear
    focus: Focus | None = None
    mountains: Tensor | None = None  # beyond FAR_M, so part of the sky: height (as slope), roughness, phase

    @cached_property
    def index(self) -> Index:
        """For the ray caster; made on first use."""
        return Index(self.primitives)
