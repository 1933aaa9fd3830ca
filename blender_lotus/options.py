"""What the scene's settings and the preferences ask of a backend."""

from __future__ import annotations

from typing import Any

import bpy

from .preferences import preferences
from .properties import LotusSettings
from .resolution import BUILT_IN, chosen_resolution


def models_of(settings: LotusSettings) -> dict[str, str]:
    """Kind of map → the model that its field names, of the kinds that are needed; `//` is the .blend's folder there."""
    fields = {}
    if settings.use_depth or settings.use_uncertainty:
        fields["depth"] = settings.depth_model
    if settings.use_normal:
        fields["normal"] = settings.normal_model
    if settings.use_uncertainty and any(fields.values()):
        # Uncertainty is that of depth here; `lotus predict` makes it that of normals where only their model is named.
        fields["depth"] = fields["depth"] or BUILT_IN["depth"]
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
