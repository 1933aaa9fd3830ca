"""The official folder layout: what its name says, what it may lack, and the hub's cache."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import lotus_core as lotus
from lotus_core.checkpoints.registry import meaning_of

from .models import official_folder, refusal

PHOTO = np.random.default_rng(0).random((40, 56, 3), dtype=np.float32)


def test_a_published_folder_name_or_hub_cache_says_task_and_space(tmp_path: Path) -> None:
    folder = official_folder(tmp_path / "lotus-depth-g-v2-1-disparity", "g")
    info = lotus.load_model(folder, device="cpu").info
    assert (info.task, info.space, info.resolution) == ("depth", "disparity", 768)
    assert info.scheduler_config["beta_schedule"] == "scaled_linear"
    cached = tmp_path / "models--jingheya--lotus-normal-d-v1-1" / "snapshots" / ("0" * 40)
    shutil.copytree(official_folder(tmp_path / "d", "d"), cached)
    assert lotus.load_model(cached, device="cpu").info.task == "normal"
    assert meaning_of("someone/else") is None


def test_an_unpublished_folder_needs_its_task_from_the_caller_or_a_file(tmp_path: Path) -> None:
    folder = official_folder(tmp_path / "mine", "d")
    assert "--task" in refusal(folder)
    assert "--space" in refusal(folder, task="depth")
    assert lotus.load_model(folder, device="cpu", task="depth", space="depth").info.space == "depth"
    (folder / "lotus.json").write_text('{"task": "depth", "space": "disparity", "resolution": 64}')
    info = lotus.load_model(folder, device="cpu").info
    assert (info.name, info.space, info.resolution) == ("mine", "disparity", 64)


def test_folders_that_lack_parts_are_refused(tmp_path: Path) -> None:
    folder = official_folder(tmp_path / "lotus-normal-d-v1-1", "d")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    assert "is a pickle" in refusal(folder)
    weights.with_suffix(".bin").rename(weights)
    shutil.rmtree(folder / "text_encoder")
    assert "lacks text_encoder/" in refusal(folder)
    (folder / "vae" / "config.json").write_text("{")
    assert "cannot be read as a JSON object" in refusal(folder)
    shutil.rmtree(folder / "vae")
    assert "lacks vae/config.json" in refusal(folder)
    assert "lacks unet/config.json" in refusal(tmp_path)


def test_old_names_of_attention_in_an_autoencoder_still_load(tmp_path: Path) -> None:
    folder = official_folder(tmp_path / "lotus-normal-d-v1-1", "d")
    new = lotus.LotusPredictor(lotus.load_model(folder, device="cpu")).normal(PHOTO, resolution=64)
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = {}
    for name, tensor in load_file(path).items():
        for old, now in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")):
            name = name.replace(f".{now}.", f".{old}.")
        tensors[name] = tensor
    assert any(".query." in name for name in tensors)
    save_file(tensors, path)
    old = lotus.LotusPredictor(lotus.load_model(folder, device="cpu")).normal(PHOTO, resolution=64)
    np.testing.assert_array_equal(old.values, new.values)


def test_a_cached_hub_model_loads_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "models--jingheya--lotus-depth-d-v1-0"
    official_folder(repository / "snapshots" / ("a" * 40), "d")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("jingheya/lotus-depth-d-v1-0", "lotus-depth-d-v1-0"):
        info = lotus.load_model(name, device="cpu").info
        assert (info.name, info.task, info.space) == ("lotus-depth-d-v1-0", "depth", "depth")
    assert "HF_HUB_OFFLINE" in refusal("jingheya/lotus-normal-g-v1-1")
