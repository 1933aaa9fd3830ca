"""Blender's Python has no scipy: the filters must give the same there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lotus_core.geometry import Camera, filters
from lotus_core.geometry.edges import sharpen_edges
from lotus_core.geometry.fusion import fuse_normals
from lotus_core.maps import Normals

from .scenes import ball_scene, quantised

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@pytest.fixture(autouse=True)
def _restore() -> object:
    yield
    filters.HAVE_SCIPY = True


def without_scipy(function, *arguments, **options):  # type: ignore[no-untyped-def]
    filters.HAVE_SCIPY = False
    try:
        return function(*arguments, **options)
    finally:
        filters.HAVE_SCIPY = True


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.integers(0, 2**32 - 1), st.sampled_from([3, 5, 9]), st.sampled_from([0.5, 1.0, 2.0]))
def test_the_filters_agree_with_scipy(shape: tuple[int, int], seed: int, window: int, sigma: float) -> None:
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    for function, arguments in (
        (filters.minimum_filter, (window,)),
        (filters.maximum_filter, (window,)),
        (filters.gaussian_filter, (sigma,)),
        (filters.dctn, ()),
        (filters.idctn, ()),
    ):
        expected = function(values.copy(), *arguments)
        found = without_scipy(function, values.copy(), *arguments)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, atol=2e-5)


@settings(max_examples=100, deadline=None)
@given(arrays.arrays(bool, SHAPES))
def test_the_pieces_of_a_mask_are_numbered_as_scipy_numbers_them(mask: np.ndarray) -> None:
    expected, count = filters.label(mask)
    found, found_count = without_scipy(filters.label, mask)
    assert found_count == count
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(bool, SHAPES).filter(lambda mask: bool(mask.any())), st.integers(0, 99))
def test_filling_keeps_what_is_inside_and_stays_in_its_range(inside: np.ndarray, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=inside.shape).astype(np.float32)
    for filled in (filters.fill_outside(values, inside), without_scipy(filters.fill_outside, values, inside)):
        np.testing.assert_array_equal(filled[inside], values[inside])
        assert filled.min() >= values[inside].min() - 1e-6
        assert filled.max() <= values[inside].max() + 1e-6


def test_fusing_normals_gives_the_same_without_scipy() -> None:
    rng = np.random.default_rng(4)
    z = (2 + rng.random((48, 64))).astype(np.float32)
    normals = Normals.from_vectors(rng.normal(size=(48, 64, 3)) + np.array([0, 0, 3]))
    expected = fuse_normals(z, normals, Camera.default(64, 48), sharpen=False)
    found = without_scipy(fuse_normals, z, normals, Camera.default(64, 48), sharpen=False)
    np.testing.assert_allclose(found, expected, rtol=2e-5)


def test_sharp_edges_are_nearly_the_same_without_scipy() -> None:
    scene = ball_scene(320, 240)
    soft = quantised(scene)
    expected, found = sharpen_edges(soft), without_scipy(sharpen_edges, soft)
    assert np.mean(np.abs(found / expected - 1) > 0.01) < 0.02, "values beside the edge are averaged there"
