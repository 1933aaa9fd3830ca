"""Every layout that people have Lotus weights in: same weights, same numbers; and what is missing is named."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors.torch import load_file, save_file

import lotus_core as lotus
from benchmarks.full_size import AUTOENCODER, UNET
from benchmarks.layouts import AUTOENCODER_PREFIX, UNET_PREFIX, ldm_autoencoder, ldm_unet
from lotus_core.checkpoints.configs import autoencoder_config, unet_config
from lotus_core.checkpoints.convert import convert
from lotus_core.checkpoints.load import stated_task
from lotus_core.checkpoints.registry import PUBLISHED, PUBLISHED_FILES, meaning_of, published_name
from lotus_core.cli import main

from .models import official_folder, refusal, wide_autoencoder, wide_unet

PHOTO = np.random.default_rng(0).random((64, 96, 3), dtype=np.float32)
NAME = "lotus-depth-g-v2-1-disparity"


@dataclass(frozen=True)
class Files:
    """The same weights in each layout."""

    folder: Path
    unet: Path
    ldm: Path
    vae: Path
    ldm_vae: Path
    whole: Path
    ours: Path


@pytest.fixture(scope="module", params=["g", "d"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Files:
    at, variant = tmp_path_factory.mktemp("layouts"), request.param
    name = NAME if variant == "g" else "lotus-depth-d-v2-0-disparity"
    folder = official_folder(at / name, variant, wide=True)
    unet, vae = wide_unet(variant).state_dict(), wide_autoencoder().state_dict()
    found = Files(
        folder=folder,
        unet=at / f"{name}.safetensors",
        ldm=at / "ldm" / f"{name}-fp32.safetensors",
        vae=at / "vae.safetensors",
        ldm_vae=at / "vae-ft-mse-840000-ema-pruned.safetensors",
        whole=at / "whole" / f"{name}.safetensors",
        ours=at / "ours.safetensors",
    )
    for path in (found.ldm, found.whole):
        path.parent.mkdir()
    save_file(unet, found.unet, {"padding": "x" * 37})  # the data begin at another place of the page than elsewhere
    save_file(ldm_unet(unet, 2), found.ldm)
    save_file(vae, found.vae)
    save_file(ldm_autoencoder(vae), found.ldm_vae)
    rest = {"cond_stage_model.model.ln_final.weight": torch.ones(3), "alphas_cumprod": torch.ones(1000)}
    save_file({**ldm_unet(unet, 2), **ldm_autoencoder(vae, AUTOENCODER_PREFIX), **rest}, found.whole)
    convert(str(folder), found.ours, dtype=torch.float32)
    return found


def depth(source: Path, **arguments: Any) -> np.ndarray:
    model = lotus.load_model(source, "cpu", "float32", **arguments)
    assert model.info.task == "depth"
    assert model.info.space == "disparity"
    values = lotus.LotusPredictor(model).depth(PHOTO, resolution=0, seed=3).values
    assert isinstance(values, np.ndarray)
    assert values.std() > 1e-3
    return values


def test_all_layouts_of_the_same_weights_give_the_same_numbers_to_the_bit(files: Files) -> None:
    text = files.folder
    expected = depth(files.folder)
    for unet in (files.unet, files.ldm):
        for vae in (files.vae, files.ldm_vae, files.folder, files.folder / "vae", files.ours, files.whole):
            np.testing.assert_array_equal(depth(unet, vae=vae, text_encoder=text), expected, f"{unet} {vae}")
    np.testing.assert_array_equal(depth(files.whole, text_encoder=text), expected)
    np.testing.assert_array_equal(depth(files.ours), expected)
    embedding = lotus.load_model(files.folder, "cpu").prompt_embeds
    np.testing.assert_array_equal(depth(files.unet, vae=files.vae, prompt_embeds=embedding), expected)
    np.testing.assert_array_equal(depth(files.unet, vae=files.vae, text_encoder=files.ours), expected)


def test_ldm_names_are_those_that_diffusers_reads() -> None:
    """At full size: LDM names as diffusers' own conversion knows them, and configs from shapes as the released ones."""
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(in_channels=8, **UNET), AutoencoderKL(**AUTOENCODER)
    state = unet.state_dict()
    assert len(state) == 690
    back = convert_ldm_unet_checkpoint(ldm_unet(state, 2), dict(unet.config))
    assert back.keys() == state.keys()
    assert all(back[name] is state[name] for name in state)
    assert (
        convert_ldm_vae_checkpoint(ldm_autoencoder(vae.state_dict()), dict(vae.config)).keys()
        == vae.state_dict().keys()
    )
    for network, config in ((unet, unet_config(shapes(unet), "")), (vae, autoencoder_config(shapes(vae), ""))):
        for key, value in config.items():
            if key != "_class_name":
                assert plain(network.config[key]) == plain(value), key
    assert unet_config(shapes(unet), "")["attention_head_dim"] == [5, 10, 20, 20]


