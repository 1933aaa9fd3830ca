"""From a photo to its latents: what all maps of one photo share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from PIL import Image

from .errors import LotusError
from .framing import MAX_NETWORK_PIXELS, Frame
from .images import MAX_PIXELS, LoadedImage, load_image
from .model import Decoder, LotusModel, device_of
from .progress import Steps
from .tiling import Grid


@dataclass(frozen=True)
class EncodedImage:
    """An encoded photo. Every method of LotusPredictor takes it as an image, so one encoding serves many maps.

    latents: scaled image latents 1×C×h×w. frame: how the photo lies in them. valid: bool H×W or None.
    encoder: `encoder_digest` of what encoded it, so that another model can tell whether it may use it.
    """

    latents: torch.Tensor
    frame: Frame
    valid: np.ndarray | None
    encoder: str | None = None


@dataclass(frozen=True)
class EncodedTiles:
    """A photo encoded as a whole and in tiles. Taken as an image wherever an EncodedImage is.

    whole: as the checkpoint likes to see it. frame: how the photo lies under the tiles. tiles: scaled latents
    1×C×h×w of every tile, in the order of `grid.corners()`, which count in pixels of the frame.
    """

    whole: EncodedImage
    frame: Frame
    grid: Grid
    tiles: tuple[torch.Tensor, ...]

    @property
    def valid(self) -> np.ndarray | None:
        """bool H×W or None, as of an EncodedImage."""
        return self.whole.valid


Encoded = EncodedImage | EncodedTiles
ImageSource = str | os.PathLike[str] | Image.Image | np.ndarray | torch.Tensor | LoadedImage | Encoded


def encode_image(
    model: LotusModel, image: ImageSource, resolution: int | None, reference: bool, encoder: Decoder = "exact"
) -> EncodedImage:
    """Encode one image at `resolution` (see LotusPredictor); an EncodedImage only changes its device.

    Raises LotusError for unusable images and for what another autoencoder encoded.
    """
    if isinstance(image, EncodedImage):
        others = image.encoder is not None and image.encoder not in (
            encoder_digest(model),
            encoder_digest(model, "fast"),
        )
        if image.latents.shape[1] != model.latent_channels or others:
            raise LotusError("The encoded image comes from another autoencoder: encode it with this model.")
        return replace(image, latents=image.latents.to(device_of(model)))
    loaded = load_image(image)
    height, width = loaded.rgb.shape[:2]
    longest = model.info.resolution if resolution is None else resolution
    multiple = model.latent_factor if reference else model.multiple
    frame = Frame.of(height, width, longest, multiple, reference)
    latents = model.encode(frame.to_network(loaded.rgb).to(device_of(model)), encoder=encoder)
    return EncodedImage(latents, frame, loaded.valid)


def encode_tiles(
    model: LotusModel,
    image: ImageSource,
    resolution: int | None,
    tile: int,
    encoder: Decoder,
    steps: Steps,
    samples: int,
) -> Encoded:
    """Encode one image as a whole and in tiles (see LotusPredictor); alone as a whole where that shows all there is.

    Begins a step, and one for each tile, and announces those of the `samples` that will be predicted. Raises LotusError
    for unusable images, tiles that are too small or too large, and for what another autoencoder encoded.
    """
    if isinstance(image, EncodedTiles):
        steps.more(samples * len(image.tiles))
        whole = encode_image(model, image.whole, None, False)
        return replace(image, whole=whole, tiles=tuple(latents.to(device_of(model)) for latents in image.tiles))
    if isinstance(image, EncodedImage):
        raise LotusError("This image was encoded without tiles: encode it with them, encode(image, tile=...).")
    multiple = model.multiple
    if tile < 2 * multiple:
        raise LotusError(f"A tile is at least {2 * multiple} pixels large for {model.info.name}, not {tile}.")
    tile = -(-tile // multiple) * multiple
    if tile * tile > MAX_NETWORK_PIXELS:
        raise LotusError(f"Tiles of {tile:,} pixels are too large: the network takes {MAX_NETWORK_PIXELS:,} in all.")
    loaded = load_image(image)
    height, width = loaded.rgb.shape[:2]
    longest = resolution or max(height, width)
    if longest <= model.info.resolution:
        steps.begin("Encoding")
        return encode_image(model, loaded, resolution, False, encoder)
    frame = Frame.of(height, width, longest, multiple, limit=MAX_PIXELS)
    grid = Grid.of(frame.padded_height, frame.padded_width, tile, model.latent_factor)
    steps.more((1 + samples) * len(grid.corners()))
    steps.begin("Encoding")
    whole = encode_image(model, loaded, None, False, encoder)
    resized = frame.resized(loaded.rgb)
    tiles = []
    for number, (top, left) in enumerate(grid.corners()):
        steps.begin(f"Encoding tile {number + 1} of {len(grid.corners())}")
        window = frame.window(resized, top, left, grid.tile_height, grid.tile_width)
        tiles.append(model.encode(window.to(device_of(model)), encoder=encoder))
    return EncodedTiles(whole, frame, grid, tuple(tiles))


def encoder_digest(model: LotusModel, encoder: Decoder = "exact") -> str | None:
    """The same for two models whose encoders are the same, to the bit: they give the same latents for a photo.

    None where the model has no such encoder. Reads the weights once (0.2 s for the 34 M of Stable Diffusion's encoder).
    """
    vae: Any = model.vae if encoder == "exact" else model.fast_vae
    if vae is None or vae.encoder is None:
        return None
    known = _DIGESTS.get(vae)
    if known is None:
        digest = hashlib.sha256(str(vae.config.scaling_factor).encode())
        parts = [vae.encoder, getattr(vae, "quant_conv", None)]
        for part in parts:
            for name, tensor in part.state_dict().items() if part is not None else ():
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        known = _DIGESTS[vae] = digest.hexdigest()
    return known


_DIGESTS: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def as_list(images: ImageSource | Sequence[ImageSource]) -> list[ImageSource] | None:
    """The images of a list or of an array with a batch axis; None for a single image."""
    if isinstance(images, list | tuple):
        return list(images)
    if isinstance(images, np.ndarray | torch.Tensor) and images.ndim == 4:
        return list(images)
    return None
