"""Surface normals of one image, in a named convention."""

from __future__ import annotations

import os
from dataclasses import InitVar, dataclass
from typing import Literal, get_args

import numpy as np

from ..arrays import float32
from ..errors import LotusError
from . import storage
from .png import write_png
from .resample import resize

Convention = Literal["lotus", "opengl", "directx", "opencv"]

# Signs that turn the model's x left, y up, z toward the camera into each convention (the same signs turn it back).
_SIGNS: dict[str, tuple[int, int, int]] = {
    "lotus": (1, 1, 1),  # x left, y up, z toward the camera; also ControlNet's NormalBae
    "opengl": (-1, 1, 1),  # x right, y up, z toward the camera: Blender, glTF
    "directx": (-1, -1, 1),  # x right, y down, z toward the camera: Unreal
    "opencv": (-1, -1, -1),  # x right, y down, z away from the camera
}


@dataclass(frozen=True, eq=False)
class Normals:
    """values: float32 H×W×3, unit vectors (zero where unknown), in camera axes named by `convention`.

    Takes arrays and tensors of any float dtype and copies them; with `copy` False a float32 array that is given away
    may be kept. Raises LotusError for another shape, values that are not finite, lengths that are neither 0 nor 1
    within 2 % (`from_vectors` makes unit vectors of any), and an unknown convention.
    """

    values: np.ndarray
    convention: Convention = "lotus"
    copy: InitVar[bool] = True

    def __post_init__(self, copy: bool) -> None:
        values = float32(self.values, "A normal map", copy)
        if values.ndim != 3 or values.shape[2] != 3 or values.size == 0:
            raise LotusError(f"Normals are a height×width×3 array; this one has the shape {values.shape}.")
        if not np.isfinite(values).all():
            raise LotusError("The normal map holds NaN or infinite values; set those pixels to zero or predict again.")
        check_convention(self.convention)
        wrong = _count_others(values)
        if wrong:
            raise LotusError(
                f"Normals are unit vectors, or zero where unknown, but {wrong:,} of {values.size // 3:,} are neither:"
                " decode textures to 2 t - 1 first, and use Normals.from_vectors for vectors of other lengths."
            )
        object.__setattr__(self, "values", values)

    @classmethod
    def from_vectors(cls, vectors: np.ndarray, convention: Convention = "lotus") -> Normals:
        """Scale H×W×3 vectors of any length to unit length; those shorter than 1e-3 become zero (unknown)."""
        return cls(normalize(float32(vectors, "Vectors", copy=False)), convention, copy=False)

    @property
    def valid(self) -> np.ndarray:
        """bool H×W, False where the normal is unknown (zero)."""
        return np.einsum("hwc,hwc->hw", self.values, self.values) > 0.25

    def to(self, convention: Convention) -> Normals:
        """The same normals in "lotus", "opengl", "directx" or "opencv" axes."""
        check_convention(convention)
        signs = np.multiply(_SIGNS[self.convention], _SIGNS[convention]).astype(np.float32)
        return Normals(self.values * signs, convention, copy=False)

    def resize(self, size: tuple[int, int]) -> Normals:
        """Resize to (height, width), bilinear (a wider triangle when shrinking), and scale back to unit length."""
        return Normals.from_vectors(resize(self.values, *size), self.convention)

    def angle_to(self, other: Normals) -> np.ndarray:
        """Angle to a map of the same size, any convention: float32 H×W, degrees; 90 where either is unknown."""
        if self.values.shape != other.values.shape:
            sizes = f"{self.values.shape[:2]} and {other.values.shape[:2]}"
            raise LotusError(f"The normal maps differ in size ({sizes}); resize one of them.")
        a, b = self.values.astype(np.float64), other.to(self.convention).values.astype(np.float64)
        # atan2 stays exact for small angles, where arccos of a float32 dot product is off by up to 0.02°.
        sine = np.linalg.norm(np.cross(a, b), axis=2)
        cosine = np.einsum("hwc,hwc->hw", a, b)
        angle = np.degrees(np.arctan2(sine, cosine))
        return np.where((sine == 0) & (cosine == 0), 90.0, angle).astype(np.float32)

    def preview(self, convention: Convention = "lotus") -> np.ndarray:
        """uint8 H×W×3: 0.5 n + 0.5 in the given convention ("opengl": the usual look, red = right)."""
        return np.rint((0.5 * self.to(convention).values + 0.5).clip(0, 1) * 255).astype(np.uint8)

    def save(self, path: str | os.PathLike[str], text: dict[str, str] | None = None) -> None:
        """Write .png (16-bit 0.5 n + 0.5; ≤ 1/65535 per component, ≤ 0.002°), .exr or .npy (no error), atomically.

        The file keeps this object's convention and says which: use `.to(...)` first for another. text: further
        metadata, Latin-1.
        """
        words = {"map": "normal", "convention": self.convention}
        storage.write_map(path, self.values, 0.5 * self.values + 0.5, words, text)

    def save_preview(self, path: str | os.PathLike[str], convention: Convention = "lotus") -> None:
        """Write `preview` as an 8-bit PNG."""
        write_png(path, self.preview(convention))

    @classmethod
    def load(cls, path: str | os.PathLike[str], convention: Convention | None = None) -> Normals:
        """Read a .png (0.5 n + 0.5), .exr or .npy normal map. `convention` is needed for files that do not say it.

        Float files that do not say it are from other programs, and hold vectors or 0.5 n + 0.5: what has the length 1.

        Raises LotusError: no convention known, one that contradicts the file, a grey image.
        """
        return cls.from_stored(storage.read_map(path), path, convention)

    @classmethod
    def from_stored(
        cls, stored: storage.StoredMap, path: str | os.PathLike[str], convention: Convention | None = None
    ) -> Normals:
        """What `load` makes of a file, for those who read its pixels and words otherwise. Raises LotusError."""
        storage.check_kind(stored, "normal", path)
        texture = stored.words.get("texture")  # the convention of an image that holds 0.5 n + 0.5 in floats
        said = stored.words.get("convention", texture)
        if said is None and convention is None:
            choices = ", ".join(get_args(Convention))
            raise LotusError(
                f"{path} does not say how its normals point; give the convention ({choices}), in a shell --convention."
            )
        if said is not None and convention is not None and said != convention:
            raise LotusError(f"{path} holds {said} normals, not {convention}; leave out the convention.")
        if stored.values.ndim != 3 or stored.values.shape[2] != 3:
            raise LotusError(f"{path} is not a normal map: it needs three channels.")
        coded = stored.coded or texture is not None or (said is None and _is_texture(stored.values))
        vectors = stored.values * 2 - 1 if coded else stored.values
        # Our own float files come back as they were, unless another program has resized them.
        as_they_are = not coded and said is not None and np.isfinite(vectors).all() and not _count_others(vectors)
        return (cls if as_they_are else cls.from_vectors)(vectors, said or convention)  # type: ignore[arg-type]


