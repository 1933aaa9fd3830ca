"""The network a run starts from: random weights, or a base whose U-Net is adapted as the paper does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDPMScheduler, UNet2DConditionModel
from torch import nn

from ..errors import LotusError
from ..model import LotusModel
from ..model_info import ModelInfo
from .config import RunConfig
from .order import derive

if TYPE_CHECKING:
    from ..model import Autoencoder

TASK_EMBEDDING = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 4}


def build_model(run: RunConfig, resolution: int) -> LotusModel:
    """The model of a run before its first step, float32, U-Net in training mode and autoencoder frozen.

    `resolution` (longest edge of the training pictures) is recorded unless the config states another.
    Raises LotusError where the base cannot be used.
    """
    if run.model.base == "scratch":
        unet, vae, prompt = _scratch(run)
    else:
        unet, vae, prompt = _from_base(run.model.base, run.model.variant)
        if run.model.autoencoder:
            vae = load_autoencoder(run.model.autoencoder)
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
    """Give `conv_in` twice the channels, image then noise: the weights twice, halved, so the sum of both is unchanged."""
    old = unet.conv_in
    new = nn.Conv2d(
        2 * old.in_channels, old.out_channels, old.kernel_size, old.stride, old.padding  # type: ignore[arg-type]
    )
    with torch.no_grad():
        new.weight.copy_(old.weight.repeat(1, 2, 1, 1) / 2)
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    unet.conv_in = new
    unet.register_to_config(in_channels=new.in_channels)


def load_autoencoder(path: str) -> Autoencoder:
    """A frozen autoencoder from a diffusers folder, or from the `vae.*` tensors of one of our model files."""
    if path.endswith(".safetensors"):
        return _load_ours(path).vae
    config = _read(lambda: AutoencoderKL.load_config(path), f"the autoencoder {path}")
    cls = AutoencoderTiny if cast(dict[str, Any], config)["_class_name"] == "AutoencoderTiny" else AutoencoderKL
    return cast("Autoencoder", _read(lambda: cls.from_pretrained(path), f"the autoencoder {path}"))


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
    torch.manual_seed(derive(run.optim.seed, "weights"))
    try:
        unet = UNet2DConditionModel(**_tuples(run.model.unet), **fixed)
    except (TypeError, ValueError, IndexError) as error:
        raise LotusError(f"[model.unet] does not describe a U-Net: {error}.") from error
    prompt = torch.randn(1, run.model.prompt_tokens, run.model.cross_attention_dim)
    return unet, vae, prompt


def _from_base(base: str, variant: str) -> tuple[UNet2DConditionModel, Autoencoder, torch.Tensor]:
    if base.endswith(".safetensors"):
        model = _load_ours(base)
        if model.variant != variant:
            raise LotusError(f'{base} is a Lotus-{model.variant.upper()}: set variant = "{model.variant}".')
        return model.unet.float(), model.vae.float(), model.prompt_embeds.float()
    config = dict(_read(lambda: UNet2DConditionModel.load_config(base, subfolder="unet"), f"the base {base}"))
    has_switch = config.get("class_embed_type") == "projection"
    unet = cast(
        UNet2DConditionModel,
        _read(
            # The base has no class embedding: its layers keep their random initial values.
            lambda: UNet2DConditionModel.from_pretrained(
                base, subfolder="unet", low_cpu_mem_usage=False, torch_dtype=torch.float32, **TASK_EMBEDDING
            ),
            f"the base {base}",
        ),
    )
    channels = unet.config.out_channels
    if variant == "g" and unet.config.in_channels == channels:
        widen_input(unet)
    if unet.config.in_channels != channels * (2 if variant == "g" else 1):
        raise LotusError(
            f'{base} takes {unet.config.in_channels} channels, which cannot become variant = "{variant}".'
        )
    if not has_switch:
        unet.register_to_config(**TASK_EMBEDDING)
    vae_config = dict(_read(lambda: AutoencoderKL.load_config(base, subfolder="vae"), f"the base {base}"))
    cls = AutoencoderTiny if vae_config["_class_name"] == "AutoencoderTiny" else AutoencoderKL
    vae = _read(lambda: cls.from_pretrained(base, subfolder="vae", torch_dtype=torch.float32), f"the base {base}")
    return unet, cast("Autoencoder", vae), empty_prompt(base)


def empty_prompt(base: str) -> torch.Tensor:
    """1×L×D: the empty prompt, tokenised without padding (L = 2), through the base's text encoder."""
    try:
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError:
        raise LotusError('Reading a base needs transformers: pip install "lotus-geometry[hub]".') from None
    tokenizer = _read(lambda: CLIPTokenizer.from_pretrained(base, subfolder="tokenizer"), f"the base {base}")
    encoder = _read(lambda: CLIPTextModel.from_pretrained(base, subfolder="text_encoder"), f"the base {base}")
    tokens = tokenizer("", padding="do_not_pad", truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        return cast(torch.Tensor, encoder(tokens)[0].float())


def _load_ours(path: str) -> LotusModel:
    from ..checkpoints import load_model

    return load_model(path, device="cpu", dtype=torch.float32)


def _read(action: Callable[[], Any], what: str) -> Any:
    try:
        return action()
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LotusError(f"Cannot read {what}: {reason}") from error


def _tuples(table: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
