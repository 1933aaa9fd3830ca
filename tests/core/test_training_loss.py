"""Eq. 6, its latent mask and the time-steps of Eq. 5, against loops written from the paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus_core.training.config import ProtocolConfig
from lotus_core.training.decoded import DecodedTruth
from lotus_core.training.loss import Losses, input_rows, protocol_losses, spread_loss, training_timesteps
from lotus_core.training.masks import latent_mask, masked_mse
from lotus_core.training.order import Process

SD2 = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
LABELS = {"y": [math.sin(1), 0.0, math.cos(1), 1.0], "x": [0.0, math.sin(1), 1.0, math.cos(1)]}


class Recorder:
    """Stands for the U-Net: keeps its inputs and answers with numbers that are not its inputs."""

    def __call__(
        self, latents: torch.Tensor, t: torch.Tensor, prompt: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        self.latents, self.t, self.prompt, self.labels = latents, t, prompt, labels
        self.answer = 0.3 * latents[:, :4] - 0.1 * labels.sum(dim=1)[:, None, None, None] + 0.05
        return self.answer


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image, annotation = torch.randn(2, 3, 4, 5, 6, generator=generator)
    mask = torch.rand(3, 1, 5, 6, generator=generator) > 0.4
    return image, annotation, mask, torch.randn(6, 4, 5, 6, generator=generator)


def mean_square_by_hand(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray | None) -> float:
    total, count = 0.0, 0
    for index in np.ndindex(prediction.shape):
        b, _, y, x = index
        if mask is None or mask[b, 0, y, x]:
            total += (float(prediction[index]) - float(target[index])) ** 2
            count += 1
    return total / count


def z_at_the_last_step(clean: np.ndarray, noise: np.ndarray) -> np.ndarray:
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    kept = np.prod(1 - betas)
    return math.sqrt(kept) * clean + math.sqrt(1 - kept) * noise


def losses_at_the_last_step(
    unet: Recorder,
    image: torch.Tensor,
    annotation: torch.Tensor,
    mask: torch.Tensor,
    noise: torch.Tensor | None,
    protocol: ProtocolConfig,
) -> Losses:
    prompt, steps = torch.zeros(1, 2, 3), torch.full((3,), 999)
    return protocol_losses(unet, image, annotation, mask, prompt, noise, steps, DDPMScheduler(**SD2), protocol)


def test_equation_6_of_lotus_g() -> None:
    image, annotation, mask, noise = batch()
    unet = Recorder()
    prompt = torch.arange(6.0).reshape(1, 2, 3)
    found = protocol_losses(
        unet, image, annotation, mask, prompt, noise, torch.full((3,), 999), DDPMScheduler(**SD2), ProtocolConfig()
    )
    assert torch.equal(unet.latents[:, :4], torch.cat([image, image]))  # the image comes first
    noisy = z_at_the_last_step(torch.cat([annotation, image]).numpy(), noise.numpy())
    assert np.abs(unet.latents[:, 4:].numpy() - noisy).max() < 1e-5
    assert unet.t.tolist() == [999] * 6
    assert torch.equal(unet.prompt, prompt.expand(6, -1, -1))
    assert np.allclose(unet.labels.numpy(), [LABELS["y"]] * 3 + [LABELS["x"]] * 3)
    answer = unet.answer.numpy()
    annotation_term = mean_square_by_hand(answer[:3], annotation.numpy(), mask.numpy())
    reconstruction_term = mean_square_by_hand(answer[3:], image.numpy(), None)
    assert float(found.annotation) == pytest.approx(annotation_term, rel=1e-5)
    assert found.reconstruction is not None
    assert float(found.reconstruction) == pytest.approx(reconstruction_term, rel=1e-5)
    assert float(found.total) == pytest.approx(annotation_term + reconstruction_term, rel=1e-5)


def test_equation_6_of_lotus_d_sees_the_image_alone() -> None:
    image, annotation, mask, _ = batch()
    unet = Recorder()
    found = losses_at_the_last_step(unet, image, annotation, mask, None, ProtocolConfig())
    assert torch.equal(unet.latents, torch.cat([image, image]))
    answer = unet.answer.numpy()
    by_hand = mean_square_by_hand(answer[:3], annotation.numpy(), mask.numpy())
    by_hand += mean_square_by_hand(answer[3:], image.numpy(), None)
    assert float(found.total) == pytest.approx(by_hand, rel=1e-5)


def test_without_the_detail_preserver_only_the_annotation_is_predicted() -> None:
    image, annotation, mask, noise = batch()
    unet = Recorder()
    protocol = ProtocolConfig(detail_preserver=False)
    found = losses_at_the_last_step(unet, image, annotation, mask, noise[:3], protocol)
    assert len(unet.latents) == 3
    assert found.reconstruction is None
    assert float(found.total) == float(found.annotation)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_the_other_parameterisations_of_table_3(prediction: str) -> None:
    image, annotation, mask, noise = batch()
    kept = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)[[0, 400, 999]][:, None, None, None]
    target = noise[:3].numpy()
    if prediction == "v":
        target = np.sqrt(kept) * target - np.sqrt(1 - kept) * annotation.numpy()
    unet = Recorder()
    found = protocol_losses(
        unet,
        image,
        annotation,
        mask,
        torch.zeros(1, 2, 3),
        noise,
        torch.tensor([0, 400, 999]),
        DDPMScheduler(**SD2),
        ProtocolConfig(prediction=prediction),  # type: ignore[arg-type]
    )
    by_hand = mean_square_by_hand(unet.answer[:3].numpy(), target, mask.numpy())
    assert float(found.annotation) == pytest.approx(by_hand, rel=1e-4)


@given(st.integers(1, 3), st.sampled_from([2, 4, 8]), st.floats(0, 0.2), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_a_latent_is_valid_only_where_all_its_pixels_are(count: int, factor: int, missing: float, seed: int) -> None:
    valid = np.random.default_rng(seed).random((count, 3 * factor, 2 * factor)) >= missing
    found = latent_mask(torch.from_numpy(valid), factor).numpy()
    assert found.shape == (count, 1, 3, 2)
    for b, _, y, x in np.ndindex(found.shape):
        block = valid[b, y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
        assert found[b, 0, y, x] == block.all()


def test_masked_numbers_do_not_matter_and_an_empty_mask_gives_zero() -> None:
    prediction, target = torch.zeros(1, 4, 2, 2), torch.ones(1, 4, 2, 2)
    target[..., 1] = torch.nan
    mask = torch.tensor([[[[True, False], [True, False]]]])
    assert masked_mse(prediction, target, mask) == 1
    prediction.requires_grad_()
    nothing = masked_mse(prediction, torch.ones(1, 4, 2, 2), torch.zeros_like(mask))
    nothing.backward()
    assert nothing == 0
    assert prediction.grad is not None
    assert float(prediction.grad.abs().max()) == 0


def test_the_loss_is_float32_even_for_bfloat16_predictions() -> None:
    assert (
        masked_mse(torch.zeros(1, 4, 2, 2, dtype=torch.bfloat16), torch.ones(1, 4, 2, 2), None).dtype == torch.float32
    )


def test_equation_5_ends_at_the_last_step() -> None:
    assert training_timesteps(1, 1000).tolist() == [999]
    assert training_timesteps(4, 1000).tolist() == [249, 499, 749, 999]
    assert training_timesteps(1000, 1000).tolist() == list(range(1000))


def test_samples_that_spread_as_they_err_score_best() -> None:
    """Errors of 0.5 on the left half and 2 on the right, whole columns alike: the stated scale is the best."""
    generator = torch.Generator().manual_seed(3)
    size, scale = (400, 4, 8, 8), 0.25
    sigma = torch.where(torch.arange(8) < 4, 0.5, 2.0)
    error = torch.randn(size, generator=generator) * sigma
    first, second = torch.randn(2, *size, generator=generator) * sigma * scale
    everywhere = torch.ones(400, 1, 8, 8)

    def score(factor: float, profile: torch.Tensor | None = None) -> float:
        spread = (first - second) / 2 * factor * (1.0 if profile is None else profile)
        return float(spread_loss(spread, -spread, error, everywhere, scale))

    scores = {factor: score(factor) for factor in (0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0)}
    assert min(scores, key=lambda factor: scores[factor]) == 1.0
    assert scores[1.0] < score(1.0, sigma.flip(0) / sigma)  # as much spread, but where the error is small


def test_the_spread_term_moves_the_samples_and_not_their_mean() -> None:
    first, second, target = torch.randn(3, 2, 4, 8, 8, generator=torch.Generator().manual_seed(5)).unbind()
    first.requires_grad_(), second.requires_grad_()
    mask = torch.ones(2, 1, 8, 8)
    mask[0, :, :, :4] = 0
    spread_loss(first, second, target, mask, 0.2).backward()
    assert first.grad is not None
    assert second.grad is not None
    torch.testing.assert_close(first.grad, -second.grad)
    assert float(first.grad[0, :, :, :4].abs().max()) == 0.0
    assert float(first.grad[1].abs().min()) > 0


def test_shares_of_a_batch_get_the_other_terms() -> None:
    image, annotation, mask, noise = batch()
    unet = Recorder()
    protocol = ProtocolConfig(reconstruction_share=0.3, spread=0.5, spread_share=0.7)
    found = losses_at_the_last_step(unet, image, annotation, mask, noise, protocol)
    torch.testing.assert_close(unet.latents[:, :4], torch.cat([image, image[:2], image[:1]]))
    assert [round(float(label[0]), 3) for label in unet.labels] == [0.841] * 5 + [0.0]
    assert found.spread is not None
    assert found.reconstruction is not None
    torch.testing.assert_close(found.total, found.annotation + found.reconstruction + 0.5 * found.spread)
    expected = mean_square_by_hand(unet.answer[:3].numpy(), annotation.numpy(), mask.numpy())
    assert math.isclose(float(found.annotation), expected, rel_tol=1e-5)
    assert math.isclose(
        float(found.reconstruction), mean_square_by_hand(unet.answer[5:].numpy(), image[:1].numpy(), None), rel_tol=1e-5
    )


@pytest.mark.parametrize("spread_share", [0.1, 0.6, 1.0])  # of 6 pictures 1, 4 and 6
@pytest.mark.parametrize("world", [1, 2, 3])
def test_shares_are_of_all_processes_together(world: int, spread_share: float) -> None:
    """Terms of the processes' own pictures, some of which have none, average to those of one process with all."""
    image, annotation, first, second, again = torch.randn(5, 6, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    protocol = ProtocolConfig(reconstruction_share=0.17, decoded=1.0, spread=0.5, spread_share=spread_share)

    def losses_of(process: Process) -> list[float]:
        own = slice(process.rank, None, process.world)
        rows = input_rows(6 // process.world, protocol, process)
        noise = torch.cat([part[own][:n] for part, n in zip((first, second, again), rows, strict=True)])
        truth = DecodedTruth("depth", lambda latents: latents[:, :3], annotation[own, :3], torch.ones(6, 8, 8)[own])
        prompt, steps = torch.zeros(1, 2, 3), torch.full((6 // process.world,), 999)
        found = protocol_losses(
            Recorder(),
            image[own],
            annotation[own],
            None,
            prompt,
            noise,
            steps,
            DDPMScheduler(**SD2),
            protocol,
            truth,
            process,
        )
        assert found.reconstruction is not None
        assert found.spread is not None
        return [float(found.total), float(found.reconstruction), float(found.spread)]

    found = np.mean([losses_of(Process(rank, world)) for rank in range(world)], axis=0)
    assert found == pytest.approx(losses_of(Process()), rel=1e-5)
