"""`lotus convert`: pickles without running code, any layout into ours, ours into a diffusers folder."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

import lotus_core as lotus
from benchmarks.layouts import ldm_autoencoder, ldm_unet
from lotus_core.checkpoints.writing import write_tensors
from lotus_core.cli import main
from lotus_core.maps import Depth

from .models import official_folder, wide_autoencoder, wide_unet


def test_a_pickle_keeps_its_tensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = {"conv_in.weight": torch.randn(4, 8, 3, 3), "scale": torch.ones(2, dtype=torch.float16)}
    weights["tied"] = weights["scale"]
    weights |= {"unknown": torch.tensor([float("nan"), 1.0]), "steps": torch.tensor(7), "none": torch.empty(0, 3)}
    torch.save({"state_dict": weights, "epoch": 3}, tmp_path / "model.ckpt")
    target = tmp_path / "model.safetensors"
    assert main(["convert", str(tmp_path / "model.ckpt"), str(target)]) == 0
    assert "6 tensors, unchanged; read back, all are equal" in capsys.readouterr().out
    back = load_file(target)
    assert back.keys() == weights.keys()
    for name, tensor in back.items():
        assert (tensor.dtype, tensor.shape) == (weights[name].dtype, weights[name].shape)
        np.testing.assert_array_equal(tensor.numpy(), weights[name].numpy())


@pytest.mark.parametrize(
    "options",
    [["--dtype", "fp16"], ["--task", "normal", "--vae", "nowhere"], ["--space", "depth", "--text-encoder", "nowhere"]],
)
def test_options_that_a_pickle_cannot_follow_are_refused(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "model.ckpt")
    target = tmp_path / "model.safetensors"
    assert main(["convert", str(tmp_path / "model.ckpt"), str(target), *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"convert model.ckpt without options first, then the result with {' and '.join(options[::2])}." in error
    assert not target.exists()


@pytest.mark.parametrize("wrong", ["other", "nan", "missing", "dtype"])
def test_a_pickle_that_cannot_be_read_back_is_not_kept(
    wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A failing disk cannot be had in a test: what it would do happens between the weights and the file."""

    def failing_disk(path: Path, tensors: dict[str, torch.Tensor]) -> None:
        spoilt = {"other": torch.ones(2) * 2, "nan": torch.full((2,), torch.nan), "dtype": torch.ones(2).half()}
        write_tensors(path, {**tensors, "weight": spoilt[wrong]} if wrong in spoilt else {"bias": tensors["bias"]})

    torch.save({"weight": torch.ones(2), "bias": torch.zeros(2)}, tmp_path / "model.ckpt")
    monkeypatch.setattr("lotus_core.checkpoints.convert.write_tensors", failing_disk)
    assert main(["convert", str(tmp_path / "model.ckpt"), str(tmp_path / "model.safetensors")]) == 2
    assert "other weights (weight)" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt"]


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


def test_eight_bits_say_how_far_they_are_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "small.safetensors"
    half = tmp_path / "half.safetensors"
    assert main(["convert", "lotus-tiny-depth-g", str(half)]) == 0
    assert main(["convert", str(half), str(target), "--dtype", "int8"]) == 0
    said = capsys.readouterr().out
    assert 0 < float(said.rsplit("at most ", 1)[1].split()[0]) <= 0.004
    assert target.stat().st_size < 0.55 * half.stat().st_size
    assert main(["info", str(target)]) == 0
    info = capsys.readouterr().out
    (weights,) = [line for line in info.splitlines() if line.startswith("U-Net:")]
    assert "numbers, F16/I8" in weights
    assert main(["info", "lotus-tiny-depth-g"]) == 0
    assert weights in capsys.readouterr().out.splitlines()  # which is in 8 bits as well
    assert main(["convert", str(half), str(tmp_path / "folder"), "--dtype", "int8"]) == 2
    assert "no 8-bit weights" in capsys.readouterr().err


def test_a_model_becomes_one_file_that_predicts_the_same(tmp_path: Path) -> None:
    target = tmp_path / "copy.safetensors"
    assert main(["convert", "lotus-tiny-depth-g", str(target), "--dtype", "fp32"]) == 0
    photo = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))
    maps = [lotus.LotusPredictor(lotus.load_model(m)).depth(photo) for m in ("lotus-tiny-depth-g", target)]
    assert (maps[0].values == maps[1].values).all()
    assert maps[0].space == maps[1].space


