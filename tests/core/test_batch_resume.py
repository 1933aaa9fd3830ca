"""What `lotus batch` does again when files, names or weights have changed, and that nothing of before is left over."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lotus_core.cli import main

from .batches import command, journal, manifest, results, times_done


def paint(path: Path, red: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (48, 32), (red, 90, 30)).save(path)


def maps(out: Path) -> list[str]:
    return sorted(path.name for path in out.rglob("*_depth*.png") if ".lotus-batch" not in path.parts)


def alter(model: Path) -> None:
    """Another model of the same name and size."""
    with safe_open(model, "pt") as file:
        words = file.metadata()
    save_file({name: tensor + 0.01 for name, tensor in load_file(model).items()}, model, words)


def test_every_change_of_a_sequence_is_seen_and_no_frame_of_before_is_left(
    checkpoints: dict[str, str], tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    frames = [source / f"shot.{number}.bmp" for number in (1001, 1002, 1003, 1004)]  # all of one size
    for index, frame in enumerate(frames):
        paint(frame, 50 * index)
    argv = command(source, out, checkpoints, "--no-previews")

    def run() -> tuple[int, list[str]]:
        assert main(argv) == 0
        return times_done(out)["shot.####.bmp"], [name.split(".")[1] for name in maps(out)]

    assert run() == (1, ["1001", "1002", "1003", "1004"])
    assert manifest(out)["items"]["shot.####.bmp"]["numbers"] == [1001, 1002, 1003, 1004]
    os.utime(frames[0], (1, 1))  # touched, but the same
    assert run() == (1, ["1001", "1002", "1003", "1004"])
    paint(frames[1], 250)
    os.utime(frames[1], (1, 1))  # older than the others
    assert run() == (2, ["1001", "1002", "1003", "1004"])
    for frame in reversed(frames):
        frame.rename(frame.with_name(f"shot.{int(frame.stem[-4:]) + 1}.bmp"))
    assert run() == (3, ["1002", "1003", "1004", "1005"])
    (source / "shot.1003.bmp").unlink()
    assert run() == (4, ["1002", "1004", "1005"])
    facts = manifest(out)["items"]["shot.####.bmp"]
    assert (facts["numbers"], facts["missing"]) == ([1002, 1004, 1005], {"frames": 1, "first": 1003})
    assert main(command(source, tmp_path / "anew", checkpoints, "--no-previews")) == 0
    assert results(out) == results(tmp_path / "anew")


def test_a_batch_ends_the_same_whatever_pictures_came_and_went(checkpoints: dict[str, str], tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    paint(source / "a.png", 10)
    assert main(command(source, out, checkpoints)) == 0
    assert maps(out) == ["a_depth.png", "a_depth_preview.png"]
    paint(source / "a.bmp", 200)  # now both keep their suffix
    assert main(command(source, out, checkpoints)) == 0
    both = ["a.bmp_depth.png", "a.bmp_depth_preview.png", "a.png_depth.png", "a.png_depth_preview.png"]
    assert maps(out) == both
    # A kill before the old files were deleted is made up for.
    line = next(line for line in reversed(journal(out)) if line.get("done") == "a.png")
    staging = out / ".lotus-batch" / "staging" / "journal" / line["staging"]
    staging.mkdir()
    for file in line["files"]:
        os.replace(out / file, staging / file)
    shutil.copy(out / "a.bmp_depth.png", out / "a_depth.png")
    assert main(command(source, out, checkpoints)) == 0
    assert maps(out) == both

    (source / "a.png").unlink()
    (source / "bad.png").write_text("not a picture")
    assert main(command(source, out, checkpoints)) == 2
    assert list(manifest(out)["failed"]) == ["bad.png"]
    (source / "bad.png").unlink()
    assert main(command(source, out, checkpoints)) == 0
    assert main(command(source, tmp_path / "anew", checkpoints)) == 0
    assert manifest(out) == manifest(tmp_path / "anew")
    (result,) = manifest(out)["items"].values()
    assert all(results(out)[name] == sha256 for name, sha256 in result["files"].items())


def test_several_sources_in_one_destination_stay_in_its_manifest(checkpoints: dict[str, str], tmp_path: Path) -> None:
    for name in ("one/a.png", "one/b.png", "two/c.png"):
        paint(tmp_path / name, 10)
    for source in ("one", "two"):
        assert main(command(tmp_path / source, tmp_path / "out", checkpoints)) == 0
    assert list(manifest(tmp_path / "out")["items"]) == ["a.png", "b.png", "c.png"]
    (tmp_path / "one" / "b.png").unlink()
    assert main(command(tmp_path / "one", tmp_path / "out", checkpoints)) == 0
    assert list(manifest(tmp_path / "out")["items"]) == ["a.png", "c.png"]


def test_other_weights_of_the_same_name_are_refused(
    checkpoints: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out, model = tmp_path / "in", tmp_path / "out", tmp_path / "depth.safetensors"
    shutil.copy(checkpoints["depth"], model)
    paint(source / "a.png", 10)
    argv = command(source, out, {"depth": str(model)})
    assert main(argv) == 0
    assert list(manifest(out)["weights"]) == [str(model)]
    before = results(out)
    paint(source / "b.png", 20)
    alter(model)
    assert main(argv) == 2
    assert f"{out} holds a batch that was made with other weights of {model}" in capsys.readouterr().err
    assert results(out) == before
    shutil.copy(checkpoints["depth"], model)
    assert main(argv) == 0
    # A batch of an older version goes on, and holds to what it goes on with.
    settings = out / ".lotus-batch" / "settings.json"
    table = json.loads(settings.read_text())
    del table["weights"]
    settings.write_text(json.dumps(table))
    paint(source / "c.png", 30)
    assert main(argv) == 0
    assert set(times_done(out).values()) == {1}
    alter(model)
    assert main(argv) == 2


def test_the_weights_of_models_that_are_not_named_count_as_well(tmp_path: Path) -> None:
    from lotus_core.batch.claims import weights_of
    from lotus_core.batch.settings import Settings

    assert list(weights_of(Settings())) == ["lotus-tiny-depth-g"]
    assert list(weights_of(Settings(maps=("depth", "normal")))) == ["lotus-tiny-depth-g", "lotus-tiny-normal-g"]
    assert list(weights_of(Settings(maps=("normal", "uncertainty"), models=("lotus-tiny-normal-g",)))) == [
        "lotus-tiny-normal-g"
    ]
    assert weights_of(Settings(models=(str(tmp_path / "nowhere.safetensors"),))) == {}
