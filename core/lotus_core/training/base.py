"""The network a run starts from: random weights, or a base whose U-Net is adapted as the paper does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDPMScheduler, UNet2DConditionModel
from diffusers.models.transformers.transformer_2d import Transformer2DModel
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


def deepened(unet: UNet2DConditionModel, layers: int) -> UNet2DConditionModel:
    """A U-Net whose attention modules have `layers` transformer layers each, and which computes what `unet` does.

    Added layers come last in their module. Each adds to its input what its output projections make of it, and these
    start from zero, so that training sets out from what the base has learnt (Net2Net, Chen et al. 2016, arXiv
    1511.05641, keeps the function likewise). The rest of them is random.

    Raises LotusError where the U-Net has no attention, or more layers than that.
    """
    # As arguments: from_config takes the class's own default for keys that the file of a base did not have.
    deep: UNet2DConditionModel = type(unet).from_config(
        unet.config, transformer_layers_per_block=layers, reverse_transformer_layers_per_block=None
    )
    present, wanted = unet.state_dict(), deep.state_dict()
    if present.keys() - wanted.keys() or layers_of(deep) != layers:
        raise LotusError(
            f"[model] transformer_layers = {layers} only adds layers: the base's U-Net has more in its attention"
            " modules, or has none of these."
        )
    deep.load_state_dict(present, strict=False)
    for name, parameter in deep.named_parameters():
        if name not in present and is_output(name):
            nn.init.zeros_(parameter)
    return deep


def layers_of(unet: UNet2DConditionModel) -> int | None:
    """How many transformer layers each attention module has; None where there are none, or they differ."""
    depths = {len(m.transformer_blocks) for m in unet.modules() if isinstance(m, Transformer2DModel)}
    return depths.pop() if len(depths) == 1 else None


def is_output(name: str) -> bool:
    """Whether a parameter of a transformer layer belongs to a projection whose result is added to the layer's input."""
    return name.rsplit(".", 1)[0].endswith((".to_out.0", ".ff.net.2"))


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
