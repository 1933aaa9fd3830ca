"""The focal length of photos: from cameras' files, and not from what editors left of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lotus_core.images import load_image

PIXELS = np.zeros((20, 30, 3), np.uint8)


def focal(folder: Path, name: str, exif: Image.Exif | bytes) -> float | None:
    Image.fromarray(PIXELS).save(folder / name, exif=exif)
    return load_image(folder / name).focal_35mm


def test_focal_length_comes_from_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 28
    assert focal(tmp_path, "a.jpg", exif) == 28
    exif.get_ifd(0x8769)[0xA405] = 0  # how cameras write "unknown"
    assert focal(tmp_path, "b.jpg", exif) is None
    assert focal(tmp_path, "c.jpg", b"Exif\0\0II*\0garbage") is None


# Focal length, width, height, pixels per inch of the sensor (of the last two by its width, 22.5 and 7.3 mm), and the
# 35 mm equivalent.
CAMERAS = {
    "Canon EOS 5D": (50, 4368, 2912, 3086.926, 50.1),
    "Canon EOS 6D": (50, 5472, 3648, 3810.584, 49.3),
    "Canon EOS D30": (50, 2160, 1440, 2437.0, 80.0),
    "Canon PowerShot G7": (7.4, 3648, 2736, 12673.0, 35.0),
}


def camera_exif(camera: str, **changes: object) -> Image.Exif:
    focal, width, height, density, _ = CAMERAS[camera]
    exif = Image.Exif()
    exif[0x0110] = camera
    exif.update({0x0131: changes["software"]} if "software" in changes else {})
    size = {0xA002: changes.get("width", width), 0xA003: changes.get("height", height)}
    exif.get_ifd(0x8769).update({0x920A: float(focal), 0xA20E: density, 0xA20F: density, 0xA210: 2} | size)
    return exif


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("software", [None, "Firmware Version 1.1.1", "Ver.1.01 ", "1.00", "{camera} v3.10"])
def test_focal_length_comes_from_the_sensor_where_the_equivalent_is_missing(
    tmp_path: Path, camera: str, software: str | None
) -> None:
    exif = camera_exif(camera) if software is None else camera_exif(camera, software=software.format(camera=camera))
    found = focal(tmp_path, "a.jpg", exif)
    assert found == pytest.approx(CAMERAS[camera][4], rel=0.01)
    exif.get_ifd(0x8769)[0xA20E] = 0
    assert focal(tmp_path, "b.jpg", exif) is None


@pytest.mark.parametrize("width", [1024, 1600, 1920])
@pytest.mark.parametrize("camera", CAMERAS)
def test_a_scaled_photo_does_not_claim_a_smaller_sensor(tmp_path: Path, camera: str, width: int) -> None:
    """Its pixels were counted anew, those per inch of the sensor were left."""
    height = width * CAMERAS[camera][2] // CAMERAS[camera][1]
    exif = camera_exif(camera, width=width, height=height)
    assert focal(tmp_path, "a.jpg", exif) is None


@pytest.mark.parametrize(
    "editor",
    ["Adobe Photoshop CS6 (Windows)", "GIMP 2.10.34", "Windows Photo Editor 10.0.1", "darktable 4.2", "Picasa"],
)
def test_the_sensor_in_a_file_that_an_editor_wrote_is_not_believed(tmp_path: Path, editor: str) -> None:
    exif = camera_exif("Canon EOS 6D", width=3000, height=2000, software=editor)
    assert focal(tmp_path, "a.jpg", exif) is None
    exif.get_ifd(0x8769)[0xA405] = 49  # scaling does not change the equivalent
    assert focal(tmp_path, "b.jpg", exif) == 49
