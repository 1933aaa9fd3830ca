"""Faces over a pixel grid: one vertex per pixel centre, one quad per 2×2 pixels, cut where the surface tears.

A *cell* is such a 2×2 block; cell (i, j) has the pixels (i, j), (i+1, j), (i+1, j+1), (i, j+1) as its corners.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .filters import fill_outside, label
from .inputs import as_mask

DEFAULT_CUT = 0.04
MOST_VERTICES = 2**21  # of an automatic stride; a photo of 1920×1080 keeps all of its pixels


@dataclass(frozen=True, eq=False)
class GridTopology:
    """Everything a host needs to build the mesh with array copies only. N vertices, E edges, M quads; all int32.

    pixels: N, flat index of each vertex in the (strided) grid. faces: M×4, counter-clockwise seen from the camera.
    edges: E×2. corner_edges: M×4, the edge from each corner to the next.
    """

    pixels: np.ndarray
    faces: np.ndarray
    edges: np.ndarray
    corner_edges: np.ndarray


def cut_cells(z: np.ndarray, valid: np.ndarray | None = None, cut: float = DEFAULT_CUT) -> np.ndarray:
    """Cells that make a face: all four corners valid, finite and positive, and max z / min z − 1 ≤ cut. Bool
    (H−1)×(W−1).

    z: H×W. An infinite `cut` cuts nothing.
    """
    z = np.asarray(z, np.float32)
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(z) & (z > 0)
    if valid is not None:
        usable &= as_mask(valid, z.shape)
    safe = z if usable.all() else np.where(usable, z, np.float32(1))
    low = np.minimum(safe[1:], safe[:-1])
    high = np.maximum(safe[1:], safe[:-1])
    keep = np.maximum(high[:, 1:], high[:, :-1]) <= np.minimum(low[:, 1:], low[:, :-1]) * np.float32(1 + cut)
    return keep & all_corners(usable)


def all_corners(mask: np.ndarray) -> np.ndarray:
    """Cells whose four corners are in the mask: bool (H−1)×(W−1)."""
    pairs = mask[1:] & mask[:-1]
    return pairs[:, 1:] & pairs[:, :-1]


def strided(size: int, stride: int) -> np.ndarray:
    """Row or column numbers 0, stride, 2·stride, … and always the last one, so that the whole photo is covered."""
    index = np.arange(0, size, stride)
    return index if index[-1] == size - 1 else np.append(index, size - 1)


def automatic_stride(height: int, width: int, vertices: int = MOST_VERTICES) -> int:
    """The smallest stride whose grid has at most so many vertices: 1 unless the photo is large."""
    stride = 1
    while (-(-(height - 1) // stride) + 1) * (-(-(width - 1) // stride) + 1) > vertices:
        stride += 1
    return stride


def stride_cells(cells: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Cells of the grid of only these rows and columns: a large cell stands when every small one under it does."""
    return np.logical_and.reduceat(np.logical_and.reduceat(cells, rows[:-1], axis=0), columns[:-1], axis=1)


def corner_pixels(cells: np.ndarray) -> np.ndarray:
    """Flat pixel numbers of the corners of the standing cells, int32 M×4, counter-clockwise seen from the camera."""
    width = cells.shape[1] + 1
    row, column = (index.astype(np.int32) for index in np.nonzero(cells))
    first = row * np.int32(width) + column
    return first[:, None] + np.array([0, width, width + 1, 1], np.int32)


def half_cells(z: np.ndarray, valid: np.ndarray | None, cut: float, cells: np.ndarray) -> np.ndarray:
    """Triangles that three good corners of a cut cell still make, flat pixel numbers, int32 K×3.

    They turn the staircase of a silhouette into slopes. Only those that lean on a standing cell, so that none floats.
    """
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(z) & (z > 0) & (True if valid is None else valid)
    row, column = np.nonzero(~cells)
    width = cells.shape[1]
    padded = np.pad(cells, 1)
    # Corners in the order of corner_pixels; the neighbour cell behind the side from corner i to corner i + 1.
    corner = [(row, column), (row + 1, column), (row + 1, column + 1), (row, column + 1)]
    shift = [(1, 0), (2, 1), (1, 2), (0, 1)]
    beside = [padded[row + down, column + across] for down, across in shift]
    good = np.stack([usable[at] for at in corner])
    distance = np.stack([np.where(usable[at], z[at], np.float32(1)) for at in corner])
    pixel = np.stack([r * (width + 1) + c for r, c in corner])
    out, taken = [], np.zeros(len(row), bool)
    for i in range(4):
        three = [i, (i + 1) % 4, (i + 2) % 4]
        jump = distance[three].max(axis=0) > distance[three].min(axis=0) * np.float32(1 + cut)
        take = good[three].all(axis=0) & ~jump & (beside[three[0]] | beside[three[1]]) & ~taken
        taken |= take
        out.append(pixel[three][:, take].T)
    return np.concatenate(out).astype(np.int32)


