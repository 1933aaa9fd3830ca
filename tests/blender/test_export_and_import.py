"""Map files say what they are, have names of their own, and are taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lotus_core.maps import Depth, Normals, Uncertainty
from lotus_core.maps.png import write_png

from .driving import preferences
from .scenes import add_photo, checks, part, put

SIZE = (24, 32)
RNG = np.random.default_rng(0)
DEPTH = Depth(RNG.random(SIZE).astype(np.float32), "depth", RNG.random(SIZE) > 0.2)
NORMALS = Normals.from_vectors(RNG.normal(size=(*SIZE, 3)) + np.array([0, 0, 1]))
UNCERTAINTY = Uncertainty(0.1 * RNG.random(SIZE).astype(np.float32), None, 8, "depth")


def photo_with_maps(bpy: Any) -> Any:
    photo = add_photo(bpy, checks(*SIZE), "cup.jpg")
    for kind, value in (("depth", DEPTH), ("normal", NORMALS), ("uncertainty", UNCERTAINTY)):
        put(photo, kind, value)
    return photo


def is_the_same(photo: Any) -> None:
    """The maps of a photo are those that `photo_with_maps` has."""
    images = part("images")
    depth, uncertainty = images.depth_of(photo), images.uncertainty_of(photo)
    assert (depth.space, uncertainty.unit, uncertainty.samples) == ("depth", "depth", 8)
    np.testing.assert_array_equal(depth.mask, DEPTH.mask)
    assert np.abs(depth.values - DEPTH.values).max() <= 1 / 65535
    assert np.abs(uncertainty.std - UNCERTAINTY.std).max() <= 1 / 65535
    assert images.normals_of(photo).angle_to(NORMALS).max() < 0.01


@pytest.mark.parametrize("suffix", [".exr", ".png"])
@pytest.mark.parametrize("convention", ["OPENGL", "DIRECTX"])
def test_exported_maps_are_imported_without_being_told_what_they_are(
    bpy: Any, tmp_path: Path, suffix: str, convention: str
) -> None:
    photo_with_maps(bpy)
    kinds = ("DEPTH", "NORMAL", "UNCERTAINTY")
    for kind in kinds:
        bpy.ops.lotus.export_map(filepath=str(tmp_path / f"{kind}{suffix}"), kind=kind, convention=convention)
    other = add_photo(bpy, checks(*SIZE), "other")
    for kind in kinds:
        assert bpy.ops.lotus.import_map(filepath=str(tmp_path / f"{kind}{suffix}"), kind=kind) == {"FINISHED"}
    is_the_same(other)


@pytest.mark.parametrize("suffix", [".exr", ".png"])
def test_so_are_those_in_lotus_maps(bpy: Any, tmp_path: Path, suffix: str) -> None:
    preferences(bpy).place = "BESIDE"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    photo = add_photo(bpy, checks(*SIZE))
    for kind, value in (("depth", DEPTH), ("normal", NORMALS), ("uncertainty", UNCERTAINTY)):
        part("attaching").put_map(photo, kind, value, place="BESIDE", suffix=suffix)
    other = add_photo(bpy, checks(*SIZE), "other")
    for kind in ("depth", "normal", "uncertainty"):
        path = bpy.path.abspath(getattr(photo.lotus, kind).filepath)
        assert Path(path).parent.name == "lotus_maps"
        assert bpy.ops.lotus.import_map(filepath=path, kind=kind.upper()) == {"FINISHED"}
    is_the_same(other)


def test_what_is_wrong_is_told_in_the_words_of_the_options(bpy: Any, tmp_path: Path) -> None:
    photo_with_maps(bpy)
    grey, colour = str(tmp_path / "grey.png"), str(tmp_path / "colour.png")
    write_png(grey, np.full(SIZE, 30000, np.uint16))
    write_png(colour, np.full((*SIZE, 3), (30000, 30000, 65535), np.uint16))
    ours = {kind: str(tmp_path / f"{kind}.exr") for kind in ("DEPTH", "NORMAL")}
    for kind, path in ours.items():
        bpy.ops.lotus.export_map(filepath=path, kind=kind)
    for options, sentence in (
        ({"filepath": grey}, r"grey\.png does not say what it holds: choose 1 = near or 1 = far under Depth is"),
        ({"filepath": colour, "kind": "NORMAL"}, "choose OpenGL or DirectX or Lotus under Normals are"),
        ({"filepath": grey, "kind": "UNCERTAINTY"}, "choose Depth or Degrees under Uncertainty in"),
        ({"filepath": ours["DEPTH"], "space": "disparity"}, "choose As the file says under Depth is"),
        ({"filepath": ours["NORMAL"], "kind": "NORMAL", "convention": "directx"}, "As the file says under Normals are"),
        ({"filepath": ours["NORMAL"]}, "is a normal map, not a depth map: choose Normals under Map"),
        ({"filepath": colour}, "is a colour picture, not a depth map"),
        ({"filepath": grey, "kind": "NORMAL", "convention": "opengl"}, "it needs three channels"),
    ):
        with pytest.raises(RuntimeError, match=sentence) as refused:
            bpy.ops.lotus.import_map(**options)
        assert "give " not in str(refused.value)
    assert bpy.ops.lotus.import_map(filepath=grey, kind="UNCERTAINTY", unit="degrees") == {"FINISHED"}
    found = part("images").uncertainty_of(bpy.data.images["cup.jpg"])
    assert (found.unit, round(float(found.std[0, 0]), 1)) == ("degrees", round(180 * 30000 / 65535, 1))


def test_of_eight_bits_the_user_is_warned(bpy: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    add_photo(bpy, checks(*SIZE))
    Image.fromarray(checks(*SIZE)[..., 0]).save(tmp_path / "eight.png")
    write_png(tmp_path / "sixteen.png", np.full(SIZE, 30000, np.uint16))
    for name, warned in (("eight.png", True), ("sixteen.png", False)):
        bpy.ops.lotus.import_map(filepath=str(tmp_path / name), space="disparity")
        assert ("Warning: eight.png has only 8 bits" in capfd.readouterr().out) == warned


def browsed(bpy: Any, shown: Any, *steps: dict[str, str], **options: str) -> list[str]:
    """What the file browser proposes while the image editor shows an image, and after each step of changed options.

    Blender opens no file browser without a window, so this runs what it calls on a twin of the operator.
    """
    cls = part("operators.textures").LOTUS_OT_export_map
    proposed: list[str] = []

    def execute(self: Any, context: Any) -> set[str]:
        self.choose_photo(context)
        self.propose(context)
        proposed.append(self.filepath)
        for step in steps:
            for name, value in step.items():
                setattr(self, name, value)
            self.check(context)
            proposed.append(self.filepath)
        return {"FINISHED"}

    own = {name: value for name, value in vars(cls).items() if name not in {"bl_rna", "__dict__", "__weakref__"}}
    twin = type("Twin", cls.__bases__, own | {"bl_idname": "lotus_test.export", "execute": execute})
    area = bpy.context.window_manager.windows[0].screen.areas[0]
    area.type = "IMAGE_EDITOR"
    area.spaces.active.image = shown
    bpy.utils.register_class(twin)
    try:
        with bpy.context.temp_override(window=bpy.context.window_manager.windows[0], area=area):
            bpy.ops.lotus_test.export(**options)
    finally:
        bpy.utils.unregister_class(twin)
    return proposed


def test_the_file_browser_proposes_a_name_of_this_photo_and_map(bpy: Any) -> None:
    photo = photo_with_maps(bpy)
    other = add_photo(bpy, checks(*SIZE), "vase.jpg")
    put(other, "normal", NORMALS)
    assert browsed(bpy, photo) == ["cup_depth.exr"]
    assert browsed(bpy, photo.lotus.uncertainty) == ["cup_uncertainty.exr"]
    assert browsed(bpy, other) == ["vase_normal.exr"], "of the maps that there are"
    assert browsed(bpy, photo, kind="NORMAL") == ["cup_normal.exr"]
    remembered = bpy.ops.lotus.export_map.get_rna_type().properties
    assert all(remembered[name].is_skip_save for name in ("filepath", "kind"))


def test_the_name_follows_the_map_and_keeps_what_the_user_wrote(bpy: Any) -> None:
    photo = photo_with_maps(bpy)
    assert browsed(
        bpy,
        photo,
        {"kind": "NORMAL"},
        {"kind": "UNCERTAINTY"},
        {"filepath": "/maps/my bump.png", "kind": "NORMAL"},
        {"filepath": "/maps/shot.v2_depth"},
        {"filepath": "/maps/"},
    ) == [
        "cup_depth.exr",
        "cup_normal.exr",
        "cup_uncertainty.exr",
        "/maps/my bump.png",
        "/maps/shot.v2_normal.exr",
        "/maps/",
    ]


def test_a_missing_suffix_is_added(bpy: Any, tmp_path: Path) -> None:
    photo_with_maps(bpy)
    for name in ("plain", "shot.v2"):
        assert bpy.ops.lotus.export_map(filepath=str(tmp_path / name)) == {"FINISHED"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain.exr", "shot.v2.exr"]
    with pytest.raises(RuntimeError, match=r"saved as \.exr or \.png; bump\.jpg ends in neither"):
        bpy.ops.lotus.export_map(filepath=str(tmp_path / "bump.jpg"))
