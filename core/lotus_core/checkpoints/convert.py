"""Checkpoints into safetensors: a pickle's tensors as they are, any loadable model as one of our files."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import LotusError
from .header import PICKLE_SUFFIXES
from .load import load_model
from .single_file import save_model, write_tensors

_WRAPPERS = ("state_dict", "model", "module")  # keys under which trainers nest the weights


def convert(
    source: str, target: Path, *, task: str | None = None, space: str | None = None, dtype: torch.dtype = torch.float16
) -> str:
    """Write `source` to `target` (.safetensors) and return what was written, in words.

    A pickle (.ckpt .pt .pth .bin) keeps its names, shapes and dtypes; torch reads it with `weights_only=True`, which
    runs no code of the file. Anything `load_model` takes becomes our single file in `dtype`.

    Raises LotusError where the source cannot be read so, or the target cannot be written.
    """
    if target.suffix != ".safetensors":
        raise LotusError(f"The converted file's name must end in .safetensors, but {target.name} does not.")
    path = Path(source).expanduser()
    if path.is_file() and path.suffix.lower() in PICKLE_SUFFIXES:
        tensors = _read_pickle(path)
        write_tensors(target, tensors)
        return f"{len(tensors)} tensors, unchanged"
    model = load_model(source, "cpu", torch.float32, task=task, space=space)
    save_model(model, target, dtype)
    return f"{model.info.name}, {str(dtype).removeprefix('torch.')}, with its autoencoder and empty prompt"


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile, ValueError, KeyError) as error:
        raise LotusError(
            f"{path} holds more than weights, or is damaged, so it was not opened: get the model's .safetensors file."
        ) from error
    while isinstance(content, Mapping) and (key := next((k for k in _WRAPPERS if k in content), None)) is not None:
        content = content[key]
    tensors = (
        {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
        if isinstance(content, Mapping)
        else {}
    )
    if not tensors:
        raise LotusError(f"{path} holds no named tensors: it is not a checkpoint.")
    # safetensors refuses tensors that share memory; a copy of each is what the file needs anyway.
    return {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
