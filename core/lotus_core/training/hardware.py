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
