"""Training an autoencoder from scratch on images and annotations, so that annotations survive the latent space."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import nn
from torch.utils.data import Dataset

from ..data.sample import SampleSource, flip
from ..errors import LotusError
from ..files import shared_mode
from ..model import latent_factor
from .annotation import annotation
from .config import AutoencoderLossConfig, AutoencoderRunConfig
from .folder import only_run_in
from .loop import TrainingLoop, make_accelerator
from .order import Draw, derive, noise, uniform
from .pictures import save_contact_sheet
from .sources import batches_from, open_source

Kind = Literal["image", "depth", "normal"]
KINDS: tuple[Kind, ...] = ("image", "depth", "normal")
SCALES = 3
"""Levels of the gradient loss: edges at 1, 2 and 4 pixels."""


WITHOUT_EDGES = AutoencoderLossConfig(gradient_weight=0.0)
"""`reconstruction_loss` by values alone."""


class AutoencoderTask(nn.Module):
    """One pass through the autoencoder, as a module so that precision and processes are handled around it."""

    def __init__(self, vae: AutoencoderKL | AutoencoderTiny, latent_noise: float) -> None:
        super().__init__()
        self.vae, self.latent_noise = vae, latent_noise

    def forward(self, pixels: torch.Tensor, noise: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels B×3×H×W → (reconstruction, KL divergence per latent element).

        `noise` None takes the posterior's mode. AutoencoderTiny has no posterior: `latent_noise` of it is added to the
        latents, so that the decoder forgives small errors of the U-Net.
        """
        if isinstance(self.vae, AutoencoderTiny):
            latents = self.vae.encode(pixels).latents
            if noise is not None:
                latents = latents + self.latent_noise * noise.to(latents)
            return self.vae.decode(latents).sample, latents.new_zeros(())
        posterior = self.vae.encode(pixels).latent_dist
        latents = posterior.mean if noise is None else posterior.mean + posterior.std * noise.to(posterior.mean)
        divergence = 0.5 * (posterior.mean.float().square() + posterior.var.float() - 1 - posterior.logvar.float())
        return self.vae.decode(latents).sample, divergence.mean()


def picture(source: SampleSource, index: int, kind: Kind, mirrored: bool) -> torch.Tensor:
    """One 3×H×W picture in [−1, 1] of a sample: its image, its depth annotation or its normals."""
    sample = source[index]
    if mirrored:
        sample = flip(sample)
    return sample.image if kind == "image" else annotation(sample, kind, "disparity")


class CroppedPictures(Dataset[dict[str, Any]]):
    """Draw → dict of `pixels` 3×crop×crop and `number`; which picture and which crop depend on the number only."""

    def __init__(self, sources: Sequence[SampleSource], loss: AutoencoderLossConfig, seed: int) -> None:
        self.sources, self.crop, self.seed = sources, loss.crop, seed
        self.shares = (loss.image_share, loss.depth_share, loss.normal_share)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        at = uniform(self.seed, [draw.number], "kind")[0] * sum(self.shares)
        kind = KINDS[0] if at < self.shares[0] else KINDS[1] if at < self.shares[0] + self.shares[1] else KINDS[2]
        pixels = picture(self.sources[draw.source], draw.item, kind, draw.flip)
        height, width = pixels.shape[-2:]
        if min(height, width) < self.crop:
            raise LotusError(f"[loss] crop = {self.crop} does not fit into samples of {width}×{height} pixels.")
        top = derive(self.seed, "top", draw.number) % (height - self.crop + 1)
        left = derive(self.seed, "left", draw.number) % (width - self.crop + 1)
        return {"pixels": pixels[:, top : top + self.crop, left : left + self.crop], "number": draw.number}


def reconstruction_loss(prediction: torch.Tensor, target: torch.Tensor, config: AutoencoderLossConfig) -> torch.Tensor:
    """L1 + weighted squared error + weighted L1 of image gradients at several scales, float32."""
    prediction, target = prediction.float(), target.float()
    difference = prediction - target
    loss = difference.abs().mean() + config.mse_weight * difference.square().mean()
    for scale in range(SCALES if config.gradient_weight else 0):
        level = F.avg_pool2d(difference, 2**scale) if scale else difference
        edges = level.diff(dim=-1).abs().mean() + level.diff(dim=-2).abs().mean()
        loss = loss + config.gradient_weight / SCALES * edges
    return loss


def train_autoencoder(run: AutoencoderRunConfig, resume: bool = False) -> Path:
    """Train, then write a diffusers folder (config.json, safetensors) with its scaling factor. Returns that folder."""
    accelerator = make_accelerator(run.optim)
    with only_run_in(run.output.dir, accelerator):
        return _train(run, resume, accelerator)


