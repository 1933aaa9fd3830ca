"""Peak memory of one full-size prediction beside the weights, plain and ours, at any size, without computing it.

    python -m benchmarks.memory --sizes 512 1024 2048 4096 [--report FILE]
    python -m benchmarks.memory --seams                  # what strips change, computed in earnest at 256×256
    python -m benchmarks.memory --check 512              # the count against the process's memory, computed in earnest

The first runs on the meta device, whose tensors have shapes and no numbers, while every living tensor is counted.
What the kernels use inside themselves is not in it. "plain" is the composition of diffusers' networks as the original
code calls it; "ours" is folded, and passes the autoencoder in strips where `memory.strips_for` says so; "tiles" is one
tile, which is as large as the pass over the whole photo; the photo and its map themselves are left out.
"""

from __future__ import annotations

import argparse
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.full_size import AUTOENCODER, UNET, random_autoencoder
from benchmarks.plain import compose, latent_noise
from lotus_core import strips
from lotus_core.decoding import decode_latents
from lotus_core.measure import peak_bytes, reset_peak
from lotus_core.memory import Strips
from lotus_core.model import LotusModel
from lotus_core.model_info import ModelInfo

TILE = 768
STRIPS: tuple[Strips, ...] = ("none", "strips", "lean")
META = torch.device("meta")


class Alive(TorchDispatchMode):
    """Bytes of the tensors that operations made and that are alive, now and at most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("device") is not None:
            kwargs["device"] = META  # statistics that are summed on the CPU have no numbers to bring there
        result = func(*args, **kwargs)
        made_of = {tensor.untyped_storage()._cdata for tensor in tree_leaves(args) if isinstance(tensor, torch.Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in made_of and storage._cdata not in self._known:
                    self._add(storage)
        return result

    def _add(self, storage: Any) -> None:
        size, key = storage.nbytes(), storage._cdata
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **_: Any) -> torch.Tensor:
    """What attention leaves behind."""
    return query.new_empty(*query.shape[:-1], value.shape[-1])


@contextmanager
def counting() -> Iterator[None]:
    """Everything is made on the meta device.

    It knows no autocast, and of attention only the form that writes all scores down, which none of the kernels for CPUs
    and GPUs does.
    """
    no_autocast = mock.patch("torch.autocast", return_value=nullcontext())
    with META, no_autocast, mock.patch.object(functional, "scaled_dot_product_attention", _attention):
        yield


def peak_of(work: Callable[[], object]) -> int:
    """Most bytes alive at once that `work` made."""
    with Alive() as alive:
        work()
    return alive.peak


def networks(dtype: torch.dtype) -> tuple[UNet2DConditionModel, AutoencoderKL]:
    """Lotus-G's, on the default device."""
    unet = UNet2DConditionModel(in_channels=8, **UNET).eval().to(dtype)
    return unet, AutoencoderKL(**AUTOENCODER).eval().to(dtype)


def plain(dtype: torch.dtype) -> Callable[[int], object]:
    """As benchmarks.methods.plain, of an edge in pixels."""
    unet, vae = networks(dtype)
    prompt = torch.randn(1, 2, 1024, dtype=dtype)

    def run(edge: int) -> torch.Tensor:
        image = torch.rand(1, 3, edge, edge, dtype=dtype)
        return compose(unet, vae, prompt, image, latent_noise(image)).float().mean(1)

    return run


def ours(dtype: torch.dtype, tile: int | None = None) -> Callable[[int], object]:
    """The folded model, of an edge in pixels."""
    unet, vae = networks(torch.float32)
    info = ModelInfo("full size", "depth", "disparity")
    model = LotusModel(unet, vae, torch.randn(1, 2, 1024), info).eval().to(dtype)
    with Alive():
        model.fold()

    def run(edge: int) -> torch.Tensor:
        edge = edge if tile is None else min(edge, tile)
        latents = model.encode(torch.rand(1, 3, edge, edge))
        return model.decode(model(latents, torch.randn_like(latents)), mean=True)

    return run


