"""LOTUS_MODEL: a model that ComfyUI's memory management moves, and running it there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import comfy.model_management as mm
import comfy.model_patcher
import torch
from torch.overrides import TorchFunctionMode

from lotus_core.errors import LotusError

from .encodings import cache_for

if TYPE_CHECKING:
    from lotus_core import LotusModel, LotusPredictor

LONG = {torch.conv2d, torch.nn.functional.linear, torch.nn.functional.scaled_dot_product_attention}


class LoadedLotus:
    """What LoadLotus hands to the other nodes.

    Attributes:
        model: the LotusModel; its weights lie wherever ComfyUI has put them.
        patcher: ComfyUI's handle on it (the name is what ComfyUI itself looks for).
        encodings: of images, shared with other models that have the same encoder.
    """

    def __init__(self, model: LotusModel) -> None:
        self.model = model
        self.patcher = comfy.model_patcher.ModelPatcher(
            model, load_device=mm.get_torch_device(), offload_device=mm.unet_offload_device()
        )
        self.encodings = cache_for(model)

    @contextlib.contextmanager
    def running(self, memory_required: int, at_once: int) -> Iterator[LotusPredictor]:
        """A predictor whose weights are on ComfyUI's device while the block runs.

        at_once: samples of a frame that pass the network together.
        memory_required: bytes needed beside the weights; ComfyUI unloads other models where they would not fit.
        """
        from lotus_core import LotusPredictor

        mm.load_models_gpu([self.patcher], memory_required=memory_required, force_full_load=True)
        device = self.patcher.load_device
        # --novram loads nothing, whatever is asked for, and a model that memory ran out for keeps its weights on the
        # CPU: then each layer's come to the device while it computes.
        if self.model.offloaded or not all(_same_device(one.device, device) for one in self.model.parameters()):
            self.model.prompt_embeds = self.model.prompt_embeds.to(device)
            self.model.offload()
        with _Interruptible():
            yield LotusPredictor(self.model, max_batch=at_once)

    @property
    def name(self) -> str:
        return self.model.info.name

    def require_task(self, task: str) -> None:
        """Raise LotusError where the model predicts something else than the node."""
        info = self.model.info
        if info.task != task:
            node = {"depth": "Lotus Depth", "normal": "Lotus Normal"}[info.task]
            raise LotusError(
                f"{info.name} predicts {info.task}, not {task}: choose a {task} model in Load Lotus, such as"
                f" {example(task)}, or use {node}."
            )

    def require_generative(self) -> None:
        """Raise LotusError for Lotus-D, which has no uncertainty."""
        if self.model.variant != "g":
            raise LotusError(
                f"{self.name} is a Lotus-D model, which takes no noise and always answers the same, so it has no"
                f" uncertainty: choose a Lotus-G model in Load Lotus, such as {example(self.model.info.task)}."
            )


def example(task: str) -> str:
    """A released Lotus-G checkpoint for the task, by the name that Load Lotus lists."""
    return {"depth": "jingheya/lotus-depth-g-v2-1-disparity", "normal": "jingheya/lotus-normal-g-v1-1"}[task]


def _same_device(one: torch.device, other: torch.device) -> bool:
    """Whether they are the same; devices without a number ("mps") are their kind's first."""
    return (one.type, one.index or 0) == (other.type, other.index or 0)


class _Interruptible(TorchFunctionMode):
    """Lets ComfyUI's cancel button stop the network between two layers; a whole pass can take a minute on a CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in LONG:
            mm.throw_exception_if_processing_interrupted()
        return func(*args, **(kwargs or {}))
