"""How far the samples of a generative model disagree, pixel by pixel."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..arrays import float32
from ..errors import LotusError
from . import storage
from .colormap import colorize
from .depth import Depth
from .normals import Normals
from .png import write_png
from .resample import resize, resize_valid

Unit = Literal["depth", "degrees"]
_FULL_SCALE = {"depth": 1.0, "degrees": 180.0}  # what the code 65535 of a PNG means


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """std: float32 H×W ≥ 0; mean: the map it belongs to; samples: how many were drawn; unit of std.

    unit "depth": standard deviation in the units of `Depth.values`. unit "degrees": mean angle from the mean normal.
    mean is None, and samples may be 0 (unknown), when read from a file, which holds the deviation only. Where the mean
    is not valid, std says nothing. Takes arrays and tensors of any dtype and copies them.
    Raises LotusError for another shape, negative values or samples, values that are not finite, and a mean of another
    kind or size.
    """

    std: np.ndarray
    mean: Depth | Normals | None
    samples: int
    unit: Unit

    def __post_init__(self) -> None:
        std = float32(self.std, "An uncertainty map")
        if std.ndim != 2 or std.size == 0:
            raise LotusError(f"Uncertainty is a height×width array; this one has the shape {std.shape}.")
        if self.unit not in _FULL_SCALE:
            raise LotusError(f"There is no uncertainty unit {self.unit!r}; it is 'depth' or 'degrees'.")
        if not np.isfinite(std).all() or std.min() < 0:
            raise LotusError("The uncertainty map holds negative, NaN or infinite values; predict it again.")
        if self.samples < 0:
            raise LotusError(f"An uncertainty is of 0 samples (unknown) or more, not of {self.samples}.")
        if self.mean is not None:
            kind, name = (Depth, "depth") if self.unit == "depth" else (Normals, "normals")
            if not isinstance(self.mean, kind) or self.mean.values.shape[:2] != std.shape:
                raise LotusError(f"An uncertainty in {self.unit} belongs to {name} of its own size, {std.shape}.")
        object.__setattr__(self, "std", std)

    def mask(self, threshold: float) -> np.ndarray:
        """bool H×W, True where the model is sure: std ≤ threshold (same unit) and the mean is valid."""
        valid = self._valid
        return self.std <= threshold if valid is None else (self.std <= threshold) & valid

    @property
    def _valid(self) -> np.ndarray | None:
        """Where the mean is valid; None for everywhere."""
        return self.mean.valid if self.mean is not None else None

    def resize(self, size: tuple[int, int]) -> Uncertainty:
        """Resize to (height, width) together with the mean."""
        mean = None if self.mean is None else self.mean.resize(size)
        valid = self._valid
        std = resize(self.std, *size) if valid is None else resize_valid(self.std, valid, *size)[0]
        return Uncertainty(std, mean, self.samples, self.unit)

    def scale(self) -> float:
        """The std that the preview shows at full brightness unless told otherwise: the 98 % quantile of the valid
        pixels, never 0."""
        valid = self._valid
        std = self.std if valid is None or not valid.any() else self.std[valid]
        return max(float(np.quantile(std, 0.98)), 1e-6)

    def preview(self, scale: float | None = None) -> np.ndarray:
        """uint8 H×W×3: black = sure, yellow = std ≥ scale (inferno); scale defaults to `scale()`."""
        return colorize(self.std / _checked_scale(self.scale() if scale is None else scale), "inferno")

    def save(self, path: str | os.PathLike[str], text: dict[str, str] | None = None) -> None:
        """Write std as .png (16 bits of 1 for depth or of 180°; error ≤ that/131070), .exr or .npy (exact).

        text: further metadata, Latin-1.
        """
        storage.write_map(path, self.std, self.std / np.float32(_FULL_SCALE[self.unit]), self.words(), text)

    def words(self) -> dict[str, str]:
        """What its files say of it (`storage`)."""
        return {"map": "uncertainty", "unit": self.unit, "samples": str(self.samples)}

    def save_preview(self, path: str | os.PathLike[str], scale: float | None = None) -> None:
        """Write `preview` as an 8-bit PNG whose text "lotus:scale" says what full brightness means."""
        scale = self.scale() if scale is None else scale
        write_png(path, self.preview(scale), {"lotus:scale": f"{scale:.6g}", "lotus:unit": self.unit})

    @classmethod
    def load(cls, path: str | os.PathLike[str], unit: Unit | None = None) -> Uncertainty:
        """Read a .png, .exr or .npy file; `unit` is needed for those that do not say it. Raises LotusError."""
        return cls.from_stored(storage.read_map(path), path, unit)

    @classmethod
    def from_stored(
        cls, stored: storage.StoredMap, path: str | os.PathLike[str], unit: Unit | None = None
    ) -> Uncertainty:
        """What `load` makes of a file, for those who read its pixels and words otherwise. Raises LotusError."""
        storage.check_kind(stored, "uncertainty", path)
        said = stored.words.get("unit")
        if said is None and unit is None:
            raise LotusError(f"{path} does not say its unit; give unit='depth' or unit='degrees'.")
        if said is not None and unit is not None and said != unit:
            raise LotusError(f"{path} is in {said}, not in {unit}; leave out the unit.")
        known = said or unit
        if known not in _FULL_SCALE:
            raise LotusError(f"There is no uncertainty unit {known!r}; it is 'depth' or 'degrees'.")
        std = stored.values * np.float32(_FULL_SCALE[known]) if stored.coded else stored.values
        samples = stored.words.get("samples", "0")
        return cls(std, None, int(samples) if samples.isdigit() else 0, known)  # type: ignore[arg-type]


def _checked_scale(scale: float) -> float:
    if not 0 < scale < float("inf"):
        raise LotusError(f"A scale is the std of full brightness, above 0, not {scale}.")
    return scale
