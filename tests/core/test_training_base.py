"""Starting from a base in the layout of Stable Diffusion 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.transformers.transformer_2d import Transformer2DModel

from lotus_core.errors import LotusError
from lotus_core.training.base import build_model
from lotus_core.training.config import RunConfig, parse_config

from .models import PROMPT_WIDTH, official_folder, tiny_model, tiny_unet


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like Stable Diffusion 2: 4 input channels, no class embedding."""
    folder = official_folder(tmp_path_factory.mktemp("base"), "d")
    config = dict(tiny_unet("d").config) | {"class_embed_type": None, "projection_class_embeddings_input_dim": None}
    torch.manual_seed(4)
    UNet2DConditionModel.from_config(config).save_pretrained(folder / "unet")
    return folder


def run_of(base: str, variant: str, **model: str | int) -> RunConfig:
    run = parse_config(
        {
            "model": {"name": "m", "task": "depth", "variant": variant, "base": base, **model},
            "data": {"sources": [{"name": "synthetic", "count": 4}]},
            "optim": {"steps": 1, "batch_size": 1, "lr": 1e-4},
            "output": {"dir": "out"},
        }
    )
    assert isinstance(run, RunConfig)
    return run


def test_lotus_g_widens_the_first_layer_to_image_and_noise(base: Path) -> None:
    before = UNet2DConditionModel.from_pretrained(base, subfolder="unet")
    model = build_model(run_of(str(base), "g"), resolution=64)
    assert model.variant == "g"
    assert model.unet.config.in_channels == 8
    x = torch.randn(1, 4, 6, 6)
    with torch.no_grad():
        doubled = model.unet.conv_in(torch.cat([x, x], dim=1))
        assert torch.allclose(doubled, before.conv_in(x), atol=1e-6)
    weight = model.unet.conv_in.weight
    assert torch.equal(weight[:, :4], weight[:, 4:])
    kept = {name: p for name, p in before.state_dict().items() if name != "conv_in.weight"}
    now = model.unet.state_dict()
    assert all(torch.equal(now[name], tensor) for name, tensor in kept.items())
    assert now["class_embedding.linear_1.weight"].shape[1] == 4
    assert model.unet.config.class_embed_type == "projection"


def test_lotus_d_keeps_the_first_layer(base: Path) -> None:
    before = UNet2DConditionModel.from_pretrained(base, subfolder="unet")
    model = build_model(run_of(str(base), "d"), resolution=64)
    assert model.variant == "d"
    assert torch.equal(model.unet.conv_in.weight, before.conv_in.weight)


def test_lotus_d_goes_on_from_the_folder_of_a_lotus_g(tmp_path: Path) -> None:
    folder = official_folder(tmp_path, "g")
    before = UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
    model = build_model(run_of(str(folder), "d"), resolution=64)
    assert model.variant == "d"
    x = torch.randn(1, 4, 6, 6)
    with torch.no_grad():
        silent = before.conv_in(torch.cat([x, torch.zeros_like(x)], dim=1))  # what it did for noise of zero
        assert torch.allclose(model.unet.conv_in(x), silent, atol=1e-6)


def test_only_the_unet_is_trained_and_the_prompt_is_the_empty_one(base: Path) -> None:
    from lotus_core.checkpoints.prompt import empty_prompt_embedding

    model = build_model(run_of(str(base), "g"), resolution=64)
    assert all(p.requires_grad for p in model.unet.parameters())
    assert not any(p.requires_grad for p in model.vae.parameters())
    assert model.prompt_embeds.shape == (1, 2, PROMPT_WIDTH)
    assert torch.equal(model.prompt_embeds, empty_prompt_embedding(base))


def test_one_of_our_files_is_a_base_too(tmp_path: Path) -> None:
    from lotus_core.checkpoints import save_model

    original = tiny_model("g")
    save_model(original, tmp_path / "ours.safetensors", dtype=torch.float32)
    model = build_model(run_of(str(tmp_path / "ours.safetensors"), "g"), resolution=64)
    x, noise = torch.randn(2, 1, 4, 8, 8)
    with torch.no_grad():
        assert torch.allclose(model.eval()(x, noise), original(x, noise), atol=1e-6)
    narrow = build_model(run_of(str(tmp_path / "ours.safetensors"), "d"), resolution=64)
    assert narrow.variant == "d"
    with torch.no_grad():
        assert torch.allclose(narrow.eval()(x, None), original(x, torch.zeros_like(x)), atol=1e-6)


def test_added_layers_change_nothing_until_they_are_trained(tmp_path: Path) -> None:
    from lotus_core.checkpoints import save_model

    original = tiny_model("g")
    save_model(original, tmp_path / "ours.safetensors", dtype=torch.float32)
    deep = build_model(run_of(str(tmp_path / "ours.safetensors"), "g", transformer_layers=3), resolution=64)
    modules = [m for m in deep.unet.modules() if isinstance(m, Transformer2DModel)]
    assert {len(m.transformer_blocks) for m in modules} == {3}
    x, noise = torch.randn(2, 1, 4, 8, 8)
    with torch.no_grad():
        assert torch.equal(deep.eval()(x, noise), original(x, noise))
    deep(x, noise).square().mean().backward()
    added = [
        p
        for m in modules
        for p in (m.transformer_blocks[2].attn1.to_out[0].weight, m.transformer_blocks[2].ff.net[-1].weight)
    ]
    assert all(float(p.grad.abs().max()) > 0 for p in added)  # they learn from the first step
    save_model(deep, tmp_path / "deep.safetensors", dtype=torch.float32)
    again = build_model(run_of(str(tmp_path / "deep.safetensors"), "g", transformer_layers=3), resolution=64)
    assert again.unet.state_dict().keys() == deep.unet.state_dict().keys()
    with pytest.raises(LotusError, match="only adds layers"):
        build_model(run_of(str(tmp_path / "deep.safetensors"), "g", transformer_layers=2), resolution=64)


def test_layers_are_added_to_a_folder_as_well_and_not_to_random_weights(base: Path) -> None:
    config = base / "unet" / "config.json"
    text = config.read_text()
    words = json.loads(text)
    for words["reverse_transformer_layers_per_block"] in (None, [1, 1]):
        for _ in range(2):  # with the key, and without it, as in the folders of Stable Diffusion 2
            config.write_text(json.dumps(words))
            deep = build_model(run_of(str(base), "d", transformer_layers=2), resolution=64)
            modules = [m for m in deep.unet.modules() if isinstance(m, Transformer2DModel)]
            assert {len(m.transformer_blocks) for m in modules} == {2}
            words.pop("transformer_layers_per_block", None)
    config.write_text(text)
    for layers in (-1, 2):
        with pytest.raises(LotusError, match="transformer_layers"):
            run_of("scratch" if layers > 0 else str(base), "g", transformer_layers=layers, autoencoder=str(base))


def test_a_lotus_d_cannot_become_a_lotus_g(tmp_path: Path) -> None:
    from lotus_core.checkpoints import save_model

    save_model(tiny_model("d"), tmp_path / "d.safetensors", dtype=torch.float32)
    with pytest.raises(LotusError, match='set variant = "d"'):
        build_model(run_of(str(tmp_path / "d.safetensors"), "g"), resolution=64)


def test_a_base_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LotusError, match="Cannot read the base"):
        build_model(run_of(str(tmp_path), "g"), resolution=64)
