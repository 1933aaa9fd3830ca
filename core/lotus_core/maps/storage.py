"""One array and its few words of metadata as 16-bit PNG, 32-bit EXR or NPY.

The words (which map, which convention, which pixels are valid) travel inside PNG (tEXt chunks) and EXR (header
attributes); NPY has no place for them, so they lie beside it as `<name>.npy.json`. All keys start with "lotus:".

EXR channels: one-channel maps use "Y" (OpenEXR's name for a grey image; "Z" is a layer that image loaders do not show),
three-channel maps use R, G, B.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import tokenize
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import LotusError
from ..files import atomic_path
from .openexr import read_openexr, write_openexr
from .png import read_png, write_png

SUFFIXES = (".png", ".exr", ".npy")
_PREFIX = "lotus:"


@dataclass(frozen=True)
class StoredMap:
    """What a file held. values: float32 H×W or H×W×3 (PNG codes over their maximum when `coded`); words: metadata."""

    values: np.ndarray
    words: dict[str, str]
    coded: bool


def write_map(
    path: str | os.PathLike[str],
    values: np.ndarray,
    coded: np.ndarray,
    words: dict[str, str],
    text: dict[str, str] | None = None,
) -> None:
    """Write by suffix. `values` goes to EXR and NPY as it is; `coded`, the same in [0, 1], goes to PNG as 16 bits.

    text: further Latin-1 metadata, another program's, under its own names. Round-trip error: 0 for EXR and NPY, at most
    1/65535/2 of the coded value for PNG. Raises LotusError.
    """
    path = Path(path)
    words = with_prefix(words) | (text or {})
    suffix = path.suffix.lower()
    if suffix == ".png":
        write_png(path, np.rint(np.clip(coded, 0, 1) * np.float64(65535)).astype(np.uint16), words)
    elif suffix == ".exr":
        _write_exr(path, values, words)
    elif suffix == ".npy":
        with atomic_path(words_path(path)) as described:  # both are written before either takes its name
            described.write_text(json.dumps(words, indent=1) + "\n", encoding="utf-8")
            with atomic_path(path) as temporary, open(temporary, "wb") as file:  # numpy would add .npy to "a.NPY"
                np.save(file, values)
    else:
        raise LotusError(f"Cannot write {path}: maps are saved as {', '.join(SUFFIXES)}; change the end of the name.")


def read_map(path: str | os.PathLike[str]) -> StoredMap:
    """Read what `write_map` wrote, or any grey or RGB file of these formats. Raises LotusError."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise LotusError(f"Cannot read {path}: maps are {', '.join(SUFFIXES)} files.")
    if not path.is_file():
        raise LotusError(f"{path} does not exist; check the name.")
    if suffix == ".png":
        pixels, words = read_png(path)
        values = (pixels / np.float64(np.iinfo(pixels.dtype).max)).astype(np.float32)
    elif suffix == ".exr":
        values, words = _read_exr(path)
    else:
        values, words = _read_npy(path)
    return StoredMap(values, own_words(words), coded=suffix == ".png")


def with_prefix(words: dict[str, str]) -> dict[str, str]:
    """Words of ours as files hold them."""
    return {_PREFIX + key: value for key, value in words.items()}


def own_words(words: dict[str, str]) -> dict[str, str]:
    """Those of a file's words that are ours, without their prefix."""
    return {key.removeprefix(_PREFIX): value for key, value in words.items() if key.startswith(_PREFIX)}


def words_path(path: Path) -> Path:
    """Where the metadata of an NPY file lies."""
    return path.with_name(path.name + ".json")


def mask_to_words(mask: np.ndarray | None) -> dict[str, str]:
    """A bool H×W mask as metadata (deflated bits, base64; its height and width); nothing for None."""
    if mask is None:
        return {}
    bits = base64.b64encode(zlib.compress(np.packbits(mask).data, 9)).decode()
    return {"valid": bits, "valid_size": "{} {}".format(*mask.shape)}


def mask_from_words(words: dict[str, str], shape: tuple[int, ...], path: str | os.PathLike[str]) -> np.ndarray | None:
    """The mask that `mask_to_words` stored, or None. Raises LotusError when it does not fit the image."""
    if "valid" not in words:
        return None
    try:
        bits = np.frombuffer(zlib.decompress(base64.b64decode(words["valid"])), np.uint8)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise LotusError(f"The validity mask in {path} is damaged; save the map again.") from error
    own = "{} {}".format(*shape)  # the first files did not say it
    if words.get("valid_size", own) != own or bits.size != (shape[0] * shape[1] + 7) // 8:
        raise LotusError(
            f"The validity mask in {path} is of another size than its picture, which another program must have resized"
            " or cropped: save the map again, or without its metadata."
        )
    return np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)


def check_kind(stored: StoredMap, kind: str, path: str | os.PathLike[str]) -> None:
    """Raise LotusError when the file says that it holds another map."""
    found = stored.words.get("map", kind)
    if found != kind:
        raise LotusError(f"{path} is a {found} map, not a {kind} map; choose the other file.")


def _write_exr(path: Path, values: np.ndarray, words: dict[str, str]) -> None:
    planes = {"Y": values} if values.ndim == 2 else dict(zip("RGB", np.moveaxis(values, 2, 0), strict=True))
    write_openexr(path, planes, words)


def _read_exr(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    """Pixels outside the file's data window are 0 and not valid."""
    picture = read_openexr(path)
    planes, words = picture.planes, picture.words
    if picture.covered is not None:
        stored = mask_from_words(own_words(words), picture.covered.shape, path)
        valid = picture.covered if stored is None else picture.covered & stored
        words = words | {_PREFIX + key: word for key, word in mask_to_words(valid).items()}
    if {"R", "G", "B"} <= planes.keys():
        return np.dstack([planes["R"], planes["G"], planes["B"]]), words
    for name in ("Y", "Z", "V", "R"):
        if name in planes:
            return planes[name], words
    if not picture.channels:
        raise LotusError(f"{path} holds no complete channel, so it is cut off or damaged; save it again.")
    found = ", ".join(planes) or "none"
    raise LotusError(f"{path} has no channel Y, Z or R, G, B (it has: {found}); export one of those.")


def load_npy(path: Path) -> np.ndarray:
    """The array of numbers in an NPY file, in its own dtype. Raises LotusError where it is anything else."""
    try:
        with open(path, "rb") as file:
            values = np.lib.format.read_array(file, allow_pickle=False)  # np.load would open archives too
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, MemoryError, tokenize.TokenError) as error:
        raise LotusError(f"{path} is not a readable NPY file of numbers; save it again or choose another.") from error
    if values.dtype.kind not in "fiub":
        raise LotusError(f"{path} does not hold numbers ({values.dtype}); save float32 values.")
    return values


def _read_npy(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    values = load_npy(path)
    try:
        words = json.loads(words_path(path).read_text(encoding="utf-8")) if words_path(path).is_file() else {}
        if not isinstance(words, dict):
            raise ValueError("no object")
    except (OSError, ValueError, RecursionError) as error:
        raise LotusError(f"{words_path(path)} is damaged: save the map again, or delete that file.") from error
    return values.astype(np.float32), {str(key): str(value) for key, value in words.items()}
