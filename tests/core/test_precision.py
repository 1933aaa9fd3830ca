"""What "auto" chooses as precision, on CPUs with and without bfloat16 hardware."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lotus_core.precision import FULL_SIZE, auto_dtype, fast_bfloat16

CPU, CUDA, METAL = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


@pytest.mark.parametrize("flag", ["amx_bf16", "avx512_bf16"])
def test_full_size_models_take_bfloat16_where_the_cpu_multiplies_it(monkeypatch: pytest.MonkeyPatch, flag: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {flag: True, "avx2": True}, raising=False)
    assert auto_dtype(CPU, FULL_SIZE) == torch.bfloat16
    assert auto_dtype(CPU, FULL_SIZE - 1) == torch.float32  # small ones stay exact
    assert auto_dtype(CPU) == torch.float32
    assert auto_dtype(CUDA, FULL_SIZE) == torch.float16
    assert auto_dtype(METAL, FULL_SIZE) == torch.float32


def test_cpus_without_it_stay_at_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "amx_bf16": False}, raising=False)
    assert auto_dtype(CPU, FULL_SIZE) == torch.float32


@pytest.mark.parametrize(("flags", "fast"), [("fma avx2 amx_bf16 sse", True), ("fma avx2 avx512f", False)])
def test_older_torch_is_told_by_linux(monkeypatch: pytest.MonkeyPatch, flags: str, fast: bool) -> None:
    def read(path: Path, *_: Any, **__: Any) -> str:
        assert str(path) == "/proc/cpuinfo"
        return f"flags\t\t: {flags}\n"

    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(Path, "read_text", read)
    assert fast_bfloat16() == fast
    monkeypatch.setattr("sys.platform", "win32")
    assert not fast_bfloat16()