@torch.no_grad()
def seams(edge: int = 256) -> str:
    """How far depth in [0, 1] is from float32 in one piece, at full size: the largest difference, and the mean."""
    vae = random_autoencoder()
    images = torch.rand(1, 3, edge, edge, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents = vae.encode(images).latent_dist.mode()
    exact = decode_latents(vae, latents, mean=True)
    lines = []
    for dtype in (torch.float32, torch.bfloat16):
        vae = vae.to(dtype)
        with mock.patch.object(strips, "STRIP", edge * 128 * 32):  # 32 rows at the picture's size: 8 strips
            for how in STRIPS:
                apart = (decode_latents(vae, latents.to(dtype), mean=True, how=how) - exact).abs() / 2
                words = "in one piece" if how == "none" else how
                lines.append(f"{dtype}, {words}: {float(apart.max()):.1e}, {float(apart.mean()):.1e}")
    return "\n".join(lines)


@torch.no_grad()
def check(edge: int) -> str:
    """Peak memory beside the weights of decoding, where every way has its peak: counted, and of this process. bfloat16.

    `strips` and `lean` are what larger images get.
    """
    diffusers_logging.set_verbosity_error()
    vae = random_autoencoder().to(torch.bfloat16)
    with META:
        counted = AutoencoderKL(**AUTOENCODER).eval().to(torch.bfloat16)
    shape = (1, 4, edge // 8, edge // 8)
    rows = ["| | counted | measured | measured ÷ counted |", "|---|---|---|---|"]
    for how in reversed(STRIPS):  # the least first: what the allocator keeps of one must not serve the next
        with counting():
            expected = peak_of(partial(decode_latents, counted, torch.randn(shape, dtype=torch.bfloat16), True, how))
        latents = torch.randn(shape, dtype=torch.bfloat16)
        reset_peak(torch.device("cpu"))
        before = peak_bytes(torch.device("cpu"))
        decode_latents(vae, latents, True, how)
        peak = peak_bytes(torch.device("cpu"))
        assert before is not None
        assert peak is not None
        found = peak - before
        words = "in one piece" if how == "none" else how
        rows.append(f"| {words} | {expected / 1e9:.2f} GB | {found / 1e9:.2f} GB | {found / expected:.2f} |")
        print(rows[-1], flush=True)
    return "\n".join([f"{edge}×{edge}, bfloat16", "", *rows])


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=(512, 1024, 2048, 4096))
    parser.add_argument("--report", type=Path, help="add the table to this Markdown file")
    parser.add_argument("--seams", action="store_true")
    parser.add_argument("--check", type=int, metavar="EDGE")
    a = parser.parse_args(argv)
    if a.seams:
        print(seams())
        return
    if a.check:
        print(check(a.check))
        return
    rows = ["| | " + " | ".join(f"{size}×{size}" for size in a.sizes) + " |", "|---" * (len(a.sizes) + 1) + "|"]
    diffusers_logging.set_verbosity_error()
    with counting(), torch.no_grad():
        for dtype in (torch.float32, torch.bfloat16):
            name = str(dtype).removeprefix("torch.")
            base = plain(dtype)
            peaks = [peak_of(partial(base, size)) for size in a.sizes]
            rows.append(f"| plain, {name} | " + " | ".join(f"{peak / 1e9:.2f} GB" for peak in peaks) + " |")
            for words, way in (("ours", ours(dtype)), (f"ours, tiles of {TILE}", ours(dtype, TILE))):
                found = [peak_of(partial(way, size)) for size in a.sizes]
                cells = (f"{one / 1e9:.2f} GB ({one / other:.2f})" for one, other in zip(found, peaks, strict=True))
                rows.append(f"| {words}, {name} (× plain) | " + " | ".join(cells) + " |")
    table = "\n".join(rows)
    print(table)
    if a.report:
        with a.report.open("a", encoding="utf-8") as file:
            file.write(f"`python -m benchmarks.memory`, gigabytes beside the weights\n\n{table}\n\n")


if __name__ == "__main__":
    main()
