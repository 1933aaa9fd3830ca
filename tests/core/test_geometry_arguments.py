"""What callers hand to the geometry: wrong pictures, masks and options are refused or taken right, never misread."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from lotus_core.errors import LotusError
from lotus_core.geometry import (
    Camera,
    Mesh,
    SceneOptions,
    build_scene,
    build_surface,
    grid_mesh,
    point_cloud,
    relief_mesh,
    render_preview,
    save_mesh,
)
from lotus_core.geometry.edges import sharpen_edges
from lotus_core.geometry.fused_scene import build_fused_scene
from lotus_core.geometry.fusion import smooth_depth
from lotus_core.geometry.grid import fill_holes
from lotus_core.geometry.slopes import normals_from_depth
from lotus_core.maps import Depth, Normals, Uncertainty

from .scenes import posed, predicted

WIDTH, HEIGHT = 12, 9
PHOTO = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
DEPTH = Depth(np.full((HEIGHT, WIDTH), 0.5), "disparity")
CAMERA = Camera.default(WIDTH, HEIGHT)
Z = np.full((HEIGHT, WIDTH), 2.0)

# What is no uint8 height×width×3, and what the sentence says to do about it.
WRONG_PICTURES: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "floats": (lambda photo: (photo / 255).astype(np.float32), "scale it to 0…255"),
    "alpha": (lambda photo: np.dstack([photo, photo[..., :1]]), "alpha channel"),
    "grey": (lambda photo: photo[..., 0], "as red, green and blue"),
    "grey with an axis": (lambda photo: photo[..., :1], "as red, green and blue"),
    "batch": (lambda photo: photo[None], "one picture"),
    "empty": (lambda photo: photo[:0], "with pixels"),
    "Pillow": (lambda photo: Image.fromarray(photo), "numpy.asarray"),
}
wrong_pictures = pytest.mark.parametrize("kind", WRONG_PICTURES)


@wrong_pictures
def test_a_photo_that_is_no_8_bit_rgb_is_refused_with_the_way_out(kind: str, tmp_path: Path) -> None:
    spoil, mend = WRONG_PICTURES[kind]
    wrong = spoil(PHOTO)
    mesh = grid_mesh(Z, CAMERA).with_normals()
    for name, use in (
        ("The photo", lambda: build_scene(DEPTH, wrong)),
        ("The photo", lambda: build_surface(DEPTH, photo=wrong)),
        ("The photo", lambda: point_cloud(Z, CAMERA, photo=wrong)),
        ("The photo", lambda: sharpen_edges(Z, photo=wrong)),
        ("The texture", lambda: save_mesh(mesh, tmp_path / "a.glb", wrong)),
        ("The normal map", lambda: save_mesh(mesh, tmp_path / "a.glb", PHOTO, normal_map=wrong)),
    ):
        with pytest.raises(LotusError, match=f"{name} must be uint8 height×width×3; it is .*{mend}"):
            use()
    assert list(tmp_path.iterdir()) == []


def test_colours_of_vertices_that_are_not_8_bit_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    for colours in (np.zeros((3, 3), np.float32), np.zeros((3, 4), np.uint8), np.zeros((2, 3), np.uint8)):
        mesh = Mesh(np.eye(3), np.array([[0, 1, 2]]), attributes={"color": colours})
        for suffix in (".glb", ".ply", ".obj"):
            with pytest.raises(LotusError, match="uint8, red, green and blue of each vertex"):
                save_mesh(mesh, tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


@wrong_pictures
def test_several_photos_are_checked_as_one_is(kind: str) -> None:
    spoil, mend = WRONG_PICTURES[kind]
    scenes = posed(2, sparse=50)
    photo = np.full((150, 200, 3), 200, np.uint8)
    depths = [predicted(scene, i) for i, (_, scene) in enumerate(scenes)]
    with pytest.raises(LotusError, match=rf"The photo 1(\.jpg)? must be uint8 height×width×3; it is .*{mend}"):
        build_fused_scene([image for image, _ in scenes], depths, [photo, spoil(photo)])


def test_several_photos_need_as_many_maps() -> None:
    scenes = posed(2, sparse=50)
    images, photo = [image for image, _ in scenes], np.full((150, 200, 3), 200, np.uint8)
    depths = [predicted(scene, i) for i, (_, scene) in enumerate(scenes)]
    std = Uncertainty(np.zeros((150, 200)), None, 2, "depth")
    for given, said in (
        ((images, depths[:1], [photo] * 2), "2 posed images and 1 depth maps"),
        ((images, depths, [photo] * 3), "2 posed images and 3 photos"),
        ((images, depths, [photo] * 2, [std]), "2 posed images and 1 uncertainties"),
        ((images, depths, [photo] * 2, [std] * 3), "2 posed images and 3 uncertainties"),
        (([], [], []), "no photos"),
    ):
        with pytest.raises(LotusError, match=said):
            build_fused_scene(*given)  # type: ignore[arg-type]


@pytest.mark.parametrize("which", ["depth", "normal map", "uncertainty"])
def test_maps_of_another_photo_are_refused_and_those_of_rounded_sizes_taken(which: str) -> None:
    def scene(height: int, width: int) -> Any:
        values = np.tile(np.linspace(0.2, 0.8, width, dtype=np.float32), (height, 1))
        ahead = np.zeros((height, width, 3), np.float32)
        ahead[..., 2] = 1
        maps = {
            "depth": Depth(values, "disparity"),
            "normal map": Normals(ahead, "lotus"),
            "uncertainty": Uncertainty(0 * values, None, 2, "depth"),
        }
        given = {name: maps[name] if name == which else None for name in maps}
        depth = given["depth"] or Depth(np.full((96, 144), 0.5), "disparity")
        return build_scene(depth, np.zeros((96, 144, 3), np.uint8), given["normal map"], given["uncertainty"])

    with pytest.raises(LotusError, match=f"The {which} is 144×144 pixels and the photo 144×96, which is another shape"):
        scene(144, 144)
    for size in ((384, 576), (378, 574), (7, 10), (96, 144)):  # multiples of 14 and rounded edges are no other photo
        assert len(scene(*size).mesh.vertices) > 1000


def test_uncertainties_of_another_size_cut_the_same_part_of_several_photos() -> None:
    scenes = posed(2, sparse=150)
    images, photo = [image for image, _ in scenes], np.full((150, 200, 3), (200, 100, 50), np.uint8)
    depths = [predicted(scene, i) for i, (_, scene) in enumerate(scenes)]
    left_half = np.zeros((150, 200), np.float32)
    left_half[:, :100] = 1
    options = SceneOptions(mode="points", max_std=0.5)
    full, small = (
        build_fused_scene(images, depths, [photo] * 2, [Uncertainty(std, None, 2, "depth")] * 2, options).mesh
        for std in (left_half, left_half[::2, ::2])
    )
    assert len(small.vertices) == pytest.approx(len(full.vertices), rel=0.03)
    assert np.unique(full.attributes["color"], axis=0).tolist() == [[200, 100, 50]]


def test_a_scene_keeps_its_photo_when_the_caller_writes_over_it(tmp_path: Path) -> None:
    photo = PHOTO.copy()
    scene = build_scene(DEPTH, photo, options=SceneOptions(min_faces=0))
    photo[:] = 0
    scene.save(tmp_path / "a.obj")
    assert np.asarray(Image.open(tmp_path / "a.texture.png"))[..., :3].min() == 200


def test_filters_that_find_nothing_to_do_return_an_array_of_their_own() -> None:
    z, everything = np.full((HEIGHT, WIDTH), 2, np.float32), np.ones((HEIGHT, WIDTH), bool)
    filled, mask = fill_holes(z, everything, 10)
    for result in (sharpen_edges(z), filled, smooth_depth(z, np.ones_like(z), ~everything)):
        result[:] = 7
        assert (z == 2).all()
    mask[:] = False
    assert everything.all()


ALWAYS_WRONG: list[tuple[str, list[Any], str]] = [
    ("mode", ["foo", None, 3], "mode is one of perspective, relief, points, not"),
    ("fusion", ["foo", None], "fusion is one of poisson, bilateral, not"),
    ("shape", ["normal", None], "shape is one of depth, normals, not"),
    ("fov_deg", [0, -5, 9999, float("nan"), "55"], r"1…170 degrees; it is"),
    ("focal_35mm", [0, -35.0, float("inf")], "millimetres above 0"),
    ("far", [-3, 0, float("inf"), float("nan"), True], "above 1"),
    ("known_length", [(1, 2, 3, 4), (1, 2, 3, 4, "5"), (1, 2, 3, 4, float("inf")), 5.0], "five numbers"),
    ("known_length", [(1, 2, 3, 4, 0), (1, 2, 3, 4, -1)], "metres above 0"),
    ("cut", [-1, float("nan"), None], "relative depth jump above 0"),
    ("stride", [1.5, 0, -1, 2.0, "2", True], "stride is a whole number of at least 1, not"),
    ("min_faces", [-1, 1.5, None], "whole number of at least 0"),
    ("fill_holes", [-3, 1.5], "whole number of at least 0"),
    ("target_faces", [3, -1, 1000.0], "whole number of at least 4"),
    ("sky", [-0.1, 1.1, float("nan")], "in 0…1"),
    ("max_std", [-0.1, 30], "in 0…1"),
    ("smooth_px", [-3, float("nan"), float("inf"), None], "pixels, 0 or more"),
    ("width_mm", [0, -1, float("nan")], "millimetres above 0"),
    ("relief_mm", [0, float("inf")], "millimetres above 0"),
    ("base_mm", [0, -2], "millimetres above 0"),
    ("quads", ["no", 1], "True or False"),
    ("refine", [None, "no"], "True or False"),
]


@pytest.mark.parametrize("mode", ["perspective", "relief", "points"])
@pytest.mark.parametrize(
    ("name", "values", "said"), ALWAYS_WRONG, ids=lambda each: each if isinstance(each, str) else ""
)
def test_options_without_a_meaning_are_refused_in_every_mode(
    name: str, values: list[Any], said: str, mode: str
) -> None:
    for value in values:
        with pytest.raises(LotusError, match=said):
            SceneOptions(**{"mode": mode, name: value})


@pytest.mark.parametrize("mode", ["perspective", "relief"])
def test_what_the_hosts_hand_on_is_taken_in_every_mode(mode: str) -> None:
    """The ends of the ranges of ComfyUI's node, which hands on all fields whatever the mode."""
    fields: dict[str, tuple[Any, ...]] = {
        "fov_deg": (None, 0.5, 1.0, 170.0, np.degrees(np.float32(np.radians(170)))),
        "far": (None, 0.5, 1000.0),
        "cut": (0.0, 10.0, float("inf")),
        "target_faces": (None, 10_000_000),
        "sky": (None, 1.0),
        "max_std": (0.0, 0.995, None),
        "base_mm": (None, 0.5, 1000.0),
        "relief_mm": (0.1, 1000.0),
        "min_faces": (0, 1, 1_000_000),
    }
    for name, values in fields.items():
        for value in values:
            assert getattr(SceneOptions(**{"mode": mode, name: value}), name) == value
    relief = SceneOptions(mode="relief", far=0.5, fov_deg=0.5, cut=0.0, smooth_px=3)
    assert np.ptp(build_scene(Depth(np.eye(4), "depth"), PHOTO[:4, :4], options=relief).mesh.vertices[:, 2]) > 9
    for wrong, said in ((SceneOptions(far=0.5), "near < far"), (SceneOptions(cut=0.0), "above 0")):
        with pytest.raises(LotusError, match=said):
            build_scene(DEPTH, PHOTO, options=wrong)


