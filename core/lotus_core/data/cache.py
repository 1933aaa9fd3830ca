"""Scenes rendered once and read many times: safetensors shards in one folder.

    python -m lotus_core.data.cache runs/scenes --count 8000 --height 96 --width 128 --seed 1 --workers 2

Each shard holds `image` uint8 N×3×H×W, `depth` float16 N×H×W (metres, +inf on sky), `normals` int8 N×3×H×W (127 = 1),
`valid` uint8 N×H×W and `focal_px` float32 N. Rendering is resumable: finished shards are kept.
"""

from __future__ import annotations

import argparse
import bisect
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.utils.data import Dataset
from tqdm import tqdm

from ..errors import LotusError
from .sample import Sample
from .synthetic.compose import KINDS
from .synthetic.dataset import SyntheticScenes

SHARD = 250


class SceneCache(Dataset[Sample]):
    """The rendered scenes of one folder, box-filtered to 1/`reduce` of their size; the first `count`, or all for 0.

    Raises LotusError where the folder holds no shards, or fewer scenes than `count`.
    """

    name = "cache"

    def __init__(self, folder: str | Path, reduce: int = 1, count: int = 0) -> None:
        self.reduce = reduce
        self.paths = sorted(Path(folder).glob("scenes-*.safetensors"))
        if not self.paths:
            raise LotusError(
                f"No scene shards in {folder}: render some with python -m lotus_core.data.cache {folder} --count 1000."
            )
        self._ends: list[int] = []
        for path in self.paths:
            with safe_open(path, "pt") as shard:
                self._ends.append((self._ends[-1] if self._ends else 0) + shard.get_slice("focal_px").get_shape()[0])
        if not 0 <= count <= self._ends[-1]:
            raise LotusError(f"{folder} holds {self._ends[-1]} scenes, not {count}: render more, or take fewer.")
        self._count = count or self._ends[-1]

    def __len__(self) -> int:
        return self._count

    def files(self) -> list[tuple[Path, ...]]:
        """The shards that its scenes are in."""
        return [(path,) for path in self.paths[: bisect.bisect_left(self._ends, self._count) + 1]]

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect.bisect_right(self._ends, index)
        row = index - (self._ends[number - 1] if number else 0)
        with safe_open(self.paths[number], "pt") as shard:
            one = {key: shard.get_slice(key)[row : row + 1][0] for key in shard.keys()}  # noqa: SIM118 - not a dict
        valid = one["valid"].bool()
        normals = torch.nn.functional.normalize(one["normals"].float(), dim=0) * valid
        depth = one["depth"].float()
        sample = Sample(
            image=one["image"].float() / 127.5 - 1,
            depth=depth,
            normals=normals,
            valid=valid,
            sky=torch.isinf(depth),
            focal_px=float(one["focal_px"]),
        )
        return sample if self.reduce == 1 else reduced(sample, self.reduce)


def reduced(sample: Sample, factor: int) -> Sample:
    """The sample at 1/factor of its size: mean colour, mean disparity and mean normal of each factor × factor block.

    A block is valid, or sky, only where all of it is.
    """

    def mean(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(x[None], factor)[0]

    valid = mean(sample.valid[None].float())[0] == 1
    disparity = torch.where(sample.valid, 1 / sample.depth, torch.zeros_like(sample.depth))
    sky = mean(sample.sky[None].float())[0] == 1
    depth = 1 / mean(disparity[None])[0]
    normals = torch.nn.functional.normalize(mean(sample.normals), dim=0) * valid
    return Sample(mean(sample.image), depth.masked_fill(sky, torch.inf), normals, valid, sky, sample.focal_px / factor)


def render_shard(folder: Path, scenes: SyntheticScenes, first: int, last: int) -> Path:
    """Render scenes first…last−1 into one shard, under a temporary name until it is whole."""
    path = folder / f"scenes-{first:07d}-{last:07d}.safetensors"
    if path.exists():
        return path
    samples = [scenes[i] for i in range(first, last)]
    temporary = path.with_suffix(f".tmp{os.getpid()}")
    words = {
        "seed": str(scenes.seed),
        "first": str(first),
        "textures": str(scenes.textures),
        "kinds": ",".join(scenes.kinds),
    }
    save_file(packed(samples), temporary, words)
    os.replace(temporary, path)
    return path


def packed(samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
    """The tensors of a shard. Depth keeps 11 bits, normals 0.3 degrees."""
    return {
        "image": torch.stack([((s.image + 1) * 127.5).round().to(torch.uint8) for s in samples]),
        "depth": torch.stack([s.depth.half() for s in samples]),
        "normals": torch.stack([(s.normals * 127).round().to(torch.int8) for s in samples]),
        "valid": torch.stack([s.valid.to(torch.uint8) for s in samples]),
        "focal_px": torch.tensor([s.focal_px for s in samples]),
    }


def render_cache(folder: Path, scenes: SyntheticScenes, workers: int = 1) -> None:
    """Render every scene of the data set into shards under `folder`, with a progress bar."""
    folder.mkdir(parents=True, exist_ok=True)
    firsts = range(0, len(scenes), SHARD)
    if workers <= 1:
        for first in tqdm(firsts, desc="shards", disable=None):
            render_shard(folder, scenes, first, min(first + SHARD, len(scenes)))
        return
    # One thread each: the workers are what fills the cores.
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        jobs = [pool.submit(render_shard, folder, scenes, f, min(f + SHARD, len(scenes))) for f in firsts]
        for job in tqdm(jobs, desc="shards", disable=None):
            job.result()


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description="Render synthetic scenes into shards.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--textures", default="public")
    parser.add_argument("--kinds", default=",".join(KINDS), help="of scenes, with commas between; the default is all")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    a = parser.parse_args(argv)
    kinds = tuple(a.kinds.split(","))
    render_cache(a.folder, SyntheticScenes(a.count, a.height, a.width, a.seed, a.textures, kinds), a.workers)


if __name__ == "__main__":
    main()
