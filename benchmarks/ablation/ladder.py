"""The rungs of Table 3 and the cells of Fig. 7, each a config of the one trainer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lotus_core.training.config import RunConfig, parse_config

from .scenes import DOMAINS, Scale, scenes_folder

AUTOENCODER = "lotus-tiny-depth-g"  # the embedded checkpoint's; frozen
MIXTURE = {"indoor": 0.9, "outdoor": 0.1}  # the paper's Hypersim 90 %, Virtual KITTI 10 %
FIG7_TIMESTEPS = (1000, 100, 10, 2, 1)

UNET = {
    "block_out_channels": [16, 32, 64],
    "down_block_types": ["DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "attention_head_dim": [1, 1, 2],  # diffusers' name for the number of heads: 32 channels a head
    "norm_num_groups": 8,
    "use_linear_projection": True,
}
"""One million parameters."""


@dataclass(frozen=True)
class Rung:
    """What distinguishes one training from another; `scenes` 0 takes all indoor scenes."""

    prediction: Literal["x0", "epsilon", "v"] = "x0"
    timesteps: int = 1
    variant: Literal["g", "d"] = "g"
    preserver: bool = False
    mixture: bool = False
    space: Literal["depth", "disparity"] = "depth"
    scenes: int = 0

    @property
    def name(self) -> str:
        """Of the run's folder, without its seed."""
        words = [self.prediction, f"t{self.timesteps}", self.variant]
        words += ["preserver"] * self.preserver + ["mixture"] * self.mixture + ["disparity"] * self.is_disparity
        return "-".join(words + [f"{self.scenes}scenes"] * bool(self.scenes))

    @property
    def is_disparity(self) -> bool:
        """Whether the annotation is 1 / depth."""
        return self.space == "disparity"

    def without_noise(self) -> Rung | None:
        """The same rung as Lotus-D; None where there are many steps, which need noise to start from."""
        return replace(self, variant="d") if self.timesteps == 1 and self.prediction == "x0" else None


LADDER: tuple[tuple[str, Rung], ...] = (
    ("direct adaptation: ε, T' = 1000, 50 steps of DDIM", Rung("epsilon", 1000)),
    ("x0 instead of ε", Rung("x0", 1000)),
    ("+ single step", Rung()),
    ("+ detail preserver", Rung(preserver=True)),
    ("+ mixture of data sets", Rung(preserver=True, mixture=True)),
    ("+ disparity instead of depth", Rung(preserver=True, mixture=True, space="disparity")),
)
FOOTNOTE = ("v instead of ε, T' = 1000, 50 steps of DDIM", Rung("v", 1000))


def without_noise() -> list[Rung]:
    """The ladder's rungs as Lotus-D, where that is possible."""
    return [each for _, rung in LADDER if (each := rung.without_noise()) is not None]


def fig7_rungs(scale: Scale) -> list[Rung]:
    """The cells of Fig. 7. With all scenes, those of 1000 time-steps and of one are rungs of the ladder."""
    return [Rung("x0", timesteps, scenes=scenes) for scenes in scale.sizes for timesteps in FIG7_TIMESTEPS]


def autoencoder_folder(out: Path) -> Path:
    """Where AUTOENCODER lies alone: small files are read faster than whole models, once for each training."""
    return out / "autoencoder"


def run_folder(out: Path, rung: Rung, seed: int) -> Path:
    """Of one training."""
    return out / "runs" / f"{rung.name}-seed{seed}"


def latents_folder(out: Path, rung: Rung) -> Path:
    """Of the latents that all trainings on the same pictures and annotations read."""
    return out / "latents" / "-".join([rung.space] + [f"{rung.scenes}scenes"] * bool(rung.scenes))


def config(out: Path, rung: Rung, seed: int, scale: Scale) -> RunConfig:
    """The config of one training, as `lotus train` would read it from TOML."""
    table = config_table(out, rung, seed, scale)
    run = parse_config(table)
    assert isinstance(run, RunConfig)
    return run


def config_table(out: Path, rung: Rung, seed: int, scale: Scale) -> dict[str, Any]:
    """`config` before it is checked."""
    sources: list[dict[str, Any]] = [
        {"name": "cache", "path": str(scenes_folder(out, domain)), "probability": MIXTURE[domain]} for domain in DOMAINS
    ]
    if rung.scenes:
        sources[0]["count"] = rung.scenes
    return {
        "kind": "lotus",
        "model": {
            "name": rung.name,
            "task": "depth",
            "variant": rung.variant,
            "space": rung.space,
            "base": "scratch",
            "autoencoder": str(autoencoder_folder(out)),
            "cross_attention_dim": 32,
            "unet": UNET,
        },
        "data": {
            "flip": True,
            "latents": str(latents_folder(out, rung) / "latents"),
            "sources": sources if rung.mixture else sources[:1],
        },
        "protocol": {
            "prediction": rung.prediction,
            "training_timesteps": rung.timesteps,
            "detail_preserver": rung.preserver,
        },
        # As the embedded checkpoints' configs: z_T carries 0.015 of the annotation instead of Stable Diffusion's 0.068,
        # which a small network trained from nothing would read.
        "scheduler": {"beta_end": 0.02},
        "optim": {
            "steps": scale.steps,
            "batch_size": scale.batch,
            "lr": 1.5e-3,
            "schedule": "cosine",
            "warmup_steps": min(50, scale.steps // 10),
            "final_lr_fraction": 0.05,
            "betas": [0.9, 0.99],
            "ema_decay": 0.99,
            "mixed_precision": "bf16",
            "channels_last": True,
            "threads": 1,
            "seed": seed,
        },
        "log": {"every": 50, "checkpoint_every": "60s", "keep": 1},
        "output": {"dir": str(run_folder(out, rung, seed))},
    }
