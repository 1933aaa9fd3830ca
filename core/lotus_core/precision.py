"""Which precision a device computes fast, which models gain by it, and whether numbers are finite in it."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

FULL_SIZE = 100_000_000  # parameters; smaller models are fast in float32, which no rounding touches
_CPU_FLAGS = ("amx_bf16", "avx512_bf16")


def auto_dtype(device: torch.device, parameters: int | None = None) -> torch.dtype:
    """The precision that "auto" means: float16 on CUDA; bfloat16 on CPUs that multiply it in hardware, for models of
    FULL_SIZE `parameters` and more; else float32, also on Metal, whose float16 was not tested here.
    """
    if device.type == "cuda":
        return torch.float16
    if device.type == "cpu" and parameters is not None and parameters >= FULL_SIZE and fast_bfloat16():
        return torch.bfloat16
    return torch.float32


def fast_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware (AMX or AVX512-BF16), as far as can be told safely.

    Without it torch emulates them: six times slower than float32 was measured on an AVX2 machine.
    """
    capabilities = getattr(torch.cpu, "get_capabilities", None)  # newer torch, any system
    if capabilities is not None:
        found = capabilities()
        return any(bool(found.get(flag)) for flag in _CPU_FLAGS)
    if sys.platform != "linux":
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False
    return any(flag in flags for flag in _CPU_FLAGS)


def extremes(tensor: torch.Tensor) -> tuple[float, float]:
    """Least and largest number of a tensor that is not empty; both NaN where it holds a NaN."""
    if tensor.is_floating_point() and tensor.dtype.itemsize == 1:
        tensor = tensor.float()  # torch finds no extremes in 8 bits
    if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.permute(0, 2, 3, 1)  # as it lies in memory; torch makes a copy of others
    low, high = torch.aminmax(tensor)
    return float(low), float(high)


def not_finite(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or infinite values; None where there is none."""
    filled = ((name, tensor.detach()) for name, tensor in tensors.items() if tensor.numel())
    return next((name for name, tensor in filled if not all(map(math.isfinite, extremes(tensor)))), None)
