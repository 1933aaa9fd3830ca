"""Fewer faces where the surface is flat."""

from __future__ import annotations

import numpy as np

from ..errors import LotusError
from .camera import Camera
from .mesh import Mesh

_BORDER_SHARE = 0.5  # of the budget that border vertices may take before they are given up too


def decimate(mesh: Mesh, target_faces: int, camera: Camera | None = None) -> Mesh:
    """Collapse edges by quadric error (Garland & Heckbert 1997; the package fast-simplification) down to a face budget.

    Flat parts lose faces first, so the density follows the curvature. Open borders, the silhouettes of a cut surface,
    keep every vertex as long as the budget allows.

    camera: the camera of a perspective mesh. The work is then done in pixels and log distance: the error is even over
    the picture instead of growing with the distance, and UVs are exact at the vertices, because they are the
    projection. In that space a slanted plane bends just as much as its texture would slip inside a large triangle
    (UVs are interpolated linearly, the projection is not), so slanted planes keep the faces that hold their texture
    in place. Without a camera UVs come from the affine map that fits all of them (a relief), else from the nearest
    old vertex. Attributes come from the nearest old vertex; normals are computed anew. Returns the mesh itself when
    it is small enough. A budget of some hundred faces may be exceeded: many small pieces cannot go below a few each.

    Raises LotusError for a budget below 4, a mesh without faces, or when fast-simplification is not installed.
    """
    if target_faces < 4:
        raise LotusError(f"A mesh needs at least 4 faces; the budget is {target_faces}.")
    if len(mesh.faces) == 0:
        raise LotusError("The mesh has no faces to decimate.")
    triangles = mesh.triangles()
    if len(triangles) <= target_faces:
        return mesh
    try:
        import fast_simplification
    except ImportError as error:
        raise LotusError(
            "Decimation needs the package fast-simplification; run: pip install fast-simplification."
        ) from error
    old = _to_working_space(mesh.vertices, camera)
    keep_border = np.count_nonzero(border_vertices(triangles, len(old))) <= _BORDER_SHARE * target_faces
    points, faces = fast_simplification.simplify(
        old, np.ascontiguousarray(triangles), target_count=int(target_faces), preserve_border=bool(keep_border)
    )
    if keep_border and len(faces) > target_faces:  # what is left is border; the budget comes first
        points, faces = fast_simplification.simplify(points, faces, target_count=int(target_faces))
    vertices = _from_working_space(points, camera)
    from scipy.spatial import cKDTree

    nearest = cKDTree(old).query(points, workers=-1)[1] if mesh.attributes or mesh.uvs is not None else None
    out = Mesh(
        vertices,
        faces,
        _new_uvs(mesh, vertices, nearest, camera),
        None,
        {name: values[nearest] for name, values in mesh.attributes.items()},
    )
    return out if mesh.normals is None else out.with_normals()


def border_vertices(triangles: np.ndarray, count: int) -> np.ndarray:
    """Bool N: vertices on an edge that only one triangle has."""
    a = np.concatenate([triangles[:, 0], triangles[:, 1], triangles[:, 2]]).astype(np.int64)
    b = np.concatenate([triangles[:, 1], triangles[:, 2], triangles[:, 0]]).astype(np.int64)
    key, uses = np.unique(np.minimum(a, b) * count + np.maximum(a, b), return_counts=True)
    single = key[uses == 1]
    out = np.zeros(count, bool)
    out[single // count] = True
    out[single % count] = True
    return out


def _to_working_space(vertices: np.ndarray, camera: Camera | None) -> np.ndarray:
    """Pixels, and log distance times the focal length: a small step then is as long in depth as to the side."""
    if camera is None:
        return vertices.astype(np.float64)
    distance = -vertices[:, 2].astype(np.float64)
    if not (distance > 0).all():
        raise LotusError("The mesh reaches behind its camera; decimate it without the camera.")
    return np.column_stack([camera.project(vertices), camera.focal_px * np.log(distance)])


def _from_working_space(points: np.ndarray, camera: Camera | None) -> np.ndarray:
    if camera is None:
        return points.astype(np.float32)
    distance = np.exp(points[:, 2] / camera.focal_px)
    across = (points[:, 0] - camera.width / 2) / camera.focal_px * distance
    down = (points[:, 1] - camera.height / 2) / camera.focal_px * distance
    return np.column_stack([across, -down, -distance]).astype(np.float32)


def _new_uvs(mesh: Mesh, vertices: np.ndarray, nearest: np.ndarray | None, camera: Camera | None) -> np.ndarray | None:
    if mesh.uvs is None or nearest is None:
        return None
    if camera is not None:
        uvs = camera.project(vertices) / [camera.width, -camera.height] + [0, 1]
        return uvs.astype(np.float32)
    design = np.column_stack([mesh.vertices.astype(np.float64), np.ones(len(mesh.vertices))])
    solution = np.linalg.lstsq(design, mesh.uvs.astype(np.float64), rcond=None)[0]
    if np.abs(design @ solution - mesh.uvs).max() < 1e-4:  # a relief: UVs are a linear map of the position
        return (np.column_stack([vertices, np.ones(len(vertices))]) @ solution).astype(np.float32)
    return mesh.uvs[nearest]
