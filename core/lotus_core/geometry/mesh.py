"""The mesh every part of the package hands around."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import LotusError


@dataclass(frozen=True, eq=False)
class Mesh:
    """vertices: float32 N×3; faces: int32 M×3 or M×4, counter-clockwise from outside; uvs: float32 N×2 or None, v up.

    normals: float32 N×3 unit or None. attributes: one array of length N per name; well-known names are "pixel"
    (int32, index of the pixel in the flattened image that made the vertex), "uncertainty" (float32), "color" (uint8
    N×3). A mesh with M = 0 is a point cloud.
    """

    vertices: np.ndarray
    faces: np.ndarray
    uvs: np.ndarray | None = None
    normals: np.ndarray | None = None
    attributes: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        vertices = np.asarray(self.vertices, np.float32)
        if vertices.ndim != 2 or vertices.shape[1] != 3 or not np.isfinite(vertices).all():
            raise LotusError("Mesh vertices are N×3 finite numbers; mask the pixels that have no depth.")
        object.__setattr__(self, "vertices", vertices)
        object.__setattr__(self, "faces", np.asarray(self.faces, np.int32))

    def triangles(self) -> np.ndarray:
        """int32 K×3; a quad becomes two triangles along its shorter diagonal (a bent quad then bends the natural
        way).
        """
        if self.faces.shape[1] == 3:
            return self.faces
        a, b, c, d = self.faces.T
        v = self.vertices
        first = np.square(v[a] - v[c]).sum(1) <= np.square(v[b] - v[d]).sum(1)
        out = np.empty((len(self.faces), 2, 3), np.int32)
        out[:, 0] = np.where(first[:, None], np.stack([a, b, c], 1), np.stack([a, b, d], 1))
        out[:, 1] = np.where(first[:, None], np.stack([a, c, d], 1), np.stack([b, c, d], 1))
        return out.reshape(-1, 3)

    def triangulated(self) -> Mesh:
        """The same mesh with triangles only."""
        return replace(self, faces=self.triangles())

    def take_faces(self, keep: np.ndarray) -> Mesh:
        """The mesh with the faces that `keep` (bool or index) selects, and only the vertices that they use."""
        faces = self.faces[keep]
        used = np.zeros(len(self.vertices), bool)
        used[faces] = True
        new = np.cumsum(used, dtype=np.int32) - 1
        return Mesh(
            self.vertices[used],
            new[faces].reshape(-1, self.faces.shape[1]).astype(np.int32),
            None if self.uvs is None else self.uvs[used],
            None if self.normals is None else self.normals[used],
            {name: values[used] for name, values in self.attributes.items()},
        )

    def with_normals(self) -> Mesh:
        """The mesh with area-weighted vertex normals."""
        return replace(self, normals=vertex_normals(self.vertices, self.triangles()))


def drop_small_pieces(mesh: Mesh, min_faces: int) -> Mesh:
    """The mesh without the connected pieces of fewer than `min_faces` faces. Raises LotusError when none is left."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    triangles, count = mesh.triangles(), len(mesh.vertices)
    pairs = np.concatenate([triangles[:, :2], triangles[:, 1:]])
    graph = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    piece = connected_components(graph, directed=False)[1][mesh.faces[:, 0]]
    keep = np.bincount(piece)[piece] >= min_faces
    if not keep.any():
        raise only_small_pieces(min_faces)
    return mesh if keep.all() else mesh.take_faces(keep)


def only_small_pieces(min_faces: int) -> LotusError:
    """What to raise where dropping the small pieces leaves nothing."""
    return LotusError(f"No surface is left: every piece has fewer than {min_faces} faces; lower that minimum.")


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals, float32 N×3; (0, 0, 1) for a vertex of no or only degenerate triangles."""
    corners = vertices[triangles].astype(np.float64)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.stack(
        [np.bincount(triangles.ravel(), np.repeat(normal[:, i], 3), len(vertices)) for i in range(3)], axis=1
    )
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 0, total / np.where(length > 0, length, 1), [0, 0, 1]).astype(np.float32)
