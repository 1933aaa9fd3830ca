"""From distances to a surface in front of the camera."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..arguments import check_whole
from ..errors import LotusError
from . import grid
from .camera import Camera
from .inputs import as_mask, check_picture
from .mesh import Mesh, only_small_pieces


def grid_mesh(
    z: np.ndarray,
    camera: Camera,
    valid: np.ndarray | None = None,
    cut: float = grid.DEFAULT_CUT,
    *,
    stride: int = 1,
    quads: bool = False,
    min_faces: int = 0,
) -> Mesh:
    """A textured surface through the pixel centres, cut at depth discontinuities.

    z: H×W, distance along the optical axis; pixels that are not finite and positive, or not in `valid`, make no face.
    cut: a 2×2 block of pixels makes no face when max z / min z − 1 exceeds it. stride: use every n-th pixel (cuts are
    still found at full resolution). quads: keep quads, else triangles. min_faces: drop islands of fewer quads.
    The vertices carry UVs and the attribute "pixel" (flat index into the H×W image). valid: bool H×W, or all 0 and 1,
    or all 0 and 255.

    Raises LotusError when the sizes differ, the mask holds other values, an option is out of range, or nothing is left.
    """
    camera.check_size(z)
    valid = as_mask(valid, z.shape)
    cells = grid.cut_cells(z, valid, check_cut(cut))
    rows, columns = _grid_lines(z.shape, stride)
    if stride > 1:
        cells = grid.stride_cells(cells, rows, columns)
    if not cells.any():
        smaller = ", take a smaller stride" if stride > 1 else ""
        raise LotusError(f"No surface is left: every pixel is masked or cut; raise the cut{smaller} or check the mask.")
    if min_faces > 1:
        cells = grid.drop_islands(cells, min_faces)
        if not cells.any():
            raise only_small_pieces(min_faces)
    faces = grid.corner_pixels(cells)
    halves = np.empty((0, 3), np.int32)
    if not quads and stride == 1:
        halves = grid.half_cells(np.asarray(z, np.float32), valid, cut, cells)
    used = np.zeros(len(rows) * len(columns), bool)
    used[faces] = True
    used[halves] = True
    number = np.cumsum(used, dtype=np.int32) - 1
    pixels = np.flatnonzero(used).astype(np.int32)
    row, column = rows[pixels // len(columns)], columns[pixels % len(columns)]
    distance = np.asarray(z, np.float64)[row, column]
    vertices = np.stack(
        [
            (column + 0.5 - camera.width / 2) / camera.focal_px * distance,
            -(row + 0.5 - camera.height / 2) / camera.focal_px * distance,
            -distance,
        ],
        axis=1,
    ).astype(np.float32)
    uvs = grid.pixel_uvs(pixels, rows, columns, camera.height, camera.width)
    mesh = Mesh(vertices, number[faces], uvs, None, {"pixel": (row * camera.width + column).astype(np.int32)})
    if quads:
        return mesh
    return replace(mesh, faces=np.concatenate([mesh.triangles(), number[halves]]))


def point_cloud(
    z: np.ndarray,
    camera: Camera,
    valid: np.ndarray | None = None,
    *,
    stride: int = 1,
    photo: np.ndarray | None = None,
    normals: np.ndarray | None = None,
) -> Mesh:
    """One point per pixel, or every n-th: a mesh without faces, with UVs, "pixel", and colour and normals where given.

    z: H×W; pixels that are not finite and positive, or not in `valid` (as for `grid_mesh`), make no point. photo: uint8
    H×W×3. normals: H×W×3 in OpenGL axes; a point without one faces the camera's plane, (0, 0, 1). Raises LotusError
    when the sizes differ, the photo or the mask holds something else, or nothing is left.
    """
    camera.check_size(z)
    check_whole("The stride", stride, 1)
    if photo is not None:
        check_picture(photo)
        camera.check_size(photo)
    if normals is not None and normals.shape != (*z.shape, 3):
        raise LotusError(f"The normals have the shape {normals.shape}, the map {z.shape}: give three numbers a pixel.")
    with np.errstate(invalid="ignore"):
        keep = np.isfinite(z) & (z > 0) & as_mask(valid, z.shape)
    chosen = np.zeros(z.shape, bool)
    chosen[::stride, ::stride] = keep[::stride, ::stride]
    if not chosen.any():
        raise LotusError("No point is left: every pixel is masked.")
    pixels = np.flatnonzero(chosen).astype(np.int32)
    rows, columns = np.arange(camera.height), np.arange(camera.width)
    attributes = {"pixel": pixels}
    if photo is not None:
        attributes["color"] = photo[chosen]
    facing = None if normals is None else normals[chosen].astype(np.float32)
    if facing is not None:  # glTF and renderers know no normal without a length
        facing[~facing.any(axis=1)] = [0, 0, 1]
    return Mesh(
        camera.unproject(np.where(keep, z, 1))[chosen],
        np.empty((0, 3), np.int32),
        grid.pixel_uvs(pixels, rows, columns, camera.height, camera.width),
        facing,
        attributes,
    )


def check_cut(cut: float) -> float:
    """Raise LotusError unless the cut is positive (infinity: cut nothing)."""
    if not cut > 0:
        raise LotusError(f"The cut is a relative depth jump above 0, for example 0.04; it is {cut}.")
    return cut


def _grid_lines(shape: tuple[int, ...], stride: int) -> tuple[np.ndarray, np.ndarray]:
    check_whole("The stride", stride, 1)
    if min(shape[:2]) < 2:
        raise LotusError(f"A surface needs at least 2×2 pixels; the map is {shape[1]}×{shape[0]}.")
    return grid.strided(shape[0], stride), grid.strided(shape[1], stride)
