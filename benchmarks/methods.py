"""The depth estimators that `benchmarks.compare` sets side by side, full size, with random weights.

Their time and memory do not depend on what the weights are. All compute in `precision(device)`; the plain composition
does as the original code does (float16 weights on CUDA, autocast on a CPU with bfloat16, else float32).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, MarigoldDepthPipeline
from PIL import Image

import lotus_core as lotus
from benchmarks.full_size import SCHEDULER, random_autoencoder, random_unet
from benchmarks.plain import compose, latent_noise
from lotus_core.model import LotusModel
from lotus_core.model_info import ModelInfo
from lotus_core.plain import plain_dtype
from lotus_core.precision import FULL_SIZE, auto_dtype
from lotus_core.upsampling import fold_upsampling

Run = Callable[[np.ndarray], object]  # of a photo, uint8 H×W×3
PROMPT = torch.randn(1, 2, 1024, generator=torch.Generator().manual_seed(3))

# Depth Anything V2's published configs: width, layers, heads, layers read, and the head's widths.
DEPTH_ANYTHING: dict[str, tuple[int, int, int, list[int], list[int], int]] = {
    "S": (384, 12, 6, [3, 6, 9, 12], [48, 96, 192, 384], 64),
    "B": (768, 12, 12, [3, 6, 9, 12], [96, 192, 384, 768], 128),
    "L": (1024, 24, 16, [5, 12, 18, 24], [256, 512, 1024, 1024], 256),
}
TILE = 768  # pixels along a tile's edges
PATCH = 14  # pixels along the edge of what Depth Anything's transformer takes for one token
MARIGOLD_STEPS = 4  # the pipeline's default for the released checkpoint
PAPER_STEPS, PAPER_ENSEMBLE = 50, 10  # the setting of Marigold's paper


@dataclass(frozen=True)
class Method:
    """name; runs: what is measured, by name; derive: seconds (or FLOPs) of what is too long, from those measured."""

    name: str
    runs: dict[str, Run]
    derive: Callable[[dict[str, float]], dict[str, float]] = lambda measured: {}
    hidden: tuple[str, ...] = ()  # runs that only serve `derive`
    above: dict[str, int] = field(default_factory=dict)  # runs that only make sense for photos larger than this


def precision(device: torch.device) -> torch.dtype:
    """What `dtype="auto"` takes for models of this size."""
    return auto_dtype(device, FULL_SIZE)


def plain(device: torch.device) -> Method:
    """The original pipeline's computation by diffusers' networks."""
    dtype = plain_dtype(device)
    unet, vae = (part.to(device, dtype) for part in (random_unet("g", "depth"), random_autoencoder()))
    prompt = PROMPT.to(device, dtype)
    autocast = device.type == "cpu" and precision(device) == torch.bfloat16

    def run(photo: np.ndarray) -> np.ndarray:
        image = (torch.from_numpy(photo).permute(2, 0, 1)[None] / 127.5 - 1).to(device, dtype)
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            decoded = compose(unet, vae, prompt, image, latent_noise(image))
        return (decoded.float().mean(1) / 2 + 0.5).clamp(0, 1)[0].cpu().numpy()

    return Method("Lotus, plain", {"Lotus, plain diffusers": run})


def ours(device: torch.device) -> Method:
    """This package: exact, with a decoder of TAESD's shape, with it at both ends, and in tiles."""
    info = ModelInfo("full size", "depth", "disparity")
    model = LotusModel(random_unet("g", "depth"), random_autoencoder(), PROMPT, info).eval()
    torch.manual_seed(4)
    model.fast_vae, model.fast_name = AutoencoderTiny().eval(), "random"
    fold_upsampling(model.fast_vae.decoder)
    model.to(device, precision(device)).fold()
    model.fast_vae.to(memory_format=torch.channels_last)
    predictor = lotus.LotusPredictor(model)
    predictor.fast_decoder_psnr = 0.0  # measured for the first map only: not part of the steady state
    exact, fast = f"Lotus, tiles of {TILE}", f"Lotus, tiles of {TILE}, fast decoder"
    return Method(
        "Lotus",
        {
            "Lotus, exact": lambda photo: predictor.depth(photo, resolution=0),
            "Lotus, fast decoder": lambda photo: predictor.depth(photo, resolution=0, decoder="fast"),
            "Lotus, fast at both ends": lambda photo: predictor.depth(
                photo, resolution=0, decoder="fast", encoder="fast"
            ),
            exact: lambda photo: predictor.depth(photo, resolution=0, tile=TILE),
            fast: lambda photo: predictor.depth(photo, resolution=0, tile=TILE, decoder="fast"),
        },
        above=dict.fromkeys((exact, fast), TILE),
    )


