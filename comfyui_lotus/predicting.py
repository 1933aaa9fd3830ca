"""What LotusDepth, LotusNormal and LotusUncertainty have in common: frame by frame through one predictor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from lotus_core.errors import LotusError

from .bar import interruptible_bar, say
from .encodings import key_of
from .frames import Frames

if TYPE_CHECKING:
    import numpy as np

    from lotus_core import LotusPredictor
    from lotus_core.encoded import Encoded
    from lotus_core.progress import Progress

    from .handle import LoadedLotus

Map = TypeVar("Map")
ENCODING = 0.3  # share of a frame's time, about


@dataclass(frozen=True)
class Settings:
    """The inputs that every predicting node has; see schema.py."""

    seed: int
    resolution: int
    shared_noise: bool
    chunk_size: int
    tile: int
    decoder: str
    mirror: bool = False

    @property
    def network_resolution(self) -> int | None:
        """The core's `resolution`: None for the model's own, 0 for the image's."""
        return {0: None, -1: 0}.get(self.resolution, self.resolution)

    def arguments(self) -> dict[str, Any]:
        """Arguments of LotusPredictor's methods for encoded frames, where they differ from their defaults."""
        given: dict[str, Any] = {"seed": self.seed}
        if self.decoder != "exact":
            given["decoder"] = self.decoder
        return given


def predict_each(
    loaded: LoadedLotus,
    frames: Frames,
    settings: Settings,
    predict: Callable[..., Map],
    keep: Callable[[int, Map], None],
    samples: int = 1,
) -> None:
    """Predict a map of every frame and hand it to `keep` with the frame's number, one after the other.

    predict(predictor, image, index=…, seed=…, progress=…, decoder=…) calls one of LotusPredictor's methods for the
    encoded frame; what it notes, such as that memory ran out, is shown on the node. Raises ComfyUI's own interruption
    between two layers when the user cancels, LotusError where the model lacks the fast decoder that is asked for.
    samples: of each frame, for the estimate of memory.
    """
    if settings.decoder == "fast" and loaded.model.fast_vae is None:
        raise LotusError(
            f"{loaded.name} has no fast decoder here: put taesd_decoder.safetensors (madebyollin/taesd on Hugging Face)"
            " into models/vae_approx and press R, or set decoder to exact."
        )
    told: list[str] = []
    bar = interruptible_bar()

    def tell(notes: list[str]) -> None:
        new = [note for note in notes if note not in told]
        told.extend(new)
        if new:
            say("\n".join(told))

    estimate = partial(memory_estimate, loaded, frames, settings, samples)
    with loaded.running(estimate, settings.chunk_size) as predictor:
        tell(predictor.notes)
        for number in range(len(frames)):

            def show(fraction: float, done: int = number) -> None:
                bar((done + fraction) / len(frames), "")

            show(0)
            image = _encoded(predictor, loaded, frames.array(number), settings, lambda f, _: show(f * ENCODING))
            tell(predictor.notes)
            index = 0 if settings.shared_noise else number
            given = {"index": index, "progress": lambda f, _: show(ENCODING + f * (1 - ENCODING))}
            keep(number, predict(predictor, image, **given, **settings.arguments()))
            tell(predictor.notes)


def _encoded(
    predictor: LotusPredictor, loaded: LoadedLotus, frame: np.ndarray, settings: Settings, progress: Progress
) -> Encoded:
    """The frame's latents, from the cache where a node has made them before."""
    resolution, tile, mirror = settings.network_resolution, settings.tile, settings.mirror
    key = key_of(frame, loaded.model, str(loaded.patcher.load_device), resolution, tile, mirror)

    def encode() -> Encoded:
        return predictor.encode(frame, resolution, tile=tile, mirror=mirror, progress=progress)

    return loaded.encodings.get(key, encode)


def memory_estimate(loaded: LoadedLotus, frames: Frames, settings: Settings, samples: int) -> int:
    """Bytes that a pass takes beside the weights."""
    from lotus_core.memory import estimate_bytes

    height, width = frames.array(0).shape[:2]
    return estimate_bytes(
        loaded.model,
        height,
        width,
        samples,
        resolution=settings.network_resolution,
        tile=settings.tile or None,
        decoder=settings.decoder,  # type: ignore[arg-type]
        at_once=settings.chunk_size,
        memory=loaded.model.memory,
    )
