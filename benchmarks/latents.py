"""Training from latents made once against encoding on the fly: how much faster, and that its loss is the same.

    python -m benchmarks.latents

Adapts the embedded `lotus-tiny-depth-g` on synthetic scenes of 192×256, on the CPU, the same steps in both ways.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from lotus_core.data.cache import render_cache
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.training.config import RunConfig, parse_config
from lotus_core.training.trainer import train_model


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--report", type=Path)
    a = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        render_cache(folder / "scenes", SyntheticScenes(16, 192, 256, seed=11, textures=None))
        found = {how: measure(folder, how, a.steps) for how in ("live", "cached")}
    (live, live_rate), (cached, cached_rate) = found["live"], found["cached"]
    difference = max(abs(b / a - 1) for a, b in zip(live, cached, strict=True))
    rows = {
        "encoding on the fly, images a second": f"{live_rate:.2f}",
        "from latents, images a second": f"{cached_rate:.2f}",
        "gain": f"{cached_rate / live_rate:.2f}×",
        "largest relative difference of the loss": f"{difference:.1e}",
    }
    text = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])
    print(text)
    if a.report:
        with open(a.report, "a", encoding="utf-8") as file:
            file.write(f"\n## latents\n\n`python -m benchmarks.latents --steps {a.steps}`\n\n{text}\n")


def measure(folder: Path, how: str, steps: int) -> tuple[list[float], float]:
    """The loss of every step, and the median rate without the first step."""
    table: dict[str, Any] = {
        "model": {"name": "adapted", "task": "depth", "base": "lotus-tiny-depth-g"},
        "data": {
            "sources": [{"name": "cache", "path": str(folder / "scenes")}],
            "flip": False,
            "cache_latents": how == "cached",
        },
        "optim": {"steps": steps, "batch_size": 4, "lr": 1e-5},
        "log": {"every": 1, "checkpoint_every": 10**6},
        "output": {"dir": str(folder / how)},
    }
    run = parse_config(table)
    assert isinstance(run, RunConfig)
    train_model(run)
    lines = [json.loads(line) for line in (folder / how / "log.jsonl").read_text().splitlines()]
    losses = [line for line in lines if "loss" in line]
    rates = sorted(line["images_per_second"] for line in losses[1:])
    return [line["loss"] for line in losses], rates[len(rates) // 2]


if __name__ == "__main__":
    main()
