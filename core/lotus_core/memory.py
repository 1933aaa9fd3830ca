"""How much memory a prediction takes, how it takes less, and what happens when there is not enough."""

from __future__ import annotations

import gc
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from diffusers import AutoencoderTiny
from diffusers.models.attention import BasicTransformerBlock

from .errors import LotusError
from .framing import Frame
from .progress import came_from_callback
from .strips import STRIP
from .turns import turn

if TYPE_CHECKING:
    from .model import Decoder, LotusModel

Memory = Literal["auto", "least"]
"""auto: the autoencoder in strips where an image is large, the rest at full speed. least: all in small pieces."""
Strips = Literal["none", "strips", "lean"]
"""How an image passes the autoencoder: in one piece, in strips, or in strips that hold less and compute more."""

STRIPS_ABOVE = 1024 * 1024  # pixels; larger images pass the autoencoder in strips
LEAN_ABOVE = 1536 * 1536  # pixels; above them a quarter more arithmetic halves what the strips hold

# What is alive at once, in feature maps as wide as the first block (counted on the meta device, 512² to 4096²).
_UNET_MAPS, _UNET_LEAST_MAPS = 26.5, 14.5
_PLAIN_ENCODER_MAPS, _PLAIN_DECODER_MAPS = 5.1, 6.1
_STRIP_MAPS, _LEAN_MAPS = 2.1, 1.1
_TINY_MAPS = 4.5
_WORKING_STRIPS = 12  # strips in flight: normalised, convolved, reordered by the convolution's kernels
AT_ONCE = 8192  # latents' pixels of samples that pass the U-Net together: more are no faster, and cannot be cancelled
MORE_MEMORY = 0.05
_SPARE = 1.15  # allocators round up and keep some
NOT_ENOUGH = "There is not enough memory for this image: choose a lower resolution, or tiles of 768 pixels."

Result = TypeVar("Result")
MakeRoom = Callable[[], str | None]
"""What a host does where memory ran out, and a sentence that says so; None where there was nothing to be done."""


class MemoryNotice(UserWarning):
    """Something was done differently because memory ran out."""


def strips_for(memory: Memory, pixels: int) -> Strips:
    """How an image of so many pixels passes the autoencoder."""
    if memory == "least" or pixels > LEAN_ABOVE:
        return "lean"
    return "strips" if pixels > STRIPS_ABOVE else "none"


