"""Which weights a name stands for now: a file may be overwritten, and a model on the hub gets new versions."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from .format import with_rest
from .header import read_header
from .hub import kept_snapshot
from .registry import embedded, hub_id

_SAMPLE = 4096  # bytes of each tensor that tell weights apart
_FOLDERS = ("*", "*/*")  # of a diffusers folder: its own files and those of its parts
_SUFFIXES = (".json", ".safetensors", ".txt")


def identify(name: str) -> tuple[str, str | None]:
    """Where the weights are that a user calls `name`, and a fingerprint of them.

    The name of an embedded checkpoint, or an absolute path; of a model on the hub the name, and its commit in place of
    a fingerprint (None where it is not on this machine). Raises LotusError for damaged safetensors.
    """
    path = embedded().get(name, Path(name).expanduser())
    if not path.exists():
        snapshot = kept_snapshot(hub_id(name))
        return name, None if snapshot is None else snapshot.name
    if path.is_file():
        files = [header.path for header in with_rest(read_header(path))] if path.suffix == ".safetensors" else [path]
    else:
        files = [file for pattern in _FOLDERS for file in path.glob(pattern)]
    used = (file for file in files if file.is_file() and file.suffix in _SUFFIXES)
    return name if name in embedded() else str(path.resolve()), fingerprint(path, used)


def fingerprint(folder: Path, files: Iterable[Path]) -> str:
    """Of the names of `files` in `folder`, all of the small ones, and the beginning of each tensor of safetensors."""
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