@pytest.mark.parametrize("degrees", [1, 170])
def test_the_widest_and_the_narrowest_view_of_a_host_that_counts_in_float32_radians(degrees: int) -> None:
    found = Camera.from_fov(WIDTH, HEIGHT, float(np.degrees(np.float64(np.float32(np.radians(degrees))))))
    assert found.horizontal_fov_deg == pytest.approx(degrees, abs=1e-4)
    with pytest.raises(LotusError, match="1…170"):
        Camera.from_fov(WIDTH, HEIGHT, {1: 0.99, 170: 170.01}[degrees])


def test_numbers_of_numpy_are_numbers_in_the_record_too(tmp_path: Path) -> None:
    options = SceneOptions(
        far=np.float32(4), stride=np.int64(2), min_faces=np.int32(0), refine=np.bool_(False),
        known_length=np.array([1, 2, 9, 2, 3.5]),
    )  # type: ignore[arg-type]  # fmt: skip
    assert hash(options) == hash(
        SceneOptions(far=4.0, stride=2, min_faces=0, refine=False, known_length=(1, 2, 9, 2, 3.5))
    )
    build_scene(DEPTH, PHOTO, options=options).save(tmp_path / "a.ply")
    record = json.loads((tmp_path / "a.scene.json").read_text(encoding="utf-8"))["options"]
    assert [record[name] for name in ("far", "stride", "refine", "known_length")] == [4, 2, False, [1, 2, 9, 2, 3.5]]


