"""Files that hold only what differs from another one in their folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import lotus_core as lotus
from lotus_core.checkpoints import read_header, save_model
from lotus_core.checkpoints.identity import identify
from lotus_core.checkpoints.load import count_parameters
from lotus_core.checkpoints.registry import WEIGHTS
from lotus_core.checkpoints.rest import files_of
from lotus_core.cli import main
from lotus_core.errors import LotusError
from lotus_core.training.growth import deepened
from lotus_core.training.noiseless import main as make_noiseless

from .models import tiny_model

G = "lotus-tiny-normal-g.safetensors"
PHOTO = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Lotus-G in 8 bits, the Lotus-D of it whole (whole.safetensors), and what differs of that (d.safetensors)."""
    folder = tmp_path_factory.mktemp("rest")
    shutil.copy(WEIGHTS / G, folder)
    assert make_noiseless([str(folder / "half.safetensors"), str(folder / G)]) == 0
    for name, options in (("whole", []), ("d", ["--rest", str(folder / G)])):
        target = folder / f"{name}.safetensors"
        assert main(["convert", str(folder / "half.safetensors"), str(target), "--dtype", "int8", *options]) == 0
    return folder


def test_a_lotus_d_beside_its_lotus_g_takes_a_five_hundredth_and_predicts_alike(folder: Path) -> None:
    small, whole = folder / "d.safetensors", folder / "whole.safetensors"
    assert small.stat().st_size < whole.stat().st_size / 500
    assert set(read_header(small).tensors) == {"unet.conv_in.weight", "unet.conv_in.weight.int8_scale"}
    models = [lotus.load_model(path) for path in (small, whole)]
    assert [model.variant for model in models] == ["d", "d"]
    first, second = (lotus.LotusPredictor(model).normal(PHOTO).values for model in models)
    assert np.array_equal(first, second)
    assert count_parameters(small) == count_parameters(folder / G) > 1e6


def test_it_answers_what_its_lotus_g_answers_to_noise_of_zero(folder: Path) -> None:
    g, d = (lotus.load_model(folder / name, "cpu", torch.float32) for name in (G, "half.safetensors"))
    latents = torch.randn(1, 4, 12, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = g(latents, torch.zeros_like(latents)), d(latents, None)
    assert float((expected - found).abs().max()) < 0.01 * float(expected.abs().max())  # one is stored in half precision
    assert d.info.training == {"noiseless": {"model": G, "training": g.info.training}}


def test_info_models_and_convert_see_the_whole_model(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(folder / "d.safetensors")]) == 0
    said = capsys.readouterr().out
    for words in (
        f"what differs from {G} beside it",
        "missing:      nothing",
        "Lotus-D",
    ):
        assert words in said
    model = lotus.load_model(folder / "d.safetensors")
    for part, network in (("U-Net:      ", model.unet), ("autoencoder:", model.vae)):
        assert f"{part}  {network.num_parameters():,} numbers" in said
    assert main(["convert", str(folder / "d.safetensors"), str(tmp_path / "copy.safetensors")]) == 0
    assert "with its autoencoder and empty prompt" in capsys.readouterr().out
    (own, copy) = (lotus.load_model(p) for p in (folder / "d.safetensors", tmp_path / "copy.safetensors"))
    for name, tensor in copy.state_dict().items():
        assert torch.allclose(own.state_dict()[name], tensor, rtol=1e-3, atol=1e-6), name


def test_autoencoder_and_prompt_in_the_other_file_serve_too(folder: Path) -> None:
    made = [lotus.load_model(folder / G, vae=folder / n, text_encoder=folder / n) for n in ("d.safetensors", G)]
    own, other = (model.state_dict() for model in made)
    assert all(torch.equal(tensor, other[name]) for name, tensor in own.items())


def test_alone_it_is_refused_in_a_sentence_that_names_the_other(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone, photo = shutil.copy(folder / "d.safetensors", tmp_path), tmp_path / "photo.png"
    Image.fromarray(PHOTO).save(photo)
    for command in (
        ["info", alone],
        ["predict", str(photo), "-o", str(tmp_path / "maps"), "--task", "normal", "--model", alone],
        ["convert", alone, str(tmp_path / "x.safetensors")],
        ["convert", str(folder / G), str(tmp_path / "x.safetensors"), "--vae", alone],
    ):
        assert main(list(map(str, command))) == 2
        error = capsys.readouterr().err
        assert f"differs from {G}, which is not in its folder" in error
        assert error.count("\n") == 1


def test_another_model_under_the_other_name_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "d.safetensors", tmp_path)
    before = identify(str(folder / "d.safetensors"))[1]
    for other in (WEIGHTS / "lotus-tiny-depth-g.safetensors", folder / "whole.safetensors"):
        shutil.copy(other, tmp_path / G)
        assert identify(str(tmp_path / "d.safetensors"))[1] != before
        with pytest.raises(LotusError, match=f"{G} is not the file that d.safetensors takes the rest"):
            lotus.load_model(tmp_path / "d.safetensors")


