"""What a model predicts, as the command line is told it: an explicit word counts, or is refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import save_file

from lotus_core.cli import main
from lotus_core.maps import Depth, Normals

from .models import official_folder, wide_unet


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that a bare U-Net needs."""
    folder = str(official_folder(tmp_path_factory.mktemp("parts") / "official", "g", wide=True))
    return ["--vae", folder, "--text-encoder", folder, "--res", "64", "--device", "cpu"]


def bare(folder: Path, name: str) -> str:
    """A Lotus-G U-Net in a file of this name."""
    save_file(wide_unet("g").state_dict(), folder / f"{name}.safetensors")
    return str(folder / f"{name}.safetensors")


def refusal(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    capsys.readouterr()
    assert main(argv) == 2
    message = capsys.readouterr().err.strip()
    assert "\n" not in message
    return message


def test_a_misnamed_file_is_believed_what_it_is_told_to_be(
    tmp_path: Path, photo: str, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["predict", photo, "-o", str(out), *parts, "--model"]
    normal_d = bare(tmp_path, "lotus-normal-d-v1-1")
    assert "cannot be trusted: pass --task, and --space for depth" in refusal(capsys, [*command, normal_d])
    assert main([*command, normal_d, "--task", "depth", "--space", "disparity"]) == 0
    assert Depth.load(out / "photo_depth.png").space == "disparity"
    assert main([*command, normal_d, "--task", "normal"]) == 0
    assert Normals.load(out / "photo_normal.png").values.shape == (64, 96, 3)
    # A name that is wrong about the variant says nothing about the space either.
    depth_d = bare(tmp_path, "lotus-depth-d-v1-0")
    assert "pass --space disparity or --space depth" in refusal(capsys, [*command, depth_d, "--task", "depth"])
    assert main([*command, depth_d, "--task", "depth", "--space", "disparity"]) == 0
    assert json.loads((out / "photo.json").read_text())["maps"]["depth"]["space"] == "disparity"


@pytest.mark.parametrize("name", ["renamed", "lotus-normal-d-v1-1"], ids=["unknown", "misnamed"])
def test_a_mesh_of_such_a_file_is_told_by_its_space_or_made_a_file_that_says_it(
    tmp_path: Path, photo: str, parts: list[str], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    model, out = bare(tmp_path, name), tmp_path / "scene.ply"
    command = ["mesh", photo, "-o", str(out), *parts, "--model", model]
    message = refusal(capsys, command)
    convert = f"lotus convert {model} new.safetensors --task normal"
    assert "pass --space disparity or --space depth if depth" in message
    assert message.endswith(f"{convert}.")
    assert "pass --task" not in message
    assert main([*command, "--space", "disparity", "--min-faces", "0"]) == 0
    whole = str(tmp_path / "new.safetensors")
    told = convert.replace("new.safetensors", whole).split()[1:]
    assert main([*told, *parts[:4]]) == 0
    both = ["mesh", photo, "-o", str(out), "--res", "64", "--min-faces", "0", "--model", whole]
    assert main([*both, "--model", "lotus-tiny-depth-g"]) == 0


def test_a_stated_space_counts_more_than_a_published_name(
    tmp_path: Path, photo: str, parts: list[str], checkpoints: dict[str, str]
) -> None:
    out = tmp_path / "out"
    command = ["predict", photo, "-o", str(out), *parts, "--model", bare(tmp_path, "lotus-depth-g-v1-0")]
    for stated, space in (([], "depth"), (["--space", "disparity"], "disparity")):
        assert main([*command, *stated]) == 0
        assert Depth.load(out / "photo_depth.png").space == space
        assert json.loads((out / "photo.json").read_text())["maps"]["depth"]["space"] == space
    both = ["predict", photo, "-o", str(out), "--res", "64", "--space", "disparity", "--model", checkpoints["normal"]]
    assert main([*both, "--model", checkpoints["depth"]]) == 0  # the space is not asked of the normals beside it


def test_a_space_that_a_model_does_not_have_is_refused(
    tmp_path: Path, photo: str, checkpoints: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", photo, "-o", str(tmp_path / "out"), "--res", "64"]
    ours = [*command, "--model", checkpoints["depth"], "--space"]
    assert "says itself what it predicts (depth as disparity, not depth)" in refusal(capsys, [*ours, "depth"])
    assert "says itself what it predicts" in refusal(capsys, [*command, "--space", "depth"])  # the embedded one
    normal = [*command, "--model", checkpoints["normal"], "--space", "depth"]
    assert "none is predicted here: leave it out" in refusal(capsys, normal)
    assert "says itself" in refusal(capsys, [*normal, "--task", "all"])  # the depth is the embedded model's
    assert not (tmp_path / "out").exists()
    assert main([*ours, "disparity"]) == 0
