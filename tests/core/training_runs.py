"""A folder of rendered scenes, a small autoencoder, and the tables of short training runs on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lotus_core.data.cache import render_cache
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.training.autoencoder import latent_scale
from lotus_core.training.config import AutoencoderRunConfig, RunConfig, SourceConfig, parse_config
from lotus_core.training.sources import open_source

from .models import tiny_autoencoder

HEIGHT, WIDTH = 32, 48


def write_ingredients(folder: Path) -> None:
    """`scenes/` (8 scenes of 48×32) and `autoencoder/` (random weights, 4× down, latents of unit variance)."""
    render_cache(folder / "scenes", SyntheticScenes(8, HEIGHT, WIDTH, seed=5, textures=None))
    vae = tiny_autoencoder()
    source = open_source(SourceConfig("cache", str(folder / "scenes")))
    vae.register_to_config(scaling_factor=latent_scale(vae, [source], 8))
    vae.save_pretrained(folder / "autoencoder")


def table(ingredients: Path, output: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    """A run of a small Lotus-G for depth; `sections` change single keys."""
    scenes = {"name": "cache", "path": str(ingredients / "scenes")}
    result: dict[str, Any] = {
        "model": {
            "name": "tiny",
            "task": "depth",
            "autoencoder": str(ingredients / "autoencoder"),
            "cross_attention_dim": 16,
            "unet": {
                "block_out_channels": [16, 32],
                "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
                "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
                "layers_per_block": 1,
                "attention_head_dim": [2, 4],
                "norm_num_groups": 8,
            },
        },
        "data": {"sources": [scenes], "validation": [scenes]},
        "optim": {"steps": 4, "batch_size": 2, "lr": 1e-3, "threads": 1},
        "log": {"every": 1, "checkpoint_every": 2, "validation_samples": 2},
        "output": {"dir": str(output)},
    }
    for section, changes in sections.items():
        result.setdefault(section, {}).update(changes)
    return result


def run_config(ingredients: Path, output: Path, **sections: dict[str, Any]) -> RunConfig:
    run = parse_config(table(ingredients, output, **sections))
    assert isinstance(run, RunConfig)
    return run


def autoencoder_config(ingredients: Path, output: Path, **sections: dict[str, Any]) -> AutoencoderRunConfig:
    run = table(ingredients, output, **sections)
    run |= {"kind": "autoencoder", "loss": {"crop": 16}}
    run["model"] = {
        "name": "tiny-autoencoder",
        "config": {
            "block_out_channels": [8, 16],
            "down_block_types": ["DownEncoderBlock2D"] * 2,
            "up_block_types": ["UpDecoderBlock2D"] * 2,
            "latent_channels": 4,
            "norm_num_groups": 4,
        },
    }
    parsed = parse_config(run)
    assert isinstance(parsed, AutoencoderRunConfig)
    return parsed


def write_toml(table: dict[str, Any], path: Path) -> None:
    """A run's tables as a file."""

    def text(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {text(item)}" for key, item in value.items()) + "}"
        return "[" + ", ".join(map(text, value)) + "]" if isinstance(value, list) else json.dumps(value)

    path.write_text("".join(f"{key} = {text(value)}\n" for key, value in table.items()))


def log_lines(output: Path) -> list[dict[str, Any]]:
    """The lines of a run's log; one that is being written just now is left out."""
    *whole, _ = (output / "log.jsonl").read_text().split("\n")
    return [json.loads(line) for line in whole]


def losses(output: Path) -> dict[int, float]:
    """Step → training loss."""
    return {line["step"]: line["loss"] for line in log_lines(output) if "loss" in line}
