"""One encoding of an image for all nodes of a graph: depth, normals and uncertainty see the same latents."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import numpy as np

if TYPE_CHECKING:
    from lotus_core import LotusModel
    from lotus_core.encoded import Encoded

Key = tuple[str, ...]
CAPACITY = 256 * 2**20  # bytes; at 768 pixels latents take 150 kB a frame in float32


class EncodingCache:
    """The least recently used encodings are dropped once those kept hold more than `capacity` bytes, on the CPU."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self._kept: OrderedDict[Key, Encoded] = OrderedDict()
        self._bytes = 0

    def get(self, key: Key, encode: Callable[[], Encoded]) -> Encoded:
        """The encoding kept under `key`, else what `encode` gives."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        encoded = encode().to("cpu")
        self._kept[key] = encoded
        self._bytes += encoded.nbytes
        while self._bytes > self.capacity and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return encoded

    def __len__(self) -> int:
        return len(self._kept)


# Encoder → its encodings, which live as long as a model that has it: unloading frees them as well.
_CACHES: WeakValueDictionary[str, EncodingCache] = WeakValueDictionary()


def cache_for(model: LotusModel) -> EncodingCache:
    """The cache that all models with the same encoder share. Whoever asks keeps it."""
    from lotus_core.encoding import encoder_digest

    digest = str(encoder_digest(model))
    cache = _CACHES.get(digest)
    if cache is None:
        cache = _CACHES[digest] = EncodingCache()
    return cache


def key_of(frame: np.ndarray, model: LotusModel, device: str, resolution: int | None, tile: int, mirror: bool) -> Key:
    """What an encoding depends on beside the encoder: the picture, and how it is laid out for it."""
    digest = hashlib.blake2b(np.ascontiguousarray(frame).data, digest_size=16).hexdigest()
    longest = model.info.resolution if resolution is None else resolution
    # The model's own resolution counts with tiles too: the whole image is seen at it.
    layout = f"{resolution}, {model.info.resolution}, tiles of {tile}" if tile else str(longest)
    sides = "both sides" if mirror else "one side"
    return (digest, "×".join(map(str, frame.shape)), device, f"{layout}, multiples of {model.multiple}", sides)