@pytest.mark.parametrize("mode", ["perspective", "points"])
def test_smoothing_without_an_uncertainty_is_refused_as_cutting_is(mode: str) -> None:
    for options in ({"smooth_px": 3.0}, {"max_std": 0.1}):
        with pytest.raises(LotusError, match="by uncertainty needs an uncertainty map"):
            build_scene(DEPTH, PHOTO, options=SceneOptions(mode=mode, **options))  # type: ignore[arg-type]


def test_a_shading_that_there_is_not() -> None:
    scene = build_scene(DEPTH, PHOTO, options=SceneOptions(min_faces=0))
    for draw in (
        lambda: render_preview(scene.mesh, PHOTO, shading="foo"),  # type: ignore[arg-type]
        lambda: scene.preview(64, "Clay"),  # type: ignore[arg-type]
    ):
        with pytest.raises(LotusError, match="shading is one of photo, clay, not"):
            draw()


def test_a_mask_of_whole_numbers_is_taken_for_what_it_shows() -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[2:7, 3:9] = True
    for given in (mask, mask.astype(np.uint8), np.uint8(255) * mask, mask.astype(np.int64), mask.astype(np.float32)):
        surface, cloud = grid_mesh(Z, CAMERA, given), point_cloud(Z, CAMERA, given)
        assert len(surface.vertices) == len(cloud.vertices) == 30
        assert np.array_equal(surface.attributes["pixel"], np.flatnonzero(mask))
        assert len(relief_mesh(Z, valid=given).vertices) == 30
        assert normals_from_depth(Z, CAMERA, given).valid.sum() == 30
        assert fill_holes(Z, given, 1000)[1].sum() == 30, "what touches the border stays open"


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.full((HEIGHT, WIDTH), 128, np.uint8), "compare it with a threshold"),
        (np.tile(np.arange(WIDTH, dtype=np.uint8), (HEIGHT, 1)), "compare it with a threshold"),
        (np.full((HEIGHT, WIDTH), np.nan), "compare it with a threshold"),
        (np.full((HEIGHT, WIDTH), "yes"), "compare it with a threshold"),
        (np.ones((1, WIDTH), bool), "differ in size; resize one"),
        (np.ones((HEIGHT, 1), bool), "differ in size; resize one"),
        (np.ones((HEIGHT, WIDTH, 1), bool), "differ in size; resize one"),
        (np.ones((HEIGHT + 1, WIDTH), bool), "differ in size; resize one"),
    ],
)
def test_a_mask_that_says_nothing_clear_is_refused(mask: np.ndarray, said: str) -> None:
    for use in (
        lambda: grid_mesh(Z, CAMERA, mask),
        lambda: point_cloud(Z, CAMERA, mask),
        lambda: relief_mesh(Z, valid=mask),
        lambda: normals_from_depth(Z, CAMERA, mask),
        lambda: smooth_depth(Z, Z, mask),
        lambda: fill_holes(Z, mask, 3),
    ):
        with pytest.raises(LotusError, match=said):
            use()


