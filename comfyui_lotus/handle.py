"""LOTUS_MODEL: a model that ComfyUI's memory management moves, and running it there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
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
    def running(self, estimate: Callable[[], int], at_once: int) -> Iterator[LotusPredictor]:
        """A predictor whose weights are on ComfyUI's device while the block runs, or come there layer by layer.

        at_once: samples of a frame that pass the network together.
        estimate: bytes needed beside the weights, by the model's `memory`; ComfyUI unloads other models where they
            would not fit.
        """
        from lotus_core import LotusPredictor

        self._recover(estimate)
        notes = self._load(estimate())
        predictor = LotusPredictor(self.model, max_batch=at_once, make_room=self._make_room)
        predictor.notes = notes
        with _Interruptible():
            yield predictor

    def _recover(self, estimate: Callable[[], int]) -> None:
        """At full speed again, where memory that ran out in an earlier prompt is there now."""
        from lotus_core.memory import weight_bytes

        if not self.model.offloaded and self.model.memory == "auto":
            return
        before, self.model.memory = self.model.memory, "auto"
        device = self.patcher.load_device
        needed = estimate() + (weight_bytes(self.model) if self.model.offloaded else 0)
        mm.free_memory(needed, device, self._listed())
        if mm.get_free_memory(device) >= needed:
            self.model.end_offload()
        else:
            self.model.memory = before

    def _load(self, memory_required: int) -> list[str]:
        """Weights to the device; where there is no room for them, each layer's while it computes. What to tell."""
        from lotus_core.memory import free_caches, ran_out

        device, told = self.patcher.load_device, []
        if not self.model.offloaded:
            try:
                mm.load_models_gpu([self.patcher], memory_required=memory_required, force_full_load=True)
            except (MemoryError, RuntimeError) as error:
                if not ran_out(error):
                    raise
                told = [f"{self.name} does not fit the GPU's memory as a whole: it goes layer by layer, more slowly."]
            # --novram loads nothing, whatever is asked for.
            if all(_same_device(one.device, device) for one in self.model.parameters()) and not told:
                return []
        for loaded in self._listed():  # ComfyUI would count the weights as on the device, or bring them there
            mm.current_loaded_models.remove(loaded)
        self.patcher.detach()
        free_caches()
        largest = sum(one.nbytes for one in self.model.vae.parameters())  # comes as a whole; no layer is larger
        mm.free_memory(memory_required + largest, device)
        self.model.offload(device)
        self.model.prompt_embeds = self.model.prompt_embeds.to(device)
        return told

    def _make_room(self) -> str | None:
        """Unload what other nodes have on the device."""
        if not mm.free_memory(1e30, self.patcher.load_device, self._listed()):
            return None
        mm.soft_empty_cache()
        return "Memory ran out; ComfyUI unloaded the other models, and the prediction was repeated."

    def _listed(self) -> list[Any]:
        """What ComfyUI counts as loaded of this model."""
        return [loaded for loaded in mm.current_loaded_models if loaded.model is self.patcher]

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
