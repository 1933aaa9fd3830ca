"""The mean of several models' weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import lotus_core as lotus
from lotus_core.checkpoints import save_model
from lotus_core.errors import LotusError
from lotus_core.training.average import average, main
from lotus_core.training.growth import deepened, is_output, layers_of

DEPTH, NORMAL = "lotus-tiny-depth-g", "lotus-tiny-normal-g"


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded depth model with every weight of its U-Net and prompt changed, as training would."""
    model = lotus.load_model(DEPTH, "cpu", torch.float32)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.unet.parameters():
            weight += 0.01 * torch.randn_like(weight)
    model.prompt_embeds = model.prompt_embeds + 1
    path = tmp_path_factory.mktemp("average") / "moved.safetensors"
    save_model(model, path, torch.float32)
    return path


def test_every_weight_is_the_weighted_mean_and_the_file_says_of_what(moved: Path, tmp_path: Path) -> None:
    out = tmp_path / "mean.safetensors"
    assert main([str(out), DEPTH, str(moved), "--shares", "3", "1"]) == 0
    mean, first, second = (lotus.load_model(m, "cpu", torch.float32) for m in (out, DEPTH, moved))
    theirs = second.unet.state_dict()
    for name, weight in first.unet.state_dict().items():
        found = mean.unet.state_dict()[name]
        assert torch.allclose(found, 0.75 * weight + 0.25 * theirs[name], atol=1e-6), name
    assert torch.allclose(mean.prompt_embeds, first.prompt_embeds + 0.25, atol=1e-5)
    parts = mean.info.training["mean_of"]
    assert [(part["model"], part["share"]) for part in parts] == [(DEPTH, 0.75), (moved.name, 0.25)]
    assert parts[0]["training"] == first.info.training
    assert "hours" not in mean.info.training
    photo = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    assert np.isfinite(lotus.LotusPredictor(mean).depth(photo).values).all()


def test_equal_models_have_themselves_as_the_mean() -> None:
    own = lotus.load_model(DEPTH, "cpu", torch.float32).unet.state_dict()
    for name, weight in average([DEPTH, DEPTH, DEPTH]).unet.state_dict().items():
        assert torch.allclose(weight, own[name], atol=1e-6), name


@pytest.mark.parametrize(
    ("models", "shares", "words"),
    [
        ([DEPTH], None, "at least two"),
        ([DEPTH, NORMAL], None, "is a Lotus-G depth disparity"),
        ([DEPTH, DEPTH], [1.0], "2 models and 1 shares"),
        ([DEPTH, DEPTH], [1.0, -1.0], "not all zero"),
        ([DEPTH, DEPTH], [float("nan"), 1.0], "not all zero"),
    ],
)
def test_what_has_no_mean_is_said(models: list[str], shares: list[float] | None, words: str) -> None:
    with pytest.raises(LotusError, match=words):
        average(models, shares)


def test_another_autoencoder_has_other_latents(moved: Path, tmp_path: Path) -> None:
    model = lotus.load_model(moved, "cpu", torch.float32)
    with torch.no_grad():
        next(model.vae.parameters()).mul_(-1)
    other = tmp_path / "other.safetensors"
    save_model(model, other, torch.float32)
    with pytest.raises(LotusError, match="different autoencoders"):
        average([DEPTH, str(other)])


def test_the_command_says_what_is_wrong_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mean.safetensors"
    assert main([str(out), DEPTH, NORMAL]) == 2
    assert "no mean" in capsys.readouterr().err
    assert not out.exists()


def test_a_model_from_before_layers_were_added_lends_its_own_half(tmp_path: Path) -> None:
    old = lotus.load_model(DEPTH, "cpu", torch.float32)
    layers = layers_of(old.unet)
    assert layers is not None
    deep = lotus.load_model(DEPTH, "cpu", torch.float32)
    deep.unet = deepened(deep.unet, layers + 1)
    with torch.no_grad():
        for weight in deep.unet.parameters():
            weight += 0.01 * torch.randn_like(weight)
    save_model(deep, tmp_path / "deep.safetensors", torch.float32)
    mean = average([DEPTH, str(tmp_path / "deep.safetensors")]).unet.state_dict()
    before = old.unet.state_dict()
    for name, weight in deep.unet.state_dict().items():
        own = before.get(name, 0 * weight if is_output(name) else weight)  # an added layer as learnt, half of it counts
        expected = (weight + own) / 2
        assert torch.allclose(mean[name], expected, atol=1e-6), name
    assert sum(name not in before and is_output(name) for name in mean) == 4 * 3 * 2  # modules, projections, bias
