"""From photos to maps: one U-Net step between an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar, cast, overload

import numpy as np
import torch

from .arguments import check_whole
from .at_once import AtOnce
from .encoded import Encoded, EncodedImage, EncodedPair, EncodedTiles
from .encoding import EncodingOptions, ImageSource, as_list, encode, encoder_digest
from .errors import LotusError
from .fast_decoder import centre, decoder_psnr
from .finishing import depth_map, finished, normal_map, uncertainty_map, with_mirrored
from .maps import Depth, Normals, Uncertainty
from .memory import MakeRoom, no_room, with_retry
from .model import Decoder, LotusModel
from .progress import Cancel, Progress, Steps, part
from .sampling import Draws, NoiseSource, decoded_samples, draw_noise, tiled_samples

Map = TypeVar("Map")


OneOrMany = Any  # one map for one image, a list of maps for a list of images or an array with a batch axis


class LotusPredictor:
    """Predicts maps with one model.

    Args:
        model: on its device, in its precision.
        progress, cancel: used by every call that brings none of its own. Cancel is polled between the network's parts.
        max_batch: noise samples that `uncertainty` runs through the U-Net at once. None: as many as take little more
            memory than one (`memory.samples_at_once`).
        make_room: called where memory ran out, before anything is done in smaller pieces; a host that holds other
            models unloads them there, and returns a sentence about it.

    `depth`, `normal`, `uncertainty` and `reconstruct` share these arguments:
        images: a path, PIL image, array, tensor or what `encode` gave; or a list of them, or an array with a batch
            axis. What is encoded already keeps its resolution, tile, mirror, reference and encoder.
        resolution: longest edge that the network sees, None for the checkpoint's own, 0 for the image's own size.
        tile: edge of tiles, in pixels, for detail in large images and memory that does not grow with them (not in
            `reconstruct`); None or 0 for none. The network sees the whole image at the checkpoint's own resolution, and
            tiles of it at `resolution` (None: the image's own size), which overlap by a quarter; each tile is fitted to
            the whole (`tiling`). An image that is not larger than the checkpoint's own resolution needs no tiles and
            gets none. LotusError for tiles below two of `LotusModel.multiple`, and together with `reference`.
        mirror: predict the image with left and right swapped as well, and take the mean of both maps (not in
            `reconstruct`): fewer errors in twice the time, as is usual where depth is evaluated (Bhat et al., AdaBins,
            arXiv 2011.14141). Both see the same noise, which so falls on other places of the scene. LotusError
            together with `reference`.
        seed, index: image number i of a list draws its noise from (seed, index + i), on the CPU, so the result does not
            depend on the rest of the list, nor the noise on the device. Images pass the network one at a time:
            a list gives to the bit what its images give alone.
        reference: the original code's arithmetic, for comparison: size truncated, no padding, nearest on the way back,
            every channel clamped.
        decoder, encoder: "exact" is the checkpoint's own autoencoder; "fast" the small one that the model was loaded
            with (`load_model(fast_decoder=...)`), which LotusError asks for where there is none.

    They raise LotusError for unusable images and arguments, and Cancelled. Threads may share a model, and a predictor
    too, of which `notes` is then that of the last call: one at a time is in the network (`turns`).

    Where memory runs out, an image is predicted again with half as many samples at once, down to one, then in smaller
    pieces, which the model keeps to (`memory.with_retry`); LotusError where that does not help.

    Attributes:
        notes: sentences about the last call that its caller should know, such as that memory ran out.
        fast_decoder_psnr: what the fast decoder costs in quality: PSNR in dB of its map against the exact decoder's,
            over the range of the map, on the centre of the first map that was decoded fast. None before.
        noise: where the noise comes from; what predicts videos puts noise there that belongs from frame to frame.
    """

    def __init__(
        self,
        model: LotusModel,
        *,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        max_batch: int | None = None,
        make_room: MakeRoom = no_room,
    ) -> None:
        self.model = model
        self._make_room = make_room
        self._progress = progress
        self._cancel = cancel
        self._at_once = AtOnce(max_batch)
        self.fast_decoder_psnr: float | None = None
        self.notes: list[str] = []
        self.noise: NoiseSource = draw_noise

    def depth(
        self,
        images: ImageSource | Sequence[ImageSource],
        resolution: int | None = None,
        seed: int = 0,
        reference: bool = False,
        *,
        index: int = 0,
        tile: int | None = None,
        mirror: bool = False,
        decoder: Decoder = "exact",
        encoder: Decoder = "exact",
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> OneOrMany:
        """Depth in [0, 1] of each image, at its own size, in the checkpoint's space; transparent pixels not valid."""
        self._require_task("depth")
        options = EncodingOptions(resolution, reference, tile, mirror, encoder)

        def predict(image: ImageSource, number: int, steps: Steps) -> Depth:
            encoded = encode(self.model, image, options, steps)
            draws = Draws(seed, number, source=self.noise)
            values = next(self._samples(encoded, draws, decoder, steps))
            return depth_map(self.model.info, values, encoded.valid)

        return self._each(images, predict, index, 3, progress, cancel)

    def normal(
        self,
        images: ImageSource | Sequence[ImageSource],
        resolution: int | None = None,
        seed: int = 0,
        reference: bool = False,
        *,
        index: int = 0,
        tile: int | None = None,
        mirror: bool = False,
        decoder: Decoder = "exact",
        encoder: Decoder = "exact",
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> OneOrMany:
        """Unit Normals of each image, at its own size; where the network gives none they face the camera."""
        self._require_task("normal")
        options = EncodingOptions(resolution, reference, tile, mirror, encoder)

        def predict(image: ImageSource, number: int, steps: Steps) -> Normals:
            encoded = encode(self.model, image, options, steps)
            draws = Draws(seed, number, source=self.noise)
            values = next(self._samples(encoded, draws, decoder, steps))
            return normal_map(self.model.info, values, encoded.valid)

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
        tile: int | None = None,
        mirror: bool = False,
        decoder: Decoder = "exact",
        encoder: Decoder = "exact",
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> OneOrMany:
        """How much each pixel depends on the noise, over `samples` draws of Lotus-G; and the mean map.

        Depth: standard deviation (of the population: divided by N) in units of `Depth.values`, after each sample was
        given the mean and the deviation of the first: depth is known up to scale and shift, so samples that differ in
        no more agree (Marigold aligns its ensembles so, arXiv 2312.02145). With `mirror` each sample is the mean of two
        maps, so the deviation is smaller. Normals: mean angle, in degrees, to the mean
        direction; for it the samples are kept until the mean is known, beyond 64 MiB of them in a temporary file.
        Memory does not grow with `samples`. The first has the noise of `depth` and `normal` for that seed and index.

        Raises LotusError for Lotus-D and for fewer than 2 samples.
        """
        if self.model.variant != "g":
            raise LotusError(
                f"{self.model.info.name} is a Lotus-D model, which takes no noise and always answers the same, so it"
                " has no uncertainty: use a Lotus-G model."
            )
        check_whole("samples", samples)
        if samples < 2:
            raise LotusError(f"Uncertainty needs at least 2 samples, not {samples}.")
        options = EncodingOptions(resolution, reference, tile, mirror, encoder)

        def predict(image: ImageSource, number: int, steps: Steps) -> Uncertainty:
            encoded = encode(self.model, image, options, steps, samples)
            at_once = self._at_once.choose(self.model, encoded.whole.latents, samples, decoder, encoder)
            draws = Draws(seed, number, samples, at_once, self.noise)
            maps = self._samples(encoded, draws, decoder, steps)
            return uncertainty_map(self.model.info, maps, samples, encoded.valid)

        return self._each(images, predict, index, 1 + 2 * samples, progress, cancel)

    def reconstruct(
        self,
        images: ImageSource | Sequence[ImageSource],
        resolution: int | None = None,
        seed: int = 0,
        reference: bool = False,
        *,
        index: int = 0,
        decoder: Decoder = "exact",
        encoder: Decoder = "exact",
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> OneOrMany:
        """The image itself as the detail preserver's task gives it back: float32 H×W×3 RGB in [0, 1]."""
        options = EncodingOptions(resolution, reference, encoder=encoder)

        def predict(image: ImageSource, number: int, steps: Steps) -> np.ndarray:
            encoded = encode(self.model, image, options, steps)
            if not isinstance(encoded, EncodedImage):
                asked = "in tiles" if isinstance(encoded, EncodedTiles) else "with its mirror image"
                raise LotusError(f"An image encoded {asked} cannot be reconstructed: encode it without.")
            draws = Draws(seed, number, source=self.noise)
            decoded = next(decoded_samples(self.model, encoded, draws, steps, "reconstruct", decoder))
            picture = encoded.frame.from_network((decoded / 2 + 0.5).clamp(0, 1)).clamp(0, 1)
            return picture[0].permute(1, 2, 0).contiguous().numpy()

        return self._each(images, predict, index, 3, progress, cancel)

    @overload
    def encode(
        self, image: ImageSource, resolution: int | None = ..., reference: bool = ..., *, encoder: Decoder = ...
    ) -> EncodedImage: ...

    @overload
    def encode(
        self,
        image: ImageSource,
        resolution: int | None = ...,
        reference: bool = ...,
        *,
        tile: int | None = ...,
        mirror: bool = ...,
        encoder: Decoder = ...,
        progress: Progress | None = ...,
        cancel: Cancel | None = ...,
    ) -> Encoded: ...

    def encode(
        self,
        image: ImageSource,
        resolution: int | None = None,
        reference: bool = False,
        *,
        tile: int | None = None,
        mirror: bool = False,
        encoder: Decoder = "exact",
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Encoded:
        """Encode one image for several predictions; its resolution, tiles and mirror image are settled here."""
        steps = Steps(1, progress or self._progress, cancel or self._cancel)
        self.notes = []
        with torch.no_grad():
            options = EncodingOptions(resolution, reference, tile, mirror, encoder)
            work = partial(encode, self.model, image, options, steps, 0)
            encoded = with_retry(self.model, work, self.notes, self._make_room)
        steps.finish()
        return encoded if encoded.whole.encoder else encoded.signed(encoder_digest(self.model, encoder))

    def _each(
        self,
        images: ImageSource | Sequence[ImageSource],
        predict: Callable[[ImageSource, int, Steps], Map],
        index: int,
        steps_each: int,
        progress: Progress | None,
        cancel: Cancel | None,
    ) -> OneOrMany:
        many = as_list(images)
        todo = [cast(ImageSource, images)] if many is None else many
        check_whole("index", index, 0)
        progress, cancel = progress or self._progress, cancel or self._cancel
        self.notes = []
        results = []
        with torch.no_grad():
            for number, image in enumerate(todo):
                steps = Steps(steps_each, part(progress, number, len(todo)), cancel)
                work = partial(predict, image, index + number, steps)
                self._at_once.one()
                results.append(with_retry(self.model, work, self.notes, self._make_room, self._at_once.halve))
        Steps(0, progress).finish()
        return results[0] if many is None else results

    def _samples(self, encoded: Encoded, draws: Draws, decoder: Decoder, steps: Steps) -> Iterator[torch.Tensor]:
        """One finished map after another, C×H×W float32 on the CPU at the photo's size: depth 1×H×W, normals 3×H×W."""
        if isinstance(encoded, EncodedPair):
            sides = (self._samples(side, draws, decoder, steps) for side in (encoded.plain, encoded.mirrored))
            yield from (with_mirrored(self.model.info, *both) for both in zip(*sides, strict=True))
            return
        frame = encoded.frame
        one_channel = self.model.info.task == "depth" and not frame.reference
        inspect = self._compare_decoders if decoder == "fast" and self.fast_decoder_psnr is None else None
        if isinstance(encoded, EncodedTiles):
            decoded_maps = tiled_samples(self.model, encoded, draws, steps, decoder, inspect)
        else:
            decoded_maps = decoded_samples(
                self.model, encoded, draws, steps, "annotation", decoder, one_channel, inspect
            )
        yield from map(partial(finished, self.model.info, frame), decoded_maps)

    def _compare_decoders(self, latents: torch.Tensor) -> None:
        self.fast_decoder_psnr = decoder_psnr(self.model, centre(latents[:1]))

    def _require_task(self, task: str) -> None:
        info = self.model.info
        if info.task != task:
            raise LotusError(f"{info.name} predicts {info.task}, not {task}: choose a model for {task}.")
