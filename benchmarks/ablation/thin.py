"""The detail preserver on scenes full of thin things, which no rung was trained on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lotus_core.checkpoints import load_model
from lotus_core.data.cache import SceneCache, render_cache
from lotus_core.data.sample import Sample
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.data.synthetic.dataset import HELD_OUT_SEED
from lotus_core.training.base import load_autoencoder

from .ladder import AUTOENCODER, LADDER, Rung, autoencoder_folder, config, run_folder
from .measure import evaluate, references
from .scenes import OVERSIZE, Scale

PRESERVER = {"without": LADDER[2][1], "with": LADDER[3][1]}
"""A single step with noise, without and with the detail preserver."""

THIN, THIN_FILE = "thin", "thin.json"


def measure_thin(out: Path, scale: Scale, textures: str | None = "public") -> dict[str, Any] | None:
    """Scores of the rungs of PRESERVER on held-out scenes of the kind "thin", one for each seed that is trained.

    Returns references, as `measure.references`, and runs: a list of rung, seed and scores, those in THIN_FILE as they
    are there. None where nothing was to be added to it.
    """
    known = json.loads((out / THIN_FILE).read_text()) if (out / THIN_FILE).exists() else {"runs": []}
    measured = {(Rung(**each["rung"]), each["seed"]) for each in known["runs"]}
    lacking = [
        (rung, seed)
        for rung in PRESERVER.values()
        for seed in range(scale.seeds)
        if (rung, seed) not in measured and (run_folder(out, rung, seed) / "result.json").exists()
    ]
    if not lacking and "references" in known:
        return None
    scenes = thin_scenes(out, scale, textures)
    runs = list(known["runs"])
    for rung, seed in lacking:
        trained = load_model(run_folder(out, rung, seed) / f"{rung.name}.safetensors", "cpu", torch.float32)
        scores = evaluate(trained, config(out, rung, seed, scale), scenes)
        runs.append({"rung": asdict(rung), "seed": seed, "scores": scores})
    return {"references": known.get("references") or _references(out, scenes), "runs": runs}


def _references(out: Path, scenes: list[Sample]) -> dict[str, Any]:
    """With the autoencoder that the rungs were trained with, which the embedded checkpoint may no longer have."""
    model = load_model(AUTOENCODER, "cpu", torch.float32)
    model.vae = load_autoencoder(str(autoencoder_folder(out)))
    return references(model, scenes)


def thin_scenes(out: Path, scale: Scale, textures: str | None) -> list[Sample]:
    """`scale.measured` of them, rendered once."""
    folder = out / "scenes" / "thin-held-out"
    size = (OVERSIZE * scale.height, OVERSIZE * scale.width)
    render_cache(folder, SyntheticScenes(scale.measured, *size, HELD_OUT_SEED, textures, THIN))
    cache = SceneCache(folder, reduce=OVERSIZE)
    return [cache[index] for index in range(len(cache))]


def with_thin(saved: dict[str, Any], out: Path) -> dict[str, Any]:
    """The collected results with the thin scenes as one more domain, where they were measured."""
    path = out / THIN_FILE
    if not path.exists():
        return saved
    found = json.loads(path.read_text())
    scores = {(Rung(**each["rung"]), each["seed"]): each["scores"] for each in found["runs"]}
    runs = []
    for run in saved["runs"]:
        key = (Rung(**run["rung"]), run["seed"])
        more = {THIN: scores[key]} if key in scores else {}
        runs.append({**run, "domains": run["domains"] | more})
    return {**saved, "references": saved["references"] | {THIN: found["references"]}, "runs": runs}
