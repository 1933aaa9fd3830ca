"""Downloads from a hub: real client, real HTTP, a server of ours on 127.0.0.1 in the hub's place."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

import lotus_core as lotus
from lotus_core.cli import main
from lotus_core.errors import Cancelled

from .hub_server import HubServer, serving
from .models import official_folder, refusal

ID = "jingheya/lotus-depth-g-v2-1-disparity"
PHOTO = np.random.default_rng(0).random((40, 56, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the hub has: all that a repository holds besides what Lotus needs."""
    root = tmp_path_factory.mktemp("hub")
    folder = official_folder(root / ID, "g")
    for part, read in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL), ("text_encoder", CLIPTextModel)):
        read.from_pretrained(folder / part).half().save_pretrained(folder / part, variant="fp16")
        (folder / part / "diffusion_pytorch_model.bin").write_bytes(b"a pickle")
        (folder / part / "diffusion_pytorch_model.non_ema.safetensors").write_bytes(b"before averaging")
    (folder / "README.md").write_text("# Lotus")
    (folder / "teaser.png").write_bytes(b"picture")
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "model.safetensors").write_bytes(b"unused")
    return root


@pytest.fixture
def hub(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A server in the hub's place, an empty cache of the hub's client, and an empty one of ours."""
    with serving(published) as server:
        use(server.url, tmp_path, monkeypatch)
        yield server


def use(url: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # HF_ENDPOINT and HF_HOME, which the client reads when it is imported, long before this test.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache / "hub"))
    monkeypatch.setenv("LOTUS_CACHE", str(cache / "lotus"))


def cached(tmp_path: Path) -> set[str]:
    (snapshot,) = (tmp_path / "hub" / f"models--{ID.replace('/', '--')}" / "snapshots").iterdir()
    return {file.relative_to(snapshot).as_posix() for file in snapshot.rglob("*") if file.is_file()}


def test_only_the_files_that_a_prediction_needs_are_downloaded_and_once(hub: HubServer, tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    model = lotus.load_model(ID, "cpu", "float32", progress=lambda fraction, text: told.append((fraction, text)))
    assert (model.info.name, model.info.task, model.info.space) == (ID.split("/")[1], "depth", "disparity")
    networks = {
        f"{part}/{file}" for part in ("unet", "vae") for file in ("config.json", "diffusion_pytorch_model.safetensors")
    }
    files = cached(tmp_path)
    assert networks | {"text_encoder/model.safetensors", "tokenizer/vocab.json", "model_index.json"} <= files
    assert not {
        file for file in files if file.endswith((".bin", ".md", ".png")) or ".fp16." in file or "non_ema" in file
    }
    assert not {file for file in files if file.startswith("safety_checker")}
    assert all(0 <= fraction <= 1 and "downloading" in text for fraction, text in told)
    expected = lotus.LotusPredictor(model).depth(PHOTO, resolution=64).values

    hub.requests.clear()
    again = lotus.load_model(ID, "cpu", "float32")
    assert not hub.sent("/resolve/")
    np.testing.assert_array_equal(lotus.LotusPredictor(again).depth(PHOTO, resolution=64).values, expected)


def test_half_precision_downloads_the_half_precision_files(hub: HubServer, tmp_path: Path) -> None:
    model = lotus.load_model(ID, "cpu", "float16")
    weights = {file for file in cached(tmp_path) if file.endswith(".safetensors")}
    assert weights == {
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/model.fp16.safetensors",
    }
    assert str(model.prompt_embeds.dtype) == "torch.float16"


def test_the_text_encoder_is_downloaded_only_where_its_embedding_is_not_kept(hub: HubServer, tmp_path: Path) -> None:
    first = lotus.load_model(ID, "cpu", "float32")
    kept = list((tmp_path / "lotus" / "prompts").iterdir())
    assert 1 <= len(kept) <= 2
    assert all(file.stat().st_size < 20_000 for file in kept)
    shutil.rmtree(tmp_path / "hub")
    hub.requests.clear()
    again = lotus.load_model(ID, "cpu", "float32")
    assert hub.sent("unet/diffusion_pytorch_model.safetensors")
    assert not hub.sent("text_encoder")
    assert (first.prompt_embeds == again.prompt_embeds).all()


def test_a_download_that_was_cut_off_goes_on_where_it_stopped(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)  # else these files are one chunk each
    hub.cut_off(after=50_500)
    message = refusal(ID)
    assert message.startswith(f"Downloading {ID} failed")
    assert "goes on where it stopped" in message
    hub.status = None
    assert lotus.load_model(ID, "cpu").info.task == "depth"
    begins = [
        int(request.rpartition("bytes=")[2].split("-")[0]) if "bytes=" in request else 0
        for request in [*hub.sent("unet/diffusion"), *hub.sent("vae/diffusion")]
    ]
    assert any(10_000 <= begin <= 50_500 for begin in begins)


def test_a_download_can_be_cancelled(hub: HubServer) -> None:
    def stop(fraction: float, text: str) -> None:
        raise Cancelled

    hub.pause = 2.0
    start = time.monotonic()
    with pytest.raises(Cancelled):
        lotus.load_model(ID, "cpu", progress=stop)
    assert time.monotonic() - start < 1.9
    hub.pause = 0.0
    for thread in threading.enumerate():  # the rest of the download, before the server is gone
        if thread.name == "download":
            thread.join(60)


def test_without_a_network_what_is_there_is_used(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: str, capfd: pytest.CaptureFixture[str]
) -> None:
    online = lotus.LotusPredictor(lotus.load_model(ID, "cpu")).depth(PHOTO, resolution=64).values
    hub.status = 503
    np.testing.assert_array_equal(
        lotus.LotusPredictor(lotus.load_model(ID, "cpu")).depth(PHOTO, resolution=64).values, online
    )
    use("http://127.0.0.1:9", tmp_path, monkeypatch)  # the port that nobody answers at
    assert lotus.load_model(ID, "cpu").info.task == "depth"
    assert "the Hugging Face hub cannot be reached: check the connection" in refusal("jingheya/lotus-normal-g-v1-1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.requests.clear()
    out = tmp_path / "out"
    assert main(["predict", photo, "-o", str(out), "--model", ID, "--res", "64", "--quiet"]) == 0
    assert capfd.readouterr().err == ""
    assert hub.requests == []
    assert "HF_HUB_OFFLINE forbids to download it" in refusal("jingheya/lotus-normal-g-v1-1")
    assert main(["info", ID]) == 0
    assert "copy in" in capfd.readouterr().out


def test_what_is_not_on_the_hub_or_is_no_model_is_one_sentence(hub: HubServer, published: Path) -> None:
    assert "did you mean jingheya/lotus-depth-g-v1-0" in refusal("someone/lotus-depth-g-v1-00")
    (published / "someone" / "else").mkdir(parents=True, exist_ok=True)
    (published / "someone" / "else" / "model.safetensors").write_bytes(b"x")
    assert "holds no unet/ with safetensors" in refusal("someone/else")


def test_a_text_encoder_and_an_autoencoder_come_from_the_hub_alone(
    hub: HubServer, published: Path, tmp_path: Path
) -> None:
    unet = tmp_path / "lotus-depth-g-v2-1-disparity.safetensors"
    shutil.copy(published / ID / "unet" / "diffusion_pytorch_model.safetensors", unet)
    message = refusal(unet, vae=ID, text_encoder=ID)  # this tiny U-Net is none that its shapes describe
    assert "cannot be built" in message or "does not hold" in message
    assert hub.sent("text_encoder/model.safetensors")
    assert not hub.sent("unet/")


def test_importing_and_listing_ask_no_network(hub: HubServer, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert main(["info", ID]) == 0
    out = capfd.readouterr().out
    assert "not on this machine" in out
    assert "disparity (1 = near)" in out
    assert main(["info", "someone/else"]) == 2
    assert hub.requests == []
    assert os.environ.get("HF_HUB_OFFLINE") is None