def normalize(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors along the last axis, float32; zero where the length is below 1e-3 or not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        length = np.sqrt(np.einsum("...c,...c->...", vectors, vectors))[..., None]
    good = np.isfinite(length) & (length > 1e-3)
    return np.where(good, vectors / np.where(good, length, 1), 0).astype(np.float32)


def _count_others(values: np.ndarray) -> int:
    """How many of H×W×3 vectors are neither of unit length, within 2 %, nor zero."""
    squared = np.einsum("hwc,hwc->hw", values, values)
    return int(np.count_nonzero((np.abs(squared - 1) > 0.04) & (squared > 0)))


def _is_texture(values: np.ndarray) -> bool:
    """Whether values H×W×3 are unit vectors coded as 0.5 n + 0.5, as programs bake them into float files too."""
    known = values[np.isfinite(values).all(axis=2) & values.any(axis=2)]  # holes are black in either
    if known.size == 0 or known.min() < 0:
        return False
    # Vectors that all point into the positive octant have no negative number either, but the length 1 as they are.
    as_vectors, decoded = (np.abs(np.linalg.norm(array, axis=1) - 1) for array in (known, 2 * known - 1))
    return float(np.median(decoded)) <= float(np.median(as_vectors))


def check_convention(convention: str) -> None:
    """Raise LotusError unless it is one of the four."""
    if convention not in _SIGNS:
        raise LotusError(f"There is no normal convention {convention!r}; it is one of {', '.join(_SIGNS)}.")