def test_programs_that_stay_open_notice_that_either_file_changed(folder: Path) -> None:
    assert files_of(folder / "d.safetensors") == [folder / "d.safetensors", folder / G]
    assert files_of(folder / G) == [folder / G]
    assert files_of(folder) == [folder]


@pytest.mark.parametrize(
    "wrong", ["elsewhere", "itself", "not whole", "not ours", "folder", "missing", "deeper", "int8"]
)
def test_what_cannot_hold_the_rest_is_refused_and_nothing_is_written(
    wrong: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (G, "d.safetensors"):
        shutil.copy(folder / name, tmp_path)
    save_file({"weight": torch.ones(2)}, tmp_path / "other.safetensors")
    model = lotus.load_model(folder / G, "cpu", torch.float32)
    model.unet = deepened(model.unet, 6)
    save_model(model, tmp_path / "deeper.safetensors")
    rest, words = {
        "elsewhere": (folder / G, "another file of the same folder"),
        "itself": (tmp_path / "new.safetensors", "cannot hold its own rest"),
        "not whole": (tmp_path / "d.safetensors", "is not whole itself"),
        "not ours": (tmp_path / "other.safetensors", "is not a Lotus checkpoint"),
        "folder": (tmp_path / G, "leave out --rest"),
        "missing": (tmp_path / "none.safetensors", "There is no file"),
        "deeper": (tmp_path / "deeper.safetensors", "holds another network"),
        "int8": (tmp_path / G, "shares less than half of the weights"),
    }[wrong]
    target = tmp_path / ("new" if wrong == "folder" else "new.safetensors")
    before = sorted(tmp_path.iterdir())
    assert main(["convert", str(folder / "half.safetensors"), str(target), "--rest", str(rest)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("d.safetensors", "is not the file that"),  # a chain: not what it was made with
        (f"../{G}", "no safetensors file beside it"),
        ("a" * 300 + ".safetensors", "no safetensors file beside it"),
        ("two\nlines.safetensors", "no safetensors file beside it"),
        ("", "no safetensors file beside it"),
    ],
)
def test_hostile_names_are_one_sentence(rest: str, words: str, folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "d.safetensors", tmp_path)
    said = dict(read_header(folder / "d.safetensors").metadata)
    save_file(load_file(folder / "d.safetensors"), tmp_path / "hostile.safetensors", {**said, "rest": rest})
    with pytest.raises(LotusError, match=words) as refused:
        lotus.load_model(tmp_path / "hostile.safetensors")
    assert "\n" not in str(refused.value)


def test_numbers_and_their_scales_are_kept_together(tmp_path: Path) -> None:
    """Twice the weights have the same 8-bit numbers and another scale: both are written."""
    model = tiny_model("g")
    save_model(model, tmp_path / "first.safetensors", torch.int8)
    weight = model.unet.mid_block.resnets[0].conv1.weight
    with torch.no_grad():
        weight *= 2
    save_model(model, tmp_path / "second.safetensors", torch.int8, rest=tmp_path / "first.safetensors")
    name = "unet.mid_block.resnets.0.conv1.weight"
    assert set(read_header(tmp_path / "second.safetensors").tensors) == {name, f"{name}.int8_scale"}
    back = lotus.load_model(tmp_path / "second.safetensors").unet.mid_block.resnets[0].conv1.weight
    assert torch.allclose(back, weight, rtol=0, atol=0.01 * float(weight.detach().abs().max()))


def test_large_files_whose_kernels_lie_otherwise_hold_a_rest_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lotus_core.checkpoints.reading.MAP_FROM", 1)
    model = tiny_model("g")
    save_model(model, tmp_path / "first.safetensors")
    assert read_header(tmp_path / "first.safetensors").channels_last
    with torch.no_grad():
        model.unet.conv_out.weight += 1
    save_model(model, tmp_path / "second.safetensors", rest=tmp_path / "first.safetensors")
    assert set(read_header(tmp_path / "second.safetensors").tensors) == {"unet.conv_out.weight"}
    back = lotus.load_model(tmp_path / "second.safetensors")
    for name, tensor in model.state_dict().items():
        assert torch.allclose(back.state_dict()[name], tensor, rtol=1e-3, atol=1e-5), name
