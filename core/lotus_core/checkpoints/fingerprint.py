"""A fingerprint of weights, from a part of each tensor. No torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from .header import read_header

_SAMPLE = 4096  # bytes of each tensor that tell weights apart


def fingerprint(folder: Path, files: Iterable[Path]) -> str:
    """Of the names of `files` relative to `folder`, all of the small ones, and the beginning of each tensor of
    safetensors. A file alone is its own `folder`, and its name counts nothing.

    Raises LotusError for damaged safetensors.
    """
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(Path(os.path.relpath(path, folder)).as_posix().encode())
        if path.suffix != ".safetensors":
            digest.update(path.read_bytes())
            continue
        header = read_header(path)
        with path.open("rb") as file:
            for name, entry in sorted(header.tensors.items()):
                digest.update(f"{name} {entry}".encode())
                file.seek(header.data_begin + entry.begin)
                digest.update(file.read(min(_SAMPLE, entry.end - entry.begin)))
    return digest.hexdigest()[:32]
