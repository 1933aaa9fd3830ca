"""The network's part of a prediction: noise, the U-Net's step, the decoder, one sample after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .encoding import EncodedImage
from .errors import LotusError
from .model import Decoder, LotusModel
from .progress import Steps


@dataclass(frozen=True)
class Draws:
    """Which noise the samples of image number `index` get, how many there are, and how many run at once."""

    seed: int
    index: int = 0
    samples: int = 1
    at_once: int = 1


def draw_noise(seed: int, index: int, sample: int, shape: Sequence[int]) -> torch.Tensor:
    """Standard normal noise, float32 on the CPU, that depends on nothing but its arguments."""
    sequence = np.random.SeedSequence(seed % 2**64, spawn_key=(index, sample))
    generator = torch.Generator("cpu").manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
    return torch.randn(tuple(shape), generator=generator)


def decoded_samples(
    model: LotusModel,
    encoded: EncodedImage,
    draws: Draws,
    steps: Steps,
    task: str = "annotation",
    decoder: Decoder = "exact",
    mean: bool = False,
    inspect: Callable[[torch.Tensor], None] | None = None,
) -> Iterator[torch.Tensor]:
    """One decoded sample after another, float32 on the CPU at the network's size, nominally in [−1, 1].

    1×3×H×W, or with `mean` 1×1×H×W, the mean over the channels. `inspect` sees the predicted latents first.
    Raises LotusError where the result is not finite.
    """
    latents = encoded.latents
    for start in range(0, draws.samples, draws.at_once):
        numbers = range(start, min(start + draws.at_once, draws.samples))
        last = f"Predicting sample {numbers[-1] + 1} of {draws.samples}"
        steps.begin("Predicting" if draws.samples == 1 else last, len(numbers))
        noise = None
        if model.variant == "g":
            noise = torch.cat([draw_noise(draws.seed, draws.index, number, latents.shape) for number in numbers])
            noise = noise.to(latents.device)
        predicted = model(latents.expand(len(numbers), -1, -1, -1), noise, task)
        if inspect is not None:
            inspect(predicted)
        steps.begin("Decoding", len(numbers))
        decoded = model.decode(predicted, decoder=decoder, mean=mean).float().cpu()
        if not bool(torch.isfinite(decoded).all()):
            full = predicted.dtype == torch.float32
            cure = "its weights are damaged" if full else "load it with dtype float32"
            raise LotusError(f"{model.info.name} gave NaN or infinite values in {predicted.dtype}: {cure}.")
        yield from decoded.split(1)
