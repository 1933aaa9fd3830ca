"""Held-out samples that do not fit, or that cannot be read any more."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lotus_core.data.cache import SceneCache, render_cache
from lotus_core.data.sample import Sample
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.errors import LotusError
from lotus_core.training.trainer import train_model

from .training_runs import log_lines, run_config


def test_held_out_samples_of_a_size_that_does_not_fit_are_refused_before_training(
    ingredients: Path, tmp_path: Path
) -> None:
    render_cache(tmp_path / "odd", SyntheticScenes(2, 30, 46, seed=5, textures=None))
    held_out = {"validation": [{"name": "cache", "path": str(tmp_path / "odd")}]}
    with pytest.raises(LotusError, match="46×30 pixels do not divide by the autoencoder's 4"):
        train_model(run_config(ingredients, tmp_path / "run", data=held_out))


def test_held_out_samples_that_become_unreadable_cost_no_steps(ingredients: Path, tmp_path: Path) -> None:
    shutil.copytree(ingredients / "scenes", tmp_path / "held-out")
    held_out = {"validation": [{"name": "cache", "path": str(tmp_path / "held-out")}]}
    log = {"validation_every": 3, "checkpoint_every": 100}
    run = run_config(ingredients, tmp_path / "run", data=held_out, log=log)
    read = SceneCache.__getitem__

    def damaged(self: SceneCache, index: int) -> Sample:
        if index and "held-out" in str(self.paths[0]):
            raise LotusError("The scene shard is damaged.")
        return read(self, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SceneCache, "__getitem__", damaged)
        with pytest.raises(LotusError, match="is damaged"):
            train_model(run)
    train_model(run, resume=True)
    assert [line["step"] for line in log_lines(tmp_path / "run") if "loss" in line] == [1, 2, 3, 4]
