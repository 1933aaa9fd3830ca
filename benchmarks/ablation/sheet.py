"""Maps of every rung side by side, from the weights that `run` left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.sheets import save_sheet
from lotus_core.checkpoints import load_model
from lotus_core.data.cache import SceneCache
from lotus_core.data.sample import Sample, to_bytes
from lotus_core.data.synthetic.render import FAR_M
from lotus_core.evaluation.alignment import aligned_depth
from lotus_core.maps.colormap import colorize

from .ladder import LADDER, config, run_folder
from .measure import NEAR_M, predicted_maps
from .run import RESULT
from .scenes import DOMAINS, Scale, scenes_folder

_ROWS = {"indoor": (1, 4, 7), "outdoor": (0, 3)}  # held-out scenes that show something
_SHORT = ("ε, T' = 1000", "x0, T' = 1000", "single step", "+ preserver", "+ mixture", "+ disparity")


def draw_maps(out: Path, scale: Scale, path: Path) -> bool:
    """Write picture, truth and the first seed's maps as a JPEG; False where the ladder is not done."""
    rungs = [rung for _, rung in LADDER]
    if not all((run_folder(out, rung, 0) / RESULT).exists() for rung in rungs):
        return False
    scenes: list[Sample] = []
    for domain in DOMAINS:
        cache = SceneCache(scenes_folder(out, domain, held_out=True))
        scenes += [cache[index] for index in _ROWS[domain] if index < len(cache)]
    rows = [[to_bytes(scene.image), _shown(scene.depth.numpy(), scene)] for scene in scenes]
    for rung in rungs:
        model = load_model(run_folder(out, rung, 0) / f"{rung.name}.safetensors", "cpu", torch.float32)
        for row, scene, values in zip(
            rows, scenes, predicted_maps(model, config(out, rung, 0, scale), scenes).numpy(), strict=True
        ):
            depth = aligned_depth(values, rung.space, scene.depth.numpy(), scene.valid.numpy(), NEAR_M, FAR_M)
            row.append(_shown(depth, scene))
    save_sheet(("picture", "truth", *_SHORT), rows, path, width=2 * scale.width)
    return True


def _shown(depth: NDArray, scene: Sample) -> NDArray[np.uint8]:
    """Disparity between the truth's 2 % and 98 % quantiles, warm is near."""
    true = 1 / scene.depth.numpy()
    low, high = np.quantile(true[scene.valid.numpy()], (0.02, 0.98))
    return colorize((1 / depth - low) / max(float(high - low), 1e-9), "spectral")
