"""Folders of pictures to run `lotus batch` on, and what it left behind."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def write_pictures(folder: Path, count: int, broken: int = 0, size: tuple[int, int] = (48, 32)) -> None:
    """`count` mixed files: JPEG, PNG, TIFF and WebP in two subfolders, the last `broken` of them unreadable."""
    rng = np.random.default_rng(0)
    kinds = ("jpg", "png", "tif", "webp")
    for number in range(count):
        path = folder / f"set{number % 2}" / f"photo{number:03d}.{kinds[number % 4]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number >= count - broken:
            path.write_bytes((b"", b"not a picture", b"\xff\xd8\xff\xe0cut")[number % 3])
            continue
        small = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path)


def results(folder: Path) -> dict[str, str]:
    """Path → SHA-256 of everything in a destination but its working folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".lotus-batch" not in path.parts
    }


def manifest(folder: Path) -> dict[str, Any]:
    table: dict[str, Any] = json.loads((folder / "lotus-batch.json").read_text(encoding="utf-8"))
    return table


def journal(folder: Path) -> list[dict[str, Any]]:
    """The lines of all journals, whole ones only."""
    lines = []
    for path in sorted((folder / ".lotus-batch").glob("journal*.jsonl")):
        lines += [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    return lines


def times_done(folder: Path) -> dict[str, int]:
    """Key → how many times it was finished."""
    counts: dict[str, int] = {}
    for line in journal(folder):
        key = line.get("done", line.get("failed"))
        if key is not None:
            counts[key] = counts.get(key, 0) + 1
    return counts


def command(source: Path, out: Path, checkpoints: dict[str, str], *more: str) -> list[str]:
    """A batch of depth maps in one thread, quietly."""
    return ["batch", str(source), str(out), "--model", checkpoints["depth"], "--threads", "1", "--quiet", *more]
