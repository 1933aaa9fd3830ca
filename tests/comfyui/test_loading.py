"""Bare U-Net files, as people have them in diffusion_models: VAE, prompt and meaning come from elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

import lotus_core as lotus

from ..core.models import wide_autoencoder, wide_unet
from . import graphs
from .graphs import NORMAL
from .server.client import Graph
from .server.running import Server
from .test_predictions import photo, put
from .test_trouble import WEIGHTS, choices, depth_graph, fails, put_model, refused

UNET, VAE = "lotus/lotus-depth-d-v1-1.safetensors", "vae-ft-mse-840000-ema-pruned.safetensors"
CHOICE = f"diffusion_models/{UNET}"


@pytest.fixture
def models(server: Server) -> Iterator[Path]:
    """The models folder with a U-Net and the VAE of another model."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_config({**wide_unet("d").config, "cross_attention_dim": 1024})
    folder = server.base / "models"
    files = [folder / "diffusion_models" / UNET, folder / "vae" / "sdxl_vae.safetensors", folder / "vae" / VAE]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
    save_file(unet.state_dict(), files[0])
    save_file(wide_autoencoder(seed=9).state_dict(), files[1])
    yield folder
    for file in files:
        file.unlink(missing_ok=True)


def graph_of(server: Server, choice: str = CHOICE, **inputs: Any) -> Graph:
    return {
        "load": graphs.load(choice, **inputs),
        "photo": graphs.image(put(server, "bare", photo()[None])),
        "depth": graphs.depth("load", "photo", resolution=-1, near="black"),
        "save": graphs.save("depth", 0, "bare"),
    }


def test_a_bare_unet_finds_its_vae_and_comfyuis_prompt(server: Server, models: Path) -> None:
    assert CHOICE in choices(server)
    sentence = refused(server, graph_of(server), "load")
    assert "is a U-Net without VAE: put that of Stable Diffusion, vae-ft-mse-840000-ema-pruned" in sentence
    save_file(wide_autoencoder().state_dict(), models / "vae" / VAE)
    prompt_graph = {
        "prompt": {"class_type": "LotusConditioning", "inputs": {}},
        "save prompt": graphs.save("prompt", 0, "prompt"),
    }
    graphs.must_succeed(server.client.run({**graph_of(server), **prompt_graph}))
    prompt = torch.from_numpy(graphs.saved(server.base, "prompt")["conditioning"])
    assert prompt.shape == (1, 2, 1024)
    model = lotus.load_model(
        models / "diffusion_models" / UNET, "cpu", "float32", vae=models / "vae" / VAE, prompt_embeds=prompt
    )
    model.fold()
    expected = lotus.LotusPredictor(model).depth(photo(), resolution=0)
    assert expected.space == "depth"
    assert np.ptp(expected.values) > 0.01
    assert np.array_equal(graphs.saved(server.base, "bare")["tensor"][0, ..., 0], expected.values)


def test_diffusers_folders_on_another_disk_are_listed_through_links(server: Server, tmp_path: Path) -> None:
    for name in ("alone", "among/others"):
        unet = tmp_path / name / "unet"
        unet.mkdir(parents=True)
        (tmp_path / name / "model_index.json").write_text("{}")
        save_file(wide_unet("g").state_dict(), unet / "diffusion_pytorch_model.safetensors")
    (tmp_path / "among" / "round").symlink_to(tmp_path / "among")  # leads back
    folder = server.base / "models" / "diffusers"
    folder.mkdir(parents=True, exist_ok=True)
    links = {"alone": tmp_path / "alone", "disk": tmp_path / "among"}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    assert [one for one in choices(server) if one.startswith("diffusers/")] == [
        "diffusers/alone",
        "diffusers/disk/others",
    ]
    for name in links:
        (folder / name).unlink()


def test_another_file_behind_a_linked_name_is_another_model(server: Server) -> None:
    path = put_model(server, "linked.safetensors")
    graph = depth_graph(server)
    graph["text"] = graphs.text("diffusion_models/linked.safetensors")
    graph["load"]["inputs"]["model"] = ["text", 0]
    graphs.must_succeed(server.client.run(graph))
    assert graphs.must_succeed(server.client.run(graph)).cached == set(graph)
    shutil.copyfile(WEIGHTS / f"{NORMAL}.safetensors", path)
    assert "predicts normal, not depth" in fails(server, graph, "depth")
    path.unlink()


def test_a_renamed_unet_asks_what_it_predicts(server: Server, models: Path) -> None:
    save_file(wide_autoencoder().state_dict(), models / "vae" / VAE)
    (models / "diffusion_models" / UNET).rename(models / "diffusion_models" / "lotus" / "mine.safetensors")
    choice = "diffusion_models/lotus/mine.safetensors"
    try:
        sentence = fails(server, graph_of(server, choice), "load")
        assert sentence == (
            "The name mine.safetensors does not say what the model predicts: choose it in Load Lotus (predicts)."
        )
        graphs.must_succeed(server.client.run(graph_of(server, choice, predicts="depth (1 = far)")))
    finally:
        (models / "diffusion_models" / "lotus" / "mine.safetensors").unlink()
