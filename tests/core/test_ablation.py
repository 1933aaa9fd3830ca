"""The ablation: every rung's config, one rung trained, stopped and resumed, and the report from what was saved."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.ablation import report, run
from benchmarks.ablation.__main__ import main
from benchmarks.ablation.ladder import FOOTNOTE, LADDER, Rung, config, fig7_rungs, run_folder, without_noise
from benchmarks.ablation.scenes import DOMAINS, Scale, kind_of, make_scenes, scenes_folder
from benchmarks.ablation.summary import Spread
from benchmarks.ablation.thin import THIN_FILE, measure_thin
from lotus_core.data.cache import SceneCache
from lotus_core.errors import LotusError
from lotus_core.training.loss import training_timesteps
from lotus_core.training.state import checkpoints

SMALL = Scale(
    height=24,
    width=32,
    scenes=6,
    held_out=7,
    measured=2,
    sizes=(2, 0),
    batch=2,
    steps=2,
    seeds=2,
    fig7_seeds=1,
    noise_seeds=2,
    path_scenes=2,
)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("ablation")
    make_scenes(out, SMALL, None, textures=None)
    return out


def test_each_rung_changes_the_switch_it_is_named_after(tmp_path: Path) -> None:
    runs = [config(tmp_path, rung, 0, SMALL) for _, rung in LADDER]
    assert [r.protocol.prediction for r in runs] == ["epsilon", "x0", "x0", "x0", "x0", "x0"]
    assert [r.protocol.training_timesteps for r in runs] == [1000, 1000, 1, 1, 1, 1]
    assert [r.protocol.detail_preserver for r in runs] == [False, False, False, True, True, True]
    assert [[s.probability for s in r.data.sources] for r in runs] == [[0.9]] * 4 + [[0.9, 0.1]] * 2
    assert [r.model.space for r in runs] == ["depth"] * 5 + ["disparity"]
    assert [rung.variant for rung in without_noise()] == ["d"] * 4
    every = [rung for _, rung in LADDER] + without_noise() + fig7_rungs(SMALL) + [FOOTNOTE[1]]
    for rung in every:
        config(tmp_path, rung, 0, SMALL)  # the trainer's own checks
    folders = {run_folder(tmp_path, rung, seed) for rung in every for seed in range(2)}
    assert len(folders) == 2 * len(set(every)) == 2 * (6 + 4 + 8 + 1)
    assert len(list(run.plan(SMALL))) == 2 * (6 + 4) + 8 + 2
    inference = training_timesteps(50, 1000)
    assert set(inference.tolist()) <= set(training_timesteps(1000, 1000).tolist())


def test_scenes_are_sorted_by_kind(scenes: Path) -> None:
    wanted = {domain: sum(kind_of(102, i) in kinds for i in range(6)) for domain, kinds in DOMAINS.items()}
    for domain, count in wanted.items():
        cache = SceneCache(scenes_folder(scenes, domain))
        assert len(cache) == count
        assert cache[0].depth.shape == (24, 32)
        assert any(scene.sky.any() for scene in cache) == (domain == "outdoor")
    with pytest.raises(LotusError, match="holds 6 scenes, not 7"):
        make_scenes(scenes / "elsewhere", replace(SMALL, scenes=7), scenes / "scenes" / "all")


def test_a_stopped_ladder_goes_on_and_is_reported(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []
    train = run.train_model

    def until_the_third(config: Any, resume: bool) -> Path:
        begun.append(config.model.name)
        if len(begun) == 2:
            train(replace(config, optim=replace(config.optim, steps=1)), resume)
            raise KeyboardInterrupt
        return train(config, resume)

    three = [(LADDER[0][1], 0), (LADDER[2][1], 0), (LADDER[3][1], 0)]
    monkeypatch.setattr(run, "plan", lambda scale: iter(three))
    monkeypatch.setattr(run, "train_model", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        run.run_all(scenes, SMALL, textures=None)
    half = checkpoints(run_folder(scenes, LADDER[2][1], 0) / "checkpoints")
    assert [path.name for path in half] == ["step-00000001"]
    run.run_all(scenes, SMALL, textures=None)
    assert begun == [rung.name for rung, _ in (three[0], three[1], three[1], three[2])]  # the first is not trained anew
    log = (run_folder(scenes, LADDER[2][1], 0) / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2]

    found = {result["rung"]: result for result in run.results(scenes)}
    assert list(found[LADDER[0][1]]["path"]["timesteps"]) == list(range(999, 0, -20))
    assert all(value > 0 for value in found[LADDER[0][1]]["path"]["variance"])
    assert found[LADDER[2][1]]["domains"]["indoor"]["abs_rel"] > 0
    with pytest.raises(LotusError, match="another scale"):
        run.run_all(scenes, replace(SMALL, steps=3), textures=None)

    saved = report.collect(scenes)
    measured = [result["domains"].keys() for result in saved["runs"]]
    assert [keys - {"indoor", "outdoor"} for keys in measured].count({"thin"}) == 2  # with and without preserver
    assert measure_thin(scenes, SMALL, textures=None) is None  # all that is trained is measured
    thin = json.loads((scenes / THIN_FILE).read_text())
    (scenes / THIN_FILE).write_text(json.dumps({**thin, "runs": thin["runs"][:1]}))  # as before a seed was added
    assert json.dumps(measure_thin(scenes, SMALL, textures=None)) == json.dumps(thin)  # which has NaN
    monkeypatch.setattr(report, "draw_all", lambda results, folder: {})
    places = [tmp_path / name for name in ("ablation.md", "results.json", "pictures")]
    report.write_report(saved, *places)
    again = ["report", "--saved", str(places[1]), "--report", str(tmp_path / "again.md")]
    main([*again, "--results", str(tmp_path / "again.json"), "--pictures", str(places[2])])
    assert (tmp_path / "again.md").read_text() == places[0].read_text()
    assert json.loads((tmp_path / "again.json").read_text()) == saved
    row = next(line for line in places[0].read_text().splitlines() if line.startswith("| + single step"))
    assert f"{found[LADDER[2][1]]['domains']['indoor']['abs_rel']:.3f}" in row
    ramps = [line for line in places[0].read_text().splitlines() if "vertical ramp in" in line]
    assert [line.split(" | ")[0] for line in ramps] == [
        f"| the best vertical ramp in {s}" for s in ("depth", "disparity")
    ]


def test_paths_are_means_over_the_seeds() -> None:
    rung = LADDER[0][1]
    followed = [{"timesteps": [999, 19], "error": [4.0, 2.0 + seed], "variance": [1.0, 0.5]} for seed in range(3)]
    runs = [{"rung": asdict(rung), "seed": seed, "domains": {}, "path": path} for seed, path in enumerate(followed)]
    found = report.Results({"scale": asdict(SMALL), "indoor": 4, "references": {}, "runs": runs})
    assert "| ε | 19 | 3 ± 1 | 0.5 ± 0 |" in report.path_table(found)


def test_means_deviations_and_verdicts() -> None:
    low, high = Spread((0.1, 0.2, 0.3)), Spread((0.5, 0.6, 0.7))
    assert str(low) == "0.200 ± 0.100"
    assert low.separate_from(high)
    assert not low.separate_from(Spread((0.25, 0.3, 0.35)))
    assert report.verdict(low, high, higher_is_better=False).startswith("**yes**")
    assert report.verdict(low, high, higher_is_better=True).startswith("**no**")
    assert report.verdict(low, Spread((0.2, 0.25, 0.3)), higher_is_better=False) == "better, within the deviation"
    assert str(Spread(())) == "–"
    assert np.isnan(Spread((0.4,)).deviation)


def test_fig7_reads_its_own_runs(tmp_path: Path) -> None:
    metrics = {"abs_rel": 0.25}
    runs = [
        {"rung": asdict(rung), "seed": 0, "domains": {"indoor": metrics, "outdoor": metrics}}
        for rung in fig7_rungs(SMALL)
    ]
    table = report.Results({"scale": asdict(SMALL), "indoor": 4, "references": {}, "runs": runs}).fig7()
    assert {scenes: list(row) for scenes, row in table.items()} == {2: [1000, 100, 10, 2, 1], 0: [1000, 100, 10, 2, 1]}
    assert Rung("x0", 1000) == LADDER[1][1]  # the ladder's trainings serve here too
