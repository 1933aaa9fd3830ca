"""What a destination is made with: one set of options, and one set of weights whatever their names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..checkpoints.identity import identify
from ..checkpoints.load import stated_task
from ..cli.predictors import DEFAULT_MODELS
from ..errors import LotusError
from ..files import atomic_path, claim, json_or_nothing
from .settings import Settings

_WEIGHTS = "weights"


def weights_of(settings: Settings) -> dict[str, str]:
    """The name of each model that is used → a fingerprint of its weights; without those that this machine lacks.

    Raises LotusError for damaged safetensors.
    """
    found = {}
    for name in (*_models(settings), settings.vae, settings.text_encoder, settings.fast_decoder):
        digest = identify(name)[1] if name else None
        if name and digest:
            found[name] = digest
    return found


def _models(settings: Settings) -> list[str]:
    """Those that the settings name, and the embedded ones that stand in for what these do not predict."""
    stated = {stated_task(name) for name in settings.models}
    if None in stated:  # which could stand in for any
        return list(settings.models)
    kinds = set(settings.maps) & DEFAULT_MODELS.keys()
    if not settings.models and (not settings.maps or "uncertainty" in settings.maps):
        kinds.add("depth")
    return [*settings.models, *(DEFAULT_MODELS[kind] for kind in sorted(kinds - stated))]


def claim_destination(
    destination: Path, hidden: Path, options: dict[str, Any], weights: Mapping[str, str]
) -> dict[str, str]:
    """Begin a destination with `options` and `weights`, or make sure that it was begun with them. Returns the weights.

    A model that was not known yet (not on the machine, or of an older version's batch) is noted from now on. Raises
    LotusError where the destination holds something else.
    """
    path = hidden / "settings.json"
    known = json_or_nothing(path)
    noted = known.get(_WEIGHTS, {} if known else dict(weights))
    told = {_WEIGHTS: noted} if _WEIGHTS in known or not known else {}
    holder, way_out = f"{destination} holds a batch", "choose another folder, or the same options"
    claim(path, {**options, **told}, holder, way_out, hidden)
    for name, digest in weights.items():
        if noted.get(name, digest) != digest:
            raise LotusError(
                f"{destination} holds a batch that was made with other weights of {name}: choose another folder, or put"
                " those weights back."
            )
    both = {**weights, **noted}
    if both != noted or not told:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps({**options, _WEIGHTS: both}, indent=2) + "\n", encoding="utf-8")
    return both
