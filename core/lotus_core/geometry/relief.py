"""Relief: depth as height over a flat picture, open for displays or closed for printing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arguments import check_whole
from ..errors import LotusError
from . import grid
from .inputs import as_mask
from .mesh import Mesh


def relief_mesh(
    height: np.ndarray,
    *,
    width_mm: float = 100.0,
    relief_mm: float = 10.0,
    base_mm: float | None = None,
    valid: np.ndarray | None = None,
    stride: int = 1,
) -> Mesh:
    """An orthographic relief, x right, y up, z toward the viewer, in millimetres, centred.

    height: H×W, 1 = toward the viewer (for example `Depth.near_white()`); 0…1 becomes 0…relief_mm.
    width_mm: width of the whole picture. base_mm: thickness of a closed base below height 0 (a watertight solid for
    print), or None for an open surface. Pixels outside `valid` are cut out. The vertices carry UVs and, on the front,
    "pixel". Raises LotusError for sizes that are not positive, NaN heights, or when nothing is left.
    """
    height = np.asarray(height, np.float32)
    for name, size in (("width", width_mm), ("relief", relief_mm), ("base", 1.0 if base_mm is None else base_mm)):
        if not (np.isfinite(size) and size > 0):
            raise LotusError(f"The {name} of a relief is a number of millimetres above 0; it is {size}.")
    if height.ndim != 2 or min(height.shape) < 2:
        raise LotusError(f"A relief needs at least 2×2 pixels; the map has the shape {height.shape}.")
    check_whole("The stride", stride, 1)
    mask = as_mask(valid, height.shape)
    if not np.isfinite(height[mask]).all():
        raise LotusError("The heights hold NaN or infinite values; mask those pixels out.")
    rows, columns = grid.strided(height.shape[0], stride), grid.strided(height.shape[1], stride)
    cells = grid.stride_cells(grid.all_corners(mask), rows, columns)
    if base_mm is not None:
        cells = _without_pinches(cells)
    if not cells.any():
        raise LotusError("No surface is left: every pixel is masked.")
    topology = grid.grid_topology(cells)
    row, column = rows[topology.pixels // len(columns)], columns[topology.pixels % len(columns)]
    scale = width_mm / height.shape[1]
    front = np.column_stack(
        [
            (column + 0.5 - height.shape[1] / 2) * scale,
            (height.shape[0] / 2 - row - 0.5) * scale,
            height[row, column] * relief_mm,
        ]
    ).astype(np.float32)
    uvs = grid.pixel_uvs(topology.pixels, rows, columns, *height.shape)
    pixel = (row * height.shape[1] + column).astype(np.int32)
    surface = Mesh(front, topology.faces, uvs, None, {"pixel": pixel}).triangulated()
    if base_mm is None:
        return surface
    return _solid(surface, topology.faces, np.float32(-base_mm), whole=bool(cells.all()))


@dataclass(frozen=True)
class PrintReport:
    """What a slicer asks of a mesh. `ok` is the verdict; volume in the cube of the mesh's unit."""

    closed: bool  # every edge belongs to exactly two triangles
    consistent: bool  # which run along it in opposite directions
    outward: bool  # and enclose a positive volume
    degenerate: int  # triangles without area
    pieces: int
    volume: float

    @property
    def ok(self) -> bool:
        """Manifold, oriented outward, no empty triangles."""
        return self.closed and self.consistent and self.outward and self.degenerate == 0


def check_printable(mesh: Mesh) -> PrintReport:
    """Check a mesh for printing. Raises LotusError when it has no faces."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    triangles = mesh.triangles().astype(np.int64)
    if len(triangles) == 0:
        raise LotusError("The mesh has no faces to check.")
    count = len(mesh.vertices)
    start, end = triangles.ravel(), triangles[:, [1, 2, 0]].ravel()
    undirected = np.sort(np.minimum(start, end) * count + np.maximum(start, end))
    directed = np.sort(start * count + end)
    pairs = len(undirected) % 2 == 0 and bool((undirected[::2] == undirected[1::2]).all())
    closed = pairs and bool((undirected[1:-1:2] != undirected[2::2]).all())
    corners = mesh.vertices.astype(np.float64)[triangles]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    volume = float(np.einsum("ij,ij->i", corners[:, 0], cross).sum() / 6)
    graph = coo_matrix((np.ones(len(start), bool), (start, end)), shape=(count, count))
    used = np.zeros(count, bool)
    used[start] = True
    labels = connected_components(graph, directed=False)[1]
    return PrintReport(
        closed=closed,
        consistent=bool((directed[1:] != directed[:-1]).all()),
        outward=volume > 0,
        degenerate=int((np.linalg.norm(cross, axis=1) <= 0).sum()),
        pieces=len(np.unique(labels[used])),
        volume=volume,
    )


def _without_pinches(cells: np.ndarray) -> np.ndarray:
    """Remove cells until no two of them touch at a corner only: a wall through such a corner would not be manifold."""
    cells = cells.copy()
    while True:
        a, b, c, d = cells[:-1, :-1], cells[:-1, 1:], cells[1:, :-1], cells[1:, 1:]
        falling, rising = a & d & ~b & ~c, b & c & ~a & ~d
        if not (falling.any() or rising.any()):
            return cells
        cells[:-1, :-1][falling] = False
        cells[:-1, 1:][rising] = False


def _solid(surface: Mesh, quads: np.ndarray, bottom: np.float32, *, whole: bool) -> Mesh:
    """Close a surface with walls along its border and a flat back at z = bottom."""
    count = len(surface.vertices)
    start, end = quads.ravel().astype(np.int64), quads[:, [1, 2, 3, 0]].ravel().astype(np.int64)
    border = ~np.isin(start * count + end, end * count + start)
    start, end = start[border], end[border]
    assert surface.uvs is not None
    if whole:  # a full picture: the back is a fan around its centre, with vertices below the border only
        below = np.unique(start)
        centre = len(below)
        ground = np.vstack([surface.vertices[below], surface.vertices[below].mean(axis=0)])
        uvs = np.vstack([surface.uvs[below], surface.uvs[below].mean(axis=0)])
        new = np.zeros(count, np.int64)
        new[below] = count + np.arange(centre)
        back = np.column_stack([new[end], new[start], np.full(len(start), count + centre)])
    else:
        ground, uvs = surface.vertices.copy(), surface.uvs
        new = count + np.arange(count)
        back = new[surface.faces[:, ::-1]]
    ground[:, 2] = bottom
    walls = np.concatenate([np.column_stack([end, start, new[start]]), np.column_stack([end, new[start], new[end]])])
    pixel = np.concatenate([surface.attributes["pixel"], np.full(len(ground), -1, np.int32)])
    return Mesh(
        np.vstack([surface.vertices, ground]),
        np.vstack([surface.faces, walls, back]),
        np.vstack([surface.uvs, uvs]),
        None,
        {"pixel": pixel},
    )
