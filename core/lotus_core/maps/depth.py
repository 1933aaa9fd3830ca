"""Affine-invariant depth of one image."""

from __future__ import annotations

import os
from dataclasses import InitVar, dataclass
from typing import Literal, get_args

import numpy as np

from ..arrays import as_bool, float32
from ..errors import LotusError
from . import storage
from .colormap import colorize
from .png import write_png
from .resample import resize, resize_valid

Space = Literal["disparity", "depth"]
DEFAULT_NEAR, DEFAULT_FAR = 1.0, 10.0


@dataclass(frozen=True, eq=False)
class Depth:
    """values: float32 H×W in [0, 1]; space: "disparity" (1 = near) or "depth" (1 = far); valid: bool H×W or None (all).

    Affine-invariant: no metres. Invalid pixels hold 0. Takes arrays and tensors of any dtype and copies them; with
    `copy` False a float32 array that is given away may be kept. Raises LotusError for another shape, a value outside
    [0, 1] or a value that is not finite at a valid pixel, and an unknown space.
    """

    values: np.ndarray
    space: Space
    valid: np.ndarray | None = None
    copy: InitVar[bool] = True

    def __post_init__(self, copy: bool) -> None:
        values = float32(self.values, "A depth map", copy and self.valid is None)
        if values.ndim != 2 or values.size == 0:
            raise LotusError(f"Depth is a height×width array; this one has the shape {values.shape}.")
        check_space(self.space)
        if self.valid is not None:
            valid = as_bool(self.valid)
            if valid.shape != values.shape:
                raise LotusError(f"The mask {valid.shape} and the depth {values.shape} differ in size; resize one.")
            values = np.where(valid, values, np.float32(0))
            object.__setattr__(self, "valid", valid)
        if not np.isfinite(values).all():
            raise LotusError("The depth map holds NaN or infinite values; mark those pixels invalid or predict again.")
        if values.min() < 0 or values.max() > 1:
            found = f"{values.min():.4g} to {values.max():.4g}"
            raise LotusError(f"Depth values lie in 0…1; these go from {found}: rescale them.")
        object.__setattr__(self, "values", values)

    @property
    def mask(self) -> np.ndarray:
        """bool H×W, True where the depth is valid; a copy."""
        return np.ones(self.values.shape, bool) if self.valid is None else self.valid.copy()

    def to_z(self, near: float = DEFAULT_NEAR, far: float = DEFAULT_FAR) -> np.ndarray:
        """Distance along the optical axis, float32 H×W in [near, far].

        disparity: z = 1 / (1/far + d (1/near − 1/far)); depth: z = near + d (far − near). Invalid pixels count as
        0: use `mask`. Raises LotusError unless 0 < near < far.
        """
        check_range(near, far)
        d = self.values.astype(np.float64)
        z = 1 / (1 / far + d * (1 / near - 1 / far)) if self.space == "disparity" else near + d * (far - near)
        return z.astype(np.float32)

    def to_space(self, space: Space, near: float = DEFAULT_NEAR, far: float = DEFAULT_FAR) -> Depth:
        """The same surface at the given near and far, written in the other space (0 and 1 keep their planes)."""
        check_space(space)
        if space == self.space:
            return self
        z = self.to_z(near, far).astype(np.float64)
        values = (1 / z - 1 / far) / (1 / near - 1 / far) if space == "disparity" else (z - near) / (far - near)
        return Depth(np.clip(values, 0, 1).astype(np.float32), space, self.valid, copy=False)

    def resize(self, size: tuple[int, int]) -> Depth:
        """Resize to (height, width), bilinear (a wider triangle when shrinking); invalid pixels do not bleed in."""
        if self.valid is None:
            return Depth(np.clip(resize(self.values, *size), 0, 1), self.space, copy=False)
        values, valid = resize_valid(self.values, self.valid, *size)
        return Depth(np.clip(values, 0, 1), self.space, valid)

    def near_white(self) -> np.ndarray:
        """Nearness, float32 H×W in [0, 1], 1 = near, as ControlNet depth models expect; invalid pixels 0. A copy."""
        near = self.values.copy() if self.space == "disparity" else 1 - self.values
        return near if self.valid is None else np.where(self.valid, near, np.float32(0))

    def preview(self, colormap: str = "spectral") -> np.ndarray:
        """uint8 H×W×3: nearness stretched from its least to its greatest valid value; invalid pixels black.

        colormap: "spectral" (red = near), "inferno", "turbo" or "gray" (white = near).
        """
        near, mask = self.near_white(), self.mask
        low, high = (float(near[mask].min()), float(near[mask].max())) if mask.any() else (0.0, 1.0)
        picture = colorize((near - low) / max(high - low, 1e-6), colormap)
        picture[~mask] = 0
        return picture

    def save(self, path: str | os.PathLike[str], text: dict[str, str] | None = None) -> None:
        """Write .png (16-bit, error ≤ 1/65535/2), .exr or .npy (float32, no error) with space and mask, atomically.

        text: further metadata, Latin-1.
        """
        storage.write_map(path, self.values, self.values, self.words(), text)

    def words(self) -> dict[str, str]:
        """What its files say of it (`storage`)."""
        return {"map": "depth", "space": self.space, **storage.mask_to_words(self.valid)}

    def save_preview(self, path: str | os.PathLike[str], colormap: str = "spectral") -> None:
        """Write `preview` as an 8-bit PNG."""
        write_png(path, self.preview(colormap))

    @classmethod
    def load(cls, path: str | os.PathLike[str], space: Space | None = None) -> Depth:
        """Read a .png, .exr or .npy depth map. `space` is needed for files that do not say it (not written by `save`).

        Raises LotusError: no space known, a space that contradicts the file, a colour picture, values outside [0, 1].
        """
        return cls.from_stored(storage.read_map(path), path, space)

    @classmethod
    def from_stored(cls, stored: storage.StoredMap, path: str | os.PathLike[str], space: Space | None = None) -> Depth:
        """What `load` makes of a file, for those who read its pixels and words otherwise. Raises LotusError."""
        storage.check_kind(stored, "depth", path)
        said = stored.words.get("space")
        if said is None and space is None:
            raise LotusError(
                f"{path} does not say whether 1 is near or far; give space='disparity' (near) or 'depth' (far), in a"
                " shell --space."
            )
        if said is not None and space is not None and said != space:
            raise LotusError(f"{path} holds {said}, not {space}; leave out the space.")
        values = stored.values
        if values.ndim == 3 and values.shape[2] == 3:
            if np.ptp(values, axis=2).max() > 0:
                raise LotusError(f"{path} is a colour picture, not a depth map; load the grey file, not the preview.")
            values = values[..., 0]
        valid = storage.mask_from_words(stored.words, values.shape[:2], path)
        return cls(values, said or space, valid, copy=False)  # type: ignore[arg-type]


def check_space(space: str) -> None:
    """Raise LotusError unless it is "disparity" or "depth"."""
    if space not in get_args(Space):
        raise LotusError(f"There is no depth space {space!r}; it is 'disparity' (1 = near) or 'depth' (1 = far).")


def check_range(near: float, far: float) -> None:
    """Raise LotusError unless 0 < near < far < ∞."""
    if not (0 < near < far < float("inf")):
        raise LotusError(f"near and far must be 0 < near < far; they are {near:g} and {far:g}.")
