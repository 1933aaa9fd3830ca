"""From a photo to its latents: what all maps of one photo share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from .errors import LotusError
from .framing import Frame
from .images import LoadedImage, load_image
from .model import Decoder, LotusModel, device_of


@dataclass(frozen=True)
class EncodedImage:
    """An encoded photo. Every method of LotusPredictor takes it as an image, so one encoding serves many maps.

    latents: scaled image latents 1×C×h×w. frame: how the photo lies in them. valid: bool H×W or None.
    """

    latents: torch.Tensor
    frame: Frame
    valid: np.ndarray | None


ImageSource = str | os.PathLike[str] | Image.Image | np.ndarray | torch.Tensor | LoadedImage | EncodedImage


def encode_image(
    model: LotusModel, image: ImageSource, resolution: int | None, reference: bool, encoder: Decoder = "exact"
) -> EncodedImage:
    """Encode one image at `resolution` (see LotusPredictor); an EncodedImage only changes its device.

    Raises LotusError for unusable images and for what another autoencoder encoded.
    """
    if isinstance(image, EncodedImage):
        if image.latents.shape[1] != model.latent_channels:
            raise LotusError("The encoded image comes from another autoencoder: encode it with this model.")
        return EncodedImage(image.latents.to(device_of(model)), image.frame, image.valid)
    loaded = load_image(image)
    height, width = loaded.rgb.shape[:2]
    longest = model.info.resolution if resolution is None else resolution
    multiple = model.latent_factor if reference else model.multiple
    frame = Frame.of(height, width, longest, multiple, reference)
    latents = model.encode(frame.to_network(loaded.rgb).to(device_of(model)), encoder=encoder)
    return EncodedImage(latents, frame, loaded.valid)


def as_list(images: ImageSource | Sequence[ImageSource]) -> list[ImageSource] | None:
    """The images of a list or of an array with a batch axis; None for a single image."""
    if isinstance(images, list | tuple):
        return list(images)
    if isinstance(images, np.ndarray | torch.Tensor) and images.ndim == 4:
        return list(images)
    return None
