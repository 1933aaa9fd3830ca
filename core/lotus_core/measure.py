"""What a call costs: seconds, peak memory, floating-point operations, and the share of what the machine can do."""

from __future__ import annotations

import gc
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from .memory import free_caches

_MATRIX = {"cpu": 2048, "cuda": 8192}  # edge of the square matrices whose product tells the machine's peak
_PRODUCTS = 5
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): sets VmHWM, the process's highest resident memory, to what is resident now


@dataclass(frozen=True)
class Cost:
    """Of one call. seconds: the least of the rounds. peak_bytes: highest memory during the call, the weights included:
    of the device on CUDA, resident of the process on Linux, None elsewhere. flops: None where they were not counted.
    """

    seconds: float
    peak_bytes: int | None
    flops: int | None

    def share_of(self, peak_flops_per_second: float) -> float | None:
        """Of the machine's matrix-product peak, 0 to 1."""
        return None if self.flops is None else self.flops / self.seconds / peak_flops_per_second


def measure(calls: dict[str, Callable[[], object]], device: torch.device, rounds: int = 2) -> dict[str, Cost]:
    """Costs of several calls, which run alternately, A B A B, after one round that warms up and is not timed.

    FLOPs and memory are taken in that first round. FLOPs are those of convolutions, matrix products and attention.
    """
    costs = {}
    for name, call in calls.items():
        counter = flop_counter()
        reset_peak(device)
        with counter:
            call()
        costs[name] = Cost(float("inf"), peak_bytes(device), counter.get_total_flops() or None)
    for _ in range(rounds):
        for name, call in calls.items():
            seconds = timed(call, device)
            costs[name] = replace(costs[name], seconds=min(costs[name].seconds, seconds))
    return costs


def flop_counter() -> FlopCounterMode:
    """Counts convolutions, matrix products and attention, also the CPU's, which torch's own counter passes over."""

    def attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object) -> int:
        return 2 * query[0] * query[1] * query[2] * key[2] * (query[3] + value[3])

    cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(display=False, custom_mapping={cpu: attention})


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds that a call takes, until the device has finished."""
    _wait(device)
    start = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - start


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOPs per second of a large square matrix product, the best of several: what nothing here can exceed by much."""
    edge = _MATRIX.get(device.type, _MATRIX["cpu"])
    left, right = (torch.randn(edge, edge, device=device).to(dtype) for _ in range(2))
    return 2 * edge**3 / min(timed(lambda: left @ right, device) for _ in range(_PRODUCTS))


def reset_peak(device: torch.device) -> None:
    """Begin to watch for the highest memory anew."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        free_caches()
        if os.access(_CLEAR, os.W_OK):
            _CLEAR.write_text(_RESET_PEAK)


def peak_bytes(device: torch.device) -> int | None:
    """The highest memory since `reset_peak` (see Cost)."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if device.type != "cpu" or not _STATUS.is_file():
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())
    return int(found[1]) * 1024 if found else None


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
