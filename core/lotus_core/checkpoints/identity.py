"""Which weights a name stands for now: a file may be overwritten, and a model on the hub gets new versions."""

from __future__ import annotations

from pathlib import Path

from .fingerprint import fingerprint
from .hub import kept_snapshot
from .registry import embedded, hub_id
from .rest import files_of

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
    files = files_of(path) if path.is_file() else [file for pattern in _FOLDERS for file in path.glob(pattern)]
    used = (file for file in files if file.is_file() and file.suffix in _SUFFIXES)
    return name if name in embedded() else str(path.resolve()), fingerprint(path, used)
