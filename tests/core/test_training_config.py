"""A run's TOML file: mistakes are named in one sentence before anything is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lotus_core.errors import LotusError
from lotus_core.training.checks import checkpoint_interval
from lotus_core.training.config import RunConfig, SourceConfig, load_config, parse_config
from lotus_core.training.loop import learning_rate
from lotus_core.training.sources import open_source

CONFIGS = Path(__file__).parents[2] / "configs"


def minimal(**sections: dict[str, Any]) -> dict[str, Any]:
    table: dict[str, Any] = {
        "model": {"name": "m", "task": "depth", "autoencoder": "vae"},
        "data": {"sources": [{"name": "synthetic", "count": 4}]},
        "optim": {"steps": 10, "batch_size": 2, "lr": 1e-4},
        "output": {"dir": "out"},
    }
    for section, changes in sections.items():
        table.setdefault(section, {}).update(changes)
    return table


def test_the_defaults_are_the_papers_protocol() -> None:
    run = parse_config(minimal())
    assert isinstance(run, RunConfig)
    assert (run.protocol.prediction, run.protocol.training_timesteps, run.protocol.detail_preserver) == ("x0", 1, True)
    assert (run.scheduler.beta_start, run.scheduler.beta_end) == (0.00085, 0.012)
    assert run.model.space == "disparity"
    assert run.data.sources[0].args == {"count": 4}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optim": {"warmup": 5}}, "Unknown key warmup in [optim]; did you mean warmup_steps?"),
        ({"modle": {}}, "Unknown key modle in the training config; did you mean model?"),
        ({"optim": {"lr": "fast"}}, "optim.lr = 'fast' has the wrong type: float is expected."),
        ({"optim": {"steps": True}}, "optim.steps = True has the wrong type"),
        ({"optim": {"steps": 0}}, "[optim] steps must be above 0"),
        ({"optim": {"ema_decay": 1.0}}, "[optim] ema_decay must be in [0, 1)"),
        ({"model": {"task": "flow"}}, "model.task = 'flow' is not one of 'depth', 'normal'."),
        ({"model": {"autoencoder": ""}}, "needs autoencoder ="),
        ({"model": {"base": "folder", "unet": {"sample_size": 8}}}, "[model.unet] is read for"),
        ({"model": {"variant": "d"}, "protocol": {"prediction": "epsilon"}}, 'variant = "d" has no noise'),
        ({"protocol": {"training_timesteps": 2000}}, "training_timesteps must be from 1 to the scheduler's 1000"),
        (
            {"protocol": {"prediction": "epsilon"}, "scheduler": {"rescale_betas_zero_snr": True}},
            "rescale_betas_zero_snr leaves nothing",
        ),
        ({"data": {"sources": []}}, "[data] sources is empty"),
        ({"data": {"sources": [{"name": "cache"}]}}, 'The data source "cache" needs path'),
        ({"data": {"sources": [{"name": "synthetic", "count": 4, "seed": 990_001}]}}, "is kept for evaluation"),
        ({"log": {"validation_every": 10}}, "validation_every needs held-out samples"),
        ({"log": {"checkpoint_every": "soon"}}, "neither a number of steps nor seconds"),
        ({"log": {"checkpoint_every": "nans"}}, "neither a number of steps nor seconds"),
        ({"log": {"validation_samples": -1}}, "validation_samples must be 0 or more"),
        ({"optim": {"warmup_steps": -1}}, "[optim] warmup_steps must be 0 or more, not -1."),
        ({"optim": {"weight_decay": -1.0}}, "[optim] weight_decay must be 0 or more"),
        ({"optim": {"grad_clip": -1.0}}, "[optim] grad_clip must be 0 or more"),
        ({"optim": {"threads": -1}}, "[optim] threads must be 0 or more"),
        ({"optim": {"lr": float("inf")}}, "optim.lr = inf is not a finite number."),
        ({"data": {"workers": -1}}, "[data] workers must be 0 or more"),
        ({"data": {"stream": True}}, '"synthetic" has none: pack it with lotus batch'),
        ({"model": {"base": "folder", "prompt_tokens": 4}}, 'are read for base = "scratch" only'),
        ({"model": {"prompt_tokens": 0}}, "must be at least 1"),
    ],
)
def test_a_mistake_is_named(changes: dict[str, dict[str, Any]], message: str) -> None:
    with pytest.raises(LotusError) as caught:
        parse_config(minimal(**changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("autoencoder", {"log": {"validation_samples": 0}}, "validation_samples must be at least 1"),
        ("autoencoder", {"loss": {"crop": 4}}, "crop at least 8 pixels"),
        ("autoencoder", {"loss": {"mse_weight": -1.0}}, "weights and latent_noise must be ≥ 0"),
        ("autoencoder", {"data": {"stream": True}}, "[data] stream is for training a U-Net"),
        ("decoder", {"optim": {"gradient_checkpointing": True}}, "gradient_checkpointing has no effect on a decoder"),
    ],
)
def test_keys_that_an_autoencoder_or_decoder_cannot_use_are_refused(
    kind: str, changes: dict[str, dict[str, Any]], message: str
) -> None:
    run = minimal(**changes) | {"kind": kind}
    run["model"] = {"name": "m", **({"teacher": "vae"} if kind == "decoder" else {})}
    with pytest.raises(LotusError) as caught:
        parse_config(run)
    assert message in str(caught.value)


def test_missing_keys_files_and_broken_toml_are_named(tmp_path: Path) -> None:
    table = minimal()
    del table["optim"]["lr"]
    with pytest.raises(LotusError, match=r"\[optim\] lacks lr"):
        parse_config(table)
    with pytest.raises(LotusError, match="Cannot read the training config"):
        load_config(tmp_path / "nowhere.toml")
    (tmp_path / "broken.toml").write_text("[model\n")
    with pytest.raises(LotusError, match="is not valid TOML"):
        load_config(tmp_path / "broken.toml")
    with pytest.raises(LotusError, match='Unknown kind = "lora"'):
        parse_config({"kind": "lora"})


def test_arguments_of_a_data_source_are_checked() -> None:
    with pytest.raises(LotusError, match="has no argument heigth; did you mean height"):
        open_source(SourceConfig("synthetic", args={"count": 4, "heigth": 32}))
    with pytest.raises(LotusError, match="is not set up fully"):
        open_source(SourceConfig("synthetic"))


def test_arguments_of_sources_have_the_types_that_their_data_sets_take() -> None:
    for name, args, message in (
        ("hypersim", {"height": 48.0}, 'height of the data source "hypersim" is 48.0: it takes a whole number.'),
        ("vkitti", {"scenes": "Scene20"}, "scenes .* is 'Scene20': it takes a list, each item text."),
        ("cache", {"reduce": 1.5}, "reduce .* is 1.5: it takes a whole number."),
        ("synthetic", {"count": -1}, "count .* is -1: it must be ≥ 0."),
        ("synthetic", {"count": 4, "kinds": 3}, "kinds .* is 3: it takes text or a list, each item text."),
    ):
        with pytest.raises(LotusError, match=message):
            open_source(SourceConfig(name, "somewhere" if name != "synthetic" else "", args=args))  # type: ignore[arg-type]


def test_pictures_are_reduced_by_what_they_allow(ingredients: Path) -> None:
    for reduce in (0, 33):
        with pytest.raises(LotusError, match=f"reduce = {reduce} does not fit scenes of 48×32 pixels"):
            open_source(SourceConfig("cache", str(ingredients / "scenes"), args={"reduce": reduce}))


def test_checkpoints_come_by_steps_or_seconds() -> None:
    assert checkpoint_interval(250) == (250, 0.0)
    assert checkpoint_interval("90s") == (0, 90.0)


def test_the_rate_warms_up_and_follows_half_a_cosine() -> None:
    run = parse_config(minimal(optim={"steps": 110, "lr": 1.0, "warmup_steps": 10, "final_lr_fraction": 0.1}))
    rates = [learning_rate(step, run.optim) for step in (0, 4, 9, 10, 60, 110)]
    assert rates == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.55, 0.1])
    constant = parse_config(minimal(optim={"schedule": "constant", "lr": 0.3}))
    assert learning_rate(9, constant.optim) == 0.3


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_configs_in_the_repository_are_valid(path: Path) -> None:
    load_config(path)
