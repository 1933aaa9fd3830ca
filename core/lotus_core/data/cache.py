"""Scenes rendered once and read many times: safetensors shards in one folder.

    python -m lotus_core.data.cache runs/scenes --count 8000 --height 96 --width 128 --seed 1 --workers 2

Each shard holds `image` uint8 N×3×H×W, `depth` float16 N×H×W (metres, +inf on sky), `normals` int8 N×3×H×W (127 = 1),
`valid` uint8 N×H×W and `focal_px` float32 N; its metadata say which scenes they are. Rendering is resumable: finished
shards are kept, and with a higher count the cache grows.
"""

from __future__ import annotations

import argparse
import bisect
import os
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch.utils.data import Dataset
from tqdm import tqdm

from ..checkpoints.writing import write_tensors
from ..errors import LotusError
from ..files import make_folder
from .sample import Sample
from .synthetic.compose import KINDS
from .synthetic.dataset import SyntheticScenes

SHARD = 250


class SceneCache(Dataset[Sample]):
    """The rendered scenes of one folder, box-filtered to 1/`reduce` of their size; the first `count`, or all for 0.

    Raises LotusError where the folder holds no shards, shards of different sizes or of the same scenes, or fewer scenes
    than `count`; also while reading, where a shard is damaged.
    """

    name = "cache"

    def __init__(self, folder: str | Path, reduce: int = 1, count: int = 0) -> None:
        self.reduce = reduce
        self.paths = sorted(Path(folder).glob("scenes-*.safetensors"))
        if not self.paths:
            raise LotusError(
                f"No scene shards in {folder}: render some with python -m lotus_core.data.cache {folder} --count 1000."
            )
        for smaller, larger in _doubles(self.paths):
            raise LotusError(
                f"{smaller} holds scenes that {larger.name} holds too, which would count twice: delete the former."
            )
        self._ends: list[int] = []
        sizes = set()
        for path in self.paths:
            with _opened(path) as shard:
                count_of_shard, _, *size = shard.get_slice("image").get_shape()
            self._ends.append((self._ends[-1] if self._ends else 0) + count_of_shard)
            sizes.add(tuple(size))
        if len(sizes) > 1:
            raise LotusError(f"{folder} holds scenes of different sizes: keep those of each size in their own folder.")
        height, width = sizes.pop()
        if not 1 <= reduce <= min(height, width):
            raise LotusError(
                f"reduce = {reduce} does not fit scenes of {width}×{height} pixels: it goes from 1 to the smaller edge."
            )
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
        with _opened(self.paths[number]) as shard:
            one = {key: shard.get_slice(key)[row : row + 1][0] for key in shard.keys()}  # noqa: SIM118 - not a dict
        valid = one["valid"].bool()
        normals = one["normals"].float()
        # torch's normalize takes ten times as long along the first dimension.
        normals *= normals.square().sum(0).clamp_min(1e-24).rsqrt() * valid
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


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "pt") as shard:
            yield shard
    except (OSError, SafetensorError) as error:
        raise LotusError(
            f"The scene shard {path} cannot be read ({error}): delete it and render or copy it again."
        ) from error


def _spans(paths: Sequence[Path]) -> list[tuple[int, int, Path]]:
    """First and one past the last scene of each shard, in order; shards that were named otherwise are left out."""
    named = ((re.fullmatch(r"scenes-(\d+)-(\d+)", path.stem), path) for path in paths)
    return sorted((int(match[1]), int(match[2]), path) for match, path in named if match)


def _doubles(paths: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Shards with scenes that another one holds as well: the smaller and the larger of both."""
    for (first, middle, one), (start, last, other) in pairwise(_spans(paths)):
        if start < middle:
            yield (one, other) if middle - first < last - start else (other, one)


def render_shard(folder: Path, scenes: SyntheticScenes, first: int, last: int) -> Path:
    """Render scenes first…last−1 into one shard."""
    path = folder / f"scenes-{first:07d}-{last:07d}.safetensors"
    tensors = packed([scenes[i] for i in range(first, last)])
    write_tensors(path, tensors, {**_words(scenes), "first": str(first)})
    return path


def _words(scenes: SyntheticScenes) -> dict[str, str]:
    """What decides the scenes of a shard besides their number and size, as its metadata have it."""
    return {"seed": str(scenes.seed), "textures": str(scenes.textures), "kinds": ",".join(scenes.kinds)}


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
    """Render every scene of the data set that `folder` lacks into shards there, with a progress bar.

    Raises LotusError where the folder holds other scenes, or a damaged shard.
    """
    make_folder(folder)
    present = {first: last for first, last, _ in _spans(_checked_shards(folder, scenes))}
    spans = [(first, min(first + SHARD, len(scenes))) for first in range(0, len(scenes), SHARD)]
    todo = [(first, last) for first, last in spans if present.get(first, 0) < last]
    if workers <= 1:
        for first, last in tqdm(todo, desc="shards", disable=None):
            render_shard(folder, scenes, first, last)
    else:
        # One thread each: the workers are what fills the cores.
        with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
            jobs = [pool.submit(render_shard, folder, scenes, first, last) for first, last in todo]
            for job in tqdm(jobs, desc="shards", disable=None):
                job.result()
    for smaller, _ in _doubles(_checked_shards(folder, scenes)):  # the last shard, before the cache grew
        smaller.unlink()


def _checked_shards(folder: Path, scenes: SyntheticScenes) -> list[Path]:
    """The shards of a folder. Raises LotusError where one is damaged or holds other scenes."""
    wanted = {"source": scenes.name, **_words(scenes), "size": f"{scenes.width}×{scenes.height}"}
    paths = sorted(folder.glob("scenes-*.safetensors"))
    for path in paths:
        with _opened(path) as shard:
            height, width = shard.get_slice("image").get_shape()[2:]
            found = {**(shard.metadata() or {}), "size": f"{width}×{height}"}
        for name, value in wanted.items():
            if found.get(name, value) != value:  # shards that do not say it may be the same
                raise LotusError(
                    f"{folder} holds scenes of {name} {found[name]}, not {value}: render these into another folder."
                )
    return paths


def main(argv: list[str] | None = None) -> int:
    """Command line of the module docstring; 0, or 2 after a sentence about what is wrong."""
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
    try:
        render_cache(a.folder, SyntheticScenes(a.count, a.height, a.width, a.seed, a.textures, kinds), a.workers)
    except LotusError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
