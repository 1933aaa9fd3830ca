"""The network's part of a prediction: noise, the U-Net's step, the decoder, one sample after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .arguments import check_whole
from .encoded import EncodedImage, EncodedTiles
from .errors import LotusError
from .model import Decoder, LotusModel
from .precision import not_finite
from .progress import Steps
from .running import unit
from .tiling import fitted, window

NoiseSource = Callable[[int, int, int, Sequence[int]], torch.Tensor]
"""(seed, index of the image, number of the sample, shape) → standard normal noise, float32 on the CPU."""


def draw_noise(seed: int, index: int, sample: int, shape: Sequence[int]) -> torch.Tensor:
    """Standard normal noise, float32 on the CPU, that depends on nothing but its arguments."""
    sequence = np.random.SeedSequence(seed % 2**64, spawn_key=(index, sample))
    generator = torch.Generator("cpu").manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float32, device="cpu")


@dataclass(frozen=True)
class Draws:
    """Which noise the samples of image number `index` get, how many there are, and how many run at once.

    Raises LotusError for values that are none.
    """

    seed: int
    index: int = 0
    samples: int = 1
    at_once: int = 1
    source: NoiseSource = draw_noise

    def __post_init__(self) -> None:
        check_whole("seed", self.seed)
        check_whole("index", self.index, 0)
        check_whole("samples", self.samples, 1)


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
            noise = torch.cat([draws.source(draws.seed, draws.index, number, latents.shape) for number in numbers])
            noise = noise.to(latents.device)
        predicted = model(latents.expand(len(numbers), -1, -1, -1), noise, task)
        if inspect is not None:
            inspect(predicted)
        steps.begin("Decoding", len(numbers))
        for one in predicted.split(1):  # together they would take more memory and no less time
            yield _decoded(model, one, decoder, mean)


def _decoded(model: LotusModel, predicted: torch.Tensor, decoder: Decoder, mean: bool) -> torch.Tensor:
    decoded = model.decode(predicted, decoder=decoder, mean=mean).float().cpu()
    if not bool(torch.isfinite(decoded).all()):
        broken = not_finite(model.state_dict())
        if broken is not None:
            raise LotusError(f"{model.info.name} holds NaN or infinite weights ({broken}): download or copy it again.")
        full = predicted.dtype == torch.float32
        cure = "its weights are damaged" if full else "load it in float32"
        raise LotusError(f"{model.info.name} gave NaN or infinite values in {predicted.dtype}: {cure}.")
    return decoded


def tiled_samples(
    model: LotusModel,
    encoded: EncodedTiles,
    draws: Draws,
    steps: Steps,
    decoder: Decoder = "exact",
    inspect: Callable[[torch.Tensor], None] | None = None,
) -> Iterator[torch.Tensor]:
    """As `decoded_samples`, at the size of the tiles' frame: each sample of the whole image with the tiles' detail.

    Depth 1×1×H×W, normals 1×3×H×W, of unit length before they blend. Noise is one field over all tiles, so that two
    see the same where they overlap. Begins a step for each tile and sample. One sample is in memory at a time, as large
    as the frame, and one tile.
    """
    depth = model.info.task == "depth"
    frame, grid = encoded.frame, encoded.grid
    factor, corners = model.latent_factor, grid.corners()
    wholes = decoded_samples(model, encoded.whole, draws, steps, "annotation", decoder, depth, inspect)
    for number, decoded in enumerate(wholes):
        seen = encoded.whole.frame
        whole = decoded[0, :, : seen.network_height, : seen.network_width]
        whole = whole if depth else unit(whole)
        canvas = whole.new_zeros(1, whole.shape[0], frame.padded_height, frame.padded_width)
        noise = None
        if model.variant == "g":
            shape = (1, model.latent_channels, frame.padded_height // factor, frame.padded_width // factor)
            noise = draws.source(draws.seed, draws.index, number, shape)
        for count, (top, left) in enumerate(corners):
            steps.begin(f"Predicting tile {count + 1} of {len(corners)}")
            latents = encoded.tiles[count]
            part = None
            if noise is not None:
                y, x = top // factor, left // factor
                part = noise[..., y : y + latents.shape[2], x : x + latents.shape[3]].to(latents.device)
            height = min(grid.tile_height, frame.network_height - top)
            width = min(grid.tile_width, frame.network_width - left)
            tile = _decoded(model, model(latents, part), decoder, depth)[0, :, :height, :width]
            around = window(whole, (frame.network_height, frame.network_width), top, left, height, width)
            valid = _valid(encoded, top, left, height, width)
            tile = fitted(tile if depth else unit(tile), around, valid, affine=depth)
            share = torch.from_numpy(grid.weights(top, left)[:height, :width])
            canvas[0, :, top : top + height, left : left + width].addcmul_(tile, share)
        yield canvas


def _valid(encoded: EncodedTiles, top: int, left: int, height: int, width: int) -> np.ndarray | None:
    """The window's pixels, of those that are not transparent."""
    if encoded.valid is None:
        return None
    frame = encoded.frame
    rows = (np.arange(top, top + height) + 0.5) * frame.height / frame.network_height
    columns = (np.arange(left, left + width) + 0.5) * frame.width / frame.network_width
    return encoded.valid[np.ix_(rows.astype(int), columns.astype(int))]
