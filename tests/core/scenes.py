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


def ball_scene(width: int = 160, height: int = 120, fov: float = 60.0, pose: np.ndarray | None = None) -> Scene:
    """pose: camera to world; normals stay in the camera's axes."""
    camera = Camera.from_fov(width, height, fov)
    pose = np.eye(4) if pose is None else pose
    turn, origin = pose[:3, :3], pose[:3, 3]
    rays = camera.rays() @ turn.T
    with np.errstate(divide="ignore"):
        floor = np.where(rays[..., 1] < 0, (FLOOR - origin[1]) / rays[..., 1], np.inf)
        wall = np.where(rays[..., 2] < 0, (WALL - origin[2]) / rays[..., 2], np.inf)
    ball_from_here = BALL - origin
    a, b, c = (rays**2).sum(-1), rays @ ball_from_here, ball_from_here @ ball_from_here - RADIUS**2
    inside = b * b - a * c
    ball = np.where(inside > 0, (b - np.sqrt(np.maximum(inside, 0))) / a, np.inf)
    stack = np.stack([wall, floor, ball])
    part, z = stack.argmin(axis=0), stack.min(axis=0)
    normals = np.zeros((*z.shape, 3))
    normals[part == 0] = [0, 0, 1]
    normals[part == 1] = [0, 1, 0]
    normals[part == 2] = ((rays * z[..., None] - ball_from_here) / RADIUS)[part == 2]
    return Scene(camera, z, normals @ turn, part)


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


def look(position: tuple[float, float, float], target: tuple[float, float, float]) -> np.ndarray:
    """Camera to world of a camera at `position` that looks at `target`, upright."""
    back = np.subtract(position, target)
    back = back / np.linalg.norm(back)
    right = np.cross([0, 1, 0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(back, right), back], axis=1)
    pose[:3, 3] = position
    return pose
