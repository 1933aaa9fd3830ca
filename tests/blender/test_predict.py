"""Predict: a real worker with the embedded checkpoints, through the operator."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest
from PIL import Image

import lotus_core as lotus

from .driving import begin, drive, enabled, files_in, long_job, preferences, settings, working
from .scenes import add_photo, checks, part
from .test_undo import everything


def save_blend(bpy: Any, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "Szene – 1.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    return path


def photo_file(folder: Path, height: int = 64, width: int = 96) -> Path:
    path = folder / "Foto Ä 世界.png"
    Image.fromarray(checks(height, width)).save(path)
    return path


def test_the_maps_are_those_of_the_model_in_floats_beside_the_blend(bpy: Any, tmp_path: Path) -> None:
    blend = save_blend(bpy, tmp_path / "Ordner mit ü")
    preferences(bpy).place = "BESIDE"
    path = photo_file(tmp_path)
    assert bpy.ops.lotus.open_photo(filepath=str(path)) == {"FINISHED"}
    settings(bpy, use_normal=True, use_uncertainty=True, samples=3, seed=5)
    assert bpy.ops.lotus.predict() == {"FINISHED"}
    photo = bpy.context.scene.lotus.image
    stem = part("storage").file_stem(photo)
    assert files_in(blend.parent / "lotus_maps") == sorted(
        f"{stem}_{kind}.exr" for kind in ("depth", "normal", "uncertainty")
    )
    images = part("images")
    predictor = lotus.LotusPredictor(lotus.load_model("lotus-tiny-depth-g", device="cpu"))
    expected = predictor.depth(str(path), resolution=64, seed=5)
    depth = images.depth_of(photo)
    assert depth.space == expected.space
    np.testing.assert_allclose(depth.values, expected.values, atol=1e-5)  # the worker may use more threads
    with OpenEXR.File(str(blend.parent / "lotus_maps" / f"{stem}_depth.exr"), separate_channels=True) as file:
        np.testing.assert_array_equal(file.channels()["Y"].pixels, depth.values)
    normals = lotus.LotusPredictor(lotus.load_model("lotus-tiny-normal-g", device="cpu")).normal(
        str(path), resolution=64, seed=5
    )
    assert images.normals_of(photo).angle_to(normals).max() < 0.01
    assert images.uncertainty_of(photo).samples == 3
    for kind in ("depth", "normal", "uncertainty"):
        image = getattr(photo.lotus, kind)
        assert (image.is_float, image.colorspace_settings.name) == (True, "Non-Color")
        assert image.filepath_raw == f"//lotus_maps/{stem}_{kind}.exr"
        assert tuple(image.preview.image_size) == (96, 64)
    assert photo.lotus.depth.lotus.model == "lotus-tiny-depth-g"


def test_maps_are_in_the_blend_when_it_is_opened_again(bpy: Any, tmp_path: Path) -> None:
    """Packed: while the .blend has no file, and where the user wants it so."""
    preferences(bpy).place = "BESIDE"
    bpy.ops.lotus.open_photo(filepath=str(photo_file(tmp_path)))
    settings(bpy)
    assert bpy.ops.lotus.predict() == {"FINISHED"}
    assert any("no file yet" in note for note in part("jobs").jobs.notes)
    before = part("images").depth_of(bpy.context.scene.lotus.image)
    blend = save_blend(bpy, tmp_path / "scene")
    bpy.ops.wm.open_mainfile(filepath=str(blend))
    photo = bpy.context.scene.lotus.image
    after = part("images").depth_of(photo)
    assert after.space == before.space
    np.testing.assert_array_equal(after.values, before.values)
    assert files_in(blend.parent) == [blend.name]


def test_predicting_again_reaches_what_uses_the_maps(bpy: Any, tmp_path: Path) -> None:
    bpy.ops.lotus.open_photo(filepath=str(photo_file(tmp_path)))
    settings(bpy)
    bpy.ops.lotus.predict()
    bpy.ops.lotus.relief()
    settings(bpy, resolution=96)
    bpy.ops.lotus.predict()
    photo = bpy.context.scene.lotus.image
    modifier = bpy.context.view_layer.objects.active.modifiers["Lotus relief"]
    assert modifier.texture.image == photo.lotus.depth
    assert [image.name for image in bpy.data.images if image.lotus.kind == "DEPTH"] == [f"{photo.name} depth"]


@pytest.mark.parametrize("kind", ["packed", "float", "alpha", "grey", "sixteen", "turned", "changed"])
def test_any_image_can_be_predicted_from(bpy: Any, tmp_path: Path, kind: str) -> None:
    pixels = checks(48, 80)
    path = tmp_path / f"{kind}.png"
    if kind == "packed":
        add_photo(bpy, pixels)
    elif kind == "float":
        image = bpy.data.images.new("render", 80, 48, float_buffer=True)
        image.pixels.foreach_set(np.random.default_rng(0).random(80 * 48 * 4, np.float32) * 3)
        bpy.context.scene.lotus.image = image
    else:
        picture = Image.fromarray(pixels)
        if kind == "alpha":
            picture.putalpha(128)
        elif kind == "grey":
            picture = picture.convert("L")
        elif kind == "sixteen":
            picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
        if kind == "turned":
            path = path.with_suffix(".jpg")
            exif = picture.getexif()
            exif[0x0112] = 6
            picture.save(path, exif=exif)
        else:
            picture.save(path)
        bpy.ops.lotus.open_photo(filepath=str(path))
        if kind == "changed":
            bpy.context.scene.lotus.image.pixels[0] = 0.5
    settings(bpy)
    assert bpy.ops.lotus.predict() == {"FINISHED"}
    photo = bpy.context.scene.lotus.image
    assert tuple(photo.lotus.depth.size) == tuple(photo.size) == (80, 48)
    assert bpy.ops.lotus.scene_mesh() == {"FINISHED"}


def test_undo_takes_the_maps_away_and_redo_brings_them_back(bpy: Any, tmp_path: Path) -> None:
    bpy.ops.lotus.open_photo(filepath=str(photo_file(tmp_path)))
    settings(bpy)
    bpy.ops.ed.undo_push(message="before")
    before = everything(bpy)
    assert bpy.ops.lotus.predict("EXEC_DEFAULT", True) == {"FINISHED"}
    depth = part("images").depth_of(bpy.context.scene.lotus.image).values
    after = everything(bpy)
    bpy.ops.ed.undo()
    assert everything(bpy) == before
    assert bpy.context.scene.lotus.image.lotus.depth is None
    bpy.ops.ed.redo()
    assert everything(bpy) == after
    np.testing.assert_array_equal(part("images").depth_of(bpy.context.scene.lotus.image).values, depth)


def test_two_scenes_do_not_mix(bpy: Any, tmp_path: Path) -> None:
    """While the first scene's prediction runs, the user works in the second one."""
    first = bpy.context.scene
    bpy.ops.lotus.open_photo(filepath=str(photo_file(tmp_path)))
    settings(bpy, seed=1)
    one = first.lotus.image
    second = bpy.data.scenes.new("second")
    begin(bpy)
    bpy.context.window.scene = second
    other = add_photo(bpy, checks(40, 50), "other")
    settings(bpy, use_depth=False, use_normal=True, resolution=128, seed=2)
    assert not bpy.ops.lotus.predict.poll()  # one at a time
    drive()
    assert one.lotus.depth is not None
    assert one.lotus.normal is None
    assert other.lotus.depth is None
    assert bpy.ops.lotus.predict() == {"FINISHED"}
    assert other.lotus.depth is None
    assert other.lotus.normal is not None
    assert (first.lotus.image, first.lotus.use_normal, first.lotus.resolution, first.lotus.seed) == (one, False, 64, 1)
    assert not enabled(bpy, "scene_mesh")  # the second scene's photo has no depth
    bpy.context.window.scene = first
    assert bpy.ops.lotus.scene_mesh() == {"FINISHED"}
    assert not second.objects


