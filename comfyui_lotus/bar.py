"""ComfyUI's progress bar of one node, as the core's Progress."""

from __future__ import annotations

import comfy.model_management as mm
import comfy.utils

from lotus_core.progress import Progress

_STEPS = 1000


def interruptible_bar() -> Progress:
    """Shows the fraction done on the node that runs, and raises ComfyUI's own interruption when the user cancels.

    Without the words, which need the node's id: a node that asks for it runs again in every other workflow.
    """
    bar = comfy.utils.ProgressBar(_STEPS)

    def show(fraction: float, _: str) -> None:
        mm.throw_exception_if_processing_interrupted()
        bar.update_absolute(round(fraction * _STEPS), _STEPS)

    return show
