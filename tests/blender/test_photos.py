"""Which images can be photos, and that they and their maps are there when the .blend is opened again."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest
from PIL import Image

from lotus_core.maps import Depth

from .scenes import add_photo, checks, hills, part, put

SIZE = (24, 32)


def open_photo(bpy: Any, path: Path, **options: Any) -> Any:
    if not path.exists():
        Image.fromarray(checks(*SIZE)).save(path)
    assert bpy.ops.lotus.open_photo(filepath=str(path), **options) == {"FINISHED"}
    return bpy.context.scene.lotus.image


def constant(value: float, space: str = "disparity") -> Depth:
    return Depth(np.full(SIZE, value, np.float32), space)  # type: ignore[arg-type]


def value_of(photo: Any) -> float:
    """The one value of its depth."""
    depth = part("images").depth_of(photo).values
    assert np.ptp(depth) == 0
    return round(float(depth[0, 0]), 3)


def saved_and_opened(bpy: Any, path: Path) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.wm.open_mainfile(filepath=str(path))


def linked(bpy: Any, image: Any, blend: Path) -> Any:
    """Of an image the one that this .blend links from another."""
    bpy.data.libraries.write(str(blend), {image})
    with bpy.data.libraries.load(str(blend), link=True) as (_, wanted):
        wanted.images = [image.name]
    found = wanted.images[0]
    assert found.library is not None
    return found


def test_every_photo_is_there_again_and_not_only_the_panel_s(bpy: Any, tmp_path: Path) -> None:
    for name, value in (("a.png", 0.25), ("b.png", 0.75)):
        put(open_photo(bpy, tmp_path / name), "depth", constant(value))
    open_photo(bpy, tmp_path / "without maps.png")
    bpy.context.scene.lotus.image = None
    put(add_photo(bpy, checks(*SIZE), "chosen"), "depth", constant(0.5))  # an image that the .blend had already
    bpy.context.scene.lotus.image = None
    saved_and_opened(bpy, tmp_path / "scene.blend")
    assert {image.name for image in bpy.data.images if image.lotus.kind == "NONE"} == {
        "a.png", "b.png", "without maps.png", "chosen"
    }  # fmt: skip
    assert [value_of(bpy.data.images[name]) for name in ("a.png", "b.png", "chosen")] == [0.25, 0.75, 0.5]


def test_a_focal_length_set_by_hand_outlives_opening_the_photo_again(bpy: Any, tmp_path: Path) -> None:
    photo = open_photo(bpy, tmp_path / "cup.png")  # a PNG that does not say it
    photo.lotus.focal_35mm = 24
    bpy.ops.lotus.open_photo(filepath=str(tmp_path / "cup.png"))
    assert bpy.context.scene.lotus.image == photo
    assert photo.lotus.focal_35mm == 24


def test_a_copy_of_the_photo_keeps_its_maps(bpy: Any, tmp_path: Path) -> None:
    photo = open_photo(bpy, tmp_path / "cup.png")
    put(photo, "depth", constant(0.25))
    copy = photo.copy()
    assert copy.lotus.depth == photo.lotus.depth
    put(photo, "depth", constant(0.75))
    assert (value_of(photo), value_of(copy)) == (0.75, 0.25)
    assert (photo.lotus.depth.name, copy.lotus.depth.name) == ("cup.png depth", "cup.png.001 depth")
    put(copy, "depth", constant(0.5))
    assert (value_of(photo), value_of(copy)) == (0.75, 0.5)
    assert sum(image.lotus.kind == "DEPTH" for image in bpy.data.images) == 2


def test_a_linked_photo_takes_no_maps_which_would_be_gone_on_loading(bpy: Any, tmp_path: Path) -> None:
    photo = linked(bpy, add_photo(bpy, checks(*SIZE), "theirs"), tmp_path / "library.blend")
    constant(0.5).save(tmp_path / "d.exr")
    before = list(bpy.data.images)
    with pytest.raises(RuntimeError, match=r"theirs is linked from library\.blend, .* make it local first"):
        bpy.ops.lotus.import_map(image="theirs", library=photo.library.filepath, filepath=str(tmp_path / "d.exr"))
    with pytest.raises(importlib.import_module("lotus_core.errors").LotusError, match="make it local first"):
        put(photo, "depth", constant(0.5))
    assert list(bpy.data.images) == before
    photo.make_local()
    bpy.data.images["theirs"].name = "ours"
    put(bpy.data.images["ours"], "depth", constant(0.5))


def test_of_two_images_with_one_name_the_one_that_was_meant_is_built(bpy: Any, tmp_path: Path) -> None:
    theirs = add_photo(bpy, checks(*SIZE), "cup")
    put(theirs, "depth", constant(0.25))
    theirs = linked(bpy, theirs, tmp_path / "library.blend")
    for image in [image for image in bpy.data.images if image.library is None]:
        bpy.data.images.remove(image)
    ours = add_photo(bpy, checks(*SIZE), "cup")
    put(ours, "depth", constant(0.75))
    assert ours.name == theirs.name
    names: list[tuple[str, str]] = []

    class Chosen(part("operators.base").PhotoOperator, bpy.types.Operator):  # type: ignore[misc, name-defined]
        """What an operator remembers of the panel's photo for Adjust Last Operation."""

        bl_idname, bl_label = "lotus_test.chosen", "Chosen"

        def execute(self, context: Any) -> set[str]:
            self.choose_photo(context)
            names.append((self.image, self.library))
            return {"FINISHED"}

    bpy.utils.register_class(Chosen)
    try:
        for photo, value in ((theirs, 0.25), (ours, 0.75)):
            bpy.context.scene.lotus.image = photo
            bpy.ops.lotus_test.chosen()
            name, library = names[-1]
            bpy.context.scene.lotus.image = None
            assert bpy.ops.lotus.relief(image=name, library=library) == {"FINISHED"}
            used = bpy.context.view_layer.objects.active.modifiers[0].texture.image
            assert used == photo.lotus.depth
            assert value_of(photo) == value
    finally:
        bpy.utils.unregister_class(Chosen)
    assert bpy.ops.lotus.relief(image="cup") == {"FINISHED"}
    assert bpy.context.view_layer.objects.active.modifiers[0].texture.image == ours.lotus.depth