def test_cancelling_is_quick_and_leaves_nothing(bpy: Any, tmp_path: Path) -> None:
    blend = save_blend(bpy, tmp_path / "b")
    preferences(bpy).place = "BESIDE"
    bpy.ops.lotus.open_photo(filepath=str(photo_file(tmp_path)))
    before = everything(bpy)
    long_job(bpy)
    begin(bpy)
    drive(working)
    assert bpy.ops.lotus.cancel.poll()
    start = time.monotonic()
    bpy.ops.lotus.cancel()
    drive()
    assert time.monotonic() - start <= 2.0  # 0.5 on a machine that is not loaded: benchmarks/blender_responsiveness.md
    assert everything(bpy) == before
    assert files_in(blend.parent) == [blend.name]
    assert not bpy.ops.lotus.cancel.poll()
    settings(bpy)
    assert bpy.ops.lotus.predict() == {"FINISHED"}


def test_a_sequence_gets_maps_per_frame_that_follow_the_timeline(bpy: Any, tmp_path: Path) -> None:
    blend = save_blend(bpy, tmp_path / "b")
    preferences(bpy).place = "BESIDE"
    for number, shift in ((7, 0), (8, 20), (9, 40)):
        Image.fromarray(np.roll(checks(48, 64), shift, axis=1)).save(tmp_path / f"Bild {number:03d}.png")
    path = tmp_path / "Bild 007.png"
    assert bpy.ops.lotus.open_photo(filepath=str(path), sequence=True) == {"FINISHED"}
    settings(bpy)
    assert bpy.ops.lotus.predict() == {"FINISHED"}
    photo = bpy.context.scene.lotus.image
    stem = part("storage").file_stem(photo)
    assert files_in(blend.parent / "lotus_maps") == [f"{stem}_depth_{number:04d}.exr" for number in (7, 8, 9)]
    assert bpy.ops.lotus.relief(strength=1.0) == {"FINISHED"}
    relief = bpy.context.view_layer.objects.active
    for frame, number in ((1, 7), (2, 8), (3, 9), (2, 8)):
        bpy.context.scene.frame_set(frame)
        expected = lotus.Depth.load(blend.parent / "lotus_maps" / f"{stem}_depth_{number:04d}.exr", "disparity").values
        evaluated = relief.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        flat = np.empty(len(evaluated.vertices) * 3, np.float32)
        evaluated.vertices.foreach_get("co", flat)
        assert np.abs(flat[2::3].reshape(48, 64) - expected).max() <= 1e-6
        np.testing.assert_array_equal(part("images").depth_of(photo).values, expected)
        assert bpy.ops.lotus.scene_mesh(use_cut=False, refine=False, match_render=False) == {"FINISHED"}
    assert bpy.context.view_layer.objects.active.data.attributes["depth"].data[0].value > 0


