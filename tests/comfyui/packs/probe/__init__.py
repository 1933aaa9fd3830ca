"""A test's hands and eyes inside a ComfyUI server: any IMAGE in, any value out to the bit."""

from __future__ import annotations

import hashlib
import json
import os
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


class ProbeModels:
    """What ComfyUI's memory management holds: class and loaded bytes of every model."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"after": ("*", {})}}

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

    def run(self, after):
        import comfy.model_management as mm

        held = [(type(m.model.model).__name__, m.model.loaded_size()) for m in mm.current_loaded_models if m.model]
        return {"ui": {"models": [json.dumps(held)]}}


NODE_CLASS_MAPPINGS = {node.__name__: node for node in (ProbeImage, ProbeMask, ProbeSave, ProbeModels)}
