"""The two domains of the ablation: indoor scenes stand in for Hypersim, outdoor scenes for Virtual KITTI."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from lotus_core.data.cache import SHARD, SceneCache, packed, render_cache
from lotus_core.data.sample import Sample
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.data.synthetic.compose import FIRST_KINDS, draw_kind
from lotus_core.data.synthetic.dataset import HELD_OUT_SEED
from lotus_core.errors import LotusError
from lotus_core.files import atomic_path

DOMAINS = {"indoor": ("room", "tabletop"), "outdoor": ("street", "hills")}
SEED = 102  # of the training scenes that are rendered here
OVERSIZE = 2  # they are rendered this many times as large, and box-filtered


@dataclass(frozen=True)
class Scale:
    """How large the whole ablation is. Everything that is trained and measured follows from these numbers.

    height, width: of the pictures, in pixels. scenes, held_out: of both domains together; at most `measured` of those
    held out are measured in each. sizes: numbers of indoor scenes in Fig. 7, 0 for all. steps, batch: of every
    training. seeds, fig7_seeds: trainings of each rung, and of each cell of Fig. 7. noise_seeds, path_scenes: of Fig. 5
    and 6.
    """

    height: int = 48
    width: int = 64
    scenes: int = 1200
    held_out: int = 100
    measured: int = 30
    sizes: tuple[int, ...] = (100, 400, 0)
    batch: int = 16
    steps: int = 300
    seeds: int = 3
    fig7_seeds: int = 3
    noise_seeds: int = 6
    path_scenes: int = 8


def scenes_folder(out: Path, domain: str, held_out: bool = False) -> Path:
    """Where the scenes of a domain lie."""
    return out / "scenes" / (f"{domain}-held-out" if held_out else domain)


def make_scenes(out: Path, scale: Scale, rendered: Path | None, textures: str | None = "public") -> None:
    """Both domains, for training and held out, at the size of `scale`; what is there is kept.

    rendered: a folder that `lotus_core.data.cache` filled with `scale.scenes` or more scenes of another seed than the
        held-out one, to take the training scenes from; without it they are rendered.

    Raises LotusError where `rendered` does not hold that, or there are too few scenes to have both domains.
    """
    size = (OVERSIZE * scale.height, OVERSIZE * scale.width)
    for held_out in (False, True):
        if all((scenes_folder(out, domain, held_out) / "whole").exists() for domain in DOMAINS):
            continue
        count, seed = (scale.held_out, HELD_OUT_SEED) if held_out else (scale.scenes, SEED)
        folder = rendered if rendered and not held_out else out / "scenes" / ("all-held-out" if held_out else "all")
        if folder != rendered:
            render_cache(folder, SyntheticScenes(count, *size, seed, textures, FIRST_KINDS))
        _split(out, folder, scale, count, held_out)


def _split(out: Path, folder: Path, scale: Scale, count: int, held_out: bool) -> None:
    """Sort the first `count` scenes of a folder into the domains, at the size of `scale`."""
    sorted_scenes: dict[str, list[Sample]] = {domain: [] for domain in DOMAINS}
    for kind, scene in tqdm(_scenes(folder, scale, count), "sorting", count, disable=None):
        for domain, kinds in DOMAINS.items():
            if kind in kinds:
                sorted_scenes[domain].append(scene)
    for domain, scenes in sorted_scenes.items():
        if not scenes:
            raise LotusError(f"None of the {count} scenes of {folder} is {domain}: take more.")
        target = scenes_folder(out, domain, held_out)
        target.mkdir(parents=True, exist_ok=True)
        for first in range(0, len(scenes), SHARD):
            some = scenes[first : first + SHARD]
            with atomic_path(target / f"scenes-{first:07d}-{first + len(some):07d}.safetensors") as temporary:
                save_file(packed(some), temporary)
        (target / "whole").touch()


def _scenes(folder: Path, scale: Scale, count: int) -> Iterator[tuple[str, Sample]]:
    cache = SceneCache(folder)
    reduce = cache[0].depth.shape[0] // scale.height
    cache = SceneCache(folder, reduce=reduce, count=count)
    if cache[0].depth.shape != (scale.height, scale.width):
        raise LotusError(f"The scenes of {folder} are not a whole multiple of {scale.width}×{scale.height} pixels.")
    index = 0
    for path in cache.paths:
        with safe_open(path, "pt") as shard:
            words, length = shard.metadata() or {}, shard.get_slice("focal_px").get_shape()[0]
        kinds = tuple(words["kinds"].split(",")) if "kinds" in words else FIRST_KINDS  # older shards held those
        for number in range(int(words["first"]), int(words["first"]) + length):
            if index < count:
                yield kind_of(int(words["seed"]), number, kinds), cache[index]
            index += 1


def kind_of(seed: int, index: int, kinds: tuple[str, ...] = FIRST_KINDS) -> str:
    """Of what kind scene `index` of SyntheticScenes(seed=seed, kinds=kinds) is."""
    return draw_kind(np.random.default_rng([seed, index]), kinds)
