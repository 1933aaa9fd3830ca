"""What Predict is told: how large the network sees the photo, where the model lies, which photo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotus_core.checkpoints.convert import convert
from lotus_core.checkpoints.registry import embedded

from .driving import begin, drive, enabled, preferences, settings
from .scenes import add_photo, checks, part
from .test_predict import photo_file


def test_fast_sees_half_of_what_the_model_was_trained_for(bpy: Any, tmp_path: Path) -> None:
    bpy.ops.lotus.open_photo(filepath=str(photo_file(tmp_path)))
    chosen = settings(bpy, use_normal=True, quality="FAST")
    run = begin(bpy)
    drive()
    assert "--res=128 " in run._prediction.record["command"]  # the built-in models' own is 256
    fast = part("resolution").fast_resolution
    chosen.depth_model = "jingheya/lotus-depth-g-v2-1-disparity"
    assert fast(chosen) == 128  # the built-in one of normals sees no more
    chosen.use_normal = False
    assert fast(chosen) == 384
    chosen.depth_model = str(embedded()["lotus-tiny-depth-d"])
    assert fast(chosen) == 128


def test_fast_knows_what_a_folder_of_weights_was_trained_for(bpy: Any, tmp_path: Path) -> None:
    fast, chosen = part("resolution").fast_resolution, settings(bpy, depth_model=str(tmp_path))
    for words, expected in (('{"resolution": 256}', 128), ('{"resolution": "?"}', 384), ("{}", 384), ("[", 384)):
        (tmp_path / "lotus.json").write_text(words)
        assert fast(chosen) == expected, words
    (tmp_path / "lotus.json").unlink()
    assert fast(chosen) == 384


def test_fast_sees_half_of_what_a_converted_model_was_trained_for(bpy: Any, tmp_path: Path) -> None:
    convert(str(embedded()["lotus-tiny-depth-d"]), tmp_path / "folder")
    assert part("resolution").fast_resolution(settings(bpy, depth_model=str(tmp_path / "folder"))) == 128


def test_scripts_predict_from_a_photo_that_the_panel_does_not_show(bpy: Any) -> None:
    photo = add_photo(bpy, checks(48, 80))
    bpy.context.scene.lotus.image = None
    settings(bpy)
    assert bpy.ops.lotus.predict(image=photo.name) == {"FINISHED"}
    assert tuple(photo.lotus.depth.size) == (80, 48)
    assert not enabled(bpy, "predict")
    with pytest.raises(RuntimeError, match="There is no photo: choose one"):
        bpy.ops.lotus.predict()


def test_mirror_takes_the_mean_with_the_mirror_image(bpy: Any, tmp_path: Path) -> None:
    bpy.ops.lotus.open_photo(filepath=str(photo_file(tmp_path)))
    chosen = settings(bpy)
    maps = []
    for mirror in (False, True):
        chosen.mirror = mirror
        run = begin(bpy)
        drive()
        assert run.state == "done"
        assert ("--mirror" in run._prediction.record["command"]) == mirror
        maps.append(part("images").depth_of(bpy.context.scene.lotus.image).values)
    assert 1e-4 < np.abs(maps[0] - maps[1]).max() < 0.5


def test_a_card_that_cannot_hold_the_model_gets_a_layer_at_a_time(bpy: Any, tmp_path: Path) -> None:
    bpy.ops.lotus.open_photo(filepath=str(photo_file(tmp_path)))
    settings(bpy)
    run = begin(bpy)
    drive()
    assert "--offload" not in run._prediction.record["command"]
    depth = part("images").depth_of(bpy.context.scene.lotus.image)
    preferences(bpy).offload = True
    run = begin(bpy)
    drive()
    assert run.state == "done"
    assert "--offload" in run._prediction.record["command"]
    np.testing.assert_allclose(part("images").depth_of(bpy.context.scene.lotus.image).values, depth.values, atol=1e-5)
