"""Photos of phones: HEIC through pillow-heif."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

import lotus_core as lotus

ORIENTATION, FOCAL_35MM, EXIF_IFD = 0x0112, 0xA405, 0x8769


@pytest.fixture
def picture() -> Image.Image:
    y, x = np.mgrid[0:64, 0:96]
    ball = (x - 30) ** 2 + (y - 32) ** 2 < 400
    return Image.fromarray(np.dstack([x * 2, y * 3, np.where(ball, 220, 40)]).astype(np.uint8))


def saved(path: Path, picture: Image.Image, **options: object) -> Path:
    heif = pillow_heif.from_pillow(picture)
    heif.save(str(path), quality=95, **options)
    return path


def test_a_phones_photo_stands_upright_and_knows_its_lens(picture: Image.Image, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif.get_ifd(EXIF_IFD)[FOCAL_35MM] = 26
    heic = lotus.load_image(saved(tmp_path / "IMG_0001.HEIC", picture, exif=exif.tobytes()))
    picture.save(tmp_path / "same.jpg", quality=95, exif=exif.tobytes())
    jpeg = lotus.load_image(tmp_path / "same.jpg")
    assert heic.rgb.shape == jpeg.rgb.shape == (96, 64, 3)
    assert np.abs(heic.rgb - jpeg.rgb).mean() < 0.02
    assert (heic.name, heic.focal_35mm) == ("IMG_0001", 26)


def test_of_several_pictures_the_primary_one_is_taken(picture: Image.Image, tmp_path: Path) -> None:
    heif = pillow_heif.from_pillow(Image.new("RGB", picture.size, "red"))
    heif.add_from_pillow(picture)
    heif.save(str(tmp_path / "burst.heic"), quality=95, primary_index=1)
    taken = lotus.load_image(tmp_path / "burst.heic").rgb
    assert np.abs(taken * 255 - np.asarray(picture)).mean() < 5


@pytest.mark.parametrize("brand", [b"mif1", b"hevc", b"msf1"])
def test_every_brand_of_heif_is_told(brand: bytes, picture: Image.Image, tmp_path: Path) -> None:
    path = saved(tmp_path / "other.heic", picture)
    path.write_bytes(path.read_bytes().replace(b"ftypheic", b"ftyp" + brand, 1))
    assert lotus.load_image(path).rgb.shape == (64, 96, 3)


def test_a_cut_one_is_one_sentence(picture: Image.Image, tmp_path: Path) -> None:
    path = saved(tmp_path / "cut.heic", picture)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(lotus.LotusError, match=r"cut.heic is damaged or cut off|cut.heic is not an image"):
        lotus.load_image(path)


def test_without_its_library_the_sentence_names_it(
    picture: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "phone.heic", picture)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(lotus.LotusError, match=r"phone.heic .* needs pillow-heif: pip install pillow-heif"):
        lotus.load_image(path)
