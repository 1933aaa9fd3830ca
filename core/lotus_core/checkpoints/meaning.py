"""What a model predicts, where its weights do not say: the caller, a note beside them, or their published name."""

from __future__ import annotations

from typing import Any

from ..errors import LotusError
from ..model_info import RELEASED_RESOLUTION, ModelInfo
from .registry import meaning_of


class UntoldError(LotusError):
    """Nothing that can be believed says what the weights at `place` predict."""

    def __init__(self, sentence: str, place: str = "") -> None:
        super().__init__(sentence)
        self.place = place


class MisnamedError(UntoldError):
    """Weights of one variant under the published name of another: what the name says is not to be believed."""


def settle_info(
    place: str,
    variant: str,
    task: str | None,
    space: str | None,
    stated: dict[str, Any],
    scheduler_config: dict[str, Any],
) -> ModelInfo:
    """What the weights at `place` (a path or hub id) predict.

    Args:
        variant: "g" or "d", as the weights themselves say.
        task, space: from the caller; they count most.
        stated: from a lotus.json beside the weights; then the name counts.

    Raises UntoldError where nothing says the task, MisnamedError where the name says another variant than the weights,
    and LotusError where nothing says the space.
    """
    known = meaning_of(place)
    if known is not None and known.variant != variant:
        if task is None and "task" not in stated:
            raise MisnamedError(
                f"{place} is named like a Lotus-{known.variant.upper()} and holds a Lotus-{variant.upper()}, so its"
                " name cannot be trusted: pass --task, and --space for depth (task= and space= in Python, the choice"
                " predicts in ComfyUI).",
                place,
            )
        known = None
    task = task or stated.get("task") or (known.task if known else None)
    if task is None:
        raise UntoldError(
            f"Nothing says what {place} predicts: pass --task depth or --task normal (task= in Python, the"
            " choice predicts in ComfyUI).",
            place,
        )
    if task == "depth":
        space = space or stated.get("space") or (known.space if known else None)
        if space is None:
            raise LotusError(
                f"Nothing says whether the depth of {place} is disparity or depth: pass --space disparity or --space"
                " depth (space= in Python, the choice predicts in ComfyUI)."
            )
    name = place.rstrip("/").rsplit("/", 1)[-1].removesuffix(".safetensors")
    return ModelInfo(
        name=stated.get("name") or name,
        task=task,
        space=space,
        resolution=stated.get("resolution", RELEASED_RESOLUTION),
        normal_convention=stated.get("normal_convention", "lotus"),
        training=stated.get("training", {}),
        scheduler_config=scheduler_config,
    )
