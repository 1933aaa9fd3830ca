"""Several photos with known poses to one surface: align each depth map, then fuse."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import LotusError
from ..maps.depth import Depth
from .alignment import fit_affine
from .grid import DEFAULT_CUT
from .mesh import Mesh
from .poses import PosedImage

_SAMPLES = 1500  # points per pair of views when they are aligned to each other
MIN_POINTS = 8
_TOLERANCES = 0.1, 0.02, 0.006  # of that agreement, in units of the maps: first to find it, then to be rid of outliers
_OUTSIDE = 0.1  # what a point that another view does not see costs, as a difference of the maps


@dataclass(frozen=True, eq=False)
class View:
    """A posed photo with its depth in world units. z: float64 H×W; valid: bool H×W; photo: uint8 H×W×3 or None."""

    image: PosedImage
    z: np.ndarray
    valid: np.ndarray
    photo: np.ndarray | None = None

    def world_points(self) -> np.ndarray:
        """float64 H×W×3."""
        points = self.image.camera.rays() * self.z[..., None]
        pose = self.image.camera_to_world
        return points @ pose[:3, :3].T + pose[:3, 3]


def align_to_points(image: PosedImage, depth: Depth, photo: np.ndarray | None = None) -> View:
    """Bring a depth map to world units by the sparse points that its image sees, robustly, in the map's own space.

    depth: at the camera's size (any other is resized). Raises LotusError for fewer than 8 points.
    """
    depth = _fit(depth, image)
    x, y = np.floor(image.points[:, :2]).astype(int).T if len(image.points) else np.empty((2, 0), int)
    inside = (x >= 0) & (x < image.camera.width) & (y >= 0) & (y < image.camera.height)
    x, y, distance = x[inside], y[inside], image.points[inside, 2]
    seen = depth.mask[y, x]
    if seen.sum() < MIN_POINTS:
        raise LotusError(f"{image.name} sees only {int(seen.sum())} sparse points; at least {MIN_POINTS} are needed.")
    target = 1 / distance if depth.space == "disparity" else distance
    affine = fit_affine(depth.values[y, x][seen], target[seen], robust=True)
    return _view(image, depth, affine.scale, affine.shift, photo)


def align_to_each_other(
    images: list[PosedImage], depths: list[Depth], photos: list[np.ndarray] | None = None
) -> list[View]:
    """Find scale and shift of every depth map so that the views agree where they see the same surface.

    No sparse points needed: the distances between the cameras give the scale. Points of each view are moved into the
    others and compared with their depth, robustly (Cauchy), because some of them are hidden there.
    Raises LotusError for fewer than two views.
    """
    from scipy.optimize import least_squares

    if len(images) < 2 or len(images) != len(depths):
        raise LotusError("Aligning views to each other needs two or more, with one depth map each.")
    depths = [_fit(depth, image) for image, depth in zip(images, depths, strict=True)]
    random = np.random.default_rng(0)
    pairs = []
    for i, (image, depth) in enumerate(zip(images, depths, strict=True)):
        pixel = random.choice(np.flatnonzero(depth.mask), _SAMPLES)
        rays = image.camera.rays().reshape(-1, 3)[pixel]
        for j, other in enumerate(images):
            if i != j:
                turn = np.linalg.inv(other.camera_to_world) @ image.camera_to_world
                pairs.append((i, j, depth.values.ravel()[pixel].astype(np.float64), rays @ turn[:3, :3].T, turn[:3, 3]))

    def mapped(which: int, values: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        return np.exp(parameters[2 * which]) * values + np.exp(parameters[2 * which + 1])

    def residuals(parameters: np.ndarray) -> np.ndarray:
        out = []
        for i, j, values, rays, shift in pairs:
            here = mapped(i, values, parameters)
            points = rays * (1 / here if depths[i].space == "disparity" else here)[:, None] + shift
            camera = images[j].camera
            pixels = camera.project(points)
            with np.errstate(invalid="ignore"):
                inside = (points[:, 2] < 0) & (pixels >= 0).all(axis=1)
                inside &= (pixels[:, 0] < camera.width) & (pixels[:, 1] < camera.height)
            there, seen = _lookup(depths[j], np.where(inside[:, None], pixels, 0))
            inside &= seen
            with np.errstate(invalid="ignore", divide="ignore"):
                moved = 1 / -points[:, 2] if depths[j].space == "disparity" else -points[:, 2]
            # In the units of the maps, where a network's noise is the same near and far.
            error = (moved - mapped(j, there, parameters)) * np.exp(-(parameters[2 * i] + parameters[2 * j]) / 2)
            out.append(np.where(inside, error, _OUTSIDE))
        return np.concatenate(out)

    centres = np.array([image.camera_to_world[:3, 3] for image in images])
    baseline = max(float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).max()), 1e-9)

    def guess(near: float, ratio: float) -> np.ndarray:
        rows = []
        for depth in depths:
            pair = (1 / near - 1 / (near * ratio), 1 / (near * ratio))
            rows.append(np.log(pair if depth.space == "disparity" else (near * (ratio - 1), near)))
        return np.concatenate(rows)

    starts = [guess(near, ratio) for near in baseline * np.geomspace(0.5, 60, 16) for ratio in (2.0, 4.0, 10.0)]
    cost = [np.log1p(np.square(residuals(start) / 0.1)).sum() for start in starts]
    found = None
    for index in np.argsort(cost)[:3]:
        x = starts[index]
        for tolerance in _TOLERANCES:
            solved = least_squares(residuals, x, loss="cauchy", f_scale=tolerance, diff_step=1e-3, max_nfev=20)
            x = solved.x
        if found is None or solved.cost < found.cost:
            found = solved
    assert found is not None
    scales, shifts = np.exp(found.x[::2]), np.exp(found.x[1::2])
    return [
        _view(images[i], depths[i], scales[i], shifts[i], None if photos is None else photos[i])
        for i in range(len(images))
    ]


def _fit(depth: Depth, image: PosedImage) -> Depth:
    size = (image.camera.height, image.camera.width)
    return depth if depth.values.shape == size else depth.resize(size)


def _lookup(depth: Depth, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values between the pixel centres, so that they change smoothly with the point, and whether there is one."""
    from scipy.ndimage import map_coordinates

    where = np.stack([pixels[:, 1] - 0.5, pixels[:, 0] - 0.5])
    column = np.clip(np.floor(pixels[:, 0]).astype(int), 0, depth.values.shape[1] - 1)
    row = np.clip(np.floor(pixels[:, 1]).astype(int), 0, depth.values.shape[0] - 1)
    return map_coordinates(depth.values.astype(np.float64), where, order=1, mode="nearest"), depth.mask[row, column]


