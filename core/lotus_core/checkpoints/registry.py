"""Checkpoints known by name: those inside the package, and the published ones with what their name means."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from .header import Header, read_header

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
PUBLISHER = "jingheya"


@dataclass(frozen=True)
class Meaning:
    """What a published checkpoint predicts; the weights themselves do not say."""

    task: str
    variant: str
    space: str | None = None


# Released by the authors of the paper (model table of their README and the versions before).
PUBLISHED = {
    "lotus-depth-g-v1-0": Meaning("depth", "g", "depth"),
    "lotus-depth-d-v1-0": Meaning("depth", "d", "depth"),
    "lotus-depth-d-v1-1": Meaning("depth", "d", "depth"),
    "lotus-depth-g-v2-0-disparity": Meaning("depth", "g", "disparity"),
    "lotus-depth-g-v2-1-disparity": Meaning("depth", "g", "disparity"),
    "lotus-depth-d-v2-0-disparity": Meaning("depth", "d", "disparity"),
    "lotus-normal-g-v1-0": Meaning("normal", "g"),
    "lotus-normal-d-v1-0": Meaning("normal", "d"),
    "lotus-normal-g-v1-1": Meaning("normal", "g"),
    "lotus-normal-d-v1-1": Meaning("normal", "d"),
}
# Bare U-Nets made of them for ComfyUI's diffusion_models/, and the hub repositories that people have them from.
PUBLISHED_FILES = {
    "lotus-depth-d-v1-1.safetensors": "Comfy-Org/lotus",
    "lotus-depth-d-v-1-1-fp16.safetensors": "Kijai/lotus-comfyui",
    "lotus-depth-g-v1-0.safetensors": "Kijai/lotus-comfyui",
    "lotus-depth-g-v1-0-fp16.safetensors": "Kijai/lotus-comfyui",
    "lotus-depth-g-v2-1-disparity-fp16.safetensors": "Kijai/lotus-comfyui",
    "lotus-normal-g-v1-1-fp16.safetensors": "Kijai/lotus-comfyui",
}
_PRECISION = re.compile(r"-(fp16|fp32|bf16|fp8)$")


def embedded() -> dict[str, Path]:
    """Name and file of the checkpoints that ship inside the package: Lotus-G, which every task runs on, first."""
    files = sorted(WEIGHTS.glob("*.safetensors"), key=lambda path: (path.stem.endswith("-d"), path.stem))
    return {path.stem: path for path in files}


def embedded_decoders() -> dict[str, Path]:
    """Name and file of the fast decoders that ship inside the package."""
    return {path.stem: path for path in sorted((WEIGHTS / "decoders").glob("*.safetensors"))}


def list_models() -> dict[str, Header]:
    """Name and header of the checkpoints that ship inside the package; reads no weights."""
    return {name: read_header(path) for name, path in embedded().items()}


def hub_id(name: str) -> str:
    """The hub id of a published name: the authors' account unless the name brings its own."""
    return name if "/" in name else f"{PUBLISHER}/{name}"


def meaning_of(place: str) -> Meaning | None:
    """What the name of a folder, file or hub id says about the checkpoint in it; None for one that nobody published."""
    name = published_name(place)
    return PUBLISHED[name] if name else None


def place_of(path: Path) -> str:
    """Where a folder or file is, absolute, by the name that says most about it: its own, else that of what it links to.

    The hub's cache holds files under published names that link to others, called by their hash.
    """
    own, target = (Path(place).as_posix() for place in (os.path.abspath(path), path.resolve()))
    return own if published_name(own) or not published_name(target) else target


def published_name(place: str) -> str | None:
    """The entry of PUBLISHED that a folder, file or hub id is named after, in any precision; None without one.

    Understands the cache of the hub too, whose folders are called models--<account>--<name>/snapshots/<commit>, and the
    weights inside a folder.
    """
    parts = place.replace("\\", "/").rstrip("/").split("/")
    names = [parts[-1], *(part.split("--")[-1] for part in parts if part.startswith("models--"))]
    if parts[-1].startswith("diffusion_pytorch_model"):
        names += parts[-3:-2]
    return next((name for name in map(_plain, names) if name in PUBLISHED), None)


def _plain(name: str) -> str:
    """Without what people add to a published name: ending, precision, another spelling of the version."""
    name = name.lower().removesuffix(".safetensors").replace("_", "-").replace("-v-", "-v")
    return _PRECISION.sub("", name)


def near_matches(name: str) -> list[str]:
    """Known names that look like `name`, best first."""
    known = [*embedded(), *PUBLISHED]
    found = difflib.get_close_matches(name.lower().rsplit("/", 1)[-1], known, n=3, cutoff=0.5)
    return [match if match in embedded() else hub_id(match) for match in found]
