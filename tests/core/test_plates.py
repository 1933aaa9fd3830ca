"""Scene-linear pictures: their exposure, and which pixel of the picture each of theirs is."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import OpenEXR
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import lotus_core as lotus
from lotus_core.cli import main
from lotus_core.plates import automatic_exposure, read_plate, to_display

from .batches import command, manifest, results
from .exr import write_exr


def test_scene_linear_pictures_are_exposed(checkpoints: dict[str, str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scene = np.exp(rng.normal(-4, 1, (32, 48, 3))).astype(np.float32)  # dark: a few thousandths
    scene[0, 0] = np.nan
    source, out = tmp_path / "plates", tmp_path / "out"
    source.mkdir()
    write_exr(source / "plate.exr", {"RGB": scene})
    assert main(command(source, out, checkpoints)) == 0
    facts = manifest(out)["items"]["plate.exr"]
    light = np.nan_to_num(scene) @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    expected = np.log2(0.18) - np.log2(light[light > 1e-4]).mean()
    assert facts["exposure_stops"] == pytest.approx(expected, abs=0.01)
    grey = to_display(np.full((1, 1, 3), 0.18 / 2**3, np.float32), 3)
    assert grey == pytest.approx(0.4613, abs=1e-3)  # 18 % grey on the sRGB curve
    assert main(command(source, tmp_path / "fixed", checkpoints, "--exposure", "2.5")) == 0
    assert manifest(tmp_path / "fixed")["items"]["plate.exr"]["exposure_stops"] == 2.5
    assert results(out)["plate_depth.png"] != results(tmp_path / "fixed")["plate_depth.png"]


@given(
    display=st.tuples(*[st.integers(-40, 40)] * 2, *[st.integers(16, 40)] * 2),
    data=st.tuples(*[st.integers(-60, 60)] * 2, *[st.integers(1, 60)] * 2),
    channels=st.sampled_from(["RGB", "RGBA", "Y"]),
)
@settings(max_examples=40, deadline=None)
def test_a_plate_fills_its_display_window(
    tmp_path_factory: pytest.TempPathFactory,
    display: tuple[int, int, int, int],
    data: tuple[int, int, int, int],
    channels: str,
) -> None:
    """Windows are left, top, width, height. Each pixel's light says where in the plane it lies."""
    path = tmp_path_factory.getbasetemp() / "window.exr"
    write_window(path, data, display, channels)
    plate = read_plate(path)
    left, top, width, height = display
    assert plate.shape[:2] == (height, width)
    y, x = np.mgrid[top : top + height, left : left + width]
    inside = (x >= data[0]) & (x < data[0] + data[2]) & (y >= data[1]) & (y < data[1] + data[3])
    np.testing.assert_array_equal(plate[..., 0], np.where(inside, light_at(x, y), 0))
    if plate.shape[2] == 4:
        np.testing.assert_array_equal(plate[..., 3], inside.astype(np.float32))
    else:
        assert inside.all()


def light_at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (1000 + x + 200 * y % 7919).astype(np.float32)


def write_window(path: Path, data: Sequence[int], display: Sequence[int], channels: str) -> None:
    def corners(window: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int]]:
        left, top, width, height = window
        return (left, top), (left + width - 1, top + height - 1)

    y, x = np.mgrid[data[1] : data[1] + data[3], data[0] : data[0] + data[2]]
    planes = {name: np.ones(x.shape, np.float32) if name == "A" else light_at(x, y) for name in channels}
    header = {"type": OpenEXR.scanlineimage, "dataWindow": corners(data), "displayWindow": corners(display)}
    with OpenEXR.File(header, planes) as file:
        file.write(str(path))


def test_frames_that_were_cropped_each_on_its_own_are_one_sequence(checkpoints: dict[str, str], tmp_path: Path) -> None:
    source, out = tmp_path / "plates", tmp_path / "out"
    source.mkdir()
    for number, data in enumerate([(5, 3, 30, 20), (0, 0, 48, 32), (-4, -4, 56, 40), (47, 31, 1, 1)]):
        write_window(source / f"shot.{number:04d}.exr", data, (0, 0, 48, 32), "RGBA")
    options = ("--format", "exr", "--no-previews")
    assert main(command(source, out, checkpoints, *options)) == 0
    assert manifest(out)["items"]["shot.####.exr"]["frames"] == 4
    for path in sorted((out / "shot").iterdir()):
        with OpenEXR.File(str(path)) as file:
            windows = [np.array(file.header()[name]).tolist() for name in ("dataWindow", "displayWindow")]
        assert windows == [[[0, 0], [47, 31]]] * 2  # as the plate in a compositor


def test_a_display_window_without_end_is_refused(tmp_path: Path) -> None:
    write_window(tmp_path / "huge.exr", (0, 0, 32, 32), (0, 0, 2_000_000, 1_000_000), "RGB")
    with pytest.raises(lotus.LotusError, match="2,000,000×1,000,000 pixels, but at most 80,000,000 are supported"):
        read_plate(tmp_path / "huge.exr")


