"""Maps as the images that Blender uses as they are: float EXR or 16-bit PNG, and small coloured pictures of them.

An image holds depth and uncertainty as grey values, and normals as 0.5 n + 0.5 in OpenGL axes, so that it is a normal
texture already. Its alpha is 1 where the map is valid; elsewhere depth is far, so that what is raised by it stays down.
EXR keeps every bit of the 32; PNG rounds to 1/65535 and holds nothing above 1.

The files say what they are in the words of `storage`, with one more: "texture" is the convention of normals in an EXR,
where "convention" would mean plain vectors.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import LotusError
from ..files import atomic_path
from .depth import Depth
from .exr import write_exr
from .normals import Convention, Normals
from .png import write_png
from .storage import with_prefix
from .uncertainty import Uncertainty

SUFFIXES = (".exr", ".png")
THUMBNAIL = 128  # pixels, longest edge


@dataclass(frozen=True)
class Meaning:
    """What the numbers of a map's image mean. kind: which map; space of depth; unit and samples of uncertainty."""

    kind: Literal["depth", "normal", "uncertainty"]
    space: str = ""
    unit: str = ""
    samples: int = 0

    @classmethod
    def of(cls, value: Depth | Normals | Uncertainty) -> Meaning:
        """That of a map."""
        if isinstance(value, Depth):
            return cls("depth", space=value.space)
        if isinstance(value, Normals):
            return cls("normal")
        return cls("uncertainty", unit=value.unit, samples=value.samples)

    @classmethod
    def from_dict(cls, words: dict[str, Any]) -> Meaning:
        """The reverse of `asdict`. Raises TypeError, ValueError and KeyError for anything else."""
        return cls(words["kind"], str(words["space"]), str(words["unit"]), int(words["samples"]))


@dataclass(frozen=True)
class Texture:
    """An image of a map. file: .exr or .png; thumbnail: .npy, uint8 h×w×3, top row first."""

    file: Path
    thumbnail: Path
    meaning: Meaning

    def to_dict(self) -> dict[str, Any]:
        """For messages between processes."""
        return {"file": str(self.file), "thumbnail": str(self.thumbnail), "meaning": asdict(self.meaning)}

    @classmethod
    def from_dict(cls, message: dict[str, Any]) -> Texture:
        """The reverse. Raises TypeError, ValueError and KeyError for anything else."""
        return cls(Path(message["file"]), Path(message["thumbnail"]), Meaning.from_dict(message["meaning"]))


def write_texture(value: Depth | Normals | Uncertainty, file: Path, convention: Convention = "opengl") -> Texture:
    """Write the image of a map, and its thumbnail beside it, each atomically. Raises LotusError.

    What a PNG cannot hold, angles in degrees, becomes an EXR. convention: of normals, for programs that want another.
    """
    colours, alpha = coded(value, convention)
    if file.suffix not in SUFFIXES:
        raise LotusError(f"Cannot write {file}: images of maps are saved as {' or '.join(SUFFIXES)}.")
    if isinstance(value, Uncertainty) and value.unit == "degrees":
        file = file.with_suffix(".exr")
    if file.suffix == ".exr":
        names = "Y" if colours.ndim == 2 else "RGB"
        planes = {name: colours if colours.ndim == 2 else colours[..., i] for i, name in enumerate(names)}
        if alpha is not None:
            planes["A"] = alpha.astype(np.float32)
        write_exr(file, planes, _words(value, "texture", convention))
    else:
        write_png(file, _sixteen_bits(colours, alpha), _words(value, "convention", convention))
    small = file.with_name(f"{file.stem}_thumbnail.npy")
    with atomic_path(small) as temporary:
        np.save(temporary, thumbnail(value))
    return Texture(file, small, Meaning.of(value))


def coded(
    value: Depth | Normals | Uncertainty, convention: Convention = "opengl"
) -> tuple[np.ndarray, np.ndarray | None]:
    """What the image of a map holds: colours (float32 H×W or H×W×3) and validity (bool H×W or None: all)."""
    if isinstance(value, Normals):
        return np.float32(0.5) * value.to(convention).values + np.float32(0.5), None
    if isinstance(value, Depth):
        far = np.float32(value.space == "depth")
        return value.values if value.valid is None else np.where(value.valid, value.values, far), value.valid
    return value.std, None


def _words(value: Depth | Normals | Uncertainty, name: str, convention: str) -> dict[str, str]:
    """What the file says of itself. name: of the word for the convention of normals."""
    return with_prefix({"map": "normal", name: convention} if isinstance(value, Normals) else value.words())


def thumbnail(value: Depth | Normals | Uncertainty) -> np.ndarray:
    """uint8 h×w×3, longest edge at most THUMBNAIL: red = near for depth, OpenGL for normals, yellow = unsure."""
    full = value.std if isinstance(value, Uncertainty) else value.values
    step = max(-(-max(full.shape[:2]) // THUMBNAIL), 1)
    thin = np.s_[::step, ::step]
    if isinstance(value, Depth):
        valid = None if value.valid is None else value.valid[thin]
        return Depth(value.values[thin], value.space, valid).preview()
    if isinstance(value, Normals):
        return Normals(value.values[thin], value.convention).preview("opengl")
    return Uncertainty(value.std[thin], None, value.samples, value.unit).preview()


def _sixteen_bits(colours: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    codes = np.rint(np.clip(colours, 0, 1) * np.float64(65535)).astype(np.uint16)
    if alpha is None:
        return codes
    grey = codes if codes.ndim == 3 else codes[..., None].repeat(3, axis=2)
    return np.dstack([grey, alpha.astype(np.uint16) * np.uint16(65535)])
