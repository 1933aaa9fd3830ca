"""Noise for the generative variant, and how many samples of it fit into memory at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from .errors import LotusError
from .framing import Frame
from .model import LotusModel

CPU_MEMORY = 2 * 2**30  # bytes that samples may take outside a CUDA device
CUDA_SHARE = 4  # they may take one part in so many of a CUDA device, of which others have a share
MAX_AT_ONCE = 16  # more makes no GPU faster
LIVE_FEATURES = 7  # full-resolution feature maps alive at once at the decoder's peak; 6.1 to 6.3 were measured


def draw_noise(seed: int, index: int, sample: int, shape: Sequence[int]) -> torch.Tensor:
    """Standard normal noise, float32 on the CPU, that depends on nothing but its arguments."""
    sequence = np.random.SeedSequence(seed % 2**64, spawn_key=(index, sample))
    generator = torch.Generator("cpu").manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
    return torch.randn(tuple(shape), generator=generator)


def samples_at_once(model: LotusModel, frame: Frame) -> int:
    """How many samples of an image in `frame` to run at once.

    Depends on nothing that changes from run to run (as free memory does): a batch of another size rounds differently.
    """
    parameter = next(model.vae.parameters())
    widest = max(model.vae.config.block_out_channels[:2])
    needed = frame.padded_height * frame.padded_width * widest * LIVE_FEATURES * parameter.element_size()
    memory = CPU_MEMORY
    if parameter.device.type == "cuda":
        memory = torch.cuda.get_device_properties(parameter.device).total_memory // CUDA_SHARE
    return max(1, min(MAX_AT_ONCE, memory // needed))


@contextlib.contextmanager
def memory_as_lotus_error() -> Iterator[None]:
    """Say how to get by with less where memory runs out, on the CPU or a GPU."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        ran_out = isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)
        if not ran_out:
            raise
        raise LotusError("There is not enough memory for this image: choose a lower resolution.") from None