def write_radiance(path: Path, light: np.ndarray, signature: bytes = b"#?RADIANCE") -> None:
    content = io.BytesIO()
    with av.open(content, "w", format="image2pipe") as container:
        stream = container.add_stream("hdr", rate=1)
        stream.width, stream.height, stream.pix_fmt = light.shape[1], light.shape[0], "gbrpf32le"
        for packet in [*stream.encode(av.VideoFrame.from_ndarray(light, format="gbrpf32le")), *stream.encode()]:
            container.mux(packet)
    path.write_bytes(content.getvalue().replace(b"#?RADIANCE", signature, 1))


def test_radiance_pictures_are_read_as_light(tmp_path: Path) -> None:
    light = np.zeros((32, 48, 3), np.float32) + np.array([2.0, 0.5, 0.125], np.float32)
    light[:16] *= 100
    write_radiance(tmp_path / "probe.hdr", light)
    error = np.abs(read_plate(tmp_path / "probe.hdr") - light)
    assert (error <= light.max(axis=2, keepdims=True) / 128).all()  # three mantissas of 8 bits share an exponent


def write_light(path: Path, photo: str, stops: float) -> None:
    """The light of an sRGB photo, 2^-stops as much, as an EXR under any name."""
    with Image.open(photo) as image:
        display = np.asarray(image.convert("RGB"), np.float32) / 255
    linear = np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)
    write_exr(path, {"RGB": (linear * 2.0**-stops).astype(np.float32)})


@pytest.mark.parametrize("name", ["render.exr", "RENDER.EXR", "render.tif", "render"])
def test_predict_takes_light_like_the_photo_that_it_makes(
    name: str, photo: str, checkpoints: dict[str, str], tmp_path: Path
) -> None:
    write_light(tmp_path / name, photo, 3)
    options = ["--model", checkpoints["depth-d"], "--format", "npy", "--quiet"]
    assert main(["predict", photo, "-o", str(tmp_path / "a"), *options]) == 0
    assert main(["predict", str(tmp_path / name), "-o", str(tmp_path / "b"), "--exposure", "3", *options]) == 0
    stem = Path(name).stem
    maps = [np.load(tmp_path / "a" / "photo_depth.npy"), np.load(tmp_path / "b" / f"{stem}_depth.npy")]
    np.testing.assert_allclose(*maps, atol=1e-4)
    record = json.loads((tmp_path / "b" / f"{stem}.json").read_text(encoding="utf-8"))
    assert record["exposure_stops"] == 3
    assert json.loads((tmp_path / "a" / "photo.json").read_text(encoding="utf-8"))["exposure_stops"] is None


