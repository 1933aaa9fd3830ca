"""One surface of several aligned views: points that confirm each other, or a mesh of a signed distance field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import LotusError
from .mesh import Mesh
from .views import View


def fuse_to_points(
    views: Sequence[View], *, tolerance: float = 0.02, agree: int = 1, spacing: float | None = None
) -> Mesh:
    """One point cloud of all views: points that at least `agree` other views confirm, merged on a grid of `spacing`.

    A view that cannot see a point, because it lies outside its picture or behind what it shows, neither confirms nor
    contradicts it: of a point in sight of fewer than `agree` other views, all of those must confirm it. A confirmed
    point moves to the middle of where the views see it. tolerance: relative difference of depth that still confirms.
    spacing: world units; default 1/300 of the extent. Returns a mesh without faces, with "color" where every view has a
    photo. Raises LotusError when no point is left.
    """
    points, colours = [], []
    for view in views:
        cloud = view.world_points()[view.valid]
        votes, in_sight, total = np.zeros(len(cloud), int), np.zeros(len(cloud), int), cloud.copy()
        for other in views:
            if other is not view:
                sight = other.look_at(cloud)
                ratio = np.where(sight.found, sight.surface / np.where(sight.found, sight.distance, 1), 0)
                confirmed = np.abs(ratio - 1) < tolerance
                eye = other.image.camera_to_world[:3, 3]
                votes += confirmed
                in_sight += ratio > 1 - tolerance
                total += np.where(confirmed[:, None], eye + (cloud - eye) * ratio[:, None], 0)
        keep = votes >= np.minimum(agree, in_sight)
        points.append(total[keep] / (1 + votes[keep, None]))
        if view.photo is not None:
            colours.append(view.photo[view.valid][keep])
    everything = np.concatenate(points)
    if len(everything) == 0:
        raise LotusError("No point is confirmed by the other views; check the poses or raise the tolerance.")
    if spacing is None:
        spacing = float(np.ptp(everything, axis=0).max()) / 300 or 1.0
    cell = np.floor((everything - everything.min(axis=0)) / spacing).astype(np.int64)
    _, group, count = np.unique(cell, axis=0, return_inverse=True, return_counts=True)
    group = group.ravel()

    def average(values: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(group, values[:, i]) / count for i in range(3)], axis=1)

    attributes = {}
    if len(colours) == len(views):
        attributes["color"] = np.rint(average(np.concatenate(colours).astype(float))).astype(np.uint8)
    return Mesh(average(everything), np.empty((0, 3), np.int32), None, None, attributes)


def fuse_to_mesh(views: Sequence[View], *, resolution: int = 192, truncation: float = 4.0) -> Mesh:
    """One surface of all views: a truncated signed distance field (Curless & Levoy 1996) and marching cubes
    (scikit-image).

    resolution: voxels along the longest side of the box around the points. truncation: in voxels. Where no view saw a
    surface there is none. The vertices carry "color" where every view has a photo.
    Raises LotusError for no views, a resolution outside 8…512, or when scikit-image is not installed.
    """
    try:
        from skimage.measure import marching_cubes
    except ImportError as error:
        raise LotusError("Fusing to a mesh needs scikit-image; run: pip install scikit-image.") from error
    if not views or not any(view.valid.any() for view in views):
        raise LotusError("There are no views with valid depth to fuse.")
    if not 8 <= resolution <= 512:
        raise LotusError(f"The resolution lies in 8…512 voxels; it is {resolution}.")
    cloud = np.concatenate([view.world_points()[view.valid][::7] for view in views])
    low, high = np.quantile(cloud, 0.002, axis=0), np.quantile(cloud, 0.998, axis=0)
    voxel = float((high - low).max()) / resolution
    low = low - 3 * voxel
    size = np.ceil((high - low) / voxel).astype(int) + 4
    field, weight = np.ones(size, np.float32), np.zeros(size, np.float32)
    reach = truncation * voxel
    y, z = np.meshgrid(np.arange(size[1]), np.arange(size[2]), indexing="ij")
    for x in range(size[0]):  # a slab at a time keeps the memory small
        centres = low + voxel * np.column_stack([np.full(y.size, x), y.ravel(), z.ravel()])
        total, sure = np.zeros(y.size), np.zeros(y.size)
        for view in views:
            sight = view.look_at(centres)
            ahead = (sight.surface - sight.distance) * sight.cosine
            # Near views resolve more, and a view that sees far past a voxel says only that it is empty.
            w = np.where(sight.found & (ahead > -reach), 1 / np.maximum(sight.distance, 1e-9) ** 2, 0)
            total += w * np.clip(ahead / reach, -1, 1)
            sure += w
        seen = sure > 0
        slab = np.ones(y.size)
        slab[seen] = total[seen] / sure[seen]
        field[x], weight[x] = slab.reshape(y.shape), sure.reshape(y.shape)
    if field.min() > 0 or field.max() < 0:
        raise LotusError("The views have no surface in common; check the poses.")
    vertices, faces, _, _ = marching_cubes(field, 0.0, mask=_known(weight > 0))
    mesh = Mesh(low + vertices * voxel, faces.astype(np.int32))
    if all(view.photo is not None for view in views):
        mesh = replace(mesh, attributes={"color": _colours(mesh.vertices.astype(float), views, reach)})
    return mesh


def _known(seen: np.ndarray) -> np.ndarray:
    """Voxels whose whole neighbourhood was seen: marching cubes must not close the surface against the unknown."""
    from scipy.ndimage import binary_erosion

    return binary_erosion(seen, np.ones((3, 3, 3)), border_value=0)


def _colours(vertices: np.ndarray, views: Sequence[View], reach: float) -> np.ndarray:
    """The mean colour of the views that see each vertex; grey where none does."""
    total, count = np.zeros((len(vertices), 3)), np.zeros(len(vertices))
    for view in views:
        assert view.photo is not None
        sight = view.look_at(vertices)
        found = sight.found & (np.abs(sight.surface - sight.distance) < reach)
        total[found] += view.photo.reshape(-1, 3)[sight.pixel[found]]
        count += found
    return np.where(count[:, None] > 0, np.rint(total / np.maximum(count, 1)[:, None]), 128).astype(np.uint8)
