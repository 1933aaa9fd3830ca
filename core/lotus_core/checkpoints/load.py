"""From what a user calls a model, to the model."""

from __future__ import annotations

import os
import re
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LotusError
from .header import PICKLE_SUFFIXES, read_header
from .registry import PUBLISHED, embedded, hub_id, near_matches

if TYPE_CHECKING:
    import torch

    from ..model import LotusModel

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
DTYPES = {
    "fp32": "float32", "float32": "float32",
    "fp16": "float16", "float16": "float16",
    "bf16": "bfloat16", "bfloat16": "bfloat16",
}  # fmt: skip


def load_model(
    source: str | os.PathLike[str],
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    *,
    task: str | None = None,
    space: str | None = None,
    fast_decoder: str | os.PathLike[str] | None = None,
) -> LotusModel:
    """Load a model for prediction, ready on its device and in evaluation mode.

    Args:
        source: name of an embedded checkpoint (`lotus models`), path of our single .safetensors file or of a diffusers
            folder, a published name, or a hub id.
        device: "auto" takes CUDA, else MPS, else the CPU.
        dtype: float32, float16, bfloat16, or "auto": what the device computes fast (`precision.auto_dtype`).
        task, space: what a diffusers folder predicts, for folders whose name does not say ("depth" or "normal";
            "disparity" or "depth"). Our own files carry it.
        fast_decoder: name, file, folder or hub id of an AutoencoderTiny for `decoder="fast"` (`fast_decoder`).

    Raises LotusError for anything that is not a usable checkpoint.
    """
    from ..fast_decoder import attach_fast_decoder
    from .diffusers_folder import load_folder
    from .hub import download
    from .single_file import load_single_file

    at = choose_device(device)
    precision = choose_dtype(dtype, at, source)
    name = os.fspath(source)
    path = embedded().get(name, Path(name).expanduser())
    if path.is_dir():
        model = load_folder(path, at, precision, task=task, space=space)
    elif path.is_file():
        if task is not None or space is not None:
            raise LotusError(f"{path} says itself what it predicts: leave task and space out.")
        model = load_single_file(read_header(path), at, precision)
    elif name in PUBLISHED or (HUB_ID.fullmatch(name) and not _names_a_file(name)):
        hub_name = hub_id(name)
        model = load_folder(download(hub_name), at, precision, task=task, space=space, name=hub_name)
    else:
        raise _unknown(name)
    if fast_decoder is not None:
        attach_fast_decoder(model, fast_decoder)
    return model.eval()


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """The device that "auto" or an explicit name means on this machine. Raises LotusError where there is none such."""
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise LotusError(f"There is no device {str(device)!r} on this machine: use auto or cpu.") from None
    return chosen


def choose_dtype(
    dtype: str | torch.dtype, device: torch.device, source: str | os.PathLike[str] | None = None
) -> torch.dtype:
    """The precision that "auto" or an explicit name means on `device`, for the model that a user calls `source`."""
    import torch

    from ..precision import auto_dtype

    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        return auto_dtype(device, None if source is None else count_parameters(source))
    if dtype not in DTYPES:
        raise LotusError(f"There is no precision {dtype!r}: use auto, float32, float16 or bfloat16.")
    chosen = getattr(torch, DTYPES[dtype])
    assert isinstance(chosen, torch.dtype)
    return chosen


def count_parameters(source: str | os.PathLike[str]) -> int:
    """Numbers in the U-Net's largest file of the model that a user calls `source`; what is on the hub is full size.

    Reads headers only. Raises LotusError for files that are none of a model.
    """
    from ..precision import FULL_SIZE

    path = embedded().get(os.fspath(source), Path(source).expanduser())
    if path.is_dir():
        files = sorted((path / "unet").glob("*.safetensors"))
    elif path.is_file():
        files = [path]
    else:
        return FULL_SIZE
    headers = (read_header(file) for file in files)
    return max((sum(prod(tensor.shape) for tensor in header.tensors.values()) for header in headers), default=0)


def _names_a_file(name: str) -> bool:
    return name.lower().endswith((".safetensors", *PICKLE_SUFFIXES))


def _unknown(name: str) -> LotusError:
    if _names_a_file(name):
        return LotusError(f"There is no file {name}.")
    matches = near_matches(name)
    hint = f"did you mean {' or '.join(matches)}? " if matches else ""
    return LotusError(f"There is no model {name!r}: {hint}`lotus models` lists what is available.")
