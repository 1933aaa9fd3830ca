"""What a run's config must fulfil beyond its types. Each check raises LotusError, one sentence that names the key."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.synthetic.dataset import HELD_OUT_SEED
from ..errors import LotusError

if TYPE_CHECKING:
    from .config import (
        AnyRunConfig,
        AutoencoderRunConfig,
        DataConfig,
        DecoderRunConfig,
        LogConfig,
        OptimConfig,
        RunConfig,
    )


_OF_SCRATCH = ("prompt_tokens", "cross_attention_dim")


def check_run(run: RunConfig) -> None:
    """Of the adaptation of a U-Net."""
    model, protocol = run.model, run.protocol
    if model.base == "scratch" and not model.autoencoder:
        raise LotusError('[model] base = "scratch" needs autoencoder = the folder or file of a trained autoencoder.')
    if model.base != "scratch" and model.unet:
        raise LotusError('[model.unet] is read for base = "scratch" only: remove it, the base brings its own.')
    if model.base != "scratch" and any(getattr(model, key) != _default(model, key) for key in _OF_SCRATCH):
        raise LotusError(
            f'[model] {" and ".join(_OF_SCRATCH)} are read for base = "scratch" only: remove them, the base brings its'
            " own."
        )
    if min(model.prompt_tokens, model.cross_attention_dim) < 1 or model.resolution < 0:
        raise LotusError(f"[model] {' and '.join(_OF_SCRATCH)} must be at least 1, and resolution ≥ 0.")
    if model.transformer_layers < 0 or (model.transformer_layers and model.base == "scratch"):
        raise LotusError(
            "[model] transformer_layers is how many layers each attention module of the base gets: set it to 1 or more,"
            ' or to 0; for base = "scratch" [model.unet] says it.'
        )
    if model.decoder_blocks < 0 or (model.decoder_blocks and protocol.train == "unet"):
        raise LotusError(
            "[model] decoder_blocks is how many residual blocks the decoder gets at the latents' size: set it to 1 or"
            ' more with [protocol] train = "decoder" or "both", which train them, or to 0.'
        )
    if model.variant == "d" and (protocol.prediction != "x0" or protocol.training_timesteps != 1):
        raise LotusError(
            'variant = "d" has no noise to predict: it needs prediction = "x0" and training_timesteps = 1.'
        )
    if not (0 < protocol.reconstruction_share <= 1 and 0 < protocol.spread_share <= 1):
        raise LotusError(
            "[protocol] reconstruction_share and spread_share must be above 0 and at most 1; detail_preserver = false"
            " and spread = 0 leave their terms out."
        )
    if min(protocol.far_weight, protocol.decoded, protocol.spread) < 0 or protocol.spread_scale <= 0:
        raise LotusError("[protocol] far_weight, decoded and spread must be ≥ 0, and spread_scale above 0.")
    if protocol.decoded and (protocol.prediction, protocol.training_timesteps) != ("x0", 1):
        raise LotusError('[protocol] decoded needs prediction = "x0" and training_timesteps = 1: latents of one step.')
    if protocol.preview and not protocol.decoded:
        raise LotusError("[protocol] preview is how decoded is measured: set decoded above 0, or remove preview.")
    if protocol.train != "unet" and (not protocol.decoded or protocol.preview):
        raise LotusError(
            f'[protocol] train = "{protocol.train}" measures what the decoder makes: it needs decoded above 0, and no'
            " preview."
        )
    if protocol.train != "unet" and (run.data.cache_latents or run.data.latents):
        raise LotusError(
            f'[protocol] train = "{protocol.train}" needs the pictures: remove [data] cache_latents and latents.'
        )
    if protocol.relative and not (protocol.decoded and model.task == "depth" and model.space == "disparity"):
        raise LotusError(
            '[protocol] relative measures decoded as a share of the depth: it needs decoded above 0, task = "depth" and'
            ' space = "disparity".'
        )
    if protocol.far_weight and model.task != "depth":
        raise LotusError('[protocol] far_weight weighs by depth: it needs task = "depth".')
    if protocol.spread and (model.variant, protocol.prediction, protocol.training_timesteps) != ("g", "x0", 1):
        raise LotusError(
            '[protocol] spread needs variant = "g", prediction = "x0" and training_timesteps = 1: samples of one step.'
        )
    if not 1 <= protocol.training_timesteps <= run.scheduler.num_train_timesteps:
        raise LotusError(
            f"[protocol] training_timesteps must be from 1 to the scheduler's {run.scheduler.num_train_timesteps}."
        )
    if run.scheduler.rescale_betas_zero_snr and protocol.prediction == "epsilon":
        raise LotusError(
            'rescale_betas_zero_snr leaves nothing to predict from with prediction = "epsilon": use x0 or v.'
        )
    unread = next((source.name for source in run.data.sources if source.name != "cache"), None)
    if run.data.stream and unread and not (run.data.cache_latents or run.data.latents):
        raise LotusError(
            f'[data] stream reads shards one after the other, and "{unread}" has none: pack it with lotus batch --task'
            " samples, or train from latents."
        )
    _check_common(run.data, run.optim, run.log)


def check_autoencoder(run: AutoencoderRunConfig | DecoderRunConfig) -> None:
    """Of the training of an autoencoder or a decoder."""
    shares = (run.loss.image_share, run.loss.depth_share, run.loss.normal_share)
    if min(shares) < 0 or sum(shares) <= 0:
        raise LotusError("[loss] image_share, depth_share and normal_share must be ≥ 0 and not all 0.")
    weights = (run.loss.gradient_weight, run.loss.mse_weight, run.loss.kl_weight, run.loss.latent_noise)
    if min(weights) < 0 or run.loss.crop < 8:
        raise LotusError("[loss] weights and latent_noise must be ≥ 0, and crop at least 8 pixels.")
    if run.log.validation_samples < 1:
        raise LotusError("[log] validation_samples must be at least 1: the scale of the latents is measured on them.")
    if run.data.stream:
        raise LotusError("[data] stream is for training a U-Net: remove it, an autoencoder's crops are drawn from all.")
    if run.kind == "decoder" and run.optim.gradient_checkpointing:
        raise LotusError("[optim] gradient_checkpointing has no effect on a decoder: remove it.")
    if run.data.cache_latents or run.data.latents:
        raise LotusError("[data] cache_latents is for training a U-Net; an autoencoder has no fixed latents to keep.")
    _check_common(run.data, run.optim, run.log)


def _check_common(data: DataConfig, optim: OptimConfig, log: LogConfig) -> None:
    if not data.sources:
        raise LotusError("[data] sources is empty: add a [[data.sources]] table.")
    if any(source.probability < 0 for source in data.sources) or not sum(s.probability for s in data.sources) > 0:
        raise LotusError("[[data.sources]] probability must be ≥ 0, and above 0 for at least one source.")
    for source in (*data.sources, *data.validation):
        if (source.name == "synthetic") == bool(source.path):
            raise LotusError(
                'The data source "synthetic" is made, not read: remove path.'
                if source.path
                else f'The data source "{source.name}" needs path = the folder that holds it.'
            )
    for source in data.sources:
        if source.name == "synthetic" and source.args.get("seed") == HELD_OUT_SEED:
            raise LotusError(f"The seed {HELD_OUT_SEED} is kept for evaluation: train on scenes of another seed.")
    for name in ("steps", "batch_size", "lr", "gradient_accumulation"):
        if not getattr(optim, name) > 0:
            raise LotusError(f"[optim] {name} must be above 0, not {getattr(optim, name)}.")
    for name in ("warmup_steps", "final_lr_fraction", "weight_decay", "grad_clip", "threads"):
        if getattr(optim, name) < 0:
            raise LotusError(f"[optim] {name} must be 0 or more, not {getattr(optim, name)}.")
    if data.workers < 0:
        raise LotusError(f"[data] workers must be 0 or more, not {data.workers}.")
    if not 0 <= optim.ema_decay < 1:
        raise LotusError(f"[optim] ema_decay must be in [0, 1), not {optim.ema_decay}.")
    if len(optim.betas) != 2 or not all(0 <= beta < 1 for beta in optim.betas):
        raise LotusError("[optim] betas must be two numbers in [0, 1).")
    if log.every < 1 or log.keep < 1:
        raise LotusError("[log] every and keep must be at least 1.")
    if log.validation_every < 0 or log.validation_samples < 0:
        raise LotusError("[log] validation_every and validation_samples must be 0 or more.")
    if log.validation_every > 0 and not data.validation:
        raise LotusError("[log] validation_every needs held-out samples: add a [[data.validation]] table.")
    steps, seconds = checkpoint_interval(log.checkpoint_every)
    if steps <= 0 and seconds <= 0:
        raise LotusError("[log] checkpoint_every must be above 0.")


def checkpoint_interval(every: int | str) -> tuple[int, float]:
    """`checkpoint_every` as (steps, seconds); the unused one is 0."""
    if isinstance(every, int):
        return every, 0.0
    try:
        seconds = float(every.removesuffix("s")) if every.endswith("s") else -1.0
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < math.inf:
        raise LotusError(f'[log] checkpoint_every = "{every}" is neither a number of steps nor seconds such as "300s".')
    return 0, seconds


def check_same_run(run: AnyRunConfig, content: Sequence[str], then: dict[str, Any], folder: Path) -> None:
    """That a run goes on as it began: what is trained, how, and on what. [log] may change, [optim] but for the kind of
    optimiser, and data move.

    content: fingerprints of the data sources now. then: state of the checkpoint in `folder`; one of an older version
    lacks the content, which then counts as the same, and keys that are newer, which then had their defaults.
    """
    way_out = "or give [output] another dir"
    now, before = json.loads(json.dumps(asdict(run))), then["config"]
    for section in ("kind", "model", "protocol", "scheduler", "loss"):
        if now.get(section) != _completed(before.get(section), getattr(run, section, None)):
            raise LotusError(f"[{section}] of the config differs from the run in {folder}: restore it, {way_out}.")
    if run.optim.optimizer != _completed(before["optim"], run.optim)["optimizer"]:
        raise LotusError(f"[optim] optimizer differs from the run in {folder}: restore it, {way_out}.")
    for key in ("sources", "flip", "stream"):
        if key in before["data"] and _placeless(now["data"][key]) != _placeless(before["data"][key]):
            raise LotusError(f"[data] {key} of the config differs from the run in {folder}: restore it, {way_out}.")
    for source, found, known in zip(run.data.sources, content, then.get("content", content), strict=True):
        if found != known:
            raise LotusError(
                f'The data source "{source.name}" {source.path} holds other files than the run in {folder} began with:'
                f" restore them, {way_out}."
            )


def _default(config: Any, key: str) -> Any:
    return next(field.default for field in fields(config) if field.name == key)


def _completed(section: Any, config: Any) -> Any:
    """A recorded section with the keys that it lacks, at their defaults."""
    if not isinstance(section, dict):
        return section
    return {field.name: field.default for field in fields(config) if field.default is not MISSING} | section


def placeless(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a data source without those that say where files lie: what is in them tells data apart."""
    return {name: value for name, value in arguments.items() if name not in ("split_csv", "frames", "textures")}


def _placeless(value: Any) -> Any:
    """The tables of data sources without where their files lie; anything else as it is."""
    if not isinstance(value, list):
        return value
    return [{**source, "path": "", "args": placeless(source["args"])} for source in value]
