"""Latents of a frozen autoencoder, computed once and kept as safetensors shards.

    <folder>/source-0/latents-0000000-0000256.safetensors

A shard holds `image` and `annotation` float16 N×F×C×h×w (F = 2 where mirrored samples are drawn as well, else 1) and
`mask` N×F×1×h×w, uint8, or float16 where points have weights. Its metadata say what it was made of, so that other data,
another autoencoder or another task is noticed. A shard is there whole or not at all; those that are missing are made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from torch.utils.data import Dataset
from tqdm import tqdm

from ..checkpoints.writing import write_tensors
from ..data.fingerprint import content_fingerprint
from ..data.reading import listed
from ..errors import LotusError
from ..files import make_folder
from ..model import LotusModel
from .checks import placeless
from .config import RunConfig
from .hardware import pieces
from .masks import latent_mask
from .order import Draw
from .sources import SampleItems

SHARD = 256  # samples; what a kill costs at most


class LatentItems(Dataset[dict[str, Any]]):
    """Draw → dict of `image`, `annotation` scaled latents C×h×w float32, `mask` 1×h×w float32, `number` int.

    With `pictures` also `truth` 3×H×W and `weight` H×W, as `truth_of` makes them.
    """

    def __init__(self, shards: Sequence[Sequence[Path]], pictures: SampleItems | None = None) -> None:
        """shards: those of each source, in order. pictures: the samples that they were made of."""
        self.shards = shards
        self.pictures = pictures.as_rendered() if pictures else None
        self._open: dict[Path, Any] = {}

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        number, row = divmod(draw.item, SHARD)
        path = self.shards[draw.source][number]
        flip = int(draw.flip)
        try:
            if path not in self._open:
                self._open[path] = safe_open(path, "pt")
            shard = self._open[path]
            one = {
                name: shard.get_slice(name)[row : row + 1, flip : flip + 1][0, 0]
                for name in ("image", "annotation", "mask")
            }
        except (OSError, SafetensorError) as error:
            raise _damaged(path, error) from error
        return {
            "image": one["image"].float(),
            "annotation": one["annotation"].float(),
            "mask": one["mask"].float(),
            "number": draw.number,
            **(truth_of(self.pictures[draw]) if self.pictures else {}),
        }

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # a reading process opens its own


def truth_of(pictures: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`truth`, the annotation, `weight` float32, the mask without the sky, and `horizon` where there is one, of a
    sample's or a batch's pictures."""
    truth = {"truth": pictures["annotation"], "weight": pictures["mask"].float() * pictures["valid"]}
    return truth | ({"horizon": pictures["horizon"]} if "horizon" in pictures else {})


@torch.no_grad()
def encode_batch(
    model: LotusModel, batch: dict[str, torch.Tensor], accelerator: Accelerator
) -> dict[str, torch.Tensor]:
    """Pictures of a collated batch → its scaled float32 latents and latent mask, on the run's device."""
    count = len(batch["image"])
    pictures = torch.cat([batch["image"], batch["annotation"]]).to(accelerator.device)
    with accelerator.autocast():
        latents = torch.cat([model.encode(part).float() for part in pieces(pictures)])
    mask = latent_mask(batch["mask"].to(accelerator.device), model.latent_factor)
    return {"image": latents[:count], "annotation": latents[count:], "mask": mask}


def cached_latents(items: SampleItems, model: LotusModel, run: RunConfig, accelerator: Accelerator) -> LatentItems:
    """The latents of every sample (and its mirror image, where [data] flip is on): those of [data] latents, or of the
    run's own folder, where those that are missing or damaged are made first.

    Raises LotusError where [data] latents lacks some, has damaged ones, or was made of something else.
    """
    keys = source_keys(items, model, run)
    folder = Path(run.data.latents or Path(run.output.dir) / "latents")
    shards = [
        [folder / shard_name(source, first, last) for first, last in shard_spans(len(items.sources[source]))]
        for source in range(len(keys))
    ]
    missing = [path for paths in shards for path in paths if not path.is_file()]
    if missing and run.data.latents:
        raise LotusError(
            f"Latents are missing: {listed(missing, 3)}: make them with lotus batch CONFIG {folder} --task latents."
        )
    todo = [
        (source, first, last, path)
        for source, paths in enumerate(shards)
        for (first, last), path in zip(shard_spans(len(items.sources[source])), paths, strict=True)
        if not path.is_file() or (not run.data.latents and not _made_of(path, keys[source], damaged_too=True))
    ]
    for source, first, last, path in tqdm(todo, desc="Encoding", unit="shard", disable=None):
        make_folder(path.parent)
        write_shard(path, keys[source], encoded_samples(items, model, accelerator, source, first, last, run.data.flip))
    for source, paths in enumerate(shards):
        for path in paths:
            if not _made_of(path, keys[source]):
                raise LotusError(
                    f"{path} was made of other data, for another task, by another autoencoder than this run's or by an"
                    " older version: make the latents anew in another folder."
                )
    return LatentItems(shards, items if run.protocol.decoded else None)


