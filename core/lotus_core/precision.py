"""Which precision a device computes fast, and which models gain by it."""

from __future__ import annotations

import sys
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