def marigold(device: torch.device) -> Method:
    """diffusers' pipeline: its default of 4 steps, and the paper's 50 steps × 10 from what single steps cost."""
    dtype = precision(device)
    pipe = MarigoldDepthPipeline(
        random_unet_of_marigold().to(device, dtype),
        random_autoencoder().to(device, dtype),
        DDIMScheduler(**{**SCHEDULER, "prediction_type": "v_prediction"}),
        None,
        None,
        prediction_type="depth",
        default_denoising_steps=MARIGOLD_STEPS,
        default_processing_resolution=768,
    )
    pipe.empty_text_embedding = PROMPT.to(device, dtype)  # computed once; not part of the steady state
    pipe.set_progress_bar_config(disable=True)

    def steps(count: int) -> Run:
        return lambda photo: pipe(
            Image.fromarray(photo), num_inference_steps=count, processing_resolution=0, match_input_resolution=False
        )

    def encode(photo: np.ndarray) -> object:
        return pipe.vae.encode((torch.from_numpy(photo).permute(2, 0, 1)[None] / 127.5 - 1).to(device, dtype))

    def ensemble(photo: np.ndarray) -> object:
        maps = torch.rand(PAPER_ENSEMBLE, 1, *photo.shape[:2], generator=torch.Generator().manual_seed(0))
        return pipe.ensemble_depth(maps.to(device), True, True)

    few, one = f"Marigold, {MARIGOLD_STEPS} steps", "one step"

    def derive(measured: dict[str, float]) -> dict[str, float]:
        step = (measured[few] - measured[one]) / (MARIGOLD_STEPS - 1)
        decoding = measured[one] - step - measured["encode"]
        total = measured["encode"] + PAPER_ENSEMBLE * (PAPER_STEPS * step + decoding) + measured["ensemble"]
        return {f"Marigold, {PAPER_STEPS} steps × {PAPER_ENSEMBLE} (derived)": total}

    runs = {one: steps(1), few: steps(MARIGOLD_STEPS), "encode": encode, "ensemble": ensemble}
    return Method("Marigold", runs, derive, hidden=(one, "encode", "ensemble"))


def random_unet_of_marigold() -> Any:
    """Stable Diffusion 2's with 8 channels in, and no task switcher."""
    from diffusers import UNet2DConditionModel

    from benchmarks.full_size import UNET

    torch.manual_seed(5)
    without = {key: value for key, value in UNET.items() if "class_embed" not in key}
    return UNet2DConditionModel(in_channels=8, **without).eval()


def depth_anything(device: torch.device, size: str) -> Method:
    """Depth Anything V2 of transformers, on the photo at the nearest multiple of its patch."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    width, layers, heads, read, neck, fusion = DEPTH_ANYTHING[size]
    backbone = Dinov2Config(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=518,
        patch_size=PATCH,
        out_indices=read,
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=width, neck_hidden_sizes=neck, fusion_hidden_size=fusion
    )
    torch.manual_seed(6)
    model = DepthAnythingForDepthEstimation(config).eval().to(device, precision(device))

    def run(photo: np.ndarray) -> np.ndarray:
        image = torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255
        fitting = [max(round(edge / PATCH), 1) * PATCH for edge in photo.shape[:2]]
        image = torch.nn.functional.interpolate(image, fitting, mode="bicubic", antialias=True)
        depth = model(pixel_values=(image * 2 - 1).to(device, precision(device))).predicted_depth
        depth = torch.nn.functional.interpolate(depth[None].float(), photo.shape[:2], mode="bilinear")
        return depth[0, 0].cpu().numpy()

    return Method(f"Depth Anything V2 {size}", {f"Depth Anything V2 {size}": run})


METHODS: dict[str, Callable[[torch.device], Method]] = {
    "plain": plain,
    "lotus": ours,
    "marigold": marigold,
    "dav2-s": lambda device: depth_anything(device, "S"),
    "dav2-b": lambda device: depth_anything(device, "B"),
    "dav2-l": lambda device: depth_anything(device, "L"),
}
