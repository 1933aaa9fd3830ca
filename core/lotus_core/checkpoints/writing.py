"""Safetensors files that can be used where they lie: every tensor at an address where torch would have put it.

The safetensors library writes the same format, but its data begin at any multiple of 8 bytes and its order of tensors
is fixed, so that one tensor of an odd size moves all that follow to where they have to be copied from (`reading`).
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import torch

from ..errors import LotusError
from ..files import atomic_path
from .reading import ALIGNMENT, TORCH_DTYPES

_NAMES = {dtype: name for name, dtype in TORCH_DTYPES.items()}


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors of the CPU to a safetensors file; it appears whole or not at all.

    Those whose bytes are a multiple of ALIGNMENT, nearly all of a network, come first and so all begin at one.

    Raises LotusError where it cannot be written.
    """
    order = sorted(tensors, key=lambda name: (tensors[name].nbytes % ALIGNMENT != 0, name))
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name in order:
        tensor = tensors[name]
        if tensor.dtype not in _NAMES:
            raise LotusError(f"Cannot write {path}: {name} is {tensor.dtype}, which safetensors does not hold.")
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            file.write(tensors[name].detach().contiguous().flatten().view(torch.uint8).numpy().data)
