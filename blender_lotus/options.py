"""What the scene's settings and the preferences ask of a backend."""

from __future__ import annotations

from typing import Any

import bpy

from .preferences import preferences
from .properties import LotusSettings
from .resolution import chosen_resolution


def models_of(settings: LotusSettings) -> dict[str, str]:
    """Kind of map → the model that its field names; `//` is the .blend's folder there."""
    fields = {"depth": settings.depth_model, "normal": settings.normal_model}
    return {kind: bpy.path.abspath(model) for kind, model in fields.items() if model}


def options_of(settings: LotusSettings) -> dict[str, Any]:
    """Options of `lotus predict`, see `backends.base.Job`."""
    options: dict[str, Any] = {}
    resolution = chosen_resolution(settings)
    if resolution is not None:
        options["res"] = resolution
    if settings.mirror:
        options["mirror"] = True
    if settings.seed:
        options["seed"] = settings.seed
    if settings.use_uncertainty:
        options["samples"] = settings.samples
    chosen = preferences()
    if chosen.device not in ("", "auto"):
        options["device"] = chosen.device
    if chosen.offload:
        options["offload"] = True
    return options
