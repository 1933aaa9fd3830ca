"""What a run looks like on held-out samples: losses, accuracy of the decoded maps, a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import DDIMScheduler, DDPMScheduler

from ..data.sample import Sample
from ..model import LotusModel
from .annotation import annotation, annotation_mask
from .config import RunConfig
from .latents import encode_batch
from .loss import masked_mse, training_timesteps
from .order import noise
from .pictures import save_contact_sheet
from .sources import SampleSource

SHEET_ROWS = 8
MAX_INFERENCE_STEPS = 50
"""DDIM steps for runs with more than one training time-step (Table 3's multi-step rows)."""


def validate(
    model: LotusModel,
    sources: Sequence[SampleSource],
    run: RunConfig,
    scheduler: DDPMScheduler,
    accelerator: Accelerator,
    sheet: Path | None,
) -> dict[str, float]:
    """Means over the first `validation_samples` samples of each source.

    Returns annotation_loss and reconstruction_loss (latent), and for depth `abs_rel` (of depth, after the best affine fit
    in the model's space), for normals `mean_angle` in degrees. Noise is the same at every validation.
    """
    sums: dict[str, float] = {}
    rows: list[list[torch.Tensor]] = []
    count = 0
    for source in sources:
        for index in range(min(run.log.validation_samples, len(source))):
            sample = source[index]
            truth = annotation(sample, run.model.task, run.model.space)
            mask = annotation_mask(sample, run.model.task)
            batch = {"image": sample.image[None], "annotation": truth[None], "mask": mask[None]}
            latents = encode_batch(model, batch, accelerator)
            draws = None
            if model.variant == "g":
                draws = noise(run.optim.seed, [count], "validation", latents["image"].shape[1:]).to(accelerator.device)
            predicted = predict_latents(model, latents["image"], draws, run, scheduler, "annotation")
            again = predict_latents(model, latents["image"], draws, run, scheduler, "reconstruct")
            with accelerator.autocast():
                picture = model.decode(predicted)[0].float().cpu()
            values = {
                "annotation_loss": float(masked_mse(predicted, latents["annotation"], latents["mask"])),
                "reconstruction_loss": float(masked_mse(again, latents["image"], None)),
            }
            if run.model.task == "depth":
                values["abs_rel"] = aligned_abs_rel(picture.mean(0), sample, run.model.space)
            else:
                values["mean_angle"] = mean_angle(picture, sample)
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value
            if len(rows) < SHEET_ROWS:
                shown = picture.mean(0).expand(3, -1, -1) if run.model.task == "depth" else F.normalize(picture, dim=0)
                rows.append([sample.image, truth, shown])
            count += 1
    if sheet is not None and rows:
        save_contact_sheet(rows, sheet)
    return {f"validation_{name}": total / count for name, total in sums.items()}


def predict_latents(
    model: LotusModel,
    image: torch.Tensor,
    draws: torch.Tensor | None,
    run: RunConfig,
    scheduler: DDPMScheduler,
    task: str,
) -> torch.Tensor:
    """One x0 step where that is what is trained, else deterministic DDIM from `draws` over the trained time-steps."""
    protocol = run.protocol
    if protocol.training_timesteps == 1 and protocol.prediction == "x0":
        return model(image, draws, task).float()
    total = run.scheduler.num_train_timesteps
    sampler = DDIMScheduler.from_config(scheduler.config, timestep_spacing="trailing", clip_sample=False)
    steps = training_timesteps(min(protocol.training_timesteps, MAX_INFERENCE_STEPS), total).flip(0)
    sampler.set_timesteps(len(steps))
    assert draws is not None  # the config refuses multi-step runs of Lotus-D
    state = draws
    for step in steps.tolist():
        output = model(image, state, task, timestep=step).float()
        state = sampler.step(output, step, state).prev_sample
    return state


def aligned_abs_rel(prediction: torch.Tensor, sample: Sample, space: str) -> float:
    """Mean |z' − z| / z over valid pixels, z' from the least-squares affine fit of the prediction in `space`."""
    valid = sample.valid
    if not valid.any():
        return 0.0
    z = sample.depth[valid].double()
    target = 1 / z if space == "disparity" else z
    design = torch.stack([prediction[valid].double(), torch.ones_like(z)], dim=1)
    fit = design @ torch.linalg.lstsq(design, target[:, None]).solution
    fitted = fit[:, 0].clamp_min(float(target.min()) / 10)
    depth = 1 / fitted if space == "disparity" else fitted
    return float(((depth - z).abs() / z).mean())


def mean_angle(prediction: torch.Tensor, sample: Sample) -> float:
    """Mean angle in degrees between predicted and true normals over valid pixels."""
    if not sample.valid.any():
        return 0.0
    cosine = (F.normalize(prediction, dim=0) * sample.normals).sum(0)[sample.valid].clamp(-1, 1)
    return float(cosine.acos().rad2deg().mean())
