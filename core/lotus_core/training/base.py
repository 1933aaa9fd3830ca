"""The network a run starts from: random weights, or a base whose U-Net is adapted as the paper does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDPMScheduler, UNet2DConditionModel
from torch import nn

from ..checkpoints.assemble import quiet_diffusers
from ..checkpoints.hub import download
from ..checkpoints.load import load_model
from ..checkpoints.prompt import empty_prompt_embedding
from ..checkpoints.registry import embedded
from ..errors import LotusError
from ..model import LotusModel
from ..model_info import ModelInfo
from .config import RunConfig
from .growth import deepened, with_decoder_blocks
from .order import derive

if TYPE_CHECKING:
    from ..model import Autoencoder

log = logging.getLogger(__name__)

TASK_EMBEDDING = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 4}


def build_model(run: RunConfig, resolution: int) -> LotusModel:
    """The model of a run before its first step, float32, U-Net in training mode and autoencoder frozen.

    `resolution` (longest edge of the training pictures) is recorded unless the config states another.
    Raises LotusError where the base cannot be used.
    """
    torch.manual_seed(derive(run.optim.seed, "weights"))  # what the base does not bring is drawn at random
    if run.model.base == "scratch":
        unet, vae, prompt = _scratch(run)
    else:
        unet, vae, prompt = _from_base(run.model.base, run.model.variant)
        if run.model.transformer_layers:
            unet = deepened(unet, run.model.transformer_layers)
        if run.model.autoencoder:
            vae = load_autoencoder(run.model.autoencoder)
    if run.model.decoder_blocks:
        vae = with_decoder_blocks(vae, run.model.decoder_blocks)
    info = ModelInfo(
        name=run.model.name,
        task=run.model.task,
        space=run.model.space if run.model.task == "depth" else None,
        resolution=run.model.resolution or resolution,
        scheduler_config=dict(make_scheduler(run).config),
    )
    model = LotusModel(unet, vae, prompt, info)
    model.vae.requires_grad_(False).eval()
    model.unet.requires_grad_(True).train()
    return model


def make_scheduler(run: RunConfig) -> DDPMScheduler:
    """The noise schedule of a run; its prediction type follows [protocol]."""
    kinds = {"x0": "sample", "epsilon": "epsilon", "v": "v_prediction"}
    values = {name: getattr(run.scheduler, name) for name in run.scheduler.__dataclass_fields__}
    return DDPMScheduler(**values, prediction_type=kinds[run.protocol.prediction], clip_sample=False)


def widen_input(unet: UNet2DConditionModel) -> None:
    """Give `conv_in` twice the channels, image then noise: the weights twice, halved."""
    old = unet.conv_in
    new = nn.Conv2d(
        2 * old.in_channels,
        old.out_channels,
        old.kernel_size,
        old.stride,
        old.padding,
    )
    with torch.no_grad():
        new.weight.copy_(old.weight.repeat(1, 2, 1, 1) / 2)
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    unet.conv_in = new
    unet.register_to_config(in_channels=new.in_channels)


def narrow_input(unet: UNet2DConditionModel) -> None:
    """Take the noise half from the first layer of a Lotus-G, in place: what it did for noise of zero remains."""
    old = unet.conv_in
    channels = unet.config.in_channels // 2
    new = torch.nn.Conv2d(channels, old.out_channels, old.kernel_size, old.stride, old.padding)
    with torch.no_grad():
        new.weight.copy_(old.weight[:, :channels])
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    unet.conv_in = new
    unet.register_to_config(in_channels=channels)


def load_autoencoder(path: str) -> Autoencoder:
    """An autoencoder, float32, from a diffusers folder (its own, or a whole model's) or one of our model files."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return load_model(path, device="cpu", dtype=torch.float32).vae
    folder = folder / "vae" if (folder / "vae").is_dir() else folder
    config = _read(lambda: AutoencoderKL.load_config(folder), f"the autoencoder {path}")
    cls = AutoencoderTiny if dict(config).get("_class_name") == "AutoencoderTiny" else AutoencoderKL
    with quiet_diffusers():
        vae = _read(lambda: cls.from_pretrained(folder, torch_dtype=torch.float32, use_safetensors=True), f"{path}")
    return cast("Autoencoder", vae)


def _scratch(run: RunConfig) -> tuple[UNet2DConditionModel, Autoencoder, torch.Tensor]:
    vae = load_autoencoder(run.model.autoencoder)
    channels = vae.config.latent_channels
    fixed = {
        "in_channels": channels * (2 if run.model.variant == "g" else 1),
        "out_channels": channels,
        "cross_attention_dim": run.model.cross_attention_dim,
        **TASK_EMBEDDING,
    }
    for key in fixed.keys() & run.model.unet.keys():
        raise LotusError(f"[model.unet] must not set {key}: it follows from the autoencoder, the variant and [model].")
    try:
        unet = UNet2DConditionModel(**_tuples(run.model.unet), **fixed)
    except (TypeError, ValueError, IndexError) as error:
        raise LotusError(f"[model.unet] does not describe a U-Net: {error}.") from error
    prompt = torch.randn(1, run.model.prompt_tokens, run.model.cross_attention_dim)
    return unet, vae, prompt


def _from_base(base: str, variant: str) -> tuple[UNet2DConditionModel, Autoencoder, torch.Tensor]:
    path = Path(base).expanduser()
    if path.is_file() or base in embedded():
        model = load_model(base, device="cpu", dtype=torch.float32)
        _warn_of_half_trained(base, model.info.training)
        if (model.variant, variant) == ("g", "d"):
            narrow_input(model.unet)
        elif model.variant != variant:
            raise LotusError(f'{base} is a Lotus-D, which has no noise input to train: set variant = "d".')
        return model.unet, model.vae, model.prompt_embeds
    folder = path if path.is_dir() else download(base)
    # A base without a class embedding gets one here; its layers keep their random initial values.
    with quiet_diffusers():
        unet: UNet2DConditionModel = _read(
            lambda: UNet2DConditionModel.from_pretrained(
                folder,
                subfolder="unet",
                low_cpu_mem_usage=False,
                torch_dtype=torch.float32,
                use_safetensors=True,
                **TASK_EMBEDDING,
            ),
            f"the base {base}",
        )
    channels = unet.config.out_channels
    if variant == "g" and unet.config.in_channels == channels:
        widen_input(unet)
    if variant == "d" and unet.config.in_channels == 2 * channels:
        narrow_input(unet)
    if unet.config.in_channels != channels * (2 if variant == "g" else 1):
        raise LotusError(f'{base} takes {unet.config.in_channels} channels and cannot become variant = "{variant}".')
    return unet, load_autoencoder(str(folder)), empty_prompt_embedding(folder)


def _warn_of_half_trained(base: str, record: dict[str, Any]) -> None:
    """Say so where a base stopped before the end of its training: else a chain of stages goes on from it unnoticed."""
    try:
        done, planned = int(record["steps"]), int(record["config"]["optim"]["steps"])
    except (KeyError, TypeError, ValueError):
        return  # made otherwise: a mean of models has no steps of its own
    if done < planned:
        log.warning("%s was trained for %d of its %d steps: finish it with lotus train --resume.", base, done, planned)


def _read(action: Callable[[], Any], what: str) -> Any:
    try:
        return action()
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LotusError(f"Cannot read {what}: {reason}") from error


def _tuples(table: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