def test_an_exposure_that_changes_nothing_is_told(
    photo: str, checkpoints: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_light(tmp_path / "light.exr", photo, 3)
    command = ["predict", photo, str(tmp_path / "light.exr"), "-o", str(tmp_path), "--model", checkpoints["depth-d"]]
    assert main([*command, "--exposure", "2"]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "exposure" in line]
    assert len(told) == 1
    assert told[0].endswith(f"{photo}: --exposure changed nothing: this is no scene-linear picture (EXR or HDR).")
    assert (
        main(["mesh", photo, "-o", str(tmp_path / "a.ply"), "--model", checkpoints["depth-d"], "--exposure", "2"]) == 0
    )
    assert "--exposure changed nothing" in capsys.readouterr().err


def test_python_takes_light_and_says_its_exposure(photo: str, tmp_path: Path) -> None:
    write_light(tmp_path / "dark.exr", photo, 5)
    image = lotus.load_image(tmp_path / "dark.exr")
    assert image.name == "dark"
    light = read_plate(tmp_path / "dark.exr") @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    lit = light[light > 1e-4 * np.quantile(light, 0.99)]
    assert image.exposure == pytest.approx(np.log2(0.18) - np.log2(lit).mean(), abs=0.05)
    given = lotus.load_image(tmp_path / "dark.exr", exposure=5)
    np.testing.assert_allclose(given.rgb, lotus.load_image(photo).rgb, atol=1e-5)
    assert lotus.load_image(photo, exposure=5).exposure is None


def test_points_of_light_have_the_colours_that_it_makes(
    photo: str, checkpoints: dict[str, str], tmp_path: Path
) -> None:
    write_light(tmp_path / "render.exr", photo, -2)
    target = tmp_path / "scene.ply"
    options = ["--model", checkpoints["depth"], "--mode", "points", "--exposure", "-2", "--quiet"]
    assert main(["mesh", str(tmp_path / "render.exr"), "-o", str(target), *options]) == 0
    colours = trimesh.load(target).visual.vertex_colors[:, :3]
    with Image.open(photo) as image:
        assert np.abs(colours.mean(axis=0) - np.asarray(image).mean(axis=(0, 1))).max() < 12
    record = json.loads((tmp_path / "scene.scene.json").read_text(encoding="utf-8"))
    assert record["exposure_stops"] == -2


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.exr", b"no light", "a.exr is not an image that can be read"),
        ("a.exr", b"", "a.exr is an empty file"),
        ("a.exr", b"\x76\x2f\x31\x01" + b"cut", "a.exr is not a readable EXR file"),
        ("a.jpg", b"\x76\x2f\x31\x01" + b"cut", "a.jpg is not a readable EXR file"),
        ("a.hdr", b"#?RADIANCE\ncut", "a.hdr is damaged, or a Radiance HDR file that is turned"),
        ("a.hdr", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n+Y 32 +X 48\n" + bytes(6144), "save it again, upright"),
        ("a.hdr", b"#?RADIANCE\nFORMAT=32-bit_rle_xyze\n\n-Y 32 +X 48\n" + bytes(6144), "save it again, upright"),
        (
            "a.hdr",
            b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 99999 +X 99999\n",
            "at most 80,000,000 pixels",
        ),
    ],
)
def test_damaged_light_is_one_sentence(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(lotus.LotusError, match=told) as caught:
        lotus.load_image(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_the_content_says_what_a_file_is(photo: str, tmp_path: Path) -> None:
    for name in ("photo.exr", "photo.hdr"):
        (tmp_path / name).write_bytes(Path(photo).read_bytes())
        image = lotus.load_image(tmp_path / name)
        assert image.exposure is None
        np.testing.assert_array_equal(image.rgb, lotus.load_image(photo).rgb)


@pytest.mark.parametrize("signature", [b"#?RADIANCE", b"#?RGBE"])
@pytest.mark.parametrize("name", ["probe.hdr", "a:b.hdr"])
def test_radiance_files_are_photos_too(signature: bytes, name: str, tmp_path: Path) -> None:
    light = np.zeros((32, 48, 3), np.float32) + np.array([0.5, 0.25, 0.125], np.float32)
    light[:16] /= 4
    write_radiance(tmp_path / name, light, signature)
    image = lotus.load_image(tmp_path / name, exposure=0)
    curve = 1.055 * light ** (1 / 2.4) - 0.055
    np.testing.assert_allclose(image.rgb, curve, atol=0.004)
    assert lotus.load_image(tmp_path / name).exposure == pytest.approx(
        np.log2(0.18) - np.log2(light @ [0.2126, 0.7152, 0.0722]).mean(), abs=0.02
    )


def test_darkness_beside_light_decides_no_exposure(tmp_path: Path) -> None:
    """A render of any brightness comes out alike; its black border and transparent rest do not count."""
    scene = np.exp(np.random.default_rng(1).normal(0, 1, (40, 60, 3))).astype(np.float32)
    for scale in (1e-6, 1, 1e4):
        stops = automatic_exposure([scene * np.float32(scale)])
        assert stops == pytest.approx(automatic_exposure([scene]) - np.log2(scale), abs=0.011)
    framed = np.pad(scene, ((10, 10), (0, 0), (0, 0)), constant_values=1e-7)
    clear = np.dstack([scene, np.ones((40, 60))]).astype(np.float32)
    clear = np.vstack([clear, np.full((40, 60, 4), (1, 1, 1, 0.1), np.float32)])
    assert automatic_exposure([framed]) == automatic_exposure([clear]) == automatic_exposure([scene])
    assert automatic_exposure([np.zeros((16, 16, 3), np.float32)]) == 0


def test_records_keep_the_exposure_of_each_map(photo: str, checkpoints: dict[str, str], tmp_path: Path) -> None:
    write_light(tmp_path / "photo.exr", photo, 3)
    (depth, normal), out = (checkpoints["depth"], checkpoints["normal"]), str(tmp_path / "out")
    assert (
        main(["predict", str(tmp_path / "photo.exr"), "-o", out, "--model", depth, "--exposure", "3", "--quiet"]) == 0
    )
    assert main(["predict", photo, "-o", out, "--model", normal, "--quiet"]) == 0
    record = json.loads((tmp_path / "out" / "photo.json").read_text(encoding="utf-8"))
    assert record["exposure_stops"] is None
    assert record["maps"]["depth"]["exposure_stops"] == 3


def test_hosts_see_light_unexposed(photo: str, tmp_path: Path) -> None:
    from lotus_core.worker.jobs import open_image

    write_light(tmp_path / "frame.exr", photo, 1)
    assert open_image(tmp_path / "frame.exr").exposure == 0
    assert open_image(tmp_path / "frame.exr", 1).rgb == pytest.approx(lotus.load_image(photo).rgb, abs=1e-5)


@pytest.mark.parametrize("exposure", ["auto", float("nan"), 200])
def test_an_exposure_is_a_number_of_stops(exposure: object, photo: str) -> None:
    with pytest.raises(lotus.LotusError, match="stops between -31 and 31"):
        lotus.load_image(photo, exposure=exposure)  # type: ignore[arg-type]


def test_light_too_small_or_too_long_is_refused_by_name(tmp_path: Path) -> None:
    for shape, told in (((8, 40, 3), "at least 16"), ((16, 400, 3), "at most 20 times")):
        write_exr(tmp_path / "odd.exr", {"RGB": np.ones(shape, np.float32)})
        with pytest.raises(lotus.LotusError, match=f"odd.exr is .* pixels.*{told}"):
            lotus.load_image(tmp_path / "odd.exr")
