"""`lotus bench`: what a call costs."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lotus_core.cli import main
from lotus_core.errors import LotusError
from lotus_core.measure import flop_counter, matmul_peak, measure
from lotus_core.model import LotusModel
from lotus_core.plain import plain_map
from lotus_core.predict import LotusPredictor

from .models import official_folder, tiny_model, wide_unet

CPU = torch.device("cpu")


@torch.no_grad()
def test_flops_of_products_convolutions_and_attention() -> None:
    counter = flop_counter()
    queries, keys = torch.randn(2, 3, 64, 16), torch.randn(2, 3, 32, 16)
    with counter:
        torch.randn(30, 20) @ torch.randn(20, 10)
        torch.nn.functional.conv2d(torch.randn(1, 4, 8, 8), torch.randn(6, 4, 3, 3), padding=1)
        torch.nn.functional.scaled_dot_product_attention(queries, keys, keys)
    attention = 2 * (2 * 3) * 64 * 32 * (16 + 16)
    assert counter.get_total_flops() == 2 * 30 * 20 * 10 + 2 * 6 * 4 * 9 * 64 + attention


def test_time_memory_and_turns() -> None:
    order: list[str] = []

    def large() -> None:
        order.append("large")
        torch.ones(50_000_000).sum()

    def slow() -> None:
        order.append("slow")
        time.sleep(0.05)

    costs = measure({"large": large, "slow": slow}, CPU, rounds=2)
    assert order == ["large", "slow"] * 3
    assert costs["slow"].seconds >= 0.05
    assert costs["slow"].flops is None
    if sys.platform == "linux":
        assert costs["large"].peak_bytes is not None
        assert costs["slow"].peak_bytes is not None
        assert costs["large"].peak_bytes > costs["slow"].peak_bytes + 150_000_000


def test_the_peak_is_that_of_a_matrix_product() -> None:
    peak = matmul_peak(CPU, torch.float32)
    assert 1e8 < peak < 1e14


def test_the_command_prints_and_keeps_a_table(
    tmp_path: Path, checkpoints: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "bench.md"
    command = ["bench", "--model", checkpoints["depth"], "--sizes", "64", "96", "--rounds", "1", "--plain"]
    assert main([*command, "--tile", "64", "--report", str(report), "--device", "cpu", "--quiet"]) == 0
    printed = capsys.readouterr().out
    for words in ("64×64", "96×96", "plain, float32", "exact", "tiles of 64", "TFLOP"):
        assert words in printed
        assert words in report.read_text()
    assert printed.count("exact") == 2
    rows = [line.split() for line in printed.splitlines() if " exact " in line]
    assert float(rows[1][-3]) > 1.5 * float(rows[0][-3])  # TFLOP grow with the size


def test_plain_takes_the_same_model_as_the_other_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    official = str(official_folder(tmp_path / "official", "g", wide=True))
    save_file(wide_unet("g").state_dict(), tmp_path / "mine.safetensors")
    bench = ["bench", "--sizes", "64", "--rounds", "1", "--plain", "--device", "cpu", "--quiet"]
    bare = [*bench, "--model", str(tmp_path / "mine.safetensors"), "--vae", official, "--text-encoder", official]
    assert main([*bench, "--task", "normal"]) == 0  # the embedded one
    assert main([*bare, "--space", "disparity"]) == 0
    assert capsys.readouterr().out.count("plain, float32") == 2
    monkeypatch.setattr("lotus_core.precision.FULL_SIZE", 1)
    monkeypatch.setattr("lotus_core.precision.fast_bfloat16", lambda: True)
    assert main([*bare, "--task", "normal"]) == 0
    assert "plain, autocast to bfloat16" in capsys.readouterr().out
    assert main([*bench, "--task", "normal", "--model", "lotus-tiny-depth-g"]) == 2
    assert "predicts depth, not the --task normal" in capsys.readouterr().err


def test_plain_is_the_original_computation_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("g")
    photo = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    expected = LotusPredictor(model).depth(photo, resolution=0, reference=True).values
    monkeypatch.setattr("lotus_core.memory.STRIPS_ABOVE", 0)
    for method in ("encode", "decode", "forward"):  # ours, which work in strips
        monkeypatch.setattr(LotusModel, method, None)
    decoded = plain_map(model, photo)
    values = (decoded / 2 + 0.5).clamp(0, 1).mean(1)[0].numpy()
    np.testing.assert_allclose(values, expected, atol=1e-5)
    model.fold()
    with pytest.raises(LotusError, match="folded"):
        plain_map(model, photo)


def test_sizes_are_not_named_twice(checkpoints: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--model", checkpoints["depth"], "--res", "64"]) == 2
    assert "--sizes" in capsys.readouterr().err
