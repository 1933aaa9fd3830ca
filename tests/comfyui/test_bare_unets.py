"""U-Net files without VAE and prompt, as people have them in diffusion_models/, through a real server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

import lotus_core as lotus
from benchmarks.layouts import ldm_autoencoder, ldm_unet
from tests.core.models import wide_autoencoder

from . import graphs
from .server.install import installed
from .server.running import Server
from .test_predictions import photo, put

NAME = "lotus-depth-d-v-1-1-fp16.safetensors"


@pytest.fixture(scope="module")
def unet(server: Server) -> Path:
    """With the prompt's real width, since the host's own constant goes in."""
    torch.manual_seed(0)
    network = UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=(64, 128),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=1024,
        attention_head_dim=(1, 2),
        use_linear_projection=True,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=4,
    )
    path = server.base / "models" / "diffusion_models" / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.half() for name, tensor in ldm_unet(network.state_dict(), 1).items()}, path)
    return path


def test_vae_and_prompt_come_from_comfyui(server: Server, unet: Path) -> None:
    graph = {
        "load": graphs.load(f"diffusion_models/{NAME}", precision="fp32"),
        "photo": graphs.image(put(server, "bare", photo()[None])),
        "depth": graphs.depth("load", "photo", resolution=96),
        "save": graphs.save("depth", 2, "bare"),
    }
    refused = server.client.run(graph)
    assert (
        "models/vae holds none that fits: put vae-ft-mse-840000-ema-pruned.safetensors there"
        in refused.error["exception_message"]
    )
    folder = server.base / "models" / "vae"
    folder.mkdir(exist_ok=True)
    wrong = {name: torch.zeros(8, 4, 3, 3) for name in ("encoder.conv_in.weight", "decoder.conv_in.weight")}
    save_file(wrong, folder / "a-sdxl_vae.safetensors")
    vae = folder / "vae-ft-mse-840000-ema-pruned.safetensors"
    save_file(ldm_autoencoder(wide_autoencoder().state_dict()), vae)
    graphs.must_succeed(server.client.run(graph))
    found = graphs.saved(server.base, "bare")["values0"]
    model = lotus.load_model(unet, "cpu", "float32", vae=vae, prompt_embeds=host_prompt())
    model.fold()
    expected = lotus.LotusPredictor(model).depth(photo(), resolution=96).values
    assert model.info.space == "depth"
    np.testing.assert_allclose(found, expected, atol=1e-5)


def host_prompt() -> torch.Tensor:
    """The constant in the source of ComfyUI's own node."""
    source = (installed().root / "comfy_extras" / "nodes_lotus.py").read_text(encoding="utf-8")
    numbers = re.search(r"torch\.tensor\((\[\[\[.*?\]\]\])", source)
    assert numbers is not None
    return torch.tensor(json.loads(numbers[1]))
