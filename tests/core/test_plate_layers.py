"""Which layer and part of an EXR is the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenEXR
import pytest

import lotus_core as lotus
from lotus_core.plates import read_plate

from .exr import write_exr


def layers(*names: str) -> dict[str, np.ndarray]:
    """Planes of 0.01, 0.02 … in the order of the names, half floats, as most renderers write them."""
    return {name: np.full((20, 30), 0.01 * (i + 1), np.float16) for i, name in enumerate(names)}


def rgb(layer: str, *, names: str = "RGB") -> list[str]:
    return [f"{layer}.{channel}" for channel in names]


BLENDER = [
    *rgb("ViewLayer.AO"),
    *rgb("ViewLayer.Combined", names="RGBA"),
    *rgb("ViewLayer.DiffCol"),
    "ViewLayer.Depth.Z",
]


@pytest.mark.parametrize(
    ("names", "seen"),
    [
        (BLENDER, rgb("ViewLayer.Combined")),
        (["A.Combined.R", "A.Combined.G", "A.Combined.B", *rgb("Composite.Combined")], rgb("Composite.Combined")),
        ([*rgb("albedo"), *"RGB"], list("RGB")),
        ([*rgb("N", names="rgb"), *rgb("C", names="rgb")], rgb("C", names="rgb")),
        (["depth.Z", "beauty.red", "beauty.green", "beauty.blue"], ["beauty.red", "beauty.green", "beauty.blue"]),
        ([*rgb("normal"), "Y"], ["Y", "Y", "Y"]),
        (rgb("left"), rgb("left")),
    ],
)
def test_the_layer_that_is_the_picture_is_read(names: list[str], seen: list[str], tmp_path: Path) -> None:
    planes = layers(*names)
    write_exr(tmp_path / "layers.exr", planes)
    plate = read_plate(tmp_path / "layers.exr")
    alpha = float(planes["ViewLayer.Combined.A"][0, 0]) if names is BLENDER else 1
    np.testing.assert_allclose(plate[0, 0, :3], [planes[name][0, 0] / alpha for name in seen], rtol=1e-3)
    assert plate.shape == (20, 30, 4 if names is BLENDER else 3)


def test_layers_none_of_which_is_the_picture_are_named(tmp_path: Path) -> None:
    write_exr(tmp_path / "data.exr", layers(*rgb("crypto"), *rgb("normal")))
    with pytest.raises(lotus.LotusError, match=r"several layers \(crypto, normal\) and none is called Combined"):
        read_plate(tmp_path / "data.exr")
    write_exr(tmp_path / "z.exr", layers("Z", "mask.A"))
    with pytest.raises(lotus.LotusError, match=r"has no R, G, B \(it has: Z, mask.A\)"):
        read_plate(tmp_path / "z.exr")


def test_the_part_with_colours_is_read(tmp_path: Path) -> None:
    depth, beauty = layers("Z"), layers("R", "G", "B")
    OpenEXR.File([OpenEXR.Part({}, depth, name="depth"), OpenEXR.Part({}, beauty, name="beauty")]).write(
        str(tmp_path / "parts.exr")
    )
    np.testing.assert_allclose(read_plate(tmp_path / "parts.exr")[3, 4], [0.01, 0.02, 0.03], rtol=1e-3)
