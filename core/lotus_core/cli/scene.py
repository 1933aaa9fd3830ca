"""From a photo and its depth to a mesh, the same way in `lotus mesh` and `lotus demo`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ..geometry import Camera, Mesh
    from ..images import LoadedImage
    from ..maps import Depth, Normals


def choose_camera(image: LoadedImage, fov: float | None = None) -> tuple[Camera, str]:
    """The camera of a photo and where it comes from: "--fov" (horizontal, degrees), "EXIF" or "default"."""
    from ..geometry import Camera

    height, width = image.rgb.shape[:2]
    if fov is not None:
        return Camera.from_fov(width, height, fov), "--fov"
    if image.focal_35mm is not None:
        return Camera.from_exif(width, height, image.focal_35mm), "EXIF"
    return Camera.default(width, height), "default"


def photo_texture(image: LoadedImage) -> np.ndarray:
    """The photo as uint8 H×W×3."""
    import numpy as np

    return np.rint(image.rgb * 255).astype(np.uint8)


def perspective_mesh(
    depth: Depth,
    camera: Camera,
    far: float | None = None,
    cut: float | None = None,
    normals: Normals | None = None,
) -> Mesh:
    """The surface that the camera saw, its nearest point at distance 1, its farthest at `far`; None: the defaults.

    normals: where given, their detail is put into the surface.
    """
    from ..geometry import grid_mesh
    from ..geometry.fusion import fuse_normals
    from ..geometry.grid import DEFAULT_CUT
    from ..maps.depth import DEFAULT_FAR, DEFAULT_NEAR

    z = depth.to_z(DEFAULT_NEAR, DEFAULT_FAR if far is None else far)
    if normals is not None:
        z = fuse_normals(z, normals, camera, depth.valid)
    return grid_mesh(z, camera, depth.valid, DEFAULT_CUT if cut is None else cut)


def relief(depth: Depth) -> Mesh:
    """The flat picture, 1 wide, raised by its depth to at most a tenth of that: a size that 3D programs show well."""
    from ..geometry import relief_mesh

    return relief_mesh(depth.near_white(), width_mm=1.0, relief_mm=0.1, valid=depth.valid)
