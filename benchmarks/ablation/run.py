"""Trains and measures everything, one folder for each training; what is done already is skipped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from lotus_core import __version__
from lotus_core.checkpoints import load_model
from lotus_core.data.cache import SceneCache
from lotus_core.data.sample import Sample
from lotus_core.errors import LotusError
from lotus_core.files import atomic_path
from lotus_core.training.base import build_model
from lotus_core.training.latents import cached_latents
from lotus_core.training.loop import make_accelerator
from lotus_core.training.sources import SampleItems, open_source
from lotus_core.training.trainer import train_model

from .ladder import (
    AUTOENCODER,
    FOOTNOTE,
    LADDER,
    Rung,
    autoencoder_folder,
    config,
    fig7_rungs,
    latents_folder,
    run_folder,
    without_noise,
)
from .measure import denoising_path, evaluate, references
from .scenes import DOMAINS, Scale, make_scenes, scenes_folder
from .thin import THIN_FILE, measure_thin

PATHS = (LADDER[0][1], LADDER[1][1], FOOTNOTE[1])  # ε, x0 and v over 1000 steps
RESULT, SCALE, REFERENCES = "result.json", "scale.json", "references.json"


def run_all(out: Path, scale: Scale, rendered: Path | None = None, textures: str | None = "public") -> None:
    """Render, train, measure. Raises LotusError where `out` holds another scale's results, or a training fails.

    rendered, textures: of the scenes, see `make_scenes`.
    """
    torch.set_num_threads(1)
    _same_scale(out, scale)
    make_scenes(out, scale, rendered, textures)
    held_out = {}
    for domain in DOMAINS:
        scenes = SceneCache(scenes_folder(out, domain, held_out=True))
        held_out[domain] = [scenes[index] for index in range(min(len(scenes), scale.measured))]
    if not (out / REFERENCES).exists():
        model = load_model(AUTOENCODER, "cpu", torch.float32)
        model.vae.save_pretrained(autoencoder_folder(out))
        _write(out / REFERENCES, {domain: references(model, scenes) for domain, scenes in held_out.items()})
    for rung, seed in plan(scale):
        folder = run_folder(out, rung, seed)
        if not (folder / RESULT).exists():
            result = run_one(out, rung, seed, scale, held_out)
            print(f"{folder.name}: AbsRel {result['domains']['indoor']['abs_rel']:.4f}", flush=True)
    thin = measure_thin(out, scale, textures)
    if thin is not None:
        _write(out / THIN_FILE, thin)


def plan(scale: Scale) -> Iterator[tuple[Rung, int]]:
    """Every training and its seed, once; what matters most comes first, one seed after the other."""
    done = set()
    rounds = [
        ([rung for _, rung in LADDER], scale.seeds),
        (without_noise(), scale.seeds),
        (fig7_rungs(scale), scale.fig7_seeds),
        ([FOOTNOTE[1]], scale.seeds),
    ]
    for rungs, seeds in rounds:
        for seed in range(seeds):
            for rung in rungs:
                if (rung, seed) not in done:
                    done.add((rung, seed))
                    yield rung, seed


def run_one(out: Path, rung: Rung, seed: int, scale: Scale, held_out: dict[str, list[Sample]]) -> dict[str, Any]:
    """One training, resumed if it was begun, and its scores in `result.json`, which is written last."""
    run = config(out, rung, seed, scale)
    if not _latents_made(out, rung):
        _make_latents(out, rung, scale)
    model = load_model(train_model(run, resume=True), "cpu", torch.float32)
    record = model.info.training or {}
    if record["steps"] < scale.steps:
        raise LotusError(f"Stopped at step {record['steps']} of {rung.name}: the same command goes on.")
    result = {
        "rung": asdict(rung),
        "seed": seed,
        "seconds": round(3600 * record["hours"]),
        "hardware": record["hardware"],
        "torch": record["torch"],
        "version": __version__,
        "domains": {domain: evaluate(model, run, scenes) for domain, scenes in held_out.items()},
    }
    if rung in PATHS:
        scenes = held_out["indoor"][: scale.path_scenes]
        result["path"] = denoising_path(model, run, scenes, scale.noise_seeds)
    _write(run_folder(out, rung, seed) / RESULT, result)
    return result


def results(out: Path) -> list[dict[str, Any]]:
    """What `run_one` found of every training that is done, its rung as a `Rung`."""
    found = [json.loads(path.read_text()) for path in sorted(out.glob(f"runs/*/{RESULT}"))]
    return [{**result, "rung": Rung(**result["rung"])} for result in found]


def _latents_made(out: Path, rung: Rung) -> bool:
    return (latents_folder(out, rung) / f"whole{'-mixture' * rung.mixture}").exists()


def _make_latents(out: Path, rung: Rung, scale: Scale) -> None:
    """Encode the pictures that a rung's trainings share; a mixture's second source where it is wanted first."""
    run = config(out, rung, 0, scale)
    folder = latents_folder(out, rung)
    run = replace(run, data=replace(run.data, latents=""), output=replace(run.output, dir=str(folder)))
    sources = [open_source(source) for source in run.data.sources]
    model = build_model(run, scale.width)
    cached_latents(SampleItems(sources, "depth", rung.space), model, run, make_accelerator(run.optim))
    (folder / f"whole{'-mixture' * rung.mixture}").touch()


def _same_scale(out: Path, scale: Scale) -> None:
    wanted = json.loads(json.dumps(asdict(scale)))
    path = out / SCALE
    if path.exists():
        found = json.loads(path.read_text())
        # More seeds may be added; anything else would mix results that cannot be compared.
        same = found | {"seeds": 0, "fig7_seeds": 0} == wanted | {"seeds": 0, "fig7_seeds": 0}
        if not same:
            raise LotusError(f"{out} holds an ablation of another scale ({path}): choose another folder with --out.")
    _write(path, wanted)


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + os.linesep)