def source_keys(items: SampleItems, model: LotusModel, run: RunConfig) -> list[str]:
    """What decides the latents of each source, as text that is the same wherever it is worked out."""
    weights = _fingerprint(model)
    return [
        json.dumps(
            {
                "source": placeless({"name": config.name, **config.args}),
                "content": content_fingerprint(source),
                "samples": len(source),
                "task": run.model.task,
                "space": run.model.space,
                "flip": run.data.flip,
                "autoencoder": weights,
                **({"far_weight": items.far_weight} if items.far_weight else {}),
            },
            sort_keys=True,
        )
        for source, config in zip(items.sources, run.data.sources, strict=True)
    ]


def shard_spans(count: int) -> list[tuple[int, int]]:
    """First and one past the last sample of each shard of a source of `count`."""
    return [(first, min(first + SHARD, count)) for first in range(0, count, SHARD)]


def shard_name(source: int, first: int, last: int) -> str:
    """Path of a shard below the latents' folder."""
    return f"source-{source}/latents-{first:07d}-{last:07d}.safetensors"


def encoded_samples(
    items: SampleItems, model: LotusModel, accelerator: Accelerator, source: int, first: int, last: int, flip: bool
) -> Iterator[dict[str, torch.Tensor]]:
    """Samples first … last − 1 of a source, each with its mirror image where `flip`, as a shard keeps them: F×…"""
    for index in range(first, last):
        drawn = [items[Draw(source, index, mirrored, 0)] for mirrored in ((False, True) if flip else (False,))]
        batch = {name: torch.stack([d[name] for d in drawn]) for name in ("image", "annotation", "mask")}
        latents = encode_batch(model, batch, accelerator)
        yield {
            "image": latents["image"].half().cpu(),
            "annotation": latents["annotation"].half().cpu(),
            "mask": latents["mask"].to(torch.float16 if items.far_weight else torch.uint8).cpu(),
        }


def write_shard(path: Path, key: str, samples: Iterator[dict[str, torch.Tensor]]) -> None:
    """Write a shard, whole or not at all. Raises LotusError."""
    write_tensors(path, stacked(samples), {"key": key})


def stacked(samples: Iterator[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Samples F×… as the tensors of a shard, N×F×…"""
    columns: dict[str, list[torch.Tensor]] = {}
    for sample in samples:
        for name, values in sample.items():
            columns.setdefault(name, []).append(values)
    # The autoencoder's channels may come last in memory; a file has one order.
    return {name: torch.stack(rows).contiguous(memory_format=torch.contiguous_format) for name, rows in columns.items()}


def _made_of(path: Path, key: str, damaged_too: bool = False) -> bool:
    """Whether a shard was made of what `key` says. Raises LotusError where it is damaged, or says no (damaged_too)."""
    try:
        with safe_open(path, "pt") as shard:
            known = json.loads((shard.metadata() or {}).get("key", "{}"))
    except (OSError, ValueError, SafetensorError) as error:
        if damaged_too:
            return False
        raise _damaged(path, error) from error
    if "source" in known:  # older versions kept the places
        known["source"] = placeless(known["source"])
    return bool(known == json.loads(key))


def _damaged(path: Path, error: Exception) -> LotusError:
    return LotusError(f"The latents {path} cannot be read ({error}): delete the file and make it anew.")


def _fingerprint(model: LotusModel) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.vae.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
