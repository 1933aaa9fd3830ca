"""The header of a safetensors file, read without torch and without touching a tensor."""

from __future__ import annotations

import json
import os
import re
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import LotusError

MAX_HEADER_BYTES = 25_000_000  # the header of Stable Diffusion XL has 0.4 MB; safetensors itself stops at 100 MB
DTYPE_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
KERNELS = "kernels"  # in the metadata of our files that hold kernels O×H×W×I: the key, and what it then says
CHANNELS_LAST = "channels last"
_LONGEST_NAME = 200
NAMED_AT_MOST = 5  # tensors that an error message lists
PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class TensorEntry:
    """dtype is safetensors' own name ("F16"); the data lies in bytes begin to end after the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a safetensors file says about itself. The tensors' data begins `data_begin` bytes into the file."""

    path: Path
    metadata: dict[str, str]
    tensors: dict[str, TensorEntry]
    data_begin: int

    @property
    def channels_last(self) -> bool:
        """Whether the file holds kernels in the order in which a folded model wants them."""
        return self.metadata.get(KERNELS) == CHANNELS_LAST

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor as networks have it: kernels are O×I×H×W, also where the file holds them O×H×W×I."""
        shape = self.tensors[name].shape
        if self.channels_last and len(shape) == 4:
            return (shape[0], shape[3], shape[1], shape[2])
        return shape

    def parameters(self, prefix: str = "") -> int:
        """How many numbers the tensors whose name starts with `prefix` hold."""
        entries = (entry for name, entry in self.tensors.items() if name.startswith(prefix))
        return sum((entry.end - entry.begin) // DTYPE_BYTES[entry.dtype] for entry in entries)


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read and check the header of a safetensors file.

    Raises LotusError for a pickle, anything that is not safetensors, and a file whose tensors are not all there.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(512)
            refuse_pickle(path, start)
            length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else 0
            _check_start(path, start, length, size)
            file.seek(8)
            text = file.read(length)
    except FileNotFoundError:
        raise LotusError(f"There is no file {path}.") from None
    except OSError as error:
        raise LotusError(f"{path} cannot be read: {error.strerror or error}.") from None
    try:
        content = json.loads(text, object_pairs_hook=partial(_once, path))
        metadata = content.pop("__metadata__", {})
        tensors = {name: _entry(value) for name, value in content.items()}
        if not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("metadata that is not text")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise _not_safetensors(path, "its header is damaged") from None
    _check_extent(path, tensors, size - 8 - length)
    return Header(path, metadata, tensors, 8 + length)


def refuse_pickle(path: Path, start: bytes = b"") -> None:
    """Raise LotusError where name or first bytes are those of a pickle, which can run any code when it is opened."""
    looks_pickled = start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05")
    if path.suffix.lower() in PICKLE_SUFFIXES or looks_pickled:
        target = path.with_suffix(".safetensors").name
        raise LotusError(
            f"{path} is a pickle, which can run code when it is opened, so Lotus does not open it: convert it once with"
            f" `lotus convert {path.name} {target}`."
        )


def _check_start(path: Path, start: bytes, length: int, size: int) -> None:
    if size == 0:
        raise LotusError(f"{path} is empty: download or copy it again.")
    if start[8:9] != b"{":
        if start.startswith(b"version https://git-lfs"):
            raise LotusError(f"{path} is a Git LFS pointer, not the weights: run `git lfs pull` in its folder.")
        if start.lstrip()[:1] == b"<":
            raise LotusError(f"{path} is a web page, not a checkpoint: download the file itself.")
        raise _not_safetensors(path, "it does not start with a safetensors header")
    if length > MAX_HEADER_BYTES:
        raise _not_safetensors(path, f"it claims a header of {length:,} bytes")
    if 8 + length > size:
        raise _cut_off(path, 8 + length, size)


def _once(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which no name stands twice: readers would disagree on which of the two counts."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        raise _not_safetensors(path, f"its header has {len(names)} names twice: {name_some(names)}")
    return values


def is_plain_name(name: object) -> bool:
    """Whether a file may name this one as part of it: a safetensors file of the same folder, wherever that lies."""
    if not isinstance(name, str) or len(name) > _LONGEST_NAME:
        return False
    return name.endswith(".safetensors") and not re.search(r"[/\\:\0\r\n]", name)


def name_some(names: Iterable[str]) -> str:
    """The first five of `names`, as error messages list them."""
    names = list(names)
    return ", ".join(names[:NAMED_AT_MOST]) + (", …" if len(names) > NAMED_AT_MOST else "")


def _entry(value: dict[str, Any]) -> TensorEntry:
    begin, end = value["data_offsets"]
    entry = TensorEntry(value["dtype"], tuple(int(edge) for edge in value["shape"]), int(begin), int(end))
    count = 1
    for edge in entry.shape:
        count *= edge
    if entry.dtype not in DTYPE_BYTES or entry.begin < 0 or count * DTYPE_BYTES[entry.dtype] != end - begin:
        raise ValueError("a tensor whose size does not fit its shape")
    return entry


def _check_extent(path: Path, tensors: dict[str, TensorEntry], available: int) -> None:
    end = 0
    for entry in sorted(tensors.values(), key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != end:  # the format knows neither gaps nor tensors that share bytes
            raise _not_safetensors(path, "its header is damaged: tensors overlap or leave gaps")
        end = entry.end
    needed = max((entry.end for entry in tensors.values()), default=0)
    if needed > available:
        raise _cut_off(path, needed, available)


def _cut_off(path: Path, needed: int, found: int) -> LotusError:
    return LotusError(
        f"{path} is cut off: its header promises {needed:,} bytes of which {found:,} are there; download or copy it"
        " again."
    )


def _not_safetensors(path: Path, why: str) -> LotusError:
    return LotusError(f"{path} is not a usable safetensors file ({why}): download it again or choose another file.")
