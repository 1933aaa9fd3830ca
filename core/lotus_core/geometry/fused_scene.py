"""Several photos with known poses to one scene: align, fuse, reduce."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from ..errors import LotusError
from ..maps.depth import Depth
from ..maps.resample import resize
from ..maps.uncertainty import Uncertainty
from ..progress import Cancel, Progress, Steps
from .decimate import decimate
from .inputs import check_picture
from .mesh import drop_small_pieces
from .options import SceneOptions
from .parallax import align_to_each_other
from .poses import PosedImage
from .scene import Scene
from .surface import at_size, usable_pixels
from .view_fusion import fuse_to_mesh, fuse_to_points
from .views import MIN_POINTS, align_to_points

_TOLERANCE = 0.04  # relative difference of two views' depth that still confirms a point: what networks differ by
_ASPECT = 0.02  # relative difference of aspect ratios that rounding of resized photos explains


def build_fused_scene(
    images: Sequence[PosedImage],
    depths: Sequence[Depth],
    photos: Sequence[np.ndarray],
    uncertainties: Sequence[Uncertainty] | None = None,
    options: SceneOptions | None = None,
    *,
    voxels: int = 192,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Scene:
    """One coloured mesh (mode "perspective") or point cloud ("points") in the axes and the unit of the poses.

    depths, uncertainties: one for each image, as predicted; photos: uint8 H×W×3. Any size of the camera's aspect
    ratio; the cameras' sizes are worked in. Where every image sees at least 8 sparse points the maps are aligned to
    those, else to each other. voxels: along the longest side, for the mesh. Of the options `mode`, `sky`, `max_std`,
    `min_faces` and `target_faces` matter. The scene's camera is that of the first image. progress is told and cancel
    polled before each stage: the alignment, the fusion, the reduction.

    Raises LotusError: relief, not one depth map and one photo (and uncertainty) for each image, a photo that is not
    uint8 H×W×3 or not of its camera's shape, an image without a usable pixel, and what `views` raises. Cancelled.
    """
    options = SceneOptions() if options is None else options
    if options.mode == "relief":
        raise LotusError("A relief is of one photo; choose the mode 'perspective' or 'points' for several.")
    _check_counts(images, depths, photos, uncertainties)
    steps = Steps(2 + (options.target_faces is not None), progress, cancel)
    steps.begin("aligning")
    usable = []
    for number, (image, depth, photo) in enumerate(zip(images, depths, photos, strict=True)):
        _check_photo(image, photo)
        uncertainty = None if uncertainties is None else uncertainties[number]
        depth, _, uncertainty = at_size(depth.values.shape, depth, None, uncertainty)
        valid = usable_pixels(depth, uncertainty, options)
        if not valid.any():
            raise LotusError(f"No pixel of {image.name} is left: all are masked, sky or uncertain.")
        usable.append(Depth(depth.values, depth.space, valid))
    sized = [_resized(photo, image) for photo, image in zip(photos, images, strict=True)]
    by_points = all(len(image.points) >= MIN_POINTS for image in images)
    if by_points:
        views = [align_to_points(*each) for each in zip(images, usable, sized, strict=True)]
    else:
        views = align_to_each_other(list(images), usable, sized)
    steps.begin("fusing")
    if options.mode == "points":
        mesh = fuse_to_points(views, tolerance=_TOLERANCE)
    else:
        mesh = drop_small_pieces(fuse_to_mesh(views, resolution=voxels), options.min_faces)
        if options.target_faces is not None:
            steps.begin("fewer faces")
            mesh = decimate(mesh, options.target_faces)
        mesh = mesh.with_normals()
    steps.finish("mesh")
    record = {
        "camera": images[0].camera.to_dict(),
        "camera_to_world": images[0].camera_to_world.tolist(),
        "aligned_to": "sparse points" if by_points else "each other",
        "conventions": {"axes": "those of the poses; cameras x right, y up, -z forward", "unit": "that of the poses"},
        "views": [
            {
                "image": image.name,
                "width": image.camera.width,
                "height": image.camera.height,
                "focal_px": image.camera.focal_px,
                "camera_to_world": image.camera_to_world.tolist(),
            }
            for image in images
        ],
        "options": {**asdict(options), "voxels": voxels},
    }
    return Scene(mesh, None, images[0].camera, None, options, None, record, images[0].camera_to_world)


def _check_counts(
    images: Sequence[PosedImage],
    depths: Sequence[Depth],
    photos: Sequence[np.ndarray],
    uncertainties: Sequence[Uncertainty] | None,
) -> None:
    if len(images) == 0:
        raise LotusError("There are no photos to fuse: give two or more with their poses.")
    maps = {"depth maps": depths, "photos": photos, "uncertainties": uncertainties}
    for name, given in maps.items():
        if given is not None and len(given) != len(images):
            raise LotusError(f"There are {len(images)} posed images and {len(given)} {name}: give one for each.")


def _check_photo(image: PosedImage, photo: np.ndarray) -> None:
    check_picture(photo, f"The photo {image.name}")
    height, width = photo.shape[:2]
    camera = image.camera
    if abs(width * camera.height / (height * camera.width) - 1) > _ASPECT:
        raise LotusError(
            f"{image.name} is {width}×{height} and its pose is for {camera.width}×{camera.height}: give the photo that"
            " the pose was found with (for COLMAP the undistorted one)."
        )


def _resized(photo: np.ndarray, image: PosedImage) -> np.ndarray:
    size = (image.camera.height, image.camera.width)
    if photo.shape[:2] == size:
        return photo
    return np.rint(resize(photo.astype(np.float32), *size).clip(0, 255)).astype(np.uint8)
