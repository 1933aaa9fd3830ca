"""What all benchmarks share: named samples with ground truth and the pixels to score, and split lists."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ..data.reading import read_lines
from ..errors import LotusError


@dataclass(frozen=True)
class BenchmarkSample:
    """One picture with its ground truth.

    name:  path of the picture inside the benchmark, without suffix, "/" between folders.
    image: uint8 H×W×3 RGB.
    truth: float32 H×W depth in metres, or H×W×3 normals in the model convention.
    mask:  bool H×W, True where the truth counts.
    """

    name: str
    image: NDArray[np.uint8]
    truth: NDArray[np.float32]
    mask: NDArray[np.bool_]


def read_entries(root: Path, split: Path | None, list_name: str, columns: int) -> list[list[str]]:
    """The entries of a split list, each split at white space.

    root:  folder of the benchmark. split: the list file; None takes `list_name` inside `root`.

    Raises:
        LotusError: the folder or the list is missing, or a line has fewer than `columns` entries or leads elsewhere.
    """
    if not root.is_dir():
        folder = root.with_suffix("")  # the published archives hold no folder at the top
        hint = f"unpack it: mkdir {folder} && tar xf {root} -C {folder}" if root.is_file() else "check --data"
        raise LotusError(f"There is no folder {root}: {hint}.")
    path = split or root / list_name
    if path.is_dir():
        raise LotusError(f"The split list {path} is a folder: name the file by --split.")
    if not path.is_file():
        raise LotusError(f"The split list {path} is missing: put it there, or name another by --split.")
    entries = [line.split() for line in read_lines(path)]
    for number, entry in enumerate(entries, 1):
        if len(entry) < columns:
            raise LotusError(f"Line {number} of {path} has {len(entry)} entries, but {columns} are needed.")
        for part in entry[:columns]:
            if PurePosixPath(part).is_absolute() or ".." in PurePosixPath(part).parts or Path(part).is_absolute():
                raise LotusError(f"Line {number} of {path} leads out of {root} ({part}): name files below it.")
    return entries


def name_in(root: Path, image: Path) -> str:
    """The name of a picture: its path below `root` without suffix."""
    return image.relative_to(root).with_suffix("").as_posix()


def check_names(title: str, root: Path, frames: Sequence[tuple[Path, ...]]) -> None:
    """Raise LotusError where two frames would have one name, of which only one could be scored."""
    seen: dict[str, Path] = {}
    for image, *_ in frames:
        name = name_in(root, image)
        if name in seen:
            raise LotusError(
                f"Two entries of {title}'s split list would both be called {name} ({seen[name].name} and {image.name}):"
                " remove one of them."
            )
        seen[name] = image


def frames_fingerprint(root: Path, frames: Sequence[tuple[Path, ...]]) -> str:
    """Of a benchmark's frames: which files below `root`, and in which order; what is in them is not looked at."""
    lines = ("\t".join(Path(os.path.relpath(path, root)).as_posix() for path in frame) for frame in frames)
    return hashlib.sha256("\n".join(lines).encode(errors="surrogatepass")).hexdigest()[:32]
