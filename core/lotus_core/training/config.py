"""A run's TOML file as frozen dataclasses, checked before anything expensive starts."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

from ..errors import LotusError
from .checks import check_autoencoder, check_run
from .tables import from_table


@dataclass(frozen=True)
class ModelConfig:
    """What is trained, and from what.

    `unet` (keyword arguments of diffusers' UNet2DConditionModel), `prompt_tokens` and `cross_attention_dim` belong to
    base = "scratch". `transformer_layers` belongs to any other: each attention module of its U-Net gets that many
    layers, and at first the added ones change nothing; 0 adds none. `decoder_blocks` is the same for the residual
    blocks at the latents' size in an AutoencoderTiny's decoder. `resolution` 0 records the longest edge of the training
    pictures.
    """

    name: str
    task: Literal["depth", "normal"]
    variant: Literal["g", "d"] = "g"
    space: Literal["disparity", "depth"] = "disparity"
    base: str = "scratch"
    autoencoder: str = ""
    prompt_tokens: int = 2
    cross_attention_dim: int = 64
    transformer_layers: int = 0
    decoder_blocks: int = 0
    resolution: int = 0
    unet: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AutoencoderModelConfig:
    """The autoencoder to train from scratch; `config` holds keyword arguments of the diffusers class."""

    name: str
    type: Literal["AutoencoderKL", "AutoencoderTiny"] = "AutoencoderKL"
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DecoderModelConfig:
    """The fast decoder to train. `teacher` is the autoencoder whose decoder it learns: a diffusers folder, or a model
    that `lotus models` names or a file of ours. `base`: a fast decoder to start from; without it random weights, and
    `config` holds keyword arguments of diffusers' AutoencoderTiny.
    """

    name: str
    teacher: str
    base: str = ""
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SourceConfig:
    """One data set; `args` are the other keys of its table: keyword arguments of its class."""

    REST: ClassVar[str] = "args"

    name: Literal["synthetic", "cache", "hypersim", "vkitti"]
    path: str = ""
    probability: float = 1.0
    args: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataConfig:
    """Training mixture (one source is drawn per batch, so sources may differ in size) and held-out samples.

    `latents`: a folder of shards made by `lotus batch`, to train from. `stream`: shards are read one after the other,
    in an order that is drawn anew each epoch, and their samples mixed within a few of them.
    """

    sources: tuple[SourceConfig, ...]
    validation: tuple[SourceConfig, ...] = ()
    flip: bool = True
    cache_latents: bool = False
    latents: str = ""
    stream: bool = False
    workers: int = 0


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser, schedule, precision. `batch_size` is per process and per accumulation step.

    optimizer: "muon" steps kernels and matrices by Muon and the rest by AdamW (`optimizer.Muon`).
    """

    steps: int
    batch_size: int
    lr: float
    optimizer: Literal["adamw", "muon"] = "adamw"
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: int = 0
    final_lr_fraction: float = 0.0
    betas: tuple[float, ...] = (0.9, 0.999)
    weight_decay: float = 0.01
    grad_clip: float = 1.0
    gradient_accumulation: int = 1
    ema_decay: float = 0.999
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    gradient_checkpointing: bool = False
    channels_last: bool = False
    compile: bool = False
    threads: int = 0
    seed: int = 0


@dataclass(frozen=True)
class ProtocolConfig:
    """The ladder of Table 3. The defaults are the paper's final protocol; train and the last eight keys are ours.

    train: the part that is trained. The decoder learns to make the best of what the U-Net predicts (`decoded`), while
    pictures and annotations, as many as reconstruction_share says, still have to survive the autoencoder.
    reconstruction_share: of the pictures of a batch, the share that also gets the detail preserver's term.
    far_weight: the annotation's term weighs a point by (its depth / the picture's median depth) to this power, so that
    an error counts more by its share of the depth, as AbsRel counts it; 0 weighs all alike.
    decoded: weight of the annotation's error after decoding, as evaluation measures it (`decoded.py`); 0 leaves it out.
    relative: of depth in disparity: that error is AbsRel, a share of the depth, instead of a difference of disparity.
    preview: decoded maps are those of a small network at the latents' resolution (`preview.py`): less exact, faster.
    spread: weight of the term that teaches Lotus-G to let its samples differ where it errs (`spread_loss`); 0 is none.
    spread_scale: how far they differ, in standard deviations of the error.
    spread_share: of the pictures of a batch, the share that is predicted twice for it.
    """

    train: Literal["unet", "decoder", "both"] = "unet"
    prediction: Literal["x0", "epsilon", "v"] = "x0"
    training_timesteps: int = 1
    detail_preserver: bool = True
    reconstruction_share: float = 1.0
    far_weight: float = 0.0
    decoded: float = 0.0
    relative: bool = False
    preview: bool = False
    spread: float = 0.0
    spread_scale: float = 0.2
    spread_share: float = 1.0


@dataclass(frozen=True)
class SchedulerConfig:
    """Keyword arguments of diffusers' DDPMScheduler; the defaults are Stable Diffusion 2's.

    With them z_T still carries 0.068 of the annotation latent; `rescale_betas_zero_snr` makes it the pure noise that
    inference feeds the network.
    """

    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "scaled_linear"
    rescale_betas_zero_snr: bool = False


@dataclass(frozen=True)
class AutoencoderLossConfig:
    """Weights of the autoencoder's loss (L1 has weight 1), its crops, and how often each kind of picture is drawn.

    `kl_weight` acts on AutoencoderKL; `latent_noise` (standard deviation) on AutoencoderTiny in raw latents, and on the
    distillation of a decoder in scaled ones.
    """

    crop: int = 128
    gradient_weight: float = 0.5
    mse_weight: float = 1.0
    kl_weight: float = 1e-6
    latent_noise: float = 0.0
    image_share: float = 0.5
    depth_share: float = 0.25
    normal_share: float = 0.25


@dataclass(frozen=True)
class LogConfig:
    """How often (in steps) things are written. `checkpoint_every` is steps, or seconds as in "300s"."""

    every: int = 50
    checkpoint_every: int | str = 1000
    validation_every: int = 0
    validation_samples: int = 16
    keep: int = 2


@dataclass(frozen=True)
class OutputConfig:
    """The folder of the run: checkpoints, log.jsonl, pictures, the exported model."""

    dir: str


@dataclass(frozen=True)
class RunConfig:
    """Adaptation of a U-Net to one task (Eq. 6)."""

    model: ModelConfig
    data: DataConfig
    optim: OptimConfig
    output: OutputConfig
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    log: LogConfig = field(default_factory=LogConfig)
    kind: Literal["lotus"] = "lotus"


@dataclass(frozen=True)
class AutoencoderRunConfig:
    """Training of an autoencoder on images and annotations."""

    model: AutoencoderModelConfig
    data: DataConfig
    optim: OptimConfig
    output: OutputConfig
    loss: AutoencoderLossConfig = field(default_factory=AutoencoderLossConfig)
    log: LogConfig = field(default_factory=LogConfig)
    kind: Literal["autoencoder"] = "autoencoder"


@dataclass(frozen=True)
class DecoderRunConfig:
    """Distillation of an autoencoder's decoder into a small one."""

    model: DecoderModelConfig
    data: DataConfig
    optim: OptimConfig
    output: OutputConfig
    loss: AutoencoderLossConfig = field(default_factory=AutoencoderLossConfig)
    log: LogConfig = field(default_factory=LogConfig)
    kind: Literal["decoder"] = "decoder"


AnyRunConfig: TypeAlias = RunConfig | AutoencoderRunConfig | DecoderRunConfig


def load_config(path: str | Path) -> AnyRunConfig:
    """Read and check a run's TOML file. Raises LotusError, one sentence that names the key, for anything wrong."""
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise LotusError(f"Cannot read the training config {path}: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LotusError(f"The training config {path} is not valid TOML: {error}.") from error
    return parse_config(table)


def parse_config(table: dict[str, Any]) -> AnyRunConfig:
    """A parsed TOML table → checked config."""
    kind = table.get("kind", "lotus")
    if kind == "lotus":
        run = from_table(RunConfig, table)
        check_run(run)
        return run
    if kind == "autoencoder":
        autoencoder = from_table(AutoencoderRunConfig, table)
        check_autoencoder(autoencoder)
        return autoencoder
    if kind == "decoder":
        decoder = from_table(DecoderRunConfig, table)
        if decoder.model.base and decoder.model.config:
            raise LotusError("[model.config] is read without base only: remove it, the base brings its own.")
        check_autoencoder(decoder)
        return decoder
    raise LotusError(f'Unknown kind = "{kind}" in the training config: use "lotus", "autoencoder" or "decoder".')
