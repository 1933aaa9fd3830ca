"""How many noise samples of an image pass the U-Net together, and fewer where memory runs out."""

from __future__ import annotations

import torch

from .arguments import check_whole
from .memory import samples_at_once
from .model import Decoder, LotusModel


class AtOnce:
    """Samples at once in one predictor.

    Args:
        most: what its user wants, at least 1 (else LotusError); None for as many as take little more memory than one.

    What `halve` left is never exceeded again, whatever the size of the images that follow.
    """

    def __init__(self, most: int | None) -> None:
        if most is not None:
            check_whole("max_batch", most, 1)
        self._most = most
        self._limit: int | None = None
        self._now = 1

    def one(self) -> None:
        """The prediction that begins has one sample, until it chooses otherwise."""
        self._now = 1

    def choose(self, model: LotusModel, latents: torch.Tensor, samples: int, decoder: Decoder, encoder: Decoder) -> int:
        """For `samples` of an image with these latents 1×C×h×w, in passes of one size."""
        most = samples_at_once(model, latents, decoder, encoder)
        if self._most is not None and model.memory != "least":
            most = self._most
        most = min(most, self._limit or most)
        self._now = -(-samples // -(-samples // most))
        return self._now

    def halve(self) -> str | None:
        """What is said about it; None where one sample ran already."""
        if self._now == 1:
            return None
        before, self._limit = self._now, self._now // 2
        self._now = 1  # where memory runs out again before the next choice, fewer samples are no help
        return f"Memory ran out; the prediction went on with {self._limit} instead of {before} samples at once."
