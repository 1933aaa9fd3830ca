"""One encoding of an image for all nodes of a graph: depth, normals and uncertainty see the same latents."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lotus_core import LotusModel
    from lotus_core.predict import EncodedImage

Key = tuple[str, ...]


class EncodingCache:
    """The least recently used encodings are dropped once those kept hold more than `capacity` bytes.

    Latents are kept on the CPU: at 768 pixels 150 kB a frame in float32.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._kept: OrderedDict[Key, EncodedImage] = OrderedDict()
        self._bytes = 0

    def get(self, key: Key, encode: Callable[[], EncodedImage]) -> EncodedImage:
        """The encoding kept under `key`, else what `encode` gives."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        encoded = encode()
        encoded = replace(encoded, latents=encoded.latents.cpu())
        self._kept[key] = encoded
        self._bytes += _bytes_of(encoded)
        while self._bytes > self.capacity and len(self._kept) > 1:
            self._bytes -= _bytes_of(self._kept.popitem(last=False)[1])
        return encoded

    def __len__(self) -> int:
        return len(self._kept)


ENCODINGS = EncodingCache(256 * 2**20)


def key_of(frame: np.ndarray, model: LotusModel, device: str, resolution: int | None) -> Key:
    """What an encoding depends on: the picture, the encoder's weights, and how the picture is laid out for it."""
    from lotus_core.encoding import encoder_digest

    digest = hashlib.blake2b(np.ascontiguousarray(frame).data, digest_size=16).hexdigest()
    longest = model.info.resolution if resolution is None else resolution
    layout = f"{longest} of multiples of {model.multiple}"
    return (digest, "×".join(map(str, frame.shape)), str(encoder_digest(model)), device, layout)


def _bytes_of(encoded: EncodedImage) -> int:
    mask = 0 if encoded.valid is None else encoded.valid.nbytes
    return encoded.latents.numel() * encoded.latents.element_size() + mask
