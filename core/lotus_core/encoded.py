"""What a photo becomes before it is predicted: its latents, and how it lies in them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from .framing import Frame
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

    @property
    def whole(self) -> EncodedImage:
        """Itself: the photo as a whole, as of EncodedTiles."""
        return self

    def signed(self, encoder: str | None) -> EncodedImage:
        """With the digest of the encoder that made it."""
        return replace(self, encoder=encoder)

    def to(self, device: torch.device | str) -> EncodedImage:
        """With its latents on a device."""
        return replace(self, latents=self.latents.to(device))

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory."""
        return self.latents.nbytes + (0 if self.valid is None else self.valid.nbytes)


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

    def signed(self, encoder: str | None) -> EncodedTiles:
        """With the digest of the encoder that made it."""
        return replace(self, whole=self.whole.signed(encoder))

    def to(self, device: torch.device | str) -> EncodedTiles:
        """With its latents on a device."""
        return replace(self, whole=self.whole.to(device), tiles=tuple(tile.to(device) for tile in self.tiles))

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory."""
        return self.whole.nbytes + sum(tile.nbytes for tile in self.tiles)


@dataclass(frozen=True)
class EncodedPair:
    """A photo and its mirror image (left and right swapped), both encoded. Taken as an image as the others are.

    Its maps are the mean of what the two give (`LotusPredictor`, mirror).
    """

    plain: EncodedImage | EncodedTiles
    mirrored: EncodedImage | EncodedTiles

    @property
    def whole(self) -> EncodedImage:
        """The photo as a whole."""
        return self.plain.whole

    @property
    def valid(self) -> np.ndarray | None:
        """bool H×W or None, as of an EncodedImage."""
        return self.plain.valid

    def signed(self, encoder: str | None) -> EncodedPair:
        """With the digest of the encoder that made it."""
        return EncodedPair(self.plain.signed(encoder), self.mirrored.signed(encoder))

    def to(self, device: torch.device | str) -> EncodedPair:
        """With its latents on a device."""
        return EncodedPair(self.plain.to(device), self.mirrored.to(device))

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory."""
        return self.plain.nbytes + self.mirrored.nbytes


Encoded = EncodedImage | EncodedTiles | EncodedPair
