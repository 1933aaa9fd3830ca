"""Annotations: 2–98 % normalisation, the sky, normals under a flip."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus_core.data.sample import Sample, flip
from lotus_core.training.annotation import (
    annotation,
    annotation_mask,
    annotation_weight,
    depth_annotation,
    disparity_annotation,
)


def depth_map(seed: int, height: int = 20, width: int = 30) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Depth with some sky and some missing pixels; valid; sky."""
    rng = np.random.default_rng(seed)
    depth = torch.from_numpy(np.exp(rng.normal(1, 0.8, (height, width))).astype(np.float32))
    kind = torch.from_numpy(rng.random((height, width)))
    sky, missing = kind < 0.1, kind > 0.95
    depth[sky] = torch.inf
    depth[missing] = torch.nan
    return depth, ~sky & ~missing, sky


@given(st.integers(0, 2**32), st.floats(0.01, 100))
@settings(max_examples=40, deadline=None)
def test_disparity_is_normalised_between_its_quantiles(seed: int, scale: float) -> None:
    depth, valid, sky = depth_map(seed)
    found = depth_annotation(depth, valid)
    disparity = 1 / depth[valid].double().numpy()
    low, high = np.quantile(disparity, [0.02, 0.98])
    expected = np.clip((disparity - low) / (high - low) * 2 - 1, -1, 1)
    assert found.shape == (3, 20, 30)
    assert np.abs(found[0][valid].numpy() - expected).max() < 1e-4
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert (found[:, sky] == -1).all()
    assert float(found.abs().max()) <= 1
    assert torch.isfinite(found).all()
    # Metres or centimetres: the annotation is the same.
    assert float((depth_annotation(depth * scale, valid) - found).abs().max()) < 1e-4


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_nearer_is_larger_in_disparity_and_smaller_in_depth(seed: int) -> None:
    depth, valid, sky = depth_map(seed)
    order = depth[valid].argsort()
    assert (depth_annotation(depth, valid)[0][valid][order].diff() <= 0).all()
    in_depth = depth_annotation(depth, valid, "depth")
    assert (in_depth[0][valid][order].diff() >= 0).all()
    assert (in_depth[:, sky] == 1).all()  # the far end there


def test_a_flat_wall_and_an_empty_sky_stay_finite() -> None:
    everywhere = torch.ones(4, 4, dtype=torch.bool)
    assert (depth_annotation(torch.full((4, 4), 2.5), everywhere) == 0).all()
    assert (depth_annotation(torch.full((4, 4), torch.inf), ~everywhere) == -1).all()


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_the_horizon_is_where_disparity_would_be_zero(seed: int) -> None:
    depth, valid, _ = depth_map(seed)
    picture, horizon = disparity_annotation(depth, valid)
    assert torch.equal(picture, depth_annotation(depth, valid))
    within = valid & (picture[0].abs() < 0.999)  # not cut off at the quantiles
    factor = ((picture[0] - horizon) * depth)[within]
    assert float(factor.max() / factor.min()) == pytest.approx(1, abs=1e-3)
    everywhere = torch.ones(4, 4, dtype=torch.bool)
    assert disparity_annotation(torch.full((4, 4), 2.5), everywhere)[1] == -math.inf


@pytest.fixture
def sample() -> Sample:
    generator = torch.Generator().manual_seed(3)
    depth, valid, sky = depth_map(3)
    normals = torch.nn.functional.normalize(torch.randn(3, 20, 30, generator=generator), dim=0) * valid
    return Sample(torch.rand(3, 20, 30, generator=generator) * 2 - 1, depth, normals, valid, sky, 30.0)


def test_a_flip_mirrors_normals_and_negates_their_x(sample: Sample) -> None:
    plain, mirrored = annotation(sample, "normal", "disparity"), annotation(flip(sample), "normal", "disparity")
    assert torch.equal(mirrored[0], -plain[0].flip(-1))
    assert torch.equal(mirrored[1:], plain[1:].flip(-1))
    depth = annotation(sample, "depth", "disparity")
    assert torch.equal(annotation(flip(sample), "depth", "disparity"), depth.flip(-1))


def test_weights_make_a_disparity_error_count_by_its_share_of_the_depth(sample: Sample) -> None:
    weight = annotation_weight(sample, 1.0)
    solid = weight[sample.valid]
    assert float(solid.mean()) == pytest.approx(1)
    assert bool((weight[sample.sky] == 1).all())
    assert bool((weight[~(sample.valid | sample.sky)] == 0).all())
    depth = sample.depth[sample.valid]
    near = (depth / depth.median() > 0.25) & (depth / depth.median() < 4)
    ratio = (solid / depth)[near]
    assert float(ratio.max() / ratio.min()) == pytest.approx(1, abs=1e-4)
    assert float(solid.max() / solid.min()) <= 16 + 1e-4
    assert torch.equal(annotation_weight(sample, 0.0), annotation_mask(sample, "depth").float())


def test_the_sky_counts_for_depth_but_not_for_normals(sample: Sample) -> None:
    assert torch.equal(annotation_mask(sample, "depth"), sample.valid | sample.sky)
    assert torch.equal(annotation_mask(sample, "normal"), sample.valid)
