"""A test's hands and eyes inside a ComfyUI server: any IMAGE in, any value out to the bit."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import sys
import time
from pathlib import Path

import folder_paths
import numpy as np
import torch


class ProbeImage:
    """An IMAGE from a .npy file of the input folder, in the file's own precision; `copies` of it as a batch."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"file": ("STRING", {}), "copies": ("INT", {"default": 1})}}

    @classmethod
    def IS_CHANGED(cls, file, copies):
        content = (Path(folder_paths.get_input_directory()) / file).read_bytes()
        return hashlib.sha256(content).hexdigest()

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "probe"

    def run(self, file, copies):
        images = torch.from_numpy(np.load(Path(folder_paths.get_input_directory()) / file))
        return (images.repeat(copies, 1, 1, 1) if copies > 1 else images,)


class ProbeMask(ProbeImage):
    """The same for a MASK, B×H×W."""

    RETURN_TYPES = ("MASK",)

    def run(self, file, copies):
        return (torch.from_numpy(np.load(Path(folder_paths.get_input_directory()) / file)),)


class ProbeText:
    """A text for an input of any type, known only when the graph runs."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {})}}

    RETURN_TYPES = ("*",)
    FUNCTION = "run"
    CATEGORY = "probe"

    def run(self, text):
        return (text,)


class ProbeSave:
    """Write a tensor, or the arrays of a list of maps, to <name>.npz in the output folder, and say what it was."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("*", {}), "name": ("STRING", {})}}

    @classmethod
    def VALIDATE_INPUTS(cls, input_types):
        return True

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "probe"

    def run(self, value, name):
        arrays, words = {}, {"pid": os.getpid()}
        if isinstance(value, torch.Tensor):
            arrays["tensor"] = value.detach().cpu().numpy()
            words |= {"dtype": str(value.dtype), "device": str(value.device), "contiguous": value.is_contiguous()}
        elif isinstance(value, list) and isinstance(value[0], list):
            arrays["conditioning"] = value[0][0].cpu().numpy()
        elif isinstance(value, list):
            for number, entry in enumerate(value):
                for field in ("values", "std", "valid"):
                    array = getattr(entry, field, None)
                    if isinstance(array, np.ndarray):
                        arrays[f"{field}{number}"] = array
            words["kinds"] = [type(entry).__name__ for entry in value]
            words["meanings"] = [
                str(getattr(e, "space", getattr(e, "convention", getattr(e, "unit", "")))) for e in value
            ]
        else:
            for field in ("vertices", "faces", "uvs", "texture"):
                array = getattr(value, field, None)
                if array is not None:
                    arrays[field] = array.cpu().numpy()
            words["type"] = type(value).__name__
        np.savez(Path(folder_paths.get_output_directory()) / f"{name}.npz", **arrays)
        return {"ui": {"probe": [json.dumps(words)]}}


class ProbeOther:
    """Another pack's model, 8 MB, in ComfyUI's memory management."""

    patcher = None

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    RETURN_TYPES = ("OTHER",)
    FUNCTION = "run"
    CATEGORY = "probe"

    def run(self):
        import comfy.model_management as mm
        import comfy.model_patcher

        if ProbeOther.patcher is None:
            ProbeOther.patcher = comfy.model_patcher.ModelPatcher(
                OtherModel(), load_device=mm.get_torch_device(), offload_device=mm.unet_offload_device()
            )
        mm.load_models_gpu([ProbeOther.patcher])
        return (None,)


class OtherModel(torch.nn.Module):
    """Weights, and nothing to do."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1024, 2048)


class ProbeOffload:
    """A LOTUS_MODEL as it is after memory ran out on a GPU, or with --novram."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("LOTUS_MODEL", {})}}

    RETURN_TYPES = ("LOTUS_MODEL",)
    FUNCTION = "run"
    CATEGORY = "probe"

    def run(self, model):
        model.model.offload()
        return (model,)


class ProbeLimit:
    """Leave this process so many more bytes of address space; 0 takes the limit away."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"after": ("*", {}), "more": ("INT", {"default": 0})}}

    @classmethod
    def VALIDATE_INPUTS(cls, input_types):
        return True

    @classmethod
    def IS_CHANGED(cls, **_):
        return time.time()

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "probe"

    def run(self, after, more):
        import resource

        import psutil

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        soft = psutil.Process().memory_info().vms + more if more else hard
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        return (after,)


class ProbeFull:
    """Memory that is not there: `where` (weights: as they come to the device, network: in the next pass) runs out once.

    Raised, for a GPU's real limit cannot be had where the tests run.
    """

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"after": ("*", {}), "where": ("STRING", {})}, "optional": {"and_after": ("*", {})}}

    @classmethod
    def VALIDATE_INPUTS(cls, input_types):
        return True

    @classmethod
    def IS_CHANGED(cls, **_):
        return time.time()

    RETURN_TYPES = ("LOTUS_MODEL",)
    FUNCTION = "run"
    CATEGORY = "probe"

    def run(self, after, where, and_after=None):
        owner, name = {
            "weights": (after.model, "to"),  # an instance's own attribute comes before its class's
            "network": (after.model, "decode"),
        }[where]

        def full(*_, **__):
            delattr(owner, name)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        setattr(owner, name, full)
        return (after,)


class ProbeModels:
    """What ComfyUI's memory management holds, and what our pack holds."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"after": ("*", {})}, "optional": {"and_after": ("*", {}), "also_after": ("*", {})}}

    @classmethod
    def VALIDATE_INPUTS(cls, input_types):
        return True

    @classmethod
    def IS_CHANGED(cls, **_):
        return time.time()

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "probe"

    def run(self, **_):
        import comfy.model_management as mm

        gc.collect()
        held = {type(m.model.model).__name__: m.model.loaded_size() for m in mm.current_loaded_models if m.model}
        models = [thing for thing in gc.get_objects() if type(thing).__name__ == "LotusModel"]
        caches = [thing for thing in gc.get_objects() if type(thing).__name__ == "EncodingCache"]
        found = {
            "held": held,
            "lotus_models": len(models),
            "states": sorted({(model.memory, model.offloaded) for model in models}),
            "encodings": sum(len(cache) for cache in caches),
        }
        return {"ui": {"models": [json.dumps(found)]}}


if "PROBE_DEVICE" in os.environ:
    # A device that ComfyUI takes for a GPU, as it is or in the state that --novram sets: the CPU under its second name,
    # because there may be no GPU where the tests run. Loading, evicting and unloading decide as they do there.
    import comfy.model_management as mm

    mm.vram_state = {"gpu": mm.VRAMState.NORMAL_VRAM, "novram": mm.VRAMState.NO_VRAM}[os.environ["PROBE_DEVICE"]]
    mm.is_device_cpu = lambda device: False
    mm.get_torch_device = lambda: torch.device("cpu:0")

if "PROBE_MISSING" in os.environ:
    sys.modules[os.environ["PROBE_MISSING"]] = None  # importing it fails as if it were not installed

NODES = (
    ProbeImage,
    ProbeMask,
    ProbeText,
    ProbeSave,
    ProbeOther,
    ProbeOffload,
    ProbeLimit,
    ProbeFull,
    ProbeModels,
)
NODE_CLASS_MAPPINGS = {node.__name__: node for node in NODES}
