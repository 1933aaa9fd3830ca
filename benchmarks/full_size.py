"""Random weights in the exact shape of the released checkpoints, for tests of speed, memory and parity at full size.

    python -m benchmarks.full_size DIR                          # everything in the table below, what exists is kept
    python -m benchmarks.full_size DIR lotus-depth-g-v2-1-disparity vae.safetensors
    python -m benchmarks.full_size DIR --list

The configs are those of Stable Diffusion 2 with Lotus's task switcher: U-Net 867.6 M, autoencoder 83.7 M, text encoder
340.4 M numbers. Weights are PyTorch's own initialisation from fixed seeds. With it the decoded maps use the middle of
their range (at 256²: standard deviation 0.3 in [−1, 1], 2 % outside), so comparisons hide nothing in a clamp. All
layouts of one variant and task hold the same weights; all models share one autoencoder and one text encoder, as the
released ones do.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from lotus_core.checkpoints.assemble import quiet_diffusers
from lotus_core.checkpoints.writing import write_tensors

UNET: dict[str, Any] = {
    "sample_size": 64,
    "out_channels": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "attention_head_dim": (5, 10, 20, 20),  # heads, whatever the name says: 64 channels each
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
    "class_embed_type": "projection",
    "projection_class_embeddings_input_dim": 4,
}
AUTOENCODER: dict[str, Any] = {
    "sample_size": 768,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
    "layers_per_block": 2,
    "scaling_factor": 0.18215,
}
TEXT_ENCODER: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 23,
    "projection_dim": 512,
    "hidden_act": "gelu",
    "vocab_size": 49408,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
}
SCHEDULER: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "sample",
}
IN_CHANNELS = {"g": 8, "d": 4}
SEEDS = {("g", "depth"): 10, ("d", "depth"): 11, ("g", "normal"): 12, ("d", "normal"): 13}
AUTOENCODER_SEED, TEXT_ENCODER_SEED = 20, 21
LATENT_GAIN = (
    30.0  # gives the scaled latents of a picture a standard deviation near 1, as the released autoencoder does
)


def random_unet(variant: str, task: str) -> UNet2DConditionModel:
    """The U-Net of Lotus-G ("g") or Lotus-D ("d") for "depth" or "normal", float32, 690 tensors."""
    torch.manual_seed(SEEDS[variant, task])
    return UNet2DConditionModel(in_channels=IN_CHANNELS[variant], **UNET).eval()


def random_autoencoder() -> AutoencoderKL:
    """The autoencoder of Stable Diffusion, float32, 248 tensors."""
    torch.manual_seed(AUTOENCODER_SEED)
    autoencoder = AutoencoderKL(**AUTOENCODER).eval()
    with torch.no_grad():  # of the encoder's last convolution, the half that makes the mode
        autoencoder.quant_conv.weight[: AUTOENCODER["latent_channels"]] *= LATENT_GAIN
    return autoencoder


def write_folder(target: Path, variant: str, task: str, dtype: torch.dtype = torch.float32) -> None:
    """The official layout in `target`, which must not exist; half precision carries the hub's `.fp16` in its names.

    Autoencoder and text encoder are hard links to those of another folder beside it, where there is one.
    """
    suffix = None if dtype == torch.float32 else "fp16"
    staging = target.with_name(f".{target.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    random_unet(variant, task).to(dtype).save_pretrained(staging / "unet", variant=suffix)
    for part, write in (("vae", _write_autoencoder), ("text_encoder", _write_text_encoder)):
        name = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        name += f".{suffix}.safetensors" if suffix else ".safetensors"
        twin = next((folder / part for folder in target.parent.iterdir() if (folder / part / name).is_file()), None)
        if twin is None:
            write(staging / part, dtype, suffix)
        else:
            shutil.copytree(twin, staging / part, copy_function=os.link)
    DDIMScheduler(**SCHEDULER).save_pretrained(staging / "scheduler")
    _write_tokenizer(staging / "tokenizer")
    (staging / "model_index.json").write_text(json.dumps(_model_index(variant), indent=2))
    staging.rename(target)


def _write_autoencoder(folder: Path, dtype: torch.dtype, suffix: str | None) -> None:
    random_autoencoder().to(dtype).save_pretrained(folder, variant=suffix)


def _write_text_encoder(folder: Path, dtype: torch.dtype, suffix: str | None) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(TEXT_ENCODER_SEED)
    CLIPTextModel(CLIPTextConfig(**TEXT_ENCODER)).to(dtype).save_pretrained(folder, variant=suffix)


def _write_tokenizer(folder: Path) -> None:
    """A vocabulary of CLIP's size: letters, fillers in place of its merges, and the two marks that the prompt needs."""
    folder.mkdir()
    count = TEXT_ENCODER["vocab_size"] - 2
    letters = [chr(code) for code in range(33, 127)]
    words = letters + [f"{letter}</w>" for letter in letters]
    words += [f"filler{number}</w>" for number in range(count - len(words))]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "!"})
    )


def _model_index(variant: str) -> dict[str, Any]:
    return {
        "_class_name": f"Lotus{variant.upper()}Pipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }


def write_unet(target: Path, variant: str, task: str, dtype: torch.dtype = torch.float32) -> None:
    """A bare U-Net in diffusers keys, as people keep it in ComfyUI's `diffusion_models/`."""
    write_tensors(target, random_unet(variant, task).to(dtype).state_dict())


def write_autoencoder(target: Path, dtype: torch.dtype = torch.float32) -> None:
    """A bare autoencoder in diffusers keys."""
    write_tensors(target, random_autoencoder().to(dtype).state_dict())


@dataclass(frozen=True)
class Layout:
    """One file or folder of `CATALOGUE`."""

    words: str
    gigabytes: float
    write: Callable[[Path], None]


FP16 = torch.float16
CATALOGUE = {
    "lotus-depth-g-v2-1-disparity": Layout("folder, fp32", 5.2, lambda at: write_folder(at, "g", "depth")),
    "lotus-depth-d-v1-1.safetensors": Layout("U-Net, fp32", 3.5, lambda at: write_unet(at, "d", "depth")),
    "vae.safetensors": Layout("autoencoder, diffusers keys, fp32", 0.3, write_autoencoder),
    "lotus-normal-g-v1-1": Layout("folder, fp16", 2.6, lambda at: write_folder(at, "g", "normal", FP16)),
    "lotus-depth-g-v2-1-disparity-fp16.safetensors": Layout(
        "U-Net, fp16", 1.7, lambda at: write_unet(at, "g", "depth", FP16)
    ),
    "lotus-normal-d-v1-1.safetensors": Layout("U-Net, fp16", 1.7, lambda at: write_unet(at, "d", "normal", FP16)),
}


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--list", action="store_true", help="only say what there is")
    a = parser.parse_args(argv)
    a.folder.mkdir(parents=True, exist_ok=True)
    for name in a.names or CATALOGUE:
        if name not in CATALOGUE:
            parser.error(f"there is no {name}; there are {', '.join(CATALOGUE)}")
        layout, target = CATALOGUE[name], a.folder / name
        if not a.list and not target.exists():
            with quiet_diffusers():
                layout.write(target)
        state = "there" if target.exists() else "not there"
        print(f"{name:<50}{layout.words:<36}{layout.gigabytes:4.1f} GB  {state}", flush=True)


if __name__ == "__main__":
    main()
