"""Pictures in other light and colours over the same geometry."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus_core.data.photometric import frame, vary
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.errors import LotusError
from lotus_core.training.config import SourceConfig
from lotus_core.training.sources import open_source


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    height=st.integers(2, 40),
    width=st.integers(2, 40),
    level=st.floats(-1, 1),
)
def test_any_image_stays_in_range_and_keeps_its_size(seed: int, height: int, width: int, level: float) -> None:
    image = torch.full((3, height, width), level)
    varied = vary(image, np.random.default_rng(seed))
    assert varied.shape == image.shape
    assert varied.dtype == torch.float32
    assert bool(torch.isfinite(varied).all())
    assert float(varied.abs().max()) <= 1


def test_edges_stay_where_they_are_while_colours_change() -> None:
    image = SyntheticScenes(1, 96, 128, seed=5, kinds=("room",))[0].image
    edges = _edges(image)
    likeness, colours = [], []
    for seed in range(20):
        varied = vary(image, np.random.default_rng(seed))
        likeness.append(float(np.corrcoef(_edges(varied).ravel(), edges.ravel())[0, 1]))
        colours.append(float((varied - image).abs().mean()))
    assert np.mean(likeness) > 0.5
    assert min(colours) > 0.02
    assert np.mean(colours) > 0.1


def _edges(image: torch.Tensor) -> np.ndarray:
    rows, columns = np.gradient(image.mean(0).numpy())
    return np.hypot(rows, columns)


def test_a_source_with_vary_has_other_pictures_of_the_same_geometry() -> None:
    own, varied, again, other = (
        open_source(SourceConfig("synthetic", args={"count": 2, "height": 32, "width": 48, "vary": seed}))
        for seed in (0, 3, 3, 4)
    )
    assert len(varied) == 2
    for index in range(2):
        assert torch.equal(own[index].depth, varied[index].depth)
        assert torch.equal(own[index].normals, varied[index].normals)
        assert not torch.equal(own[index].image, varied[index].image)
        assert torch.equal(varied[index].image, again[index].image)
        assert not torch.equal(varied[index].image, other[index].image)


@pytest.mark.parametrize("seed", [-1, True, 0.5, "yes"])
def test_a_seed_that_is_none_is_refused(seed: object) -> None:
    with pytest.raises(LotusError, match="vary is the seed"):
        open_source(SourceConfig("synthetic", args={"count": 2, "vary": seed}))


@given(seed=st.integers(0, 2**32 - 1), height=st.integers(16, 96), width=st.integers(16, 96))
def test_a_border_is_plain_and_leaves_the_inside(seed: int, height: int, width: int) -> None:
    image = torch.from_numpy(np.random.default_rng(1).uniform(-0.9, 0.9, (3, height, width)).astype(np.float32))
    framed = frame(image, np.random.default_rng(seed))
    changed = (framed != image).any(0)
    colours = framed[:, changed]
    assert changed.float().mean() <= 0.25
    assert (colours == colours[:1, :1]).all()  # one grey
    assert not changed[round(0.13 * height) : -round(0.13 * height), round(0.13 * width) : -round(0.13 * width)].any()
    assert torch.equal(framed, frame(image, np.random.default_rng(seed)))


def test_a_share_of_a_source_gets_borders_and_the_geometry_stays() -> None:
    args = {"count": 40, "height": 32, "width": 48, "kinds": "tabletop"}
    plain, framed, varied, both = (
        open_source(SourceConfig("synthetic", args={**args, **more}))
        for more in ({}, {"frame": 0.5}, {"vary": 2}, {"vary": 2, "frame": 0.5})
    )
    differ = 0
    for index in range(40):
        before, after = plain[index], framed[index]
        assert torch.equal(before.depth, after.depth)
        assert torch.equal(before.valid, after.valid)
        differ += not torch.equal(before.image, after.image)
        inside = (slice(None), slice(5, -5), slice(7, -7))
        assert torch.equal(varied[index].image[inside], both[index].image[inside])
    assert 10 <= differ <= 30
    for wrong in (1.5, -0.1, "half", True):
        with pytest.raises(LotusError, match="frame is the share"):
            open_source(SourceConfig("synthetic", args={**args, "frame": wrong}))