def test_strides_and_normals_that_no_grid_has() -> None:
    for use in (grid_mesh, point_cloud):
        with pytest.raises(LotusError, match=r"stride is a whole number of at least 1, not 1\.5"):
            use(Z, CAMERA, stride=1.5)  # type: ignore[operator]
    with pytest.raises(LotusError, match="three numbers a pixel"):
        point_cloud(Z, CAMERA, normals=np.zeros((HEIGHT, WIDTH)))


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_a_full_disk_leaves_all_files_of_a_scene_as_they_were(
    failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scene(grey: int, far: float) -> Any:
        return build_scene(DEPTH, np.full_like(PHOTO, grey), options=SceneOptions(far=far, min_faces=0))

    scene(10, 5.0).save(tmp_path / "a.obj")
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(old) == ["a.mtl", "a.obj", "a.scene.json", "a.texture.png"]
    newer, write, count = scene(250, 9.0), Path.write_bytes, 0

    def full(path: Path, data: bytes) -> int:
        nonlocal count
        count += 1
        if count == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(LotusError, match="No space left"):
        newer.save(tmp_path / "a.obj")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old
    monkeypatch.undo()
    newer.save(tmp_path / "a.obj")
    assert np.asarray(Image.open(tmp_path / "a.texture.png")).max() > 240
    assert trimesh.load(tmp_path / "a.obj").vertices.shape == (WIDTH * HEIGHT, 3)


@pytest.mark.parametrize("blocked", ["a.mtl", "a.texture.png", "a.obj"])
def test_a_mesh_of_which_one_file_has_no_place_leaves_the_others(blocked: str, tmp_path: Path) -> None:
    mesh = grid_mesh(Z, CAMERA)
    save_mesh(mesh, tmp_path / "a.obj", PHOTO)
    (tmp_path / blocked).unlink()
    (tmp_path / blocked).mkdir()
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(LotusError, match=f"{blocked}: it is a folder"):
        save_mesh(grid_mesh(2 * Z, CAMERA), tmp_path / "a.obj", np.zeros_like(PHOTO))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == old