def test_a_still_is_opened_after_a_sequence_of_the_same_file(bpy: Any, tmp_path: Path) -> None:
    Image.fromarray(checks(*SIZE)).save(tmp_path / "shot_0002.png")
    sequence = open_photo(bpy, tmp_path / "shot_0001.png", sequence=True)
    assert (sequence.source, sequence.lotus.frames) == ("SEQUENCE", 2)
    still = open_photo(bpy, tmp_path / "shot_0001.png")
    assert (still.source, still == sequence) == ("FILE", False)
    assert open_photo(bpy, tmp_path / "shot_0001.png") == still
    options = bpy.ops.lotus.open_photo.get_rna_type().properties
    assert options["sequence"].is_skip_save, "the box would be ticked for the next photo, too"


def test_a_map_is_not_taken_for_the_photo_of_its_file(bpy: Any, tmp_path: Path) -> None:
    photo = open_photo(bpy, tmp_path / "cup.png")
    put(photo, "depth", constant(0.5))
    path = tmp_path / "depth.png"
    photo.lotus.depth.filepath_raw = str(path)
    Image.fromarray(checks(*SIZE)).save(path)
    assert open_photo(bpy, path) != photo.lotus.depth


def multilayer(path: Path) -> None:
    plane = np.ones(SIZE, np.float32)
    names = [f"ViewLayer.Combined.{name}" for name in "RGBA"] + ["ViewLayer.Depth.Z"]
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, dict.fromkeys(names, plane)) as file:
        file.write(str(path))


def test_what_has_no_pixels_is_refused_when_it_is_opened(bpy: Any, tmp_path: Path) -> None:
    multilayer(tmp_path / "render.exr")
    (tmp_path / "broken.png").write_text("no picture")
    for name, sentence in (
        ("render.exr", r"render\.exr is a multilayer EXR, .*: save the one that you want"),
        ("broken.png", r"broken\.png cannot be read as a picture: check"),
        ("gone.png", "is not an image that Blender can read; choose another"),
    ):
        with pytest.raises(RuntimeError, match=sentence):
            bpy.ops.lotus.open_photo(filepath=str(tmp_path / name))
    with pytest.raises(RuntimeError, match="render"):
        bpy.ops.lotus.open_photo(filepath=str(tmp_path / "render.exr"), sequence=True)
    assert not bpy.data.images


def test_a_photo_whose_file_is_gone_takes_no_map_and_leaves_no_debris(bpy: Any, tmp_path: Path) -> None:
    photo = open_photo(bpy, tmp_path / "cup.png")
    put(photo, "depth", Depth(hills(*SIZE), "disparity"))
    (tmp_path / "cup.png").unlink()
    photo.reload()
    kinds = ("meshes", "objects", "cameras", "materials", "textures", "images")
    before = {kind: len(getattr(bpy.data, kind)) for kind in kinds}
    with pytest.raises(RuntimeError, match=r"cup\.png cannot be read as a picture"):
        bpy.ops.lotus.scene_mesh()
    constant(0.5).save(tmp_path / "d.exr")
    with pytest.raises(RuntimeError, match=r"cup\.png cannot be read as a picture"):
        bpy.ops.lotus.import_map(filepath=str(tmp_path / "d.exr"))
    assert before == {kind: len(getattr(bpy.data, kind)) for kind in kinds}
    with pytest.raises(RuntimeError, match=r"cup\.png cannot be read as a picture"):
        (tmp_path / "cup.png").write_text("no picture")
        bpy.ops.lotus.open_photo(filepath=str(tmp_path / "cup.png"))
    (tmp_path / "cup.png").unlink()
    assert open_photo(bpy, tmp_path / "cup.png") == photo, "found again, with its maps"
    assert bpy.ops.lotus.scene_mesh() == {"FINISHED"}
