"""Analytic scenes in numpy: a ball in front of a wall on a floor, with exact distance, normals and surface
distances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lotus_core.geometry import Camera

BALL, RADIUS, FLOOR, WALL = np.array([0.3, -0.2, -4.0]), 0.8, -1.0, -8.0


@dataclass(frozen=True)
class Scene:
    """z: float64 H×W distance along the axis; normals: float64 H×W×3 in OpenGL axes; part: 0 wall, 1 floor, 2 ball."""

    camera: Camera
    z: np.ndarray
    normals: np.ndarray
    part: np.ndarray


def ball_scene(width: int = 160, height: int = 120, fov: float = 60.0) -> Scene:
    camera = Camera.from_fov(width, height, fov)
    rays = camera.rays()
    with np.errstate(divide="ignore"):
        floor = np.where(rays[..., 1] < 0, FLOOR / rays[..., 1], np.inf)
    wall = np.full(rays.shape[:2], -WALL)
    a, b, c = (rays**2).sum(-1), rays @ BALL, BALL @ BALL - RADIUS**2
    inside = b * b - a * c
    ball = np.where(inside > 0, (b - np.sqrt(np.maximum(inside, 0))) / a, np.inf)
    stack = np.stack([wall, floor, ball])
    part, z = stack.argmin(axis=0), stack.min(axis=0)
    normals = np.zeros((*z.shape, 3))
    normals[part == 0] = [0, 0, 1]
    normals[part == 1] = [0, 1, 0]
    normals[part == 2] = ((rays * z[..., None] - BALL) / RADIUS)[part == 2]
    return Scene(camera, z, normals, part)


def surface_distance(points: np.ndarray) -> np.ndarray:
    """Distance from points to the nearest of the scene's surfaces, N."""
    return np.min(
        [
            np.abs(points[:, 2] - WALL),
            np.abs(points[:, 1] - FLOOR),
            np.abs(np.linalg.norm(points - BALL, axis=1) - RADIUS),
        ],
        axis=0,
    )
