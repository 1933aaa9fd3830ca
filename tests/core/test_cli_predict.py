"""`lotus predict` and `lotus mesh`: the files they write and what is in them."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

import lotus_core.images
from lotus_core import Depth, LotusPredictor, Normals, Uncertainty, load_model
from lotus_core.checkpoints import save_model
from lotus_core.cli import main
from lotus_core.model import LotusModel

from .models import tiny_model


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("suffix", ["png", "exr", "npy"])
def test_all_maps_previews_and_the_record(tmp_path: Path, photo: str, checkpoints: dict[str, str], suffix: str) -> None:
    out = tmp_path / "a" / "b"
    models = ["--model", checkpoints["depth"], "--model", checkpoints["normal"]]
    argv = ["predict", photo, "-o", str(out), *models, "--task", "all", "--samples", "3", "--format", suffix, "--quiet"]
    assert main(argv) == 0
    beside = [f"photo_{name}.npy.json" for name in ("depth", "normal", "uncertainty")] if suffix == "npy" else []
    maps = [
        f"photo_{name}{end}" for name in ("depth", "normal", "uncertainty") for end in (f".{suffix}", "_preview.png")
    ]
    assert names(out) == sorted(["photo.json", *maps, *beside])

    depth = Depth.load(out / f"photo_depth.{suffix}")
    assert (depth.space, depth.values.shape) == ("disparity", (64, 96))
    model = load_model(checkpoints["depth"], device="cpu")
    model.fold()
    exact = LotusPredictor(model).depth(photo, seed=0)
    assert np.abs(depth.values - exact.values).max() <= (0.6 / 65535 if suffix == "png" else 0)
    normals = Normals.load(out / f"photo_normal.{suffix}")
    assert normals.convention == "lotus"
    uncertainty = Uncertainty.load(out / f"photo_uncertainty.{suffix}")
    assert (uncertainty.unit, uncertainty.samples) == ("depth", 3)
    for name in ("depth", "normal", "uncertainty"):
        with Image.open(out / f"photo_{name}_preview.png") as preview:
            assert (preview.mode, preview.size) == ("RGB", (96, 64))

    record = json.loads((out / "photo.json").read_text(encoding="utf-8"))
    assert record["maps"]["depth"]["space"] == "disparity"
    assert record["maps"]["depth"]["model"] == "tiny-depth-g"
    assert record["maps"]["normal"]["convention"] == "lotus"
    assert record["maps"]["uncertainty"]["samples"] == 3
    assert record["camera"]["source"] == "default"
    assert record["camera"]["horizontal_fov_deg"] == pytest.approx(55)
    assert record["seed"] == 0
    assert record["versions"]["lotus-geometry"]
    assert record["command"].startswith("lotus predict ")
    assert all(
        (out / entry["file"]).is_file() and (out / entry["preview"]).is_file() for entry in record["maps"].values()
    )


def test_the_models_decide_the_maps_unless_a_task_does(tmp_path: Path, photo: str, checkpoints: dict[str, str]) -> None:
    assert main(["predict", photo, "-o", str(tmp_path / "n"), "--model", checkpoints["normal"], "--quiet"]) == 0
    assert names(tmp_path / "n") == ["photo.json", "photo_normal.png", "photo_normal_preview.png"]
    argv = [
        "predict",
        photo,
        "-o",
        str(tmp_path / "u"),
        "--model",
        checkpoints["normal"],
        "--task",
        "uncertainty",
        "--quiet",
    ]
    assert main([*argv, "--samples", "2"]) == 0
    assert Uncertainty.load(tmp_path / "u" / "photo_uncertainty.png").unit == "degrees"


def test_the_seed_decides_the_result(tmp_path: Path, photo: str, checkpoints: dict[str, str]) -> None:
    def depth(folder: str, seed: str) -> bytes:
        argv = [
            "predict",
            photo,
            "-o",
            str(tmp_path / folder),
            "--model",
            checkpoints["depth"],
            "--seed",
            seed,
            "--quiet",
        ]
        assert main(argv) == 0
        return (tmp_path / folder / "photo_depth.png").read_bytes()

    assert depth("a", "7") == depth("b", "7") != depth("c", "8")


def test_good_images_are_kept_when_others_fail(
    tmp_path: Path, photo: str, checkpoints: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    bad, second = tmp_path / "bad.jpg", tmp_path / "second.jpg"
    bad.write_text("not a picture")
    shutil.copy(photo, second)
    out = tmp_path / "out"
    argv = [
        "predict",
        photo,
        str(bad),
        str(tmp_path / "none.png"),
        str(second),
        "-o",
        str(out),
        "--model",
        checkpoints["depth"],
    ]
    assert main(argv) == 2
    stdout, stderr = capfd.readouterr()
    assert names(out) == sorted(
        f"{stem}{end}" for stem in ("photo", "second") for end in (".json", "_depth.png", "_depth_preview.png")
    )
    lines = stderr.splitlines()
    assert len(lines) == 3
    assert "bad.jpg" in lines[0]
    assert "none.png" in lines[1]
    assert "2 of 4 images failed" in lines[2]
    assert [line.split(":")[0] for line in stdout.splitlines()] == [photo, str(second)]


def test_an_existing_result_is_replaced(tmp_path: Path, photo: str, checkpoints: dict[str, str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "photo_depth.png").write_text("old")
    (out / "keep.txt").write_text("mine")
    assert main(["predict", photo, "-o", str(out), "--model", checkpoints["depth"], "--quiet"]) == 0
    assert Depth.load(out / "photo_depth.png").values.shape == (64, 96)
    assert names(out) == ["keep.txt", "photo.json", "photo_depth.png", "photo_depth_preview.png"]


def test_the_record_keeps_what_earlier_commands_wrote(tmp_path: Path, photo: str, checkpoints: dict[str, str]) -> None:
    out = tmp_path / "out"

    def predicted(kind: str, *options: str) -> dict[str, Any]:
        assert main(["predict", photo, "-o", str(out), "--model", checkpoints[kind], "--quiet", *options]) == 0
        record: dict[str, Any] = json.loads((out / "photo.json").read_text(encoding="utf-8"))
        return record

    first = predicted("depth", "--seed", "3")
    second = predicted("normal")
    depth = second["maps"]["depth"]
    assert list(second["maps"]) == ["normal", "depth"]
    assert depth == {**first["maps"]["depth"], "seed": 3, "command": first["command"]}
    assert second["seed"] == 0
    assert second["maps"]["normal"].keys().isdisjoint({"seed", "command"})
    third = predicted("depth", "--format", "exr", "--seed", "3")  # beside the PNG, whose preview it replaces
    assert {name: entry["file"] for name, entry in third["maps"].items()} == {
        "depth": "photo_depth.exr",
        "normal": "photo_normal.png",
        "depth.png": "photo_depth.png",
    }
    assert third["maps"]["depth.png"] == {key: value for key, value in depth.items() if key != "preview"}
    assert third["maps"]["normal"] == {**second["maps"]["normal"], "seed": 0, "command": second["command"]}
    older = {key: value for key, value in third.items() if key != "notes"}  # versions before did not write them
    (out / "photo.json").write_text(json.dumps(older))
    assert predicted("depth", "--format", "exr", "--seed", "3")["maps"]["normal"] == third["maps"]["normal"]
    (out / "photo_normal.png").unlink()
    last = predicted("depth", "--seed", "4")  # the PNG anew; of the normals nothing is left
    assert {name: entry.get("seed") for name, entry in last["maps"].items()} == {"depth": None, "depth.exr": 3}
    for broken in (3, {"depth": {"file": 7}, "x": "photo.jpg"}):
        (out / "photo.json").write_text(json.dumps({"versions": last["versions"], "maps": broken}))
        assert list(predicted("depth")["maps"]) == ["depth"]


@pytest.mark.parametrize(("suffix", "beside"), [("glb", []), ("ply", []), ("obj", ["scene.mtl", "scene.texture.png"])])
def test_mesh_opens_with_one_vertex_per_pixel(
    tmp_path: Path, photo: str, checkpoints: dict[str, str], suffix: str, beside: list[str]
) -> None:
    target = tmp_path / "out" / f"scene.{suffix}"
    argv = [
        "mesh",
        photo,
        "-o",
        str(target),
        "--model",
        checkpoints["depth"],
        "--fov",
        "90",
        "--far",
        "3",
        "--cut",
        "100",
    ]
    assert main([*argv, "--quiet"]) == 0
    assert names(target.parent) == sorted([target.name, "scene.scene.json", *beside])
    mesh = trimesh.load_mesh(target, process=False)
    assert len(mesh.faces) == 2 * 63 * 95
    x, z = mesh.vertices[:, 0], -mesh.vertices[:, 2]
    assert z.min() >= 1 - 1e-5
    assert z.max() <= 3 + 1e-5
    # 90° across: the outermost pixel centres lie half a pixel inside x = ±z.
    assert np.abs(x / z).max() == pytest.approx(1 - 0.5 / 48, abs=1e-4)


def test_mesh_reduced_to_a_budget(tmp_path: Path, photo: str, checkpoints: dict[str, str]) -> None:
    target = tmp_path / "scene.ply"
    argv = ["mesh", photo, "-o", str(target), "--model", checkpoints["depth"], "--cut", "100", "--target-faces", "1000"]
    assert main([*argv, "--quiet"]) == 0
    assert 800 <= len(trimesh.load_mesh(target, process=False).faces) <= 1000


def test_relief_with_a_base_is_a_closed_solid(tmp_path: Path, photo: str, checkpoints: dict[str, str]) -> None:
    target = tmp_path / "relief.ply"
    argv = ["mesh", photo, "-o", str(target), "--model", checkpoints["depth"], "--mode", "relief", "--base", "2"]
    assert main([*argv, "--quiet"]) == 0
    solid = trimesh.load_mesh(target, process=False)
    assert solid.is_watertight
    assert (solid.bounds[1] - solid.bounds[0])[0] == pytest.approx(100 * 95 / 96)  # outermost pixel centres, mm
    assert solid.bounds[0][2] == pytest.approx(-2)


def test_a_normal_model_refines_the_surface_along_the_same_rays(
    tmp_path: Path, photo: str, checkpoints: dict[str, str]
) -> None:
    def vertices(*options: str) -> np.ndarray:
        target = tmp_path / "scene.ply"
        argv = ["mesh", photo, "-o", str(target), "--model", checkpoints["depth"], "--cut", "1e6", "--quiet"]
        assert main([*argv, *options]) == 0
        return np.asarray(trimesh.load_mesh(target, process=False).vertices)

    plain, refined = vertices("--no-refine"), vertices("--model", checkpoints["normal"])
    assert plain.shape == refined.shape
    assert np.abs(plain - refined).max() > 0.01
    assert plain[:, :2] / plain[:, 2:] == pytest.approx(refined[:, :2] / refined[:, 2:], abs=1e-4)
    record = json.loads((tmp_path / "scene.scene.json").read_text(encoding="utf-8"))
    assert record["models"].keys() == {"depth", "normal"}
    assert record["camera"]["horizontal_fov_deg"] == pytest.approx(55)


def test_quiet_prints_nothing(
    tmp_path: Path, photo: str, checkpoints: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["mesh", photo, "-o", str(tmp_path / "s.ply"), "--model", checkpoints["depth"], "--cut", "9", "--quiet"])
        == 0
    )
    assert capfd.readouterr() == ("", "")


def test_all_maps_share_one_reading_of_the_file_and_one_encoding(
    tmp_path: Path, photo: str, checkpoints: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()
    encode, read = LotusModel.encode, lotus_core.images.load_image

    def counted_encode(model: LotusModel, *args: Any, **options: Any) -> Any:
        calls["encode"] += 1
        return encode(model, *args, **options)

    def counted_read(*args: Any, **options: Any) -> Any:
        calls["read"] += 1
        return read(*args, **options)

    monkeypatch.setattr(LotusModel, "encode", counted_encode)
    monkeypatch.setattr("lotus_core.images.load_image", counted_read)
    argv = ["predict", photo, "-o", str(tmp_path), "--task", "all", "--samples", "2", "--format", "npy", "--quiet"]
    argv += ["--model", checkpoints["depth"]]
    assert main([*argv, "--model", checkpoints["normal"]]) == 0
    assert calls == {"read": 1, "encode": 1}
    shared = np.load(tmp_path / "photo_normal.npy")
    other = tiny_model("g", "normal")  # with an encoder of its own, and the same decoder
    with torch.no_grad():
        other.vae.encoder.conv_in.bias += 0.1
    save_model(other, tmp_path / "other.safetensors")
    calls.clear()
    assert main([*argv, "--model", str(tmp_path / "other.safetensors")]) == 0
    assert calls == {"read": 1, "encode": 2}
    assert np.abs(np.load(tmp_path / "photo_normal.npy") - shared).max() > 1e-4


def test_reconstruct_gives_the_photo_back_as_the_model_sees_it(tmp_path: Path, photo: str) -> None:
    argv = ["predict", photo, "-o", str(tmp_path / "out"), "--task", "reconstruct", "--quiet"]
    assert main(argv) == 0
    assert names(tmp_path / "out") == ["photo.json", "photo_reconstruct.png", "photo_reconstruct_preview.png"]
    with Image.open(photo) as image, Image.open(tmp_path / "out" / "photo_reconstruct_preview.png") as given:
        before, after = (np.asarray(picture.convert("RGB"), float) / 255 for picture in (image, given))
    assert after.shape == before.shape
    psnr = -10 * np.log10(np.mean((before - after) ** 2))
    record = json.loads((tmp_path / "out" / "photo.json").read_text())["maps"]["reconstruct"]
    assert record["psnr_db"] == pytest.approx(psnr, abs=0.1)
    assert psnr > 12  # a grey picture would have 10
    assert record["model"] == "lotus-tiny-depth-g"


def test_reconstruct_takes_one_model_and_no_tiles(
    tmp_path: Path, photo: str, checkpoints: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    two = ["--model", checkpoints["depth"], "--model", checkpoints["normal"]]
    for more in (two, ["--tile", "64"], ["--mirror"]):
        assert main(["predict", photo, "-o", str(tmp_path / "out"), "--task", "reconstruct", *more]) == 2
        assert "one --model, no --tile and no --mirror" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    assert (
        main(["predict", photo, "-o", str(tmp_path / "n"), "--task", "reconstruct", *two[2:], "--format", "npy"]) == 0
    )
    assert np.load(tmp_path / "n" / "photo_reconstruct.npy").shape == (64, 96, 3)
