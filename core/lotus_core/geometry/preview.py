"""A picture of a mesh from a slightly moved viewpoint, drawn in numpy."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

from ..arguments import check_choice
from ..errors import LotusError
from .camera import Camera
from .mesh import Mesh, vertex_normals
from .raster import Raster, rasterize

Shading = Literal["photo", "clay"]
_SUPERSAMPLING = 2
_BACKGROUND = np.array([0.16, 0.17, 0.19]), np.array([0.30, 0.31, 0.33])  # bottom, top
_CLAY = np.array([0.78, 0.74, 0.70])
_LIGHT = np.array([0.35, 0.55, 0.76])  # from the upper right, behind the viewer
_AMBIENT = 0.25
_DOTS = 1, 12  # least and most pixels around a point, before the picture is reduced


def render_preview(
    mesh: Mesh,
    texture: np.ndarray | None = None,
    camera: Camera | None = None,
    *,
    size: int = 768,
    yaw_deg: float = 14.0,
    pitch_deg: float = 7.0,
    shading: Shading = "photo",
) -> np.ndarray:
    """Draw a mesh, or the points of one without faces, each as a dot: uint8, longest edge `size`.

    camera: the camera of the photo, around whose view the mesh turns (yaw to the right, pitch up, about its middle);
    without it the mesh is turned about its centre and framed to fit. shading: the texture as it is, or grey clay in
    light. Raises LotusError for another shading, and when the mesh has no vertices, has no faces for "clay", or for
    "photo" neither UVs with a texture nor the attribute "color".
    """
    check_choice("shading", shading, get_args(Shading))
    if len(mesh.vertices) == 0 or (shading == "clay" and len(mesh.faces) == 0):
        raise LotusError("The mesh has no faces to draw.")
    turn = _rotation(math.radians(-yaw_deg), math.radians(pitch_deg))
    points = mesh.vertices.astype(np.float64)
    if camera is None:
        view = Camera.from_fov(size, size * 3 // 4, 40)
        points = points @ turn.T
        points -= (points.min(axis=0) + points.max(axis=0)) / 2
        # Each point must lie within 90 % of the picture's half width and height.
        reach = np.abs(points[:, :2]) * view.focal_px / (0.45 * np.array([view.width, view.height]))
        points[:, 2] -= (points[:, 2] + reach.max(axis=1)).max()
    else:
        scale = size / max(camera.width, camera.height)
        view = camera.resized(max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))
        # About a point between near and far, so that the foreground stays in the picture; a step back leaves a margin.
        pivot = np.array([0, 0, -np.sqrt(np.prod(np.quantile(-points[:, 2], [0.01, 0.99])))])
        points = (points - pivot) @ turn.T + pivot * 1.12
    fine = view.resized(view.width * _SUPERSAMPLING, view.height * _SUPERSAMPLING)
    blend = np.linspace(1, 0, fine.height)[:, None, None]
    picture = np.repeat(_BACKGROUND[0] * (1 - blend) + _BACKGROUND[1] * blend, fine.width, axis=1)
    if len(mesh.faces) == 0:
        vertex, where = _dots(fine.project(points), -points[:, 2], fine)
        picture.reshape(-1, 3)[where] = _vertex_colours(mesh, texture)[vertex]
    else:
        triangles = mesh.triangles()
        raster = rasterize(fine.project(points), -points[:, 2], triangles, fine.height, fine.width)
        picture[raster.covered] = _shaded(mesh, texture, triangles, raster, turn, shading)
    picture = picture.reshape(view.height, _SUPERSAMPLING, view.width, _SUPERSAMPLING, 3).mean(axis=(1, 3))
    return np.rint(picture.clip(0, 1) * 255).astype(np.uint8)


def sample_texture(texture: np.ndarray, uvs: np.ndarray) -> np.ndarray:
    """Bilinear lookup, edges repeated. texture: uint8 or float H×W×3; uvs: N×2, v up. Returns float64 N×3 in [0, 1]."""
    height, width = texture.shape[:2]
    x = np.clip(uvs[:, 0] * width - 0.5, 0, width - 1)
    y = np.clip((1 - uvs[:, 1]) * height - 0.5, 0, height - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    upper = texture[top, left] * (1 - fx) + texture[top, right] * fx
    lower = texture[bottom, left] * (1 - fx) + texture[bottom, right] * fx
    return (upper * (1 - fy) + lower * fy) / (255 if texture.dtype == np.uint8 else 1)


def _shaded(
    mesh: Mesh, texture: np.ndarray | None, triangles: np.ndarray, raster: Raster, turn: np.ndarray, shading: str
) -> np.ndarray:
    """Colours in [0, 1] of the covered pixels, K×3."""
    if shading == "clay":
        normals = vertex_normals(mesh.vertices, triangles) if mesh.normals is None else mesh.normals
        normal = raster.sample(triangles, normals.astype(np.float64)) @ turn.T
        light = _LIGHT / np.linalg.norm(_LIGHT)
        shade = np.clip(normal @ light, 0, 1) / np.maximum(np.linalg.norm(normal, axis=1), 1e-9)
        return _CLAY * (_AMBIENT + (1 - _AMBIENT) * shade)[:, None]
    if texture is not None and mesh.uvs is not None:
        return sample_texture(texture, raster.sample(triangles, mesh.uvs.astype(np.float64)))
    return raster.sample(triangles, _vertex_colours(mesh, None))


def _vertex_colours(mesh: Mesh, texture: np.ndarray | None) -> np.ndarray:
    """In [0, 1], N×3."""
    if texture is not None and mesh.uvs is not None:
        return sample_texture(texture, mesh.uvs)
    if "color" in mesh.attributes:
        return mesh.attributes["color"] / 255.0
    raise LotusError("The mesh has neither a texture with UVs nor vertex colours; draw it with shading='clay'.")


def _dots(pixels: np.ndarray, distance: np.ndarray, view: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Which vertex is seen at which pixel (flat index), each vertex covering the pixels around it, near over far."""
    with np.errstate(invalid="ignore"):
        inside = (distance > 0) & (pixels >= 0).all(axis=1) & (pixels < [view.width, view.height]).all(axis=1)
    vertex = np.flatnonzero(inside)
    vertex = vertex[np.argsort(-distance[vertex], kind="stable")]
    column, row = np.floor(pixels[vertex]).astype(np.int64).T
    # Far to near: of several writes to one pixel numpy keeps the last. First one point per pixel, so that the dots
    # around them are few whatever the number of points.
    rank = np.full(view.width * view.height, -1, np.int64)
    rank[row * view.width + column] = np.arange(len(vertex))
    kept = np.sort(rank[rank >= 0])
    # As large as the share of the picture that a point stands for.
    reach = int(np.clip(round(np.sqrt(view.width * view.height / max(len(kept), 1)) / 2), *_DOTS))
    across, down = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    x = np.clip(column[kept, None] + across, 0, view.width - 1)
    y = np.clip(row[kept, None] + down, 0, view.height - 1)
    seen = np.full(view.width * view.height, -1, np.int64)
    seen[(y * view.width + x).ravel()] = np.repeat(vertex[kept], x.shape[1])
    where = np.flatnonzero(seen >= 0)
    return seen[where], where


def _rotation(yaw: float, pitch: float) -> np.ndarray:
    turn = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    tilt = np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]])
    return tilt @ turn
