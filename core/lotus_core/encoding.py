"""From a photo to its latents: what all maps of one photo share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args
from weakref import WeakKeyDictionary

import numpy as np
import torch
from PIL import Image

from .arguments import check_choice, check_flag, check_whole
from .encoded import Encoded, EncodedImage, EncodedPair, EncodedTiles
from .errors import LotusError
from .framing import MAX_NETWORK_PIXELS, Frame
from .images import MAX_PIXELS, LoadedImage, load_image
from .model import Decoder, LotusModel, device_of
from .progress import Steps
from .tiling import Grid

ImageSource = str | os.PathLike[str] | Image.Image | np.ndarray | torch.Tensor | LoadedImage | Encoded


@dataclass(frozen=True)
class EncodingOptions:
    """How the network is to see a photo; LotusPredictor tells what each means.

    Raises LotusError for values that are none, and tiles or mirror images together with `reference`.
    """

    resolution: int | None = None
    reference: bool = False
    tile: int | None = None
    mirror: bool = False
    encoder: Decoder = "exact"

    def __post_init__(self) -> None:
        for name, edge in (("resolution", self.resolution), ("tile", self.tile)):
            if edge is not None:
                check_whole(name, edge)
        check_flag("reference", self.reference)
        check_flag("mirror", self.mirror)
        check_choice("encoder", self.encoder, get_args(Decoder))
        if self.reference and (self.tile or self.mirror):
            asked = "tiles" if self.tile else "mirror images"
            raise LotusError(f"The original code knows no {asked}: choose them or its arithmetic (reference).")


def encode(model: LotusModel, image: ImageSource, options: EncodingOptions, steps: Steps, samples: int = 1) -> Encoded:
    """Encode one image; what is encoded already only changes its device.

    Begins a step for the image and for each tile. `steps` counts 1 + 2 · `samples` for an image (1 where they are 0);
    what tiles and the mirror image take on top is announced. Raises LotusError for unusable images, tiles that are too
    small or too large, and for what another autoencoder encoded, or what was encoded without the tiles or the mirror
    image that `options` ask for.
    """
    if options.tile:
        _check_tile(model, options.tile)
    if isinstance(image, EncodedImage | EncodedTiles | EncodedPair):
        return _known(model, image, options, steps, samples)
    loaded = load_image(image)
    layout = _tiles(model, loaded.rgb.shape[:2], options)
    tiles = 0 if layout is None else len(layout[1].corners())
    steps.more(_on_top(options.mirror, tiles, 1, samples))
    plain = _encode(model, loaded, options, layout, steps)
    # Only now, and kept nowhere: the mirrored copy of a large photo takes as much memory as the photo.
    return EncodedPair(plain, _encode(model, loaded.mirrored(), options, layout, steps)) if options.mirror else plain


def _known(model: LotusModel, encoded: Encoded, options: EncodingOptions, steps: Steps, samples: int) -> Encoded:
    """An encoded image on the model's device, once it is sure to be what was asked for."""
    pair = isinstance(encoded, EncodedPair)
    plain = encoded.plain if isinstance(encoded, EncodedPair) else encoded
    if options.mirror and not pair:
        raise LotusError("This image was encoded without its mirror image: encode it so, encode(image, mirror=True).")
    size = (plain.frame.height, plain.frame.width)
    if isinstance(plain, EncodedImage) and _tiles(model, size, options) is not None:
        raise LotusError("This image was encoded without tiles: encode it with them, encode(image, tile=...).")
    maker = encoded.whole.encoder
    others = maker is not None and maker not in (encoder_digest(model), encoder_digest(model, "fast"))
    if encoded.whole.latents.shape[1] != model.latent_channels or others:
        raise LotusError("The encoded image comes from another autoencoder: encode it with this model.")
    tiles = len(plain.tiles) if isinstance(plain, EncodedTiles) else 0
    steps.more(_on_top(pair, tiles, 0, samples))
    steps.begin("Encoding")
    return encoded.to(device_of(model))


def _on_top(pair: bool, tiles: int, encodings: int, samples: int) -> int:
    """Steps beyond those of one image: for its mirror image, and for the tiles of each. encodings: 1, 0 if known."""
    return pair * (encodings + 2 * samples) + (1 + pair) * tiles * (encodings + samples)


def _check_tile(model: LotusModel, tile: int) -> None:
    if tile < 2 * model.multiple:
        raise LotusError(f"A tile is at least {2 * model.multiple} pixels large for {model.info.name}, not {tile}.")
    if _edge(model, tile) ** 2 > MAX_NETWORK_PIXELS:
        raise LotusError(
            f"Tiles of {_edge(model, tile):,} pixels are too large: the network takes {MAX_NETWORK_PIXELS:,} in all."
        )


def _edge(model: LotusModel, tile: int) -> int:
    return -(-tile // model.multiple) * model.multiple


def _tiles(model: LotusModel, size: tuple[int, ...], options: EncodingOptions) -> tuple[Frame, Grid] | None:
    """How an image of this size lies under its tiles, and where they are; None where the whole shows all there is."""
    if not options.tile:
        return None
    height, width = size
    longest = options.resolution or max(height, width)
    if longest <= model.info.resolution:
        return None
    frame = Frame.of(height, width, longest, model.multiple, limit=MAX_PIXELS)
    tile = _edge(model, options.tile)
    return frame, Grid.of(frame.padded_height, frame.padded_width, tile, model.latent_factor)


def _encode(
    model: LotusModel, loaded: LoadedImage, options: EncodingOptions, layout: tuple[Frame, Grid] | None, steps: Steps
) -> EncodedImage | EncodedTiles:
    steps.begin("Encoding")
    if layout is None:
        return _whole(model, loaded, options)
    frame, grid = layout
    whole = _whole(model, loaded, replace(options, resolution=None))
    resized = frame.resized(loaded.rgb)
    tiles = []
    for number, (top, left) in enumerate(grid.corners()):
        steps.begin(f"Encoding tile {number + 1} of {len(grid.corners())}")
        window = frame.window(resized, top, left, grid.tile_height, grid.tile_width)
        tiles.append(model.encode(window.to(device_of(model)), encoder=options.encoder))
    return EncodedTiles(whole, frame, grid, tuple(tiles))


def _whole(model: LotusModel, loaded: LoadedImage, options: EncodingOptions) -> EncodedImage:
    height, width = loaded.rgb.shape[:2]
    longest = model.info.resolution if options.resolution is None else options.resolution
    multiple = model.latent_factor if options.reference else model.multiple
    frame = Frame.of(height, width, longest, multiple, options.reference)
    latents = model.encode(frame.to_network(loaded.rgb).to(device_of(model)), encoder=options.encoder)
    return EncodedImage(latents, frame, loaded.valid)


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