def estimate_bytes(
    model: LotusModel,
    height: int,
    width: int,
    samples: int = 1,
    *,
    resolution: int | None = None,
    tile: int | None = None,
    decoder: Decoder = "exact",
    at_once: int = 1,
    memory: Memory = "auto",
) -> int:
    """Bytes that predicting a map of a height×width photo needs on the model's device, beside its weights.

    The largest of encoding, the U-Net and decoding: what one holds is gone before the next begins. `samples` cost
    nothing, because they run one after another; `at_once` is the predictor's `max_batch`. `resolution`, `tile` and
    `decoder` are those of the prediction. Within 35 % of measured peaks, and rather above than below them.
    """
    own, batch = model.info.resolution, min(at_once, samples)
    longest = own if resolution is None else resolution
    worked_on = resolution or max(height, width)
    whole = Frame.of(height, width, own if tile and worked_on > own else longest, model.multiple)
    needed = network_bytes(model, whole.padded_height, whole.padded_width, batch, decoder, memory)
    if tile and worked_on > own:
        edges = (min(tile, round(size * worked_on / max(height, width))) for size in (height, width))
        tall, wide = (-(-edge // model.multiple) * model.multiple for edge in edges)
        needed = max(needed, network_bytes(model, tall, wide, 1, decoder, memory))
    return needed


def network_bytes(
    model: LotusModel,
    height: int,
    width: int,
    batch: int = 1,
    decoder: Decoder = "exact",
    memory: Memory = "auto",
) -> int:
    """The same for a network input of batch×3×height×width, the sizes being multiples of `model.multiple`."""
    pixels = height * width
    size = next(model.unet.parameters()).element_size()
    tokens = pixels // model.latent_factor**2
    maps = _UNET_LEAST_MAPS if memory == "least" else _UNET_MAPS
    unet = maps * tokens * int(model.unet.config.block_out_channels[0]) * size * batch
    how = strips_for(memory, pixels)
    encoding, _ = _autoencoder_bytes(model.vae, pixels, how)
    fast = model.fast_vae if decoder == "fast" and model.fast_vae is not None else model.vae
    _, decoding = _autoencoder_bytes(fast, pixels, how)
    pictures = 4 * pixels * 3 * 3  # float32: the image, its normalised copy, a map
    return int(_SPARE * max(encoding, unet, decoding) + pictures)


def samples_at_once(model: LotusModel, latents: torch.Tensor, decoder: Decoder, encoder: Decoder) -> int:
    """How many samples of an image with these latents 1×C×h×w pass the U-Net together, which small images gain by.

    Beside what encoding the image or decoding one sample needs, they take at most MORE_MEMORY of the weights' own.
    """
    if model.memory == "least":
        return 1
    tokens = latents.shape[2] * latents.shape[3]
    pixels = tokens * model.latent_factor**2
    how = strips_for(model.memory, pixels)
    ends = (model.vae if end == "exact" or model.fast_vae is None else model.fast_vae for end in (encoder, decoder))
    (encoding, _), (_, decoding) = (_autoencoder_bytes(vae, pixels, how) for vae in ends)
    one = _UNET_MAPS * tokens * int(model.unet.config.block_out_channels[0]) * latents.element_size()
    room = max(encoding, decoding) + MORE_MEMORY * weight_bytes(model)
    return max(1, min(AT_ONCE // tokens, int(room / one)))


def _autoencoder_bytes(vae: Any, pixels: int, how: Strips) -> tuple[float, float]:
    """Of encoding one image and of decoding one map."""
    size = next(vae.parameters()).element_size()
    if isinstance(vae, AutoencoderTiny):
        one = pixels * int(vae.config.decoder_block_out_channels[0]) * size * _TINY_MAPS
        return (one, one) if how == "none" else (one / 2, one / 2)
    one = pixels * int(vae.config.block_out_channels[0]) * size
    if how == "none":
        return one * _PLAIN_ENCODER_MAPS, one * _PLAIN_DECODER_MAPS
    maps = one * (_LEAN_MAPS if how == "lean" else _STRIP_MAPS) + STRIP * size * _WORKING_STRIPS
    return maps, maps


def weight_bytes(model: LotusModel) -> int:
    """Bytes of the model's weights and constants."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())


@contextmanager
def chunked_feed_forward(unet: Any, tokens: int) -> Iterator[None]:
    """The transformer blocks' widest layers, 8 numbers for one of their input, a part of the `tokens` at a time.

    tokens: of the U-Net's input. The chunk is what the lowest level has of them, which divides every level's.
    """
    blocks = [part for part in unet.modules() if isinstance(part, BasicTransformerBlock)]
    chunk = max(1, tokens // 4 ** (len(unet.config.block_out_channels) - 1))
    for block in blocks:
        block.set_chunk_feed_forward(chunk, dim=1)
    try:
        yield
    finally:
        for block in blocks:
            block.set_chunk_feed_forward(None)


# The last is oneDNN's, without room for its own buffers or code; "… descriptor" would be a layer that it cannot do.
_SHORT_OF_MEMORY = re.compile(
    "can't allocate memory|out of memory|Invalid buffer size|could not create a primitive(?! descriptor)"
)


def ran_out(error: BaseException) -> bool:
    """Whether an exception says that the CPU's or the device's memory was not enough."""
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and _SHORT_OF_MEMORY.search(str(error)) is not None
    )


def take_less(model: LotusModel) -> None:
    """Everything in small pieces from now on; on a GPU, the weights too leave it while they are not needed."""
    with turn(model):
        model.memory = "least"
        if model.prompt_embeds.device.type != "cpu" and not model.compiled:
            model.offload()


def with_retry(
    model: LotusModel,
    work: Callable[[], Result],
    notes: list[str],
    make_room: MakeRoom,
    fewer: Callable[[], str | None] = lambda: None,
) -> Result:
    """`work()`; where memory runs out, again after `make_room()`, which is asked once, and after each `fewer()` that
    say what they did about it, and at last with less of everything (`take_less`), which stays.

    `notes` receives a sentence about each, which is also a MemoryNotice. Raises LotusError when nothing helps.
    """
    while True:
        try:
            return work()
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error) or came_from_callback(error):
                raise
        # Not inside `except`: until here the error's traceback kept the failed attempt's tensors alive.
        note, make_room = make_room(), no_room
        if note is None and model.memory == "least":
            raise LotusError(NOT_ENOUGH)
        note = note or fewer()
        if note is None:
            take_less(model)
            note = "Memory ran out; the prediction was repeated in smaller pieces, which takes longer."
        free_caches()
        notes.append(note)
        warnings.warn(MemoryNotice(note), stacklevel=2)


def no_room() -> None:
    """The MakeRoom of those who hold nothing else."""


@contextmanager
def memory_as_lotus_error(advice: str = NOT_ENOUGH) -> Iterator[None]:
    """Say how to get by with less where memory runs out, on the CPU or a GPU: `advice`, as a LotusError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        raise LotusError(advice) from None


def free_caches() -> None:
    """Give back what allocators keep for later."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
