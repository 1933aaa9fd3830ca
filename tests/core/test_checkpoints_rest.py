"""Files that hold only what differs from another one in their folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import lotus_core as lotus
from lotus_core.checkpoints import read_header, save_model
from lotus_core.checkpoints.identity import identify
from lotus_core.checkpoints.load import count_parameters
from lotus_core.checkpoints.registry import WEIGHTS
from lotus_core.cli import main
from lotus_core.errors import LotusError
from lotus_core.training.noiseless import main as make_noiseless

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
    assert d.info.training["noiseless"] == G
    assert d.info.training["config"] == g.info.training["config"]


def test_info_and_convert_see_the_whole_model(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(folder / "d.safetensors")]) == 0
    said = capsys.readouterr().out
    assert all(words in said for words in (f"in {G} beside it", "missing:      nothing", "Lotus-D"))
    assert main(["convert", str(folder / "d.safetensors"), str(tmp_path / "copy.safetensors")]) == 0
    own, copy = (lotus.load_model(p).state_dict() for p in (folder / "d.safetensors", tmp_path / "copy.safetensors"))
    assert all(
        torch.allclose(own[name], tensor, atol=1e-3 * float(own[name].abs().max())) for name, tensor in copy.items()
    )


def test_the_autoencoder_in_the_other_file_serves_too(folder: Path) -> None:
    own, other = (lotus.load_model(folder / G, vae=folder / name).vae.state_dict() for name in ("d.safetensors", G))
    assert all(torch.equal(tensor, other[name]) for name, tensor in own.items())


def test_alone_it_is_refused_in_a_sentence_that_names_the_other(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(folder / "d.safetensors", tmp_path)
    for command in (["info"], ["predict", str(folder / "no.png"), "--model"], ["convert"]):
        rest = [str(tmp_path / "x.safetensors")] if command == ["convert"] else []
        code = main([*command, str(tmp_path / "d.safetensors"), *rest])
        error = capsys.readouterr().err
        assert (code, error.count("\n")) == (2, 1)
        assert command[0] == "predict" or f"differs from {G}, which is not in its folder" in error


def test_another_model_under_the_other_name_is_noticed(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "d.safetensors", tmp_path)
    shutil.copy(WEIGHTS / "lotus-tiny-depth-g.safetensors", tmp_path / G)
    before = identify(str(folder / "d.safetensors"))[1]
    assert identify(str(tmp_path / "d.safetensors"))[1] != before


@pytest.mark.parametrize("wrong", ["elsewhere", "itself", "not whole", "not ours", "folder", "missing"])
def test_what_cannot_hold_the_rest_is_refused_and_nothing_is_written(
    wrong: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (G, "d.safetensors"):
        shutil.copy(folder / name, tmp_path)
    (tmp_path / "text.safetensors").write_text("no tensors")
    rest, words = {
        "elsewhere": (folder / G, "has to be in that folder"),
        "itself": (tmp_path / "new.safetensors", "cannot hold its own rest"),
        "not whole": (tmp_path / "d.safetensors", "a whole file"),
        "not ours": (tmp_path / "text.safetensors", "not a usable safetensors file"),
        "folder": (tmp_path / G, "leave out --rest"),
        "missing": (tmp_path / "none.safetensors", "There is no file"),
    }[wrong]
    target = tmp_path / ("new" if wrong == "folder" else "new.safetensors")
    before = sorted(tmp_path.iterdir())
    assert main(["convert", str(folder / "half.safetensors"), str(target), "--rest", str(rest)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_chain_and_a_path_are_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors, words = load_file(folder / "d.safetensors"), dict(read_header(folder / "d.safetensors").metadata)
    for name, rest in (("chain", "d.safetensors"), ("path", f"../{folder.name}/{G}"), ("nothing", "")):
        save_file(tensors, folder / f"{name}.safetensors", {**words, "rest": rest})
        with pytest.raises(LotusError, match=r"not whole itself|not in its folder"):
            lotus.load_model(folder / f"{name}.safetensors")


def test_numbers_and_their_scales_are_kept_together(tmp_path: Path) -> None:
    """Twice the weights have the same 8-bit numbers and other scales: both are kept."""
    from .models import tiny_model

    model = tiny_model("g")
    save_model(model, tmp_path / "first.safetensors", torch.int8)
    with torch.no_grad():
        model.unet.conv_out.weight *= 2
    save_model(model, tmp_path / "second.safetensors", torch.int8, rest=tmp_path / "first.safetensors")
    back = lotus.load_model(tmp_path / "second.safetensors").unet.conv_out.weight
    assert torch.allclose(back, model.unet.conv_out.weight, rtol=0, atol=0.01 * float(back.detach().abs().max()))