def _train(run: AutoencoderRunConfig, resume: bool, accelerator: Accelerator) -> Path:
    torch.manual_seed(derive(run.optim.seed, "weights"))
    vae = _build(run)
    check_crop(run.loss.crop, vae)
    sources = [open_source(source) for source in run.data.sources]
    held_out = [open_source(source) for source in run.data.validation]
    loop = TrainingLoop(run, AutoencoderTask(vae, run.loss.latent_noise), sources, accelerator, resume)
    if run.optim.gradient_checkpointing:
        vae.enable_gradient_checkpointing()
    pictures = CroppedPictures(sources, run.loss, run.optim.seed)
    batches = batches_from(loop.step, pictures, sources, run, accelerator)

    def losses(number: int, module: Callable[..., Any]) -> dict[str, torch.Tensor]:
        batch = next(batches)
        pixels = batch["pixels"].to(accelerator.device)
        if run.optim.channels_last:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        factor = latent_factor(vae)
        shape = (vae.config.latent_channels, pixels.shape[-2] // factor, pixels.shape[-1] // factor)
        draws = noise(run.optim.seed, batch["number"].tolist(), "posterior", shape).to(pixels)
        reconstruction, divergence = module(pixels, draws)
        pixel_loss = reconstruction_loss(reconstruction, pixels, run.loss)
        return {"loss": pixel_loss + run.loss.kl_weight * divergence, "pixel_loss": pixel_loss, "kl": divergence}

    folder = Path(run.output.dir) / "autoencoder"
    loop.run(
        losses,
        lambda step: _validate(loop, held_out, run, step),
        lambda: _export(vae, held_out or sources, run, folder),
    )
    return folder


@torch.no_grad()
def latent_scale(vae: AutoencoderKL | AutoencoderTiny, sources: Sequence[SampleSource], samples: int) -> float:
    """1 / standard deviation of the latents over the images and both annotations of the first samples."""
    latents = []
    for pixels in _pictures(sources, samples):
        encoded = vae.encode(fit(pixels, vae).unsqueeze(0).to(vae.device))
        latents.append((encoded.latents if isinstance(vae, AutoencoderTiny) else encoded.latent_dist.mode()).flatten())
    return 1.0 / float(torch.cat(latents).float().std())


def _build(run: AutoencoderRunConfig) -> AutoencoderKL | AutoencoderTiny:
    cls = AutoencoderKL if run.model.type == "AutoencoderKL" else AutoencoderTiny
    try:
        return cast("AutoencoderKL | AutoencoderTiny", cls(**run.model.config))
    except (TypeError, ValueError, IndexError) as error:
        raise LotusError(f"[model.config] does not describe an {run.model.type}: {error}.") from error


def check_crop(crop: int, vae: AutoencoderKL | AutoencoderTiny) -> None:
    """Raise LotusError where crops of `crop` pixels are not halved evenly."""
    if crop % latent_factor(vae):
        raise LotusError(
            f"[loss] crop = {crop} does not divide by {latent_factor(vae)}, as often as the autoencoder halves: choose"
            " a multiple of it."
        )


def fit(pixels: torch.Tensor, vae: AutoencoderKL | AutoencoderTiny) -> torch.Tensor:
    """3×H×W, cut at the right and below to sizes that the autoencoder halves evenly."""
    factor = latent_factor(vae)
    height, width = (size // factor * factor for size in pixels.shape[-2:])
    return pixels[:, :height, :width]


def _pictures(sources: Sequence[SampleSource], samples: int) -> Iterator[torch.Tensor]:
    for source in sources:
        for index in range(min(samples, len(source))):
            for kind in KINDS:
                yield picture(source, index, kind, False)


def _validate(
    loop: TrainingLoop, sources: Sequence[SampleSource], run: AutoencoderRunConfig, step: int
) -> dict[str, float]:
    """Mean PSNR (dB, over the range [−1, 1]) per kind on held-out samples, and a contact sheet of the first ones."""
    task = cast(AutoencoderTask, loop.raw)
    sums = dict.fromkeys(KINDS, 0.0)
    count = 0
    rows: list[list[torch.Tensor]] = []
    for source in sources:
        for index in range(min(run.log.validation_samples, len(source))):
            row = []
            for kind in KINDS:
                pixels = fit(picture(source, index, kind, False), task.vae)
                result = task(pixels.unsqueeze(0).to(loop.accelerator.device), None)[0][0].float().cpu()
                truth = pixels.mean(0) if kind == "depth" else pixels
                guess = result.mean(0) if kind == "depth" else result
                sums[kind] += 10 * math.log10(4.0 / max(float((guess - truth).square().mean()), 1e-12))
                row += [pixels, result]
            if len(rows) < 4:
                rows.append(row)
            count += 1
    if loop.accelerator.is_main_process:
        save_contact_sheet(rows, loop.folder / "validation" / f"step-{step:08d}.png")
    return {f"psnr_{kind}": total / count for kind, total in sums.items()}


def _export(
    vae: AutoencoderKL | AutoencoderTiny, sources: Sequence[SampleSource], run: AutoencoderRunConfig, folder: Path
) -> None:
    vae.register_to_config(scaling_factor=latent_scale(vae, sources, run.log.validation_samples))
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    vae.save_pretrained(partial)
    for file in partial.glob("*.safetensors"):
        shared_mode(file)
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(partial, folder)
    shutil.rmtree(old, ignore_errors=True)
