"""How large the network sees a photo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from lotus_core.checkpoints.diffusers_layout import INFO
from lotus_core.checkpoints.header import read_header
from lotus_core.checkpoints.registry import embedded
from lotus_core.errors import LotusError
from lotus_core.files import json_or_nothing
from lotus_core.model_info import RELEASED_RESOLUTION

from .properties import LotusSettings

BUILT_IN = {"depth": "lotus-tiny-depth-g", "normal": "lotus-tiny-normal-g"}


def chosen_resolution(settings: LotusSettings) -> int | None:
    """Longest edge that the network sees, in pixels; 0: the photo's own, None: the model's own."""
    if settings.quality == "CUSTOM":
        return int(settings.resolution)
    if settings.quality == "FAST":
        return fast_resolution(settings)
    return 0 if settings.quality == "FULL" else None


def fast_resolution(settings: LotusSettings) -> int:
    """Half of the model's own; of the smaller one where depth and normals have a model each."""
    models = []
    if settings.use_depth or settings.use_uncertainty:
        models.append(settings.depth_model or BUILT_IN["depth"])
    if settings.use_normal:
        models.append(settings.normal_model or BUILT_IN["normal"])
    return min(map(_own_resolution, models)) // 2


def _own_resolution(model: str) -> int:
    """What a model was trained to see, as its file or folder says; that of the released ones where neither is here."""
    path = embedded().get(model, Path(bpy.path.abspath(model)))
    try:
        words: dict[str, Any] = {}
        if path.is_dir():
            words = json_or_nothing(path / INFO)
        elif path.suffix == ".safetensors" and path.is_file():
            words = read_header(path).metadata
        return int(words.get("resolution", RELEASED_RESOLUTION))
    except (LotusError, TypeError, ValueError):  # the backend says what is wrong with it
        return RELEASED_RESOLUTION
