"""What `lotus` finds in its way stays: photos, other programs' files, and time before a typo is told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lotus_core.cli import main


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused is refused before a model is loaded."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("lotus_core.cli.predictors.load_for_maps", load)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    message = capsys.readouterr().err.strip()
    assert "\n" not in message
    return message


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("content", ['{"version": "5.0", "shapes": []}', '{"versions": null}', "[1, 2]", "not JSON"])
def test_an_annotation_beside_the_photo_is_not_replaced(
    photo: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    """labelme's files and photo exports are called <photo>.json, as our record is."""
    annotation = photo.with_suffix(".json")
    annotation.write_text(content)
    message = refused(["predict", str(photo), "-o", str(photo.parent)], capsys)
    assert "photo.json: the file there is no record of Lotus's; choose another place with -o" in message
    assert annotation.read_text() == content
    annotation = annotation.rename(photo.with_name("coffee.json"))
    assert "coffee.json: the file there is no record" in refused(["demo", "-o", str(photo.parent)], capsys)
    assert annotation.read_text() == content


@pytest.mark.usefixtures("no_model")
def test_a_photo_is_not_replaced_by_the_map_of_another(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = photo.with_name("photo_depth.png")
    other.write_bytes(photo.read_bytes())
    message = refused(["predict", str(photo), str(other), "-o", str(photo.parent)], capsys)
    assert "photo_depth.png: it is one of the inputs" in message
    assert other.read_bytes() == photo.read_bytes()


def test_our_own_results_are_replaced(photo: Path) -> None:
    command = ["predict", str(photo), "-o", str(photo.parent), "--res", "64", "--quiet"]
    for seed in ("1", "2"):
        assert main([*command, "--seed", seed]) == 0
    assert json.loads(photo.with_suffix(".json").read_text())["seed"] == 2


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("more", "part"),
    [
        (
            ["--vae", "nosuch.safetensors"],
            "--vae completes the U-Net file that --model names, but the embedded model is",
        ),
        (["--model", "lotus-tiny-depth-g", "--text-encoder", "t"], "--text-encoder completes the U-Net file"),
    ],
)
def test_parts_that_nothing_needs_are_refused(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], part: str
) -> None:
    assert part in refused(["predict", str(photo), "-o", str(tmp_path / "out"), *more], capsys)


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("points", "part"),
    [
        (["40", "200", "10", "10"], r"The pixel (40, 200) lies outside the 64×48 picture"),
        (["40", "20", "40", "20"], "are the same point"),
    ],
)
def test_a_known_length_off_the_picture_is_told_before_the_prediction(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], points: list[str], part: str
) -> None:
    command = ["mesh", str(photo), "-o", str(tmp_path / "a.glb"), "--known", *points, "0.8"]
    assert part in refused(command, capsys)


def test_names_and_places_that_cannot_be(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["predict", str(photo), "-o", ""], ["batch", str(photo.parent), ""], ["demo", "-o", ""]):
        assert "the name is empty; for the current folder say ." in refused(command, capsys)
    long = photo.with_name("a" * 245 + ".png")
    long.write_bytes(photo.read_bytes())
    message = refused(["predict", str(long), "-o", str(tmp_path / "out"), "--res", "64"], capsys)
    assert "the name is too long; shorten that of the photo" in message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in its file systems")
def test_a_pipe_is_called_one(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    message = refused(["predict", str(tmp_path / "pipe.png"), "-o", str(tmp_path / "out")], capsys)
    assert "pipe.png is a pipe, which cannot be read twice: save the image as a file first" in message
