"""What the records beside results say, and where it comes from."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .. import __version__

if TYPE_CHECKING:
    import numpy as np

    from ..geometry import Camera
    from ..images import LoadedImage


def choose_camera(image: LoadedImage, fov: float | None = None) -> tuple[Camera, str]:
    """The camera of a photo and where it comes from: "--fov" (horizontal, degrees), "EXIF" or "default"."""
    from ..geometry import Camera

    height, width = image.rgb.shape[:2]
    if fov is not None:
        return Camera.from_fov(width, height, fov), "--fov"
    if image.focal_35mm is not None:
        return Camera.from_exif(width, height, image.focal_35mm), "EXIF"
    return Camera.default(width, height), "default"


def photo_pixels(image: LoadedImage) -> np.ndarray:
    """The photo as uint8 H×W×3."""
    import numpy as np

    return np.rint(image.rgb * 255).astype(np.uint8)


def versions() -> dict[str, str]:
    """Of Python and the packages that decide the numbers."""
    from importlib.metadata import version

    packages = {name: version(name) for name in ("torch", "diffusers", "numpy", "safetensors")}
    return {"lotus-geometry": __version__, "python": sys.version.split()[0], **packages}