def _view(image: PosedImage, depth: Depth, scale: float, shift: float, photo: np.ndarray | None) -> View:
    mapped = depth.values.astype(np.float64) * scale + shift
    with np.errstate(divide="ignore"):
        z = 1 / mapped if depth.space == "disparity" else mapped
    valid = depth.mask & (mapped > 0) & np.isfinite(z)
    return View(image, np.where(valid, z, 1.0), valid & ~_edges(z, valid), photo)


def _edges(z: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Pixels beside a depth discontinuity: their distance belongs to neither side for sure."""
    safe = np.where(valid, z, 1.0)
    out = np.zeros(z.shape, bool)
    for axis in (0, 1):
        first, second = (np.s_[:-1], np.s_[1:]) if axis == 0 else (np.s_[:, :-1], np.s_[:, 1:])
        low, high = np.minimum(safe[first], safe[second]), np.maximum(safe[first], safe[second])
        jump = high > low * (1 + 2 * DEFAULT_CUT)
        out[first] |= jump
        out[second] |= jump
    return out


def fuse_to_points(views: list[View], *, tolerance: float = 0.02, agree: int = 1, spacing: float | None = None) -> Mesh:
    """One point cloud of all views: points that at least `agree` other views confirm, merged on a grid of `spacing`.

    tolerance: relative difference of depth that still confirms. spacing: world units; default 1/300 of the extent.
    Returns a mesh without faces, with "color" where every view has a photo. Raises LotusError when no point is
    confirmed.
    """
    points, colours = [], []
    for view in views:
        cloud = view.world_points()[view.valid]
        votes = np.zeros(len(cloud), int)
        for other in views:
            if other is not view:
                distance, found, _ = _see(other, cloud)
                votes += found & (np.abs(distance / np.where(found, _depth_at(other, cloud), 1) - 1) < tolerance)
        keep = votes >= min(agree, len(views) - 1)
        points.append(cloud[keep])
        if view.photo is not None:
            colours.append(view.photo[view.valid][keep])
    everything = np.concatenate(points)
    if len(everything) == 0:
        raise LotusError("No point is confirmed by a second view; check the poses or raise the tolerance.")
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


def fuse_to_mesh(views: list[View], *, resolution: int = 192, truncation: float = 4.0) -> Mesh:
    """One surface of all views: a truncated signed distance field (Curless & Levoy 1996) and marching cubes
    (scikit-image).

    resolution: voxels along the longest side of the box around the points. truncation: in voxels. Where no view saw a
    surface there is none. The vertices carry "color" where every view has a photo.
    Raises LotusError for no views, a resolution outside 8…512, or when scikit-image is not installed.
    """
    try:
        from skimage.measure import marching_cubes
    except ImportError as error:
        raise LotusError("Fusing to a mesh needs scikit-image; run: pip install 'lotus-geometry[mesh]'.") from error
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
            distance, found, cosine = _see(view, centres)
            ahead = (np.where(found, _depth_at(view, centres), 0) - distance) * cosine
            use = found & (ahead > -reach)
            # Near views resolve more, and a view that sees far past a voxel says only that it is empty.
            w = np.where(use, 1 / np.maximum(distance, 1e-9) ** 2, 0)
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


def _see(view: View, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance of world points along a view's axis, whether a valid pixel sees them, and the cosine of their ray."""
    pose = view.image.camera_to_world
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    distance = -local[:, 2]
    camera = view.image.camera
    pixels = camera.project(local)
    with np.errstate(invalid="ignore"):
        found = (distance > 0) & (pixels >= 0).all(axis=1)
        found &= (pixels[:, 0] < camera.width) & (pixels[:, 1] < camera.height)
    row, column = _pixel(pixels, found)
    found &= view.valid[row, column]
    return distance, found, distance / np.maximum(np.linalg.norm(local, axis=1), 1e-12)


def _depth_at(view: View, points: np.ndarray) -> np.ndarray:
    pose = view.image.camera_to_world
    pixels = view.image.camera.project((points - pose[:3, 3]) @ pose[:3, :3])
    row, column = _pixel(pixels, np.isfinite(pixels).all(axis=1))
    return view.z[row.clip(0, view.z.shape[0] - 1), column.clip(0, view.z.shape[1] - 1)]


def _pixel(pixels: np.ndarray, usable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    whole = np.floor(np.where(usable[:, None], np.clip(pixels, -1e6, 1e6), 0)).astype(int)
    return whole[:, 1], whole[:, 0]


def _colours(vertices: np.ndarray, views: list[View], reach: float) -> np.ndarray:
    """The mean colour of the views that see each vertex; grey where none does."""
    total, count = np.zeros((len(vertices), 3)), np.zeros(len(vertices))
    for view in views:
        assert view.photo is not None
        distance, found, _ = _see(view, vertices)
        found &= np.abs(_depth_at(view, vertices) - distance) < reach
        pose = view.image.camera_to_world
        row, column = _pixel(view.image.camera.project((vertices - pose[:3, 3]) @ pose[:3, :3]), found)
        total[found] += view.photo[row[found], column[found]]
        count += found
    return np.where(count[:, None] > 0, np.rint(total / np.maximum(count, 1)[:, None]), 128).astype(np.uint8)