def shapes(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def test_half_precision_files_give_what_their_numbers_give(files: Files, tmp_path: Path) -> None:
    half = tmp_path / f"{files.unet.stem}-fp16.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(files.unet).items()}, half)
    rounded = tmp_path / "rounded" / files.unet.name
    rounded.parent.mkdir()
    save_file({name: tensor.half().float() for name, tensor in load_file(files.unet).items()}, rounded)
    parts = {"vae": files.vae, "text_encoder": files.folder}
    np.testing.assert_array_equal(depth(half, **parts), depth(rounded, **parts))


def test_a_bare_unet_names_what_it_lacks_and_the_two_ways_out(files: Files) -> None:
    name = published_name(str(files.unet))
    message = refusal(files.unet)
    assert "without an autoencoder and without the empty prompt's embedding" in message
    assert f"`lotus convert {files.unet.name} whole.safetensors --vae VAE --text-encoder jingheya/{name}`" in message
    assert "diffusers folder or hub id" in message
    assert "--text-encoder" in refusal(files.unet, vae=str(files.vae))
    assert "without autoencoder" in refusal(files.unet, text_encoder=str(files.folder))


def test_a_renamed_unet_asks_for_its_task_and_a_misnamed_one_is_not_trusted(files: Files, tmp_path: Path) -> None:
    parts = {"vae": str(files.vae), "text_encoder": str(files.folder)}
    renamed = tmp_path / "my-best.safetensors"
    shutil.copy(files.unet, renamed)
    assert "--task" in refusal(renamed, **parts)
    assert "--space" in refusal(renamed, task="depth", **parts)
    model = lotus.load_model(renamed, "cpu", task="normal", **parts)
    assert (model.info.task, model.info.space) == ("normal", None)
    other = "lotus-depth-d-v1-0" if "-g-" in files.unet.name else "lotus-depth-g-v1-0"
    misnamed = tmp_path / f"{other}.safetensors"
    shutil.copy(files.unet, misnamed)
    assert "cannot be trusted" in refusal(misnamed, **parts)
    assert lotus.load_model(misnamed, "cpu", task="depth", space="depth", **parts).info.space == "depth"


def test_a_published_name_counts_whether_it_is_a_link_or_leads_to_one(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hub's cache holds snapshots/<commit>/<published name>, a link to blobs/<hash>."""
    cache = tmp_path / "models--Kijai--lotus-comfyui"
    blob, file = cache / "blobs" / "0f3a", cache / "snapshots" / "c0ffee" / f"{files.unet.stem}-fp16.safetensors"
    for path in (blob, file):
        path.parent.mkdir(parents=True)
    shutil.copy(files.unet, blob)
    file.symlink_to(blob)
    named, mine = tmp_path / files.folder.name, tmp_path / "mine.safetensors"
    shutil.copytree(files.folder, tmp_path / "data")
    named.symlink_to(tmp_path / "data")
    mine.symlink_to(files.unet)
    meaning = PUBLISHED[files.unet.stem]
    parts = {"vae": str(files.vae), "text_encoder": str(files.folder)}
    monkeypatch.chdir(files.folder)
    for source in (file, mine, named, Path()):
        assert stated_task(str(source)) == meaning.task
        info = lotus.load_model(source, "cpu", **({} if source.is_dir() else parts)).info
        assert (info.task, info.space) == (meaning.task, meaning.space)
        assert main(["info", str(source)]) == 0
        assert f"published as: jingheya/{files.unet.stem}\n" in capsys.readouterr().out
    assert f"--text-encoder jingheya/{files.unet.stem}`" in refusal(file)


@pytest.mark.parametrize(
    ("file", "task", "variant", "space"),
    [
        ("lotus-depth-d-v1-1.safetensors", "depth", "d", "depth"),
        ("lotus-depth-g-v2-1-disparity-fp16.safetensors", "depth", "g", "disparity"),
        ("lotus-normal-g-v1-1-fp16.safetensors", "normal", "g", None),
        ("lotus-depth-d-v-1-1-fp16.safetensors", "depth", "d", "depth"),
        ("ComfyUI/models/diffusion_models/Lotus_Depth_G_v2-1_disparity_fp16.safetensors", "depth", "g", "disparity"),
        ("lotus-normal-d-v1-0/unet/diffusion_pytorch_model.safetensors", "normal", "d", None),
    ],
)
def test_published_file_names_say_task_variant_and_space(file: str, task: str, variant: str, space: str | None) -> None:
    meaning = meaning_of(file)
    assert meaning is not None
    assert (meaning.task, meaning.variant, meaning.space) == (task, variant, space)
    assert meaning_of("lotus-depth-g-v2-1.safetensors") is None  # nobody published it: depth or disparity?
    assert all(published_name(name) in PUBLISHED for name in PUBLISHED_FILES)


def test_autoencoders_of_other_models_are_refused(files: Files, tmp_path: Path) -> None:
    parts = {"text_encoder": str(files.folder)}
    xl = tmp_path / "sdxl_vae.safetensors"
    shutil.copy(files.ldm_vae, xl)
    assert "Stable Diffusion XL" in refusal(files.unet, vae=str(xl), **parts)
    wide = AutoencoderKL(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=16,
        layers_per_block=1,
    )
    save_file(ldm_autoencoder(wide.state_dict()), tmp_path / "ae.safetensors")
    assert "16 channels, not 4" in refusal(files.unet, vae=str(tmp_path / "ae.safetensors"), **parts)
    wide.register_to_config(scaling_factor=0.13025)
    wide.save_pretrained(tmp_path / "other")
    assert "scaled by 0.13025" in refusal(files.unet, vae=str(tmp_path / "other"), **parts)
    assert "holds no autoencoder" in refusal(files.unet, vae=str(files.unet), **parts)
    assert "There is no autoencoder nowhere.safetensors" in refusal(files.unet, vae="nowhere.safetensors", **parts)
    assert "There is no text encoder nowhere" in refusal(files.unet, vae=str(files.vae), text_encoder="nowhere")


@pytest.mark.parametrize("scale", ["label_emb.0.0.scale_weight", "out.2.weight_scale", "scaled_fp8"])
def test_8_bit_weights_with_another_programs_scales_are_told_from_another_model(
    files: Files, tmp_path: Path, scale: str
) -> None:
    tensors = load_file(files.ldm)
    tensors[UNET_PREFIX + scale] = torch.ones(1)
    save_file(tensors, tmp_path / files.unet.name)
    message = refusal(tmp_path / files.unet.name, vae=str(files.vae), text_encoder=str(files.folder))
    assert "another program's scales" in message
    assert "use its file in fp16, bf16 or plain fp8" in message


def test_missing_unexpected_and_misshaped_tensors_of_a_bare_file_are_named(files: Files, tmp_path: Path) -> None:
    parts = {"vae": str(files.vae), "text_encoder": str(files.folder)}
    tensors = load_file(files.ldm)
    gone = [name for name in tensors if ".middle_block.1.transformer_blocks" in name][:7]
    for name in gone:
        del tensors[name]
    tensors[f"{UNET_PREFIX}control.weight"] = torch.zeros(1)
    tensors[f"{UNET_PREFIX}out.2.bias"] = torch.zeros(9)
    damaged = tmp_path / files.unet.name
    save_file(tensors, damaged)
    message = refusal(damaged, **parts)
    assert "7 missing" in message
    assert message.count("mid_block.attentions.0.transformer_blocks") == 5
    assert "1 unexpected (control.weight)" in message
    assert "1 misshaped (conv_out.bias is 9, not 4)" in message
    for name in ("input_blocks.0.0.weight", "label_emb.0.0.weight", "out.2.weight"):
        tensors = load_file(files.ldm)
        del tensors[UNET_PREFIX + name]
        save_file(tensors, damaged)
        refusal(damaged, **parts)
    vae = load_file(files.ldm_vae)
    del vae["decoder.mid.attn_1.q.weight"]
    save_file(vae, tmp_path / "vae.safetensors")
    message = refusal(files.unet, vae=str(tmp_path / "vae.safetensors"), text_encoder=str(files.folder))
    assert "1 missing (decoder.mid_block.attentions.0.to_q.weight)" in message
