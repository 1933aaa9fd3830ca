"""Normal maps for textures: in tangent space what a mesh lacks, and maps drawn from the shape (curvature, occlusion).

In object space nothing needs baking: the meshes live in the camera's axes (x right, y up, z toward the camera), so the
object-space map is `normals.to("opengl")`, and the tangent-space map of a flat picture plane is the same thing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import LotusError
from ..maps.normals import Normals, normalize
from .camera import Camera
from .filters import fill_outside
from .mesh import Mesh, vertex_normals
from .raster import rasterize

_BAKED_AT_ONCE = 2**19  # pixels of a tangent map; each takes some 300 bytes on the way


@dataclass(frozen=True, eq=False)
class ShadingFrame:
    """Tangent, bitangent and normal of a mesh as a renderer interpolates them, float64 K×3 each, at the covered
    pixels.
    """

    covered: np.ndarray
    tangent: np.ndarray
    bitangent: np.ndarray
    normal: np.ndarray

    def apply(self, tangent_map: np.ndarray) -> np.ndarray:
        """The normals that a tangent-space map (H×W×3) gives on this mesh, H×W×3, zero where nothing is covered."""
        t = tangent_map[self.covered]
        out = np.zeros((*self.covered.shape, 3), np.float32)
        out[self.covered] = normalize(self.tangent * t[:, :1] + self.bitangent * t[:, 1:2] + self.normal * t[:, 2:])
        return out


def shading_frame(mesh: Mesh, camera: Camera) -> ShadingFrame:
    """The frame that Blender, Unity, Unreal and glTF viewers agree on (MikkTSpace), seen from `camera`.

    Per-vertex tangents: the direction of growing u, averaged over the triangles by their angle and made orthogonal to
    the vertex normal; interpolated without renormalising; bitangent = normal × tangent. Raises LotusError without UVs
    or faces.
    """
    ((_, frame),) = _bands(mesh, camera, camera.height)
    return frame


def tangent_map(mesh: Mesh, normals: Normals, camera: Camera) -> Normals:
    """The tangent-space normal map that turns the shading of `mesh` into `normals`: it holds only what the mesh lacks.

    mesh: of one photo, UVs = projection by `camera`. normals: of the photo, at the camera's size. OpenGL convention
    (green up); `.to("directx")` flips green. Pixels that the mesh does not cover, or without a normal, are (0, 0, 1).
    Raises LotusError as `shading_frame`, and for sizes that differ.
    """
    camera.check_size(normals.values)
    given = normals.to("opengl").values
    out = np.zeros((camera.height, camera.width, 3), np.float32)
    out[..., 2] = 1
    for rows, frame in _bands(mesh, camera, max(1, _BAKED_AT_ONCE // camera.width)):
        wanted = given[rows][frame.covered].astype(np.float64)
        basis = np.stack([frame.tangent, frame.bitangent, frame.normal], axis=-1)
        solvable = np.abs(np.linalg.det(basis)) > 1e-6
        basis[~solvable] = np.eye(3)
        local = np.linalg.solve(basis, wanted[..., None])[..., 0]
        # A normal below the surface cannot be stored; lay it down to the horizon.
        local[:, 2] = np.maximum(local[:, 2], 1e-3)
        local[~solvable | (np.abs(wanted).sum(axis=1) == 0)] = [0, 0, 1]
        out[rows][frame.covered] = normalize(local)
    return Normals(out, "opengl")


def _bands(mesh: Mesh, camera: Camera, height: int) -> Iterator[tuple[slice, ShadingFrame]]:
    """The picture in bands of so many rows, each with its frame: of a whole large photo they would take gigabytes."""
    if mesh.uvs is None or len(mesh.faces) == 0:
        raise LotusError("A tangent-space map needs a mesh with faces and UVs.")
    triangles = mesh.triangles()
    normals = (vertex_normals(mesh.vertices, triangles) if mesh.normals is None else mesh.normals).astype(np.float64)
    tangents = _vertex_tangents(mesh.vertices.astype(np.float64), mesh.uvs.astype(np.float64), triangles, normals)
    pixels, distance = camera.project(mesh.vertices), -mesh.vertices[:, 2].astype(np.float64)
    row = pixels[:, 1][triangles]
    top, bottom = row.min(axis=1), row.max(axis=1)
    for first in range(0, camera.height, height):
        last = min(first + height, camera.height)
        here = triangles[(top <= last) & (bottom >= first)]
        raster = rasterize(pixels - [0, first], distance, here, last - first, camera.width)
        normal, tangent = raster.sample(here, normals), raster.sample(here, tangents)
        yield slice(first, last), ShadingFrame(raster.covered, tangent, np.cross(normal, tangent), normal)


def detail_between(normals: Normals, stride: int) -> float:
    """What a grid of every `stride`-th pixel misses of the normals: the mean angle, in degrees, between those in the
    middle of its cells and what bilinear interpolation of the cell's corners gives there.

    Near 0 where the map was enlarged from a picture of fewer pixels than the grid has. 0 where there are no cells.
    """
    height, width = normals.values.shape[:2]
    rows, columns = np.arange(0, height - stride, stride), np.arange(0, width - stride, stride)
    if not len(rows) or not len(columns):
        return 0.0
    step = stride // 2
    middle = normals.values[np.ix_(rows + step, columns + step)]
    expected, known = np.zeros_like(middle), np.linalg.norm(middle, axis=2) > 0
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        corner = normals.values[np.ix_(rows + down * stride, columns + right * stride)]
        known &= np.linalg.norm(corner, axis=2) > 0
        shares = (step / stride if one else 1 - step / stride for one in (down, right))
        expected += corner * np.float32(math.prod(shares))
    cosine = (middle * normalize(expected)).sum(axis=2)[known]
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean()) if cosine.size else 0.0


def curvature_map(normals: Normals, radius: float = 1.5) -> np.ndarray:
    """Mean curvature in the picture plane, float32 H×W in [−1, 1]: positive on ridges, negative in grooves, 0 on
    planes.

    The divergence of the normals over `radius` pixels (Gaussian), squashed by tanh; unknown normals give 0 and leave
    their neighbours alone: the rim of what was cut out is no groove.
    """
    from scipy import ndimage

    known = normals.valid
    if not known.any():
        return np.zeros(known.shape, np.float32)
    n = fill_outside(normals.to("opengl").values, known)
    along = ndimage.gaussian_filter1d(ndimage.gaussian_filter1d(n[..., 0], radius, axis=0), radius, axis=1, order=1)
    down = ndimage.gaussian_filter1d(ndimage.gaussian_filter1d(n[..., 1], radius, axis=1), radius, axis=0, order=1)
    return np.where(known, np.tanh(4 * (along - down)), 0).astype(np.float32)


def ambient_occlusion(
    z: np.ndarray, normals: Normals, camera: Camera, *, radius_px: float = 40.0, directions: int = 8, steps: int = 6
) -> np.ndarray:
    """How much of the sky over each pixel is free, float32 H×W in [0, 1], 1 = open.

    Horizon-based (Bavoil & Sainz 2008): in each direction the steepest rise of the surface above the tangent plane
    within `radius_px`, fading with distance, so that a far wall behind a silhouette casts nothing. z: H×W > 0.
    """
    camera.check_size(z)
    camera.check_size(normals.values)
    points = camera.unproject(z)
    n = normals.to("opengl").values
    reach = radius_px / camera.focal_px * np.asarray(z, np.float32)
    blocked = np.zeros(z.shape, np.float32)
    rows, columns = np.indices(z.shape)
    for angle in 2 * np.pi * (np.arange(directions) + 0.5) / directions:
        horizon = np.zeros(z.shape, np.float32)
        for step in (np.arange(steps) + 1) / steps:
            row = rows + round(np.sin(angle) * step * radius_px)
            column = columns + round(np.cos(angle) * step * radius_px)
            inside = (row >= 0) & (row < z.shape[0]) & (column >= 0) & (column < z.shape[1])
            other = points[row.clip(0, z.shape[0] - 1), column.clip(0, z.shape[1] - 1)]
            offset = other - points
            length = np.sqrt(np.einsum("hwc,hwc->hw", offset, offset))
            rise = np.einsum("hwc,hwc->hw", offset, n) / np.maximum(length, 1e-9)
            fade = np.clip(1 - np.square(length / (reach * 1.5)), 0, 1)
            horizon = np.maximum(horizon, np.where(inside, (rise - 0.05) * fade, 0))
        blocked += horizon
    return (1 - np.clip(blocked / directions, 0, 1)).astype(np.float32)


def vertex_tangents(mesh: Mesh) -> np.ndarray:
    """What glTF stores as TANGENT, float32 N×4: unit tangents, and 1, as UVs of a photo are not mirrored.

    A vertex without one gets any direction at a right angle to its normal. Raises LotusError without UVs or faces.
    """
    if mesh.uvs is None or len(mesh.faces) == 0:
        raise LotusError("Tangents need a mesh with faces and UVs.")
    triangles = mesh.triangles()
    normals = (vertex_normals(mesh.vertices, triangles) if mesh.normals is None else mesh.normals).astype(np.float64)
    found = _vertex_tangents(mesh.vertices.astype(np.float64), mesh.uvs.astype(np.float64), triangles, normals)
    missing = np.linalg.norm(found, axis=1) < 0.5
    axis = np.eye(3)[np.abs(normals[missing]).argmin(axis=1)]
    found[missing] = np.cross(normals[missing], axis)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return np.column_stack([found, np.ones(len(found))]).astype(np.float32)


def _vertex_tangents(vertices: np.ndarray, uvs: np.ndarray, triangles: np.ndarray, normals: np.ndarray) -> np.ndarray:
    corner, coordinate = vertices[triangles], uvs[triangles]
    first, second = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    (u1, v1), (u2, v2) = (coordinate[:, 1] - coordinate[:, 0]).T, (coordinate[:, 2] - coordinate[:, 0]).T
    direction = (first * v2[:, None] - second * v1[:, None]) * np.sign(u1 * v2 - u2 * v1)[:, None]
    total = np.zeros_like(vertices)
    for i in range(3):
        here = triangles[:, i]
        flat = direction - normals[here] * np.einsum("ij,ij->i", direction, normals[here])[:, None]
        flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
        a, b = corner[:, (i + 1) % 3] - corner[:, i], corner[:, (i + 2) % 3] - corner[:, i]
        angle = np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), np.einsum("ij,ij->i", a, b))
        for axis in range(3):
            total[:, axis] += np.bincount(here, flat[:, axis] * angle, len(vertices))
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
