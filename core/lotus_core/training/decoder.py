"""Distilling an autoencoder's decoder into a small one, which learns what the teacher makes of the same latents."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from diffusers import AutoencoderTiny
from torch import nn

from ..checkpoints.writing import write_tensors
from ..data.sample import SampleSource
from ..decoding import decode_latents
from ..errors import LotusError
from ..fast_decoder import load_fast_decoder
from ..model import Autoencoder, latent_factor
from .autoencoder import KINDS, CroppedPictures, check_crop, fit, picture, reconstruction_loss
from .base import load_autoencoder
from .config import DecoderRunConfig
from .folder import only_run_in
from .loop import TrainingLoop, make_accelerator
from .order import derive, noise
from .pictures import save_contact_sheet
from .sources import batches_from, open_source

SHEET_ROWS = 4


class Teacher:
    """A frozen autoencoder: pictures to scaled latents (the posterior's mode), and those to pictures."""

    def __init__(self, vae: Autoencoder) -> None:
        self.vae = vae.requires_grad_(False).eval()
        self.scale = float(vae.config.scaling_factor)

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        encoded = self.vae.encode(pixels)
        latents = encoded.latents if isinstance(self.vae, AutoencoderTiny) else encoded.latent_dist.mode()
        return cast(torch.Tensor, latents * self.scale)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return decode_latents(self.vae, latents / self.scale)


def train_decoder(run: DecoderRunConfig, resume: bool = False) -> Path:
    """Train, then write `<output>/<name>.safetensors`, which `--fast-decoder` takes; returns its path.

    Its header states the PSNR, in dB over the range [−1, 1], against the teacher on the held-out samples of the last
    validation, for images, depth and normals.
    """
    accelerator = make_accelerator(run.optim)
    with only_run_in(run.output.dir, accelerator):
        return _train(run, resume, accelerator)


def _train(run: DecoderRunConfig, resume: bool, accelerator: Accelerator) -> Path:
    torch.manual_seed(derive(run.optim.seed, "weights"))
    teacher = Teacher(load_autoencoder(run.model.teacher).to(accelerator.device))
    check_crop(run.loss.crop, teacher.vae)
    student = _student(run, teacher.vae)
    sources = [open_source(source) for source in run.data.sources]
    held_out = [open_source(source) for source in run.data.validation]
    loop = TrainingLoop(run, student, sources, accelerator, resume)
    if run.optim.channels_last:
        teacher.vae.to(memory_format=torch.channels_last)
    pictures = CroppedPictures(sources, run.loss, run.optim.seed)
    batches = batches_from(loop.step, pictures, sources, run, accelerator)
    stated = loop.journal.latest("psnr_")  # of a resumed run: what is exported before it is validated again

    def losses(number: int, module: Callable[..., Any]) -> dict[str, torch.Tensor]:
        batch = next(batches)
        pixels = batch["pixels"].to(accelerator.device)
        with accelerator.autocast():
            latents = teacher.encode(pixels).float()
            # The U-Net's latents are not exactly those of a picture: the student sees some error, the teacher too.
            draws = noise(run.optim.seed, batch["number"].tolist(), "latents", tuple(latents.shape[1:])).to(latents)
            latents = latents + run.loss.latent_noise * draws
            target = teacher.decode(latents).float()
        return {"loss": reconstruction_loss(module(latents), target, run.loss)}

    def validate(step: int) -> dict[str, float]:
        stated.update(_validate(loop, teacher, held_out, run, step))
        return stated

    path = Path(run.output.dir) / f"{run.model.name}.safetensors"
    loop.run(losses, validate, lambda: _export(student, path, run.model.name, stated))
    return path


def _student(run: DecoderRunConfig, teacher: Autoencoder) -> nn.Module:
    """The decoder of an AutoencoderTiny, float32, for scaled latents of the teacher."""
    if run.model.base:
        tiny = load_fast_decoder(run.model.base, torch.device("cpu"), torch.float32)
        if tiny.config.scaling_factor != 1:
            raise LotusError(f"{run.model.base} does not decode scaled latents as TAESD does: start from another base.")
    else:
        try:
            tiny = AutoencoderTiny(latent_channels=teacher.config.latent_channels, **run.model.config)
        except (TypeError, ValueError, IndexError) as error:
            raise LotusError(f"[model.config] does not describe an AutoencoderTiny: {error}.") from error
    blocks, factor = tiny.config.decoder_block_out_channels, latent_factor(teacher)
    channels = teacher.config.latent_channels
    if tiny.config.latent_channels != channels or 2 ** (len(blocks) - 1) != factor:
        raise LotusError(
            f"The teacher's latents have {channels} channels and are {factor} times smaller than the image: the student"
            f" needs {int(math.log2(factor)) + 1} decoder_block_out_channels, not {len(blocks)}."
        )
    return cast(nn.Module, tiny.decoder.requires_grad_(True).train())


def _validate(
    loop: TrainingLoop, teacher: Teacher, sources: Sequence[SampleSource], run: DecoderRunConfig, step: int
) -> dict[str, float]:
    """Mean PSNR (dB, over the range [−1, 1]) of student against teacher, each kind of picture; a contact sheet."""
    sums = dict.fromkeys(KINDS, 0.0)
    rows: list[list[torch.Tensor]] = []
    count = 0
    for source in sources:
        for index in range(min(run.log.validation_samples, len(source))):
            row = []
            for kind in KINDS:
                pixels = fit(picture(source, index, kind, False), teacher.vae)
                latents = teacher.encode(pixels.unsqueeze(0).to(loop.accelerator.device))
                pair = [decode(latents)[0].float().cpu() for decode in (teacher.decode, loop.raw)]
                truth, guess = (decoded.mean(0) if kind == "depth" else decoded for decoded in pair)
                sums[kind] += 10 * math.log10(4.0 / max(float((guess - truth).square().mean()), 1e-12))
                row += pair
            if len(rows) < SHEET_ROWS:
                rows.append(row)
            count += 1
    if loop.accelerator.is_main_process:
        save_contact_sheet(rows, loop.folder / "validation" / f"step-{step:08d}.png")
    return {f"psnr_{kind}": total / count for kind, total in sums.items()}


def _export(decoder: nn.Module, path: Path, name: str, stated: dict[str, float]) -> None:
    tensors = {f"decoder.{key}": tensor.detach().half().contiguous() for key, tensor in decoder.state_dict().items()}
    tensors = {key: tensor.cpu() for key, tensor in tensors.items()}
    write_tensors(path, tensors, {"name": name, **{key: f"{value:.2f}" for key, value in stated.items()}})
