"""What "auto" chooses as precision, on CPUs with and without bfloat16 hardware."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import lotus_core as lotus
from lotus_core import precision
from lotus_core.checkpoints.load import choose_dtype, count_parameters
from lotus_core.checkpoints.registry import PUBLISHED
from lotus_core.precision import FULL_SIZE, auto_dtype, fast_bfloat16

from .models import official_folder, tiny_unet

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


def test_loading_counts_the_model_before_it_chooses(
    tmp_path: Path, checkpoints: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = official_folder(tmp_path / "lotus-depth-d-v1-0", "d")
    numbers = sum(parameter.numel() for parameter in tiny_unet("d").parameters())
    assert count_parameters(folder) == numbers
    assert count_parameters(checkpoints["depth"]) > numbers  # with the autoencoder
    assert count_parameters(next(iter(PUBLISHED))) == FULL_SIZE
    monkeypatch.setattr(precision, "fast_bfloat16", lambda: True)
    assert choose_dtype("auto", CPU, folder) == torch.float32
    assert lotus.load_model(folder, device="cpu").prompt_embeds.dtype == torch.float32
    monkeypatch.setattr(precision, "FULL_SIZE", numbers)
    assert choose_dtype("auto", CPU, folder) == torch.bfloat16
    assert lotus.load_model(folder, device="cpu").prompt_embeds.dtype == torch.bfloat16
    assert lotus.load_model(folder, device="cpu", dtype="float32").prompt_embeds.dtype == torch.float32
