"""From photos to maps: one U-Net step between an encoder and a decoder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch
from PIL import Image

from .errors import LotusError
from .framing import Frame
from .images import LoadedImage, load_image
from .maps import Depth, Normals, Uncertainty
from .maps.depth import Space
from .maps.normals import Convention
from .model import LotusModel
from .progress import Cancel, Progress, Steps
from .running import MeanAngle, MeanDirection, RunningSpread, unit
from .sampling import draw_noise, memory_as_lotus_error, samples_at_once

Map = TypeVar("Map")


@dataclass(frozen=True)
class EncodedImage:
    """An encoded photo. Every method of LotusPredictor takes it as an image, so one encoding serves many maps.

    latents: scaled image latents 1×C×h×w. frame: how the photo lies in them. valid: bool H×W or None.
    """

    latents: torch.Tensor
    frame: Frame
    valid: np.ndarray | None


ImageSource = str | os.PathLike[str] | Image.Image | np.ndarray | torch.Tensor | LoadedImage | EncodedImage
OneOrMany = Any  # one map for one image, a list of maps for a list of images or an array with a batch axis


class LotusPredictor:
    """Predicts maps with one model.

    Args:
        model: on its device, in its precision.
        progress, cancel: used by every call that brings none of its own. Cancel is polled between the network's parts.
        max_batch: noise samples that `uncertainty` runs at once; None takes what fits into memory.

    `depth`, `normal`, `uncertainty` and `reconstruct` share these arguments:
        images: a path, PIL image, array, tensor or EncodedImage; or a list of them, or an array with a batch axis.
        resolution: longest edge that the network sees, None for the checkpoint's own, 0 for the image's own size.
        seed, index: image number i of a list draws its noise from (seed, index + i), on the CPU, so the result does not
            depend on the rest of the list, nor the noise on the device. Images pass the network one at a time:
            a list gives to the bit what its images give alone.
        reference: the original code's arithmetic, for comparison: size truncated, no padding, nearest on the way back,
            every channel clamped.

    They raise LotusError for unusable images and arguments, and Cancelled.
    """

    def __init__(
        self,
        model: LotusModel,
        *,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        max_batch: int | None = None,
    ) -> None:
        self.model = model
        self._progress = progress
        self._cancel = cancel
        self._max_batch = max_batch

    def depth(
        self,
        images: ImageSource | Sequence[ImageSource],
        resolution: int | None = None,
        seed: int = 0,
        reference: bool = False,
        *,
        index: int = 0,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> OneOrMany:
        """Depth in [0, 1] of each image, at its own size, in the checkpoint's space; transparent pixels not valid."""
        self._require_task("depth")

        def predict(image: ImageSource, number: int, steps: Steps) -> Depth:
            encoded = self._encoded(image, resolution, reference, steps)
            values = next(self._samples(encoded, seed, number, 1, steps))
            return self._depth_map(values, encoded)

        return self._each(images, predict, index, 3, progress, cancel)

    def normal(
        self,
        images: ImageSource | Sequence[ImageSource],
        resolution: int | None = None,
        seed: int = 0,
        reference: bool = False,
        *,
        index: int = 0,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> OneOrMany:
        """Unit Normals of each image, at its own size; where the network gives none they face the camera."""
        self._require_task("normal")

        def predict(image: ImageSource, number: int, steps: Steps) -> Normals:
            encoded = self._encoded(image, resolution, reference, steps)
            return self._normal_map(next(self._samples(encoded, seed, number, 1, steps)), encoded)

        return self._each(images, predict, index, 3, progress, cancel)

    def uncertainty(
        self,
        images: ImageSource | Sequence[ImageSource],
        resolution: int | None = None,
        seed: int = 0,
        reference: bool = False,
        *,
        samples: int = 10,
        index: int = 0,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> OneOrMany:
        """How much each pixel depends on the noise, over `samples` draws of Lotus-G; and the mean map.

        Depth: standard deviation (of the population: divided by N) in units of `Depth.values`. Normals: mean angle, in
        degrees, to the mean direction; for it the samples are computed twice, first for the mean, then for the angles,
        which costs time instead of memory. Memory does not grow with `samples`. The first sample has the noise that
        `depth` and `normal` draw for the same seed and index.

        Raises LotusError for Lotus-D and for fewer than 2 samples.
        """
        if self.model.variant != "g":
            raise LotusError(
                f"{self.model.info.name} is a Lotus-D model, which takes no noise and always answers the same, so it"
                " has no uncertainty: use a Lotus-G model."
            )
        if samples < 2:
            raise LotusError(f"Uncertainty needs at least 2 samples, not {samples}.")
        is_depth = self.model.info.task == "depth"
        passes = 1 if is_depth else 2

        def predict(image: ImageSource, number: int, steps: Steps) -> Uncertainty:
            encoded = self._encoded(image, resolution, reference, steps)
            if is_depth:
                spread = RunningSpread()
                for values in self._samples(encoded, seed, number, samples, steps):
                    spread.add(values)
                mean = self._depth_map(spread.mean, encoded)
                return Uncertainty(spread.std[0].numpy(), mean, samples, "depth")
            direction = MeanDirection()
            for values in self._samples(encoded, seed, number, samples, steps):
                direction.add(values)
            angle = MeanAngle(direction.mean)
            for values in self._samples(encoded, seed, number, samples, steps):
                angle.add(values)
            normals = self._normal_map(direction.mean, encoded)
            return Uncertainty(angle.mean[0].numpy(), normals, samples, "degrees")

        return self._each(images, predict, index, 1 + 2 * passes * samples, progress, cancel)

    def reconstruct(
        self,
        images: ImageSource | Sequence[ImageSource],
        resolution: int | None = None,
        seed: int = 0,
        reference: bool = False,
        *,
        index: int = 0,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> OneOrMany:
        """The image itself as the detail preserver's task gives it back: float32 H×W×3 RGB in [0, 1]."""

        def predict(image: ImageSource, number: int, steps: Steps) -> np.ndarray:
            encoded = self._encoded(image, resolution, reference, steps)
            decoded = next(self._decoded(encoded, seed, number, 1, steps, "reconstruct"))
            picture = encoded.frame.from_network((decoded / 2 + 0.5).clamp(0, 1)).clamp(0, 1)
            return picture[0].permute(1, 2, 0).contiguous().numpy()

        return self._each(images, predict, index, 3, progress, cancel)

    def encode(self, image: ImageSource, resolution: int | None = None, reference: bool = False) -> EncodedImage:
        """Encode one image for several predictions; its resolution is settled here."""
        steps = Steps(1, self._progress, self._cancel)
        with torch.no_grad(), memory_as_lotus_error():
            encoded = self._encoded(image, resolution, reference, steps)
        steps.finish()
        return encoded

    def _each(
        self,
        images: ImageSource | Sequence[ImageSource],
        predict: Callable[[ImageSource, int, Steps], Map],
        index: int,
        steps_each: int,
        progress: Progress | None,
        cancel: Cancel | None,
    ) -> OneOrMany:
        many = _as_list(images)
        todo = [cast(ImageSource, images)] if many is None else many
        steps = Steps(len(todo) * steps_each, progress or self._progress, cancel or self._cancel)
        with torch.no_grad(), memory_as_lotus_error():
            results = [predict(image, index + number, steps) for number, image in enumerate(todo)]
        steps.finish()
        return results[0] if many is None else results

    def _encoded(self, image: ImageSource, resolution: int | None, reference: bool, steps: Steps) -> EncodedImage:
        model, device = self.model, _device_of(self.model)
        steps.begin("Encoding")
        if isinstance(image, EncodedImage):
            if image.latents.shape[1] != model.latent_channels:
                raise LotusError("The encoded image comes from another autoencoder: encode it with this model.")
            return EncodedImage(image.latents.to(device), image.frame, image.valid)
        loaded = load_image(image)
        height, width = loaded.rgb.shape[:2]
        longest = model.info.resolution if resolution is None else resolution
        multiple = model.latent_factor if reference else model.multiple
        frame = Frame.of(height, width, longest, multiple, reference)
        latents = model.encode(frame.to_network(loaded.rgb).to(device))
        return EncodedImage(latents, frame, loaded.valid)

    def _samples(
        self, encoded: EncodedImage, seed: int, index: int, samples: int, steps: Steps
    ) -> Iterator[torch.Tensor]:
        """One finished map after another, C×H×W float32 on the CPU at the photo's size: depth 1×H×W, normals 3×H×W."""
        frame = encoded.frame
        for decoded in self._decoded(encoded, seed, index, samples, steps, "annotation"):
            if self.model.info.task == "normal":
                yield unit(frame.from_network(decoded.clamp(-1, 1) if frame.reference else decoded)[0])
            elif frame.reference:
                yield frame.from_network((decoded / 2 + 0.5).clamp(0, 1)).mean(dim=1)
            else:
                depth = (decoded.mean(dim=1, keepdim=True) / 2 + 0.5).clamp(0, 1)
                yield frame.from_network(depth)[0].clamp(0, 1)

    def _decoded(
        self, encoded: EncodedImage, seed: int, index: int, samples: int, steps: Steps, task: str
    ) -> Iterator[torch.Tensor]:
        """One decoded sample after another, 1×3×H×W float32 on the CPU at the network's size."""
        model, latents = self.model, encoded.latents
        chunk = min(samples, self._max_batch or samples_at_once(model, encoded.frame))
        for start in range(0, samples, chunk):
            numbers = range(start, min(start + chunk, samples))
            text = "Predicting" if samples == 1 else f"Predicting sample {numbers[-1] + 1} of {samples}"
            steps.begin(text, len(numbers))
            noise = None
            if model.variant == "g":
                noise = torch.cat([draw_noise(seed, index, number, latents.shape) for number in numbers])
                noise = noise.to(latents.device)
            predicted = model(latents.expand(len(numbers), -1, -1, -1), noise, task)
            steps.begin("Decoding", len(numbers))
            decoded = model.decode(predicted).float().cpu()
            if not bool(torch.isfinite(decoded).all()):
                full = predicted.dtype == torch.float32
                cure = "its weights are damaged" if full else "load it with dtype float32"
                raise LotusError(f"{model.info.name} gave NaN or infinite values in {predicted.dtype}: {cure}.")
            yield from decoded.split(1)

    def _depth_map(self, values: torch.Tensor, encoded: EncodedImage) -> Depth:
        space = self.model.info.space
        assert space is not None  # ModelInfo lets no depth model be without
        return Depth(values[0].numpy(), cast(Space, space), encoded.valid)

    def _normal_map(self, values: torch.Tensor, encoded: EncodedImage) -> Normals:
        if encoded.valid is not None:
            values = values * torch.from_numpy(encoded.valid)  # a zero normal is an unknown one
        vectors = values.permute(1, 2, 0).contiguous().numpy()
        return Normals(vectors, cast(Convention, self.model.info.normal_convention))

    def _require_task(self, task: str) -> None:
        info = self.model.info
        if info.task != task:
            raise LotusError(f"{info.name} predicts {info.task}, not {task}: choose a model for {task}.")


def _as_list(images: ImageSource | Sequence[ImageSource]) -> list[ImageSource] | None:
    """The images of a list or of an array with a batch axis; None for a single image."""
    if isinstance(images, list | tuple):
        return list(images)
    if isinstance(images, np.ndarray | torch.Tensor) and images.ndim == 4:
        return list(images)
    return None


def _device_of(model: LotusModel) -> torch.device:
    return next(model.unet.parameters()).device
