"""What a run trains on, in words."""

from __future__ import annotations

import platform
from pathlib import Path

import torch
from accelerate import Accelerator


def hardware(accelerator: Accelerator) -> str:
    """Processes, device and its name."""
    if accelerator.device.type == "cuda":
        return f"{accelerator.num_processes}× {torch.cuda.get_device_name(accelerator.device)}"
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{accelerator.num_processes}× {accelerator.device.type} ({name}, {torch.get_num_threads()} threads)"


_AT_ONCE_ON_CPU = 2


def pieces(batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """A batch as its autoencoder takes it: whole, or on a CPU in pairs, whose feature maps stay in its caches.

    24 pictures of 256×192 pixels through the embedded encoder: 0.36 s together, 0.14 s in pairs (two threads, bf16).
    """
    return batch.split(_AT_ONCE_ON_CPU if batch.device.type == "cpu" else max(1, len(batch)))