def fill_holes(z: np.ndarray, valid: np.ndarray, max_pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Close holes of at most `max_pixels` pixels that do not touch the border, by a membrane of log z.

    Returns z (float32) and the larger mask. z: H×W, positive where valid.
    """
    from .poisson import solve_weighted

    valid = as_mask(valid, z.shape)
    piece, count = label(~valid)
    size = np.bincount(piece.ravel(), minlength=count + 1)
    small = size <= max_pixels
    small[0] = False
    small[np.unique(np.concatenate([piece[0], piece[-1], piece[:, 0], piece[:, -1]]))] = False
    hole = small[piece]
    if not hole.any() or not valid.any():
        return np.array(z, np.float32), valid.copy()
    start = np.log(fill_outside(np.asarray(z, np.float32), valid))
    joined = [hole[:, 1:] | hole[:, :-1], hole[1:] | hole[:-1]]
    weights = joined[0].astype(np.float32), joined[1].astype(np.float32)
    steps = np.zeros_like(weights[0]), np.zeros_like(weights[1])
    anchor = np.where(hole, 0, 1e3).astype(np.float32)
    filled = solve_weighted(steps, weights, anchor, start, start, iterations=100)
    return np.where(hole, np.exp(filled), z).astype(np.float32), valid | hole


def grid_topology(cells: np.ndarray) -> GridTopology:
    """Vertices, quads and edges of the standing cells, without searching or sorting. cells: bool (H−1)×(W−1)."""
    height, width = cells.shape[0] + 1, cells.shape[1] + 1
    used = np.zeros((height, width), bool)
    for rows in (slice(0, -1), slice(1, None)):
        for columns in (slice(0, -1), slice(1, None)):
            used[rows, columns] |= cells
    # An edge along a row belongs to the cells above and below it, one along a column to those left and right of it.
    along = np.zeros((height, width - 1), bool)
    along[:-1] = cells
    along[1:] |= cells
    down = np.zeros((height - 1, width), bool)
    down[:, :-1] = cells
    down[:, 1:] |= cells

    if cells.all():
        number = np.arange(height * width, dtype=np.int32).reshape(height, width)
        along_number = np.arange(along.size, dtype=np.int32).reshape(along.shape)
        down_number = np.arange(along.size, along.size + down.size, dtype=np.int32).reshape(down.shape)
    else:
        number = np.cumsum(used, dtype=np.int32).reshape(used.shape) - 1
        along_number = np.cumsum(along, dtype=np.int32).reshape(along.shape) - 1
        down_number = np.cumsum(down, dtype=np.int32).reshape(down.shape) + along_number[-1, -1]

    count = int(np.count_nonzero(cells))
    everything = count == cells.size

    def pick(values: np.ndarray, mask: np.ndarray, out: np.ndarray) -> None:
        out[:] = values.reshape(-1) if everything else values[mask]

    faces = np.empty((count, 4), np.int32)
    pick(number[:-1, :-1], cells, faces[:, 0])
    pick(number[1:, :-1], cells, faces[:, 1])
    pick(number[1:, 1:], cells, faces[:, 2])
    pick(number[:-1, 1:], cells, faces[:, 3])
    corner_edges = np.empty((count, 4), np.int32)
    pick(down_number[:, :-1], cells, corner_edges[:, 0])
    pick(along_number[1:], cells, corner_edges[:, 1])
    pick(down_number[:, 1:], cells, corner_edges[:, 2])
    pick(along_number[:-1], cells, corner_edges[:, 3])
    horizontal = along.size if everything else int(np.count_nonzero(along))
    edges = np.empty((horizontal + (down.size if everything else int(np.count_nonzero(down))), 2), np.int32)
    pick(number[:, :-1], along, edges[:horizontal, 0])
    pick(number[:, 1:], along, edges[:horizontal, 1])
    pick(number[:-1], down, edges[horizontal:, 0])
    pick(number[1:], down, edges[horizontal:, 1])
    pixels = np.flatnonzero(used).astype(np.int32)
    return GridTopology(pixels, faces, edges, corner_edges)


def pixel_uvs(pixels: np.ndarray, rows: np.ndarray, columns: np.ndarray, height: int, width: int) -> np.ndarray:
    """Texture coordinates of pixel centres, float32 N×2: ((i + 0.5) / W, 1 − (j + 0.5) / H).

    pixels: flat numbers in the grid of `rows` and `columns` of an image of height × width.
    """
    across = ((columns + 0.5) / width).astype(np.float32)
    down = (1 - (rows + 0.5) / height).astype(np.float32)
    row, column = np.divmod(pixels, np.int32(len(columns)))
    return np.stack([across[column], down[row]], axis=1)


def drop_islands(cells: np.ndarray, min_faces: int) -> np.ndarray:
    """Cells without the connected pieces (sharing an edge) of fewer than `min_faces` cells."""
    piece, _ = label(cells)
    large = np.bincount(piece.ravel()) >= min_faces
    large[0] = False
    return large[piece]
