"""A pinhole camera at the origin: x right, y up, looking along −z (Blender and glTF); pixel centres at +0.5."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import LotusError

DEFAULT_FOV_DEG = 55.0  # along the longer side: about a 35 mm lens, between a phone's main camera and a normal lens
FILM_DIAGONAL_MM = math.hypot(36, 24)  # 43.27 mm


@dataclass(frozen=True)
class Camera:
    """width, height: image size in pixels; focal_px: focal length in pixels. Square pixels, principal point at the
    centre.

    Raises LotusError for a size below 1 or a focal length that is not a positive number.
    """

    width: int
    height: int
    focal_px: float

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise LotusError(f"A camera image has at least one pixel; this one is {self.width}×{self.height}.")
        if not (math.isfinite(self.focal_px) and self.focal_px > 0):
            raise LotusError(f"The focal length must be a positive number of pixels; it is {self.focal_px}.")

    @classmethod
    def from_fov(cls, width: int, height: int, horizontal_fov_deg: float) -> Camera:
        """From the horizontal field of view, degrees, between 1 and 170."""
        if not 1 <= round(horizontal_fov_deg, 4) <= 170:  # float32 radians of a host come back as 0.99999999
            raise LotusError(f"The field of view must lie in 1…170 degrees; it is {horizontal_fov_deg:g}.")
        return cls(width, height, width / 2 / math.tan(math.radians(horizontal_fov_deg) / 2))

    @classmethod
    def from_exif(cls, width: int, height: int, focal_35mm: float) -> Camera:
        """From EXIF's FocalLengthIn35mmFilm, mm.

        CIPA DCG-001 defines the equivalent by the angle of view across the diagonal (43.27 mm on film), so the focal
        length is focal_35mm / 43.27 image diagonals at any aspect ratio and in portrait; for 3:2 that is the same as
        36 mm wide. Holds for the uncropped photo.
        """
        if not (math.isfinite(focal_35mm) and focal_35mm > 0):
            raise LotusError(f"The 35 mm equivalent focal length must be positive; it is {focal_35mm} mm.")
        return cls(width, height, focal_35mm / FILM_DIAGONAL_MM * math.hypot(width, height))

    @classmethod
    def default(cls, width: int, height: int) -> Camera:
        """When nothing is known: 55° along the longer side."""
        return cls(width, height, max(width, height) / 2 / math.tan(math.radians(DEFAULT_FOV_DEG) / 2))

    @property
    def horizontal_fov_deg(self) -> float:
        """Angle between the left and the right edge of the image, degrees."""
        return 2 * math.degrees(math.atan(self.width / 2 / self.focal_px))

    @property
    def vertical_fov_deg(self) -> float:
        """Angle between the top and the bottom edge of the image, degrees."""
        return 2 * math.degrees(math.atan(self.height / 2 / self.focal_px))

    def resized(self, width: int, height: int) -> Camera:
        """The same view sampled with another number of pixels (same aspect ratio up to rounding)."""
        return Camera(width, height, self.focal_px * max(width, height) / max(self.width, self.height))

    def rays(self, rows: np.ndarray | None = None, columns: np.ndarray | None = None) -> np.ndarray:
        """Points at distance 1 along the axis, float64 H×W×3, through the centres of the given rows and columns
        (all).
        """
        rows = np.arange(self.height) if rows is None else rows
        columns = np.arange(self.width) if columns is None else columns
        out = np.empty((len(rows), len(columns), 3))
        out[..., 0] = (columns + 0.5 - self.width / 2) / self.focal_px
        out[..., 1] = -((rows + 0.5 - self.height / 2) / self.focal_px)[:, None]
        out[..., 2] = -1
        return out

    def unproject(self, z: np.ndarray) -> np.ndarray:
        """Distance along the axis, H×W > 0, to points, float32 H×W×3."""
        self.check_size(z)
        z = np.asarray(z, np.float32)
        out = np.empty((*z.shape, 3), np.float32)
        across = ((np.arange(self.width) + 0.5 - self.width / 2) / self.focal_px).astype(np.float32)
        down = ((np.arange(self.height) + 0.5 - self.height / 2) / self.focal_px).astype(np.float32)
        np.multiply(z, across, out=out[..., 0])
        np.multiply(z, -down[:, None], out=out[..., 1])
        np.negative(z, out=out[..., 2])
        return out

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points …×3 (z < 0) to image coordinates, float64 …×2 in pixels from the upper left corner."""
        points = np.asarray(points, np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = self.focal_px / -points[..., 2]
            across, down = points[..., 0] * scale, -points[..., 1] * scale
        return np.stack([across + self.width / 2, down + self.height / 2], axis=-1)

    def check_size(self, image: np.ndarray) -> None:
        """Raise LotusError unless the array has this camera's height and width."""
        if image.shape[:2] != (self.height, self.width):
            found = f"{image.shape[1]}×{image.shape[0]}" if image.ndim >= 2 else str(image.shape)
            raise LotusError(f"The map is {found} and the camera {self.width}×{self.height}; use `camera.resized`.")

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Camera:
        """What `to_dict` wrote. Raises LotusError when something is missing or no finite number."""
        try:
            return cls(int(record["width"]), int(record["height"]), float(record["focal_px"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise LotusError("The camera record needs width, height and focal_px; save the scene again.") from error

    def to_dict(self) -> dict[str, float]:
        """For JSON: size, focal length in pixels, both fields of view."""
        return {
            "width": self.width,
            "height": self.height,
            "focal_px": self.focal_px,
            "horizontal_fov_deg": self.horizontal_fov_deg,
            "vertical_fov_deg": self.vertical_fov_deg,
        }
