"""Latents of a frozen autoencoder, computed once and kept on disk as memory-mapped float16 arrays."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import Dataset
from tqdm import tqdm

from ..files import atomic_path
from ..model import LotusModel
from .config import RunConfig
from .loss import latent_mask
from .order import Draw
from .sources import SampleItems

FLUSH_EVERY = 256
"""Samples between two flushes of a cache being filled; at most these are encoded again after a kill."""


class LatentItems(Dataset[dict[str, Any]]):
    """Draw → dict of `image`, `annotation` scaled latents C×h×w float32, `mask` 1×h×w bool, `number` int."""

    def __init__(self, caches: Sequence[dict[str, np.ndarray]]) -> None:
        self.caches = caches

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        arrays = self.caches[draw.source]
        at = (draw.item, int(draw.flip))
        return {
            "image": torch.from_numpy(arrays["image"][at].astype(np.float32)),
            "annotation": torch.from_numpy(arrays["annotation"][at].astype(np.float32)),
            "mask": torch.from_numpy(arrays["mask"][at].astype(bool)),
            "number": draw.number,
        }


@torch.no_grad()
def encode_batch(
    model: LotusModel, batch: dict[str, torch.Tensor], accelerator: Accelerator
) -> dict[str, torch.Tensor]:
    """Pictures of a collated batch → its scaled float32 latents and latent mask, on the run's device."""
    count = len(batch["image"])
    pictures = torch.cat([batch["image"], batch["annotation"]]).to(accelerator.device)
    with accelerator.autocast():
        latents = model.encode(pictures).float()
    mask = latent_mask(batch["mask"].to(accelerator.device), model.latent_factor)
    return {"image": latents[:count], "annotation": latents[count:], "mask": mask}


def cached_latents(items: SampleItems, model: LotusModel, run: RunConfig, accelerator: Accelerator) -> LatentItems:
    """Encode every sample (and its mirror image, where [data] flip is on) that is not encoded yet; open the arrays."""
    folder = Path(run.output.dir) / "latents"
    weights = _fingerprint(model)
    caches = []
    for number, (source, config) in enumerate(zip(items.sources, run.data.sources, strict=True)):
        key = {
            "source": {**asdict(config), "probability": None},
            "samples": len(source),
            "task": run.model.task,
            "space": run.model.space,
            "flip": run.data.flip,
            "autoencoder": weights,
        }
        caches.append(_fill(folder / str(number), key, number, items, model, accelerator))
    return LatentItems(caches)


def _fill(
    folder: Path, key: dict[str, Any], source: int, items: SampleItems, model: LotusModel, accelerator: Accelerator
) -> dict[str, np.ndarray]:
    record = folder / "record.json"
    key = json.loads(json.dumps(key))
    done = 0
    if record.exists():
        state = json.loads(record.read_text())
        if state["key"] == key:
            done = state["done"]
    count, flips = key["samples"], 2 if key["flip"] else 1
    if done == 0:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    height, width = (size // model.latent_factor for size in items[Draw(source, 0, False, 0)]["image"].shape[-2:])
    shape = (count, flips, model.latent_channels, height, width)
    layout: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
        "image": (np.dtype(np.float16), shape),
        "annotation": (np.dtype(np.float16), shape),
        "mask": (np.dtype(np.uint8), (count, flips, 1, height, width)),
    }
    arrays = {
        name: np.memmap(folder / f"{name}.bin", dtype=dtype, mode="r+" if done else "w+", shape=shape)
        for name, (dtype, shape) in layout.items()
    }
    for index in tqdm(range(done, count), desc="Encoding", initial=done, total=count, disable=None):
        drawn = [items[Draw(source, index, bool(mirrored), 0)] for mirrored in range(flips)]
        batch = {name: torch.stack([d[name] for d in drawn]) for name in ("image", "annotation", "mask")}
        for name, values in encode_batch(model, batch, accelerator).items():
            arrays[name][index] = values.cpu().numpy().astype(arrays[name].dtype)
        if (index + 1) % FLUSH_EVERY == 0 or index + 1 == count:
            for array in arrays.values():
                array.flush()
            _write_record(record, {"key": key, "done": index + 1})
    return {
        name: np.memmap(folder / f"{name}.bin", dtype=dtype, mode="r", shape=shape)
        for name, (dtype, shape) in layout.items()
    }


def _write_record(path: Path, value: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value))


def _fingerprint(model: LotusModel) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.vae.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
