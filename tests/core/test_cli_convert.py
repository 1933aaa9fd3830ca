"""`lotus convert`: what a refused pickle is told to do works, and runs no code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import lotus_core as lotus
from lotus_core.cli import main


def test_a_pickle_keeps_its_tensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = {"conv_in.weight": torch.randn(4, 8, 3, 3), "scale": torch.ones(2, dtype=torch.float16)}
    weights["tied"] = weights["scale"]
    torch.save({"state_dict": weights, "epoch": 3}, tmp_path / "model.ckpt")
    target = tmp_path / "model.safetensors"
    assert main(["convert", str(tmp_path / "model.ckpt"), str(target)]) == 0
    assert "3 tensors" in capsys.readouterr().out
    back = load_file(target)
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], weights[name]) and back[name].dtype == weights[name].dtype for name in back)


def test_a_hostile_pickle_is_refused_and_nothing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "opened"),)

    source = tmp_path / "model.pt"
    source.write_bytes(pickle.dumps(Evil()))
    assert main(["convert", str(source), str(tmp_path / "out.safetensors")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "more than weights" in error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.pt"]


def test_a_model_becomes_one_file_that_predicts_the_same(tmp_path: Path) -> None:
    target = tmp_path / "copy.safetensors"
    assert main(["convert", "lotus-tiny-depth-g", str(target)]) == 0
    photo = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))
    maps = [lotus.LotusPredictor(lotus.load_model(m)).depth(photo) for m in ("lotus-tiny-depth-g", target)]
    assert (maps[0].values == maps[1].values).all()
    assert maps[0].space == maps[1].space


def test_the_target_must_be_safetensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "lotus-tiny-depth-g", str(tmp_path / "copy.bin")]) == 2
    assert ".safetensors" in capsys.readouterr().err
