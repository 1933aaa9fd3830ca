"""What the node that runs shows: ComfyUI's progress bar, as the core's Progress, and words."""

from __future__ import annotations

import comfy.model_management as mm
import comfy.utils
from comfy_execution.utils import get_executing_context
from server import PromptServer

from lotus_core.progress import Progress

_STEPS = 1000


def interruptible_bar(words: bool = False) -> Progress:
    """Shows the fraction done on the node that runs, and raises ComfyUI's own interruption when the user cancels.

    words: show what is being done as well, of what takes minutes; the last words stay on the node.
    """
    bar = comfy.utils.ProgressBar(_STEPS)

    def show(fraction: float, text: str) -> None:
        mm.throw_exception_if_processing_interrupted()
        bar.update_absolute(round(fraction * _STEPS), _STEPS)
        if words and text:
            say(text)

    return show


def say(text: str) -> None:
    """Show words on the node that runs. Its id comes from ComfyUI and is no hidden input: nodes with that one run again
    for a copy of themselves."""
    node = get_executing_context()
    if node is not None:
        PromptServer.instance.send_progress_text(text, node.node_id)