def test_the_target_must_be_safetensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "lotus-tiny-depth-g", str(tmp_path / "copy.bin")]) == 2
    assert ".safetensors" in capsys.readouterr().err


def test_only_an_earlier_file_of_ours_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "copy.safetensors"
    foreign = {"weight": torch.arange(3.0)}
    save_file(foreign, target)
    torch.save(foreign, tmp_path / "model.ckpt")
    for source in ("lotus-tiny-depth-g", str(tmp_path / "model.ckpt")):
        before = target.read_bytes()
        assert main(["convert", source, str(target)]) == 2
        assert f"{target} is there already and not a file of ours: choose another name" in capsys.readouterr().err
        assert target.read_bytes() == before
    target.unlink()
    for dtype in ("fp32", "fp16"):
        assert main(["convert", "lotus-tiny-depth-g", str(target), "--dtype", dtype, "--quiet"]) == 0
    size = target.stat().st_size
    assert main(["convert", str(target), str(target), "--dtype", "int8"]) == 2
    assert "copy.safetensors is what is converted: write the result under another name" in capsys.readouterr().err
    assert target.stat().st_size == size


def test_ours_becomes_a_diffusers_folder_and_back_without_a_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, back = tmp_path / "folder", tmp_path / "back.safetensors"
    assert main(["convert", "lotus-tiny-normal-g", str(folder), "--dtype", "fp32", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    first = lotus.load_model("lotus-tiny-normal-g", "cpu")
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32).state_dict()
    assert all(torch.equal(unet[name], tensor) for name, tensor in first.unet.state_dict().items())
    assert main(["convert", str(folder), str(back), "--dtype", "fp32"]) == 0
    assert "all" in capsys.readouterr().out
    again = lotus.load_model(back, "cpu")
    assert again.info == first.info
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in first.state_dict().items())
    assert main(["convert", str(back), str(folder)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back.safetensors", "folder"]


def test_a_bare_unet_becomes_whole_and_a_folder_for_other_programs(
    tmp_path: Path, photo: str, capfd: pytest.CaptureFixture[str]
) -> None:
    official = official_folder(tmp_path / "official", "g", wide=True)
    bare, vae = tmp_path / "lotus-depth-g-v1-0-fp16.safetensors", tmp_path / "vae.safetensors"
    save_file({name: t.half() for name, t in ldm_unet(wide_unet("g").state_dict(), 2).items()}, bare)
    save_file(ldm_autoencoder(wide_autoencoder().state_dict()), vae)
    predict = ["predict", photo, "-o", str(tmp_path / "out"), "--model", str(bare), "--res", "64", "--quiet"]
    capfd.readouterr()
    assert main(predict) == 2
    message = capfd.readouterr().err
    assert "--vae VAE --text-encoder jingheya/lotus-depth-g-v1-0" in message
    assert message.count("\n") == 1
    parts = ["--vae", str(vae), "--text-encoder", str(official)]
    assert main([*predict, *parts]) == 0
    assert Depth.load(tmp_path / "out" / "photo_depth.png").space == "depth"
    whole, folder = tmp_path / "whole.safetensors", tmp_path / "folder"
    assert main(["convert", str(bare), str(whole), *parts]) == 0
    assert main(["convert", str(bare), str(folder), *parts]) == 0
    shutil.rmtree(official)
    maps = [
        lotus.LotusPredictor(lotus.load_model(source, "cpu", "float32")).depth(photo, resolution=64).values
        for source in (whole, folder)
    ]
    np.testing.assert_array_equal(*maps)
    CLIPTextModel.from_pretrained(folder / "text_encoder")
    assert json.loads((folder / "model_index.json").read_text())["text_encoder"] == ["transformers", "CLIPTextModel"]
    capfd.readouterr()
    assert main(["info", str(folder)]) == 0
    assert "nothing" in capfd.readouterr().out.splitlines()[-1]


def test_what_cannot_be_read_back_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing_disk(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        write_tensors(
            path, {name: tensor * (1 + (name == "unet.conv_in.bias")) for name, tensor in tensors.items()}, metadata
        )

    monkeypatch.setattr("lotus_core.checkpoints.single_file.write_tensors", failing_disk)
    assert main(["convert", "lotus-tiny-depth-g", str(tmp_path / "m.safetensors")]) == 2
    assert "other weights (unet.conv_in.bias)" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
