"""A z-buffer in numpy: which triangle is seen at each pixel, and where in it. For previews and for baking maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_EDGE = 1e-6  # a pixel centre on a shared edge belongs to both triangles, so that no hole opens between them


@dataclass(frozen=True, eq=False)
class Raster:
    """face: int32 H×W, −1 where nothing is seen; weights: float32 H×W×3, perspective-correct barycentric
    coordinates.
    """

    face: np.ndarray
    weights: np.ndarray

    @property
    def covered(self) -> np.ndarray:
        """bool H×W, True where a triangle is seen."""
        return self.face >= 0

    def sample(self, triangles: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Interpolate per-vertex values N×C over the covered pixels: K×C, in the order of `covered`."""
        corners = triangles[self.face[self.covered]]
        weights = self.weights[self.covered]
        return sum(values[corners[:, i]] * weights[:, i, None] for i in range(3))


def rasterize(pixels: np.ndarray, distance: np.ndarray, triangles: np.ndarray, height: int, width: int) -> Raster:
    """Draw triangles. pixels: N×2 image coordinates (pixel centres at +0.5); distance: N, along the axis; triangles:
    M×3.

    Triangles with a corner at a distance ≤ 0 are left out. An orthographic picture has a distance of 1 everywhere
    plus order: pass 1 / rank.
    """
    face = np.full(height * width, -1, np.int32)
    weights = np.zeros((height * width, 3), np.float32)
    fragments = _fragments(np.asarray(pixels, np.float64), np.asarray(distance, np.float64), triangles, height, width)
    if fragments:
        pixel, triangle, first, second, nearness = (np.concatenate(parts) for parts in zip(*fragments, strict=True))
        # Of several writes to one pixel numpy keeps the last, so the nearest is written last.
        winner = np.full(height * width, -1, np.int64)
        order = np.argsort(nearness, kind="stable")
        winner[pixel[order]] = order
        seen = winner >= 0
        winner = winner[seen]
        face[seen] = triangle[winner]
        screen = np.stack([1 - first[winner] - second[winner], first[winner], second[winner]], axis=1)
        # Barycentric coordinates are linear on the screen after division by the distance.
        screen /= distance[triangles[triangle[winner]]]
        weights[seen] = screen / screen.sum(axis=1, keepdims=True)
    return Raster(face.reshape(height, width), weights.reshape(height, width, 3))


def _fragments(
    pixels: np.ndarray, distance: np.ndarray, triangles: np.ndarray, height: int, width: int
) -> list[tuple[np.ndarray, ...]]:
    """Tuples (flat pixel, triangle, second weight, third weight, 1 / distance) of everything drawn."""
    in_front = (distance[triangles] > 0).all(axis=1)
    a, b, c = (pixels[triangles[:, i]] for i in range(3))
    with np.errstate(invalid="ignore"):
        low = np.ceil(np.minimum(np.minimum(a, b), c) - 0.5 - _EDGE)
        high = np.floor(np.maximum(np.maximum(a, b), c) - 0.5 + _EDGE)
        area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
        low, high = np.maximum(low, 0), np.minimum(high, [width - 1, height - 1])
        size = (high - low + 1).min(axis=1)
        index = np.flatnonzero(in_front & (size >= 1) & (np.abs(area) > 1e-12))
    low, high = low[index].astype(np.int64), high[index].astype(np.int64)
    a, b, c, area = a[index], b[index], c[index], area[index]
    # weight = x · across + y · down + offset, in pixels from the first corner
    first = np.stack([(c[:, 1] - a[:, 1]), -(c[:, 0] - a[:, 0])], 1) / area[:, None]
    second = np.stack([-(b[:, 1] - a[:, 1]), (b[:, 0] - a[:, 0])], 1) / area[:, None]
    nearness = 1 / distance[triangles[index]]

    def draw(which: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        dx, dy = x + 0.5 - a[which, 0], y + 0.5 - a[which, 1]
        u = first[which, 0] * dx + first[which, 1] * dy
        v = second[which, 0] * dx + second[which, 1] * dy
        hit = (u >= -_EDGE) & (v >= -_EDGE) & (u + v <= 1 + _EDGE) & (x <= high[which, 0]) & (y <= high[which, 1])
        which, u, v = which[hit], u[hit], v[hit]
        near = nearness[which]
        depth = near[:, 0] + u * (near[:, 1] - near[:, 0]) + v * (near[:, 2] - near[:, 0])
        return (
            (y[hit] * width + x[hit]).astype(np.int32),
            index[which].astype(np.int32),
            u.astype(np.float32),
            v.astype(np.float32),
            depth.astype(np.float32),
        )

    extent = high - low + 1
    # Triangles of about one size are drawn together, pixel by pixel of their box; a large one is drawn alone, all at
    # once.
    step = np.ceil(np.log2(extent)).astype(int)
    out = []
    for key in np.unique(step[:, 0] * 64 + step[:, 1]):
        group = np.flatnonzero(step[:, 0] * 64 + step[:, 1] == key)
        box = (1 << int(key) // 64, 1 << int(key) % 64)
        if len(group) >= box[0] * box[1]:
            for dy in range(box[1]):
                for dx in range(box[0]):
                    out.append(draw(group, low[group, 0] + dx, low[group, 1] + dy))
        else:
            for one in group:
                y, x = np.mgrid[low[one, 1] : high[one, 1] + 1, low[one, 0] : high[one, 0] + 1].reshape(2, -1)
                out.append(draw(np.full(x.size, one), x, y))
    return out
