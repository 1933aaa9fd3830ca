"""From the maps of a photo to distances: everything that comes before a mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import LotusError
from ..maps.depth import DEFAULT_FAR, DEFAULT_NEAR, Depth
from ..maps.normals import Normals
from ..maps.uncertainty import Uncertainty
from .alignment import metric_scale
from .calibration import calibrate
from .camera import Camera
from .edges import sharpen_edges
from .fusion import fuse_normals, reconcile_normals, smooth_depth, uncertainty_weight
from .grid import fill_holes
from .inputs import check_picture
from .integration import integrate_normals
from .options import Fusion, SceneOptions

ASPECT_SLACK = 0.05  # of the width: networks that see multiples of 14 or 64 pixels give maps a little wider or taller
_ANCHOR = 1e-3  # weight of the depth beside normals in bilateral fusion


@dataclass(frozen=True, eq=False)
class Surface:
    """What a photo's maps say about the distances: everything that comes before a mesh.

    z: float32 H×W, along the optical axis; valid: bool H×W, what has a distance; far: distance of the map's far end
    (0 in disparity, 1 in depth), the near end being 1; of a surface from normals, of the farthest point, the nearest
    being 1; scale: metres for that 1 where a known length was given, else 1; calibration: where the far distance was
    to be found from the normals, the degrees that are left ("error_deg"), or why the default was taken instead
    ("failed").
    """

    z: np.ndarray
    valid: np.ndarray
    camera: Camera
    far: float
    scale: float
    calibration: dict[str, Any] | None = None


def build_surface(
    depth: Depth,
    normals: Normals | None = None,
    uncertainty: Uncertainty | None = None,
    options: SceneOptions | None = None,
    photo: np.ndarray | None = None,
) -> Surface:
    """Distances and camera of one photo: masked, refined, smoothed and scaled as the options say.

    The result has the size of the depth map; maps of another size are resized to it. photo: uint8, of the same size;
    `refine` then puts depth edges where the colours change. For hosts that build their meshes
    themselves; `mode`, `cut`, `stride` and what follows from the mesh do not matter here (`cut` does for `smooth_px`).
    Raises LotusError: options that need a map which is not there, another photo, no pixel left.
    """
    options = SceneOptions() if options is None else options
    if photo is not None:
        check_picture(photo)
    if options.smooth_px > 0 and uncertainty is None:
        raise _without_uncertainty("Smoothing")
    depth, normals, uncertainty = at_size(depth.values.shape, depth, normals, uncertainty)
    valid = usable_pixels(depth, uncertainty, options, normals)
    std = None if uncertainty is None else uncertainty.std
    camera, far, calibration = _camera(depth, normals, options)
    if options.shape == "normals":
        z, far = _from_normals(normals, camera, valid)
    else:
        z = depth.to_z(DEFAULT_NEAR, far)
    if options.fill_holes > 0:
        z, valid = fill_holes(z, valid, options.fill_holes)
    if not valid.any():
        raise LotusError("No surface is left: every pixel is masked, sky or uncertain.")
    if options.refine and options.shape == "depth":
        if photo is not None:
            camera.check_size(photo)
        z = _refine(z, normals, camera, valid, std, photo, options.fusion)
    if options.smooth_px > 0 and std is not None:
        z = smooth_depth(z, std, valid, reach_px=options.smooth_px, cut=options.cut)
    scale = 1.0
    if options.known_length is not None:
        x1, y1, x2, y2, metres = options.known_length
        scale = metric_scale(np.where(valid, z, np.nan), camera, (x1, y1), (x2, y2), metres)
        z = (z * scale).astype(np.float32)
    return Surface(z, valid, camera, far, scale, calibration)


def at_size(
    size: tuple[int, ...], depth: Depth, normals: Normals | None, uncertainty: Uncertainty | None
) -> tuple[Depth, Normals | None, Uncertainty | None]:
    """The maps resized to (height, width) where they are not. Raises LotusError for one of another shape of photo."""
    height, width = size
    check_aspect(depth.values.shape, size, "depth")
    if normals is not None:
        check_aspect(normals.values.shape, size, "normal map")
    if uncertainty is not None:
        check_aspect(uncertainty.std.shape, size, "uncertainty")
    if depth.values.shape != size:
        depth = depth.resize((height, width))
    if normals is not None and normals.values.shape[:2] != size:
        normals = normals.resize((height, width))
    if uncertainty is not None and uncertainty.std.shape != size:
        uncertainty = uncertainty.resize((height, width))
    return depth, normals, uncertainty


def check_aspect(shape: tuple[int, ...], size: tuple[int, ...], name: str) -> None:
    """Raise LotusError where a map cannot be the photo's of `size`: its width to height is another by over 5 %.

    Networks see sizes that are multiples of something, and edges are rounded, so that none is exact.
    """
    height, width = shape[:2]
    if abs(width * size[0] - size[1] * height) > size[0] + size[1] + ASPECT_SLACK * size[1] * height:
        raise LotusError(
            f"The {name} is {width}×{height} pixels and the photo {size[1]}×{size[0]}, which is another shape: give"
            " what belongs to this photo."
        )


def usable_pixels(
    depth: Depth, uncertainty: Uncertainty | None, options: SceneOptions, normals: Normals | None = None
) -> np.ndarray:
    """bool H×W: has depth, is no sky (`sky`), is certain (`max_std`), and of a shape from normals has these. All maps
    have one size. Raises LotusError.
    """
    if uncertainty is not None and uncertainty.unit != "depth":
        raise LotusError("The uncertainty must be that of the depth map, not of the normals.")
    valid = depth.mask.copy()
    if options.shape == "normals":
        valid &= _needed(normals).valid
    if options.sky is not None:
        valid &= depth.near_white() >= options.sky
    if options.max_std is not None:
        if uncertainty is None:
            raise _without_uncertainty("Cutting")
        valid &= uncertainty.std <= options.max_std
    return valid


def _without_uncertainty(action: str) -> LotusError:
    return LotusError(f"{action} by uncertainty needs an uncertainty map; predict one with a generative model.")


def _camera(
    depth: Depth, normals: Normals | None, options: SceneOptions
) -> tuple[Camera, float, dict[str, Any] | None]:
    height, width = depth.values.shape
    camera = None
    if options.fov_deg is not None:
        camera = Camera.from_fov(width, height, options.fov_deg)
    elif options.focal_35mm is not None:
        camera = Camera.from_exif(width, height, options.focal_35mm)
    if options.far is not None:
        return camera or Camera.default(width, height), options.far, None
    if normals is None:
        raise LotusError("Finding the far distance needs a normal map; predict one, or give the distance.")
    try:
        found = calibrate(depth, normals, camera)
    except LotusError as error:  # maps that contradict each other still make a mesh, and the record says so
        return camera or Camera.default(width, height), DEFAULT_FAR, {"failed": str(error)}
    return found.camera, found.far, {"error_deg": found.error}


def _refine(
    z: np.ndarray,
    normals: Normals | None,
    camera: Camera,
    valid: np.ndarray,
    std: np.ndarray | None,
    photo: np.ndarray | None,
    fusion: Fusion,
) -> np.ndarray:
    if normals is None:
        return np.where(valid, sharpen_edges(np.where(valid, z, z[valid].max()), photo=photo), z)
    weight = None if std is None else uncertainty_weight(std)
    if fusion == "bilateral":
        sharp = np.where(valid, sharpen_edges(np.where(valid, z, z[valid].max()), photo=photo), z)
        anchor = _ANCHOR if weight is None else _ANCHOR * weight
        agreed = reconcile_normals(normals, sharp, camera, valid)
        merged = integrate_normals(agreed, camera, valid, depth=sharp, depth_weight=anchor)
        return np.where(valid & agreed.valid, merged, sharp).astype(np.float32)
    return fuse_normals(z, normals, camera, valid, depth_weight=weight, photo=photo)


def _from_normals(normals: Normals | None, camera: Camera, valid: np.ndarray) -> tuple[np.ndarray, float]:
    """Distances from normals alone, the nearest at 1, and the farthest of them."""
    z = integrate_normals(_needed(normals), camera, valid)
    nearest = float(z[valid].min()) if valid.any() else 1.0
    return z / np.float32(nearest), float(z[valid].max() / nearest) if valid.any() else 1.0


def relief_heights(depth: Depth, normals: Normals | None, valid: np.ndarray, options: SceneOptions) -> np.ndarray:
    """0 (the farthest valid pixel) … 1 (the nearest), float32 H×W: of the depth map, or integrated from the normals
    (`shape`). A map rarely reaches both ends of its range, and a print is to be as high as it was asked for.
    """
    by_depth = options.shape == "depth"
    height = depth.near_white() if by_depth else -integrate_normals(_needed(normals), None, valid)
    low, high = (float(height[valid].min()), float(height[valid].max())) if valid.any() else (0.0, 0.0)
    return ((height - low) / max(high - low, 1e-6)).clip(0, 1).astype(np.float32)


def _needed(normals: Normals | None) -> Normals:
    if normals is None:
        raise LotusError("A shape from normals needs a normal map; predict one.")
    return normals
