"""Adapting a U-Net to one task: the paper's protocol on `accelerate`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.models.attention_processor import AttnProcessor

from ..data.cache import SHARD as SAMPLE_SHARD
from ..errors import LotusError
from ..model import LotusModel
from .base import build_model, make_scheduler
from .config import RunConfig
from .decoded import DecodedTruth, autoencoder_error
from .folder import only_run_in
from .hardware import pieces
from .latents import SHARD as LATENT_SHARD
from .latents import cached_latents, encode_batch, truth_of
from .loop import TrainingLoop, make_accelerator
from .loss import input_rows, protocol_losses, share_rows, training_timesteps
from .networks import trained_module
from .order import Draw, Process, noise, uniform
from .preview import BATCHES as PREVIEW_BATCHES
from .preview import fit_preview
from .sources import SampleItems, batches_from, global_batches, open_source
from .validation import validate


def train_model(run: RunConfig, resume: bool = False) -> Path:
    """Train and export `<output>/<name>.safetensors` (averaged weights, fp16); returns its path."""
    accelerator = make_accelerator(run.optim)
    with only_run_in(run.output.dir, accelerator):
        return _train(run, resume, accelerator)


def _train(run: RunConfig, resume: bool, accelerator: Accelerator) -> Path:
    device, process = accelerator.device, Process(accelerator.process_index, accelerator.num_processes)
    sources = [open_source(source) for source in run.data.sources]
    held_out = [open_source(source) for source in run.data.validation]
    items = SampleItems(sources, run.model.task, run.model.space, run.protocol.far_weight)
    sizes = [items[Draw(number, 0, False, 0)]["image"].shape[-2:] for number in range(len(sources))]
    model = build_model(run, resolution=_usual_edge(run, sizes)).to(device)
    _check_sizes(model, [*sizes, *(source[0].image.shape[-2:] for source in held_out)])
    _prepare_unet(model, run, device)
    loop = TrainingLoop(run, trained_module(model, run.protocol), sources, accelerator, resume)
    scheduler = make_scheduler(run)
    cached = run.data.cache_latents or bool(run.data.latents)
    if cached:
        with accelerator.main_process_first():
            batch_items: SampleItems | torch.utils.data.Dataset = cached_latents(items, model, run, accelerator)
    else:
        batch_items = items
    shard = LATENT_SHARD if cached else SAMPLE_SHARD
    batches = batches_from(loop.step, batch_items, sources, run, accelerator, shard if run.data.stream else None)
    trained_steps = training_timesteps(run.protocol.training_timesteps, run.scheduler.num_train_timesteps)

    def decoder(module: Callable[..., Any]) -> Callable[[torch.Tensor], torch.Tensor]:
        called = model.decode if run.protocol.train == "unet" else module

        def decode(latents: torch.Tensor) -> torch.Tensor:
            if run.optim.channels_last:
                latents = latents.contiguous(memory_format=torch.channels_last)
            with accelerator.autocast():
                return torch.cat([called(part) for part in pieces(latents)])

        return decode

    preview = None
    if run.protocol.decoded and run.protocol.preview:
        shown = global_batches(PREVIEW_BATCHES, items.as_rendered(), sources, run, process.world)
        preview = fit_preview(model, shown, run.optim.seed)

    def pixels_of(batch: dict[str, torch.Tensor], decode: Callable[[torch.Tensor], torch.Tensor]) -> DecodedTruth:
        horizon = batch["horizon"].float().to(device) if run.protocol.relative else None
        truth = DecodedTruth(run.model.task, decode, batch["truth"].to(device), batch["weight"].to(device), horizon)
        return truth if preview is None else truth.averaged(model.latent_factor, preview)

    def losses(number: int, module: Callable[..., Any]) -> dict[str, torch.Tensor]:
        batch, decode = next(batches), decoder(module)
        numbers = batch["number"].tolist()
        if not cached:
            batch = {**encode_batch(model, batch, accelerator), **truth_of(batch), "picture": batch["image"]}
        image, target, mask = (batch[name].to(device) for name in ("image", "annotation", "mask"))
        draws = None
        if model.variant == "g":
            rows = input_rows(len(image), run.protocol, process)
            drawn = zip(("noise y", "second noise y", "noise x"), rows, strict=True)
            parts = [noise(run.optim.seed, numbers[:n], purpose, image.shape[1:]) for purpose, n in drawn if n]
            draws = torch.cat(parts).to(device)
        picked = (uniform(run.optim.seed, numbers, "timestep") * len(trained_steps)).astype(int)

        def predict(
            latents: torch.Tensor, timesteps: torch.Tensor, prompt: torch.Tensor, labels: torch.Tensor
        ) -> torch.Tensor:
            if run.optim.channels_last:
                latents = latents.contiguous(memory_format=torch.channels_last)
            with torch.set_grad_enabled(run.protocol.train != "decoder"):
                output: torch.Tensor = module(
                    latents, timesteps, encoder_hidden_states=prompt, class_labels=labels, return_dict=False
                )[0]
            return output

        result = protocol_losses(
            predict,
            image,
            target,
            mask,
            model.prompt_embeds,
            draws,
            trained_steps[picked].to(device),
            scheduler,
            run.protocol,
            pixels_of(batch, decode) if run.protocol.decoded else None,
            process,
        )
        values = {"loss": result.total, "annotation_loss": result.annotation}
        if run.protocol.train != "unet" and run.protocol.detail_preserver:
            kept, weight = share_rows(run.protocol.reconstruction_share, len(image), process)
            pictures = torch.cat([batch[name][:kept] for name in ("picture", "truth")]).to(device)
            through = weight * autoencoder_error(decode, torch.cat([image[:kept], target[:kept]]), pictures)
            values |= {"loss": result.total + through, "autoencoder_loss": through}
        if result.reconstruction is not None:
            values["reconstruction_loss"] = result.reconstruction
        if result.decoded is not None:
            values["decoded_loss"] = result.decoded
        if result.spread is not None:
            values["spread_loss"] = result.spread
        return values

    path = Path(run.output.dir) / f"{run.model.name}.safetensors"

    def run_validation(step: int) -> dict[str, float]:
        sheet = loop.folder / "validation" / f"step-{step:08d}.png" if accelerator.is_main_process else None
        return validate(model, held_out, run, scheduler, accelerator, sheet)

    loop.run(losses, run_validation, lambda: _export(model, loop, path))
    return path


def _export(model: LotusModel, loop: TrainingLoop, path: Path) -> None:
    from ..checkpoints import save_model

    model.info = replace(model.info, training=loop.record())
    save_model(model, path, dtype=torch.float16)


def _prepare_unet(model: LotusModel, run: RunConfig, device: torch.device) -> None:
    if run.optim.gradient_checkpointing:
        model.unet.enable_gradient_checkpointing()
    if device.type == "cpu":
        # torch's fused attention is the slower one on CPUs for short sequences under bf16 autocast: 1.7 s against 1.1 s
        # for a step of the tiny U-Net.
        model.unet.set_attn_processor(AttnProcessor())
    if run.optim.channels_last:
        model.unet.to(memory_format=torch.channels_last)
        model.vae.to(memory_format=torch.channels_last)


def _usual_edge(run: RunConfig, sizes: list[torch.Size]) -> int:
    """The longest edge that most of the training pictures have."""
    shares: dict[int, float] = {}
    for size, source in zip(sizes, run.data.sources, strict=True):
        shares[max(size)] = shares.get(max(size), 0.0) + source.probability
    return max(shares, key=lambda edge: (shares[edge], edge))


def _check_sizes(model: LotusModel, sizes: list[torch.Size]) -> None:
    for height, width in sizes:
        if height % model.latent_factor or width % model.latent_factor:
            raise LotusError(
                f"Samples of {width}×{height} pixels do not divide by the autoencoder's {model.latent_factor}:"
                " choose another size."
            )
