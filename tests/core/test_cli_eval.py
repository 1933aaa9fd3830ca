"""`lotus eval` from the command line: tables and files, going on, saved predictions, and refusals in one sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from lotus_core.cli import main
from lotus_core.maps import Depth

from .benchmark_files import write_dsine, write_scannet
from .models import official_folder, wide_unet


@pytest.fixture
def eval_depth(tmp_path: Path) -> list[str]:
    write_scannet(tmp_path / "scannet", count=2)
    return ["eval", "depth", "--dataset", "scannet", "--data", str(tmp_path / "scannet")]


def test_depth_with_uncertainty_then_the_saved_maps(
    checkpoints: dict[str, str],
    eval_depth: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = [*eval_depth, "--model", checkpoints["depth"]]
    first = [*command, "-o", str(tmp_path / "out"), "--samples", "2", "--save-predictions"]
    assert main(first) == 0
    printed = capsys.readouterr().out
    assert "ScanNet: 2 frames" in printed
    assert "abs_rel" in printed
    assert "ause" in printed
    assert ["Lotus-G", "5.9", "95.7", "98.8"] in [line.split() for line in printed.splitlines()]
    assert "from He et al., Lotus, arXiv:2409.18124v5, Table 1" in printed
    assert "Samples scored: 2 here, 800 in the paper." in printed
    written = (
        "per_sample.csv",
        "summary.json",
        "summary.csv",
        "summary.md",
        "sparsification.png",
        "pictures/worst.png",
    )
    for name in written:
        assert (tmp_path / "out" / name).is_file(), name
    table = (tmp_path / "out/per_sample.csv").read_bytes()
    assert main(first) == 0  # nothing left to do: the same figures
    assert (tmp_path / "out/per_sample.csv").read_bytes() == table
    saved = [*eval_depth, "--predictions", str(tmp_path / "out/predictions"), "-o", str(tmp_path / "again"), "--quiet"]
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr("lotus_core.cli.eval.Predictors", None)  # no model is loaded
        assert main(saved) == 0
    assert capsys.readouterr().out == ""
    figures = [json.loads((tmp_path / f / "summary.json").read_text())["metrics"] for f in ("out", "again")]
    assert figures[1]["abs_rel"] == pytest.approx(figures[0]["abs_rel"], rel=1e-6)
    assert main([*command, "-o", str(tmp_path / "out"), "--samples", "3"]) == 2
    assert "holds a run with samples = 2, not 3" in capsys.readouterr().err


def test_a_run_is_not_mixed_with_another_model(
    eval_depth: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is scored already must have been made by the same weights with the same meaning, wherever they are named."""
    monkeypatch.chdir(tmp_path)
    folder = official_folder(tmp_path / "nameless", "g", wide=True)
    mine = [*eval_depth, "--res", "64", "--quiet", "-o", "out", "--model"]
    assert main([*mine, "nameless", "--space", "depth"]) == 0
    table = (tmp_path / "out/per_sample.csv").read_bytes()
    assert main([*mine, str(folder), "--space", "depth"]) == 0  # the same, by another path
    capsys.readouterr()
    assert main([*mine, "nameless", "--space", "disparity"]) == 2
    assert "holds a run with space = depth, not disparity" in capsys.readouterr().err
    assert main([*mine, "nameless", "--space", "depth", "--vae", str(folder / "vae")]) == 2
    assert f"with vae = None, not {folder / 'vae'}" in capsys.readouterr().err

    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    wide_unet("g", seed=5).save_pretrained(folder / "unet")  # another model in its place: same size, same header
    assert main([*mine, "nameless", "--space", "depth"]) == 2
    assert "holds a run with model_fingerprint = " in capsys.readouterr().err
    wide_unet("g").save_pretrained(folder / "unet")
    os.utime(weights, (0, 0))
    assert main([*mine, "nameless", "--space", "depth"]) == 0  # the old weights again, copied back
    assert (tmp_path / "out/per_sample.csv").read_bytes() == table

    record = tmp_path / "out" / "run.json"  # as versions before wrote it
    known = json.loads(record.read_text())
    record.write_text(json.dumps({name: value for name, value in known.items() if "fingerprint" not in name}))
    assert main([*mine, "nameless", "--space", "depth"]) == 2
    message = capsys.readouterr().err
    assert "of an older version, which did not record model_fingerprint" in message
    assert message.count("\n") == 1


