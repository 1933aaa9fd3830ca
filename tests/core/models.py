"""Small random models of the real classes, and the official folder layout made of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

import lotus_core as lotus
from lotus_core.model import LotusModel
from lotus_core.model_info import ModelInfo

PROMPT_WIDTH = 16


def tiny_unet(variant: str, seed: int = 0) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    return UNet2DConditionModel(
        in_channels=8 if variant == "g" else 4,
        out_channels=4,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=PROMPT_WIDTH,
        attention_head_dim=(2, 4),
        norm_num_groups=8,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=4,
    ).eval()


def tiny_autoencoder(levels: int = 3, seed: int = 1) -> AutoencoderKL:
    torch.manual_seed(seed)
    return AutoencoderKL(
        block_out_channels=(8, 16, 16, 16)[:levels],
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=4,
    ).eval()


def wide_unet(variant: str, seed: int = 0) -> UNet2DConditionModel:
    """Small, but with SD 2's 64 channels to a head and two blocks a level: files of it need no config."""
    torch.manual_seed(seed)
    return UNet2DConditionModel(
        in_channels=8 if variant == "g" else 4,
        out_channels=4,
        block_out_channels=(64, 128, 128),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=2,
        cross_attention_dim=PROMPT_WIDTH,
        attention_head_dim=(1, 2, 2),
        use_linear_projection=True,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=4,
    ).eval()


def wide_autoencoder(seed: int = 1) -> AutoencoderKL:
    """Small, but with the 32 groups of Stable Diffusion's, and pixels to latents 8× down."""
    torch.manual_seed(seed)
    return AutoencoderKL(
        block_out_channels=(32, 32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=2,
    ).eval()


def tiny_model(variant: str = "g", task: str = "depth", resolution: int = 48) -> LotusModel:
    """Pixels to latents 4× down, image sizes padded to multiples of 8."""
    info = ModelInfo(
        name=f"tiny-{task}-{variant}",
        task=task,
        space="disparity" if task == "depth" else None,
        resolution=resolution,
        training={"seed": 7},
        scheduler_config={"beta_start": 0.00085},
    )
    prompt = torch.randn(1, 2, PROMPT_WIDTH, generator=torch.Generator().manual_seed(2))
    return LotusModel(tiny_unet(variant), tiny_autoencoder(), prompt, info).eval()


def official_folder(folder: Path, variant: str, wide: bool = False) -> Path:
    """Write the layout of the released checkpoints, 8× autoencoder, with every part made small."""
    from transformers import CLIPTextConfig, CLIPTextModel

    (wide_unet(variant) if wide else tiny_unet(variant)).save_pretrained(folder / "unet")
    (wide_autoencoder() if wide else tiny_autoencoder(levels=4)).save_pretrained(folder / "vae")
    DDIMScheduler(beta_schedule="scaled_linear", prediction_type="sample").save_pretrained(folder / "scheduler")
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer" / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77})
    )
    torch.manual_seed(3)
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=PROMPT_WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=len(words) - 2,
        eos_token_id=len(words) - 1,
    )
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": f"Lotus{variant.upper()}Pipeline"}))
    return folder


def refusal(source: str | Path, **arguments: str) -> str:
    """The one sentence that loading `source` fails with."""
    with pytest.raises(lotus.LotusError) as caught:
        lotus.load_model(source, device="cpu", **arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert "Traceback" not in message
    return message
