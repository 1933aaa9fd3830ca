"""Decoders with more blocks than their base; the layers added to U-Nets are tested with the bases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import lotus_core as lotus
from lotus_core.decoding import decode_latents
from lotus_core.errors import LotusError
from lotus_core.training.base import build_model
from lotus_core.training.config import RunConfig
from lotus_core.training.growth import with_decoder_blocks
from lotus_core.training.trainer import train_model

from .models import tiny_autoencoder
from .training_runs import log_lines, run_config

EMBEDDED = {"base": "lotus-tiny-normal-g", "task": "normal", "unet": {}, "autoencoder": "", "cross_attention_dim": 64}
TRAINED = {"decoded": 3.0, "train": "decoder", "reconstruction_share": 0.25}


@pytest.fixture(scope="module")
def present() -> int:
    """Blocks at the latents' size in the embedded decoder."""
    blocks: list[int] = lotus.load_model(EMBEDDED["base"]).vae.config.num_decoder_blocks
    return blocks[0]


def run_of(ingredients: Path, output: Path, blocks: int, **sections: dict[str, Any]) -> RunConfig:
    model = EMBEDDED | {"decoder_blocks": blocks}
    return run_config(ingredients, output, model=model, protocol=TRAINED, **sections)


def test_added_blocks_change_nothing_until_they_are_trained(ingredients: Path, tmp_path: Path, present: int) -> None:
    base = lotus.load_model(EMBEDDED["base"], "cpu", torch.float32)
    grown = build_model(run_of(ingredients, tmp_path, present + 2), resolution=64)
    assert grown.vae.config.num_decoder_blocks == [present + 2, *base.vae.config.num_decoder_blocks[1:]]
    latents, pixels = torch.randn(1, 4, 8, 12), torch.rand(1, 3, 32, 48) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(grown.decode(latents), base.decode(latents), atol=1e-6)
        assert torch.equal(grown.encode(pixels), base.encode(pixels))
    grown.vae.decoder.requires_grad_(True)
    grown.decode(latents).square().mean().backward()
    added = grown.vae.decoder.layers[
        2 + present : 4 + present
    ]  # behind the clamp and the first convolution with its relu
    assert all(float(block.conv[-1].weight.grad.abs().max()) > 0 for block in added)  # they learn from the first step


def test_a_run_trains_them_and_its_file_is_a_model_like_any_other(
    ingredients: Path, tmp_path: Path, present: int
) -> None:
    optim = {"steps": 6, "batch_size": 4, "lr": 2e-3}
    path = train_model(run_of(ingredients, tmp_path / "run", present + 2, optim=optim))
    curve = [line["decoded_loss"] for line in log_lines(tmp_path / "run") if "decoded_loss" in line]
    assert sum(curve[-2:]) < sum(curve[:2])
    model = lotus.load_model(path, "cpu", torch.float32)
    assert model.vae.config.num_decoder_blocks[0] == present + 2
    added = model.vae.decoder.layers[2 + present]
    assert float(added.conv[-1].weight.detach().abs().max()) > 1e-4
    latents = torch.randn(1, 4, 200, 8)  # 800 rows of the picture are two strips
    with torch.no_grad():
        whole = decode_latents(model.vae, latents)
        assert torch.allclose(decode_latents(model.vae, latents, how="strips"), whole, atol=1e-5)


def test_what_cannot_be_added_is_refused(ingredients: Path, tmp_path: Path, present: int) -> None:
    with pytest.raises(LotusError, match=f"only adds blocks: the base has {present}"):
        build_model(run_of(ingredients, tmp_path, present - 1), resolution=64)
    with pytest.raises(LotusError, match="has an AutoencoderKL"):
        with_decoder_blocks(tiny_autoencoder(), 4)
    for blocks, train in ((-1, "decoder"), (4, "unet")):
        with pytest.raises(LotusError, match="decoder_blocks is how many residual blocks"):
            run_config(
                ingredients, tmp_path, model=EMBEDDED | {"decoder_blocks": blocks}, protocol=TRAINED | {"train": train}
            )
