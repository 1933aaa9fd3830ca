"""Weights in 8 bits, which halves a half-precision file: integers of ±127 and one scale for each output channel."""

from __future__ import annotations

import torch

from .layouts import PROMPT, SCALE

SMALLEST = 1024  # numbers; biases and the like weigh nothing and stay as they are


def quantised(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Matrices and kernels as int8 beside their scales (name + SCALE, float32, one a row); the others as float16.

    A weight errs by at most 1/254 of the largest of its row. All on the CPU.
    """
    result: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().to("cpu")
        if tensor.ndim < 2 or tensor.numel() < SMALLEST or name == PROMPT:
            result[name] = tensor.half().contiguous()
            continue
        rows = tensor.float().flatten(1)
        scale = rows.abs().amax(1) / 127
        numbers = rows / torch.where(scale > 0, scale, 1.0)[:, None]
        result[name] = numbers.round().to(torch.int8).view(tensor.shape)
        result[name + SCALE] = scale
    return result


def dequantised(numbers: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`numbers` (rows×…) · `scale` (rows), multiplied in float32, as `dtype`."""
    return (numbers.float() * scale.view(-1, *[1] * (numbers.ndim - 1))).to(dtype)
