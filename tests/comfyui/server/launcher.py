"""Start ComfyUI's main.py on a machine whose torch is built for the CPU only: launcher.py COMFYUI_ROOT [OPTIONS].

The torchvision of the package index is built for CUDA and finds none of its operators beside such a torch, and
torchaudio has no build for it at all. ComfyUI only imports both; no test runs a node that uses them.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import runpy
import sys
import types
from typing import Any


def declare_torchvision_operators() -> None:
    """What torchvision registers fake kernels for when it is imported."""
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):  # a torchvision that fits has declared them
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    declare_torchvision_operators.library = library  # type: ignore[attr-defined]  # it lives as long as its operators


def stub_torchaudio() -> None:
    """Names that ComfyUI's audio models import; using one fails."""

    def module(name: str, **names: Any) -> types.ModuleType:
        made = types.ModuleType(name)
        made.__spec__ = importlib.machinery.ModuleSpec(name, None)
        vars(made).update(names)
        sys.modules[name] = made
        return made

    transforms = ("MelScale", "MelSpectrogram", "Spectrogram", "Resample")
    module(
        "torchaudio",
        __version__="0",
        functional=module("torchaudio.functional", resample=None),
        transforms=module("torchaudio.transforms", **dict.fromkeys(transforms)),
    )


if __name__ == "__main__":
    root = sys.argv[1]
    if importlib.util.find_spec("torchaudio") is None:
        stub_torchaudio()
    declare_torchvision_operators()
    sys.argv = [f"{root}/main.py", *sys.argv[2:]]
    sys.path[0] = root
    runpy.run_path(sys.argv[0], run_name="__main__")