def test_maps_made_elsewhere_are_found_by_the_photo_s_name(bpy: Any, tmp_path: Path) -> None:
    """With the files backend, also for photos whose pixels another backend would get from Blender (turned by EXIF)."""
    preferences(bpy).backend = "FILES"
    picture = Image.fromarray(checks(48, 80))
    exif = picture.getexif()
    exif[0x0112] = 3
    picture.save(tmp_path / "a b.jpg", exif=exif)
    depth = lotus.Depth(np.random.default_rng(0).random((48, 80)).astype(np.float32), "depth")
    depth.save(tmp_path / "a b_depth.png")
    bpy.ops.lotus.open_photo(filepath=str(tmp_path / "a b.jpg"))
    settings(bpy, use_normal=True)
    assert bpy.ops.lotus.predict() == {"FINISHED"}
    found = part("images").depth_of(bpy.context.scene.lotus.image)
    assert found.space == "depth"
    assert np.abs(found.values - depth.values).max() <= 0.51 / 65535
    lotus.Depth(np.zeros((80, 48), np.float32), "depth").save(tmp_path / "a b_depth.png")
    with pytest.raises(RuntimeError, match="another shape"):
        bpy.ops.lotus.predict()
    photo = bpy.context.scene.lotus.image
    lotus.Depth(1 - depth.values, "depth").save(tmp_path / "a b_depth.png")
    lotus.Normals.from_vectors(np.ones((80, 48, 3)) * [0, 0.6, 0.8]).save(tmp_path / "a b_normal.png")
    with pytest.raises(RuntimeError, match="The normal map is 48×80 pixels"):
        bpy.ops.lotus.predict()
    np.testing.assert_array_equal(part("images").depth_of(photo).values, found.values)  # all maps, or none
    shutil.rmtree(tmp_path)
    with pytest.raises(RuntimeError, match="has no file"):
        bpy.ops.lotus.predict()


def test_the_backend_tells_what_it_has(bpy: Any) -> None:
    assert bpy.ops.lotus.check_backend() == {"FINISHED"}
    jobs = part("jobs").jobs
    assert any("torch" in note and "cpu" in note for note in jobs.notes)
    assert "lotus-tiny-depth-g" in jobs.known_models("depth")
    assert "lotus-tiny-normal-g" in jobs.known_models("normal")
    assert bpy.ops.lotus.stop_worker() == {"FINISHED"}
    preferences(bpy).backend = "FILES"
    assert not bpy.ops.lotus.check_backend.poll()


def test_everything_is_documented_for_scripts(bpy: Any) -> None:
    for name in dir(bpy.ops.lotus):
        operator = getattr(bpy.ops.lotus, name).get_rna_type()
        assert operator.description, name
        for property_ in operator.properties:
            # Blender's own switches of file dialogs have none.
            if property_.identifier != "rna_type" and not property_.identifier.startswith(("filter_", "check_")):
                assert property_.description, f"{name}.{property_.identifier}"
    for group in (bpy.context.scene.lotus, bpy.data.images.new("x", 1, 1).lotus, preferences(bpy)):
        for property_ in group.bl_rna.properties:
            if property_.identifier not in {"rna_type", "name", "bl_idname"}:
                assert property_.description or property_.identifier == "kind", property_.identifier