def test_saved_maps_that_changed_are_scored_again_and_another_list_is_refused(
    eval_depth: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, maps, out = tmp_path / "scannet", tmp_path / "maps", tmp_path / "out"
    ramp = np.linspace(0.2, 0.8, 48 * 64, dtype=np.float32).reshape(48, 64)
    (maps / "scene/color").mkdir(parents=True)
    for name, values in (("000000", ramp), ("000001", ramp)):
        Depth(values, "depth").save(maps / f"scene/color/{name}.npy")

    def score(folder: Path, *more: str) -> dict[str, float]:
        command = [*eval_depth, "--predictions", str(maps), "-o", str(folder), "--quiet", *more]
        assert main(command) == 0, capsys.readouterr().err
        metrics: dict[str, float] = json.loads((folder / "summary.json").read_text())["metrics"]
        return metrics

    first = score(out)
    assert score(out) == first
    Depth(ramp**3, "depth").save(maps / "scene/color/000001.npy")
    changed = score(out)
    assert changed == score(tmp_path / "fresh")
    assert changed["abs_rel"] != pytest.approx(first["abs_rel"], rel=1e-3)
    Depth(ramp**3, "disparity").save(maps / "scene/color/000001.npy")  # the same values with another meaning
    assert score(out) == score(tmp_path / "afresh") != changed
    lines = (out / "per_sample.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["name", "scene/color/000000", "scene/color/000001"]

    listed = (data / "scannet_val_sampled_list_800_1.txt").read_text().splitlines()
    split = tmp_path / "list.txt"
    split.write_text(listed[0] + "\n")
    score(tmp_path / "one", "--split", str(split))
    split.write_text(listed[1] + "\n")  # as many entries, but others
    again = [*eval_depth, "--predictions", str(maps), "-o", str(tmp_path / "one"), "--quiet", "--split", str(split)]
    assert main(again) == 2
    message = capsys.readouterr().err
    assert "holds a run with split_list_fingerprint = " in message
    assert message.count("\n") == 1


def test_the_mirror_image_counts_and_is_told(
    checkpoints: dict[str, str], eval_depth: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*eval_depth, "--model", checkpoints["depth"]]
    for name, more in (("both", ["--mirror"]), ("one", [])):
        assert main([*command, "-o", str(tmp_path / name), *more]) == 0
        told = "that of its mirror image" in capsys.readouterr().out
        assert told == (name == "both")
    both, one = (json.loads((tmp_path / name / "summary.json").read_text())["metrics"] for name in ("both", "one"))
    assert both["abs_rel"] != one["abs_rel"]
    assert main([*command, "-o", str(tmp_path / "one"), "--mirror"]) == 2
    assert "holds a run with mirror = None, not True" in capsys.readouterr().err


def test_entries_left_out_are_told_once_and_stay_in_the_summary(
    checkpoints: dict[str, str], eval_depth: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scannet/scene/depth/000001.png").unlink()
    command = [*eval_depth, "--model", checkpoints["depth"], "-o", str(tmp_path / "out")]
    assert main(command) == 2
    assert "000001.png; download them, or allow missing files (--allow-missing)" in capfd.readouterr().err
    assert main([*command, "--allow-missing", "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")
    assert main([*command, "--allow-missing"]) == 0
    printed = capfd.readouterr()
    assert (printed.out + printed.err).count("1 left out because files are missing") == 1
    assert "because files are missing: 1; summary.json names" in (tmp_path / "out/summary.md").read_text()


def test_normals(checkpoints: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ibims").mkdir()
    write_dsine(tmp_path / "ibims", ".exr", "ibims.txt", count=1)
    command = ["eval", "normal", "--dataset", "ibims", "--data", str(tmp_path / "ibims"), "-o", str(tmp_path / "out")]
    assert main([*command, "--model", checkpoints["normal"]]) == 0
    assert "11.25" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (["--model", "depth-d", "--samples", "4"], "Lotus-D"),
        (["--model", "normal"], "predicts normal"),
        (["--dataset", "ibims"], "--dataset for depth is one of"),
        (["--area", "eigen"], "--area is for KITTI's depth alone: leave it out"),
        (["--predictions", "nowhere"], "no folder of predictions"),
        (["--predictions", "nowhere", "--mirror"], "--mirror needs a model"),
        (["--predictions", "nowhere", "--samples", "2"], "--samples needs a model"),
        (["--predictions", "nowhere", "--text-encoder", "t"], "--text-encoder needs a model"),
        (["--predictions", "nowhere", "--convention", "opengl"], "--convention is for saved normals"),
        (["--mirror", "--reference"], "which has no --mirror: leave one out"),
        (["--split", "nowhere.txt"], "split list nowhere.txt is missing"),
        (["--data", "nowhere"], "no folder nowhere"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(
    checkpoints: dict[str, str],
    eval_depth: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: list[str],
    part: str,
) -> None:
    change = [checkpoints.get(word, word) for word in change]
    command = [*eval_depth, "-o", str(tmp_path / "out")]
    if "--predictions" not in change and "--model" not in change:
        command += ["--model", checkpoints["depth"]]
    assert main([*command, *change]) == 2
    error = capsys.readouterr().err.strip()
    assert part in error
    assert "\n" not in error
    assert not (tmp_path / "out").exists()
