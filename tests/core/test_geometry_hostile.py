"""Tiny, constant and empty maps: a sensible result or one clear sentence, never a silent NaN."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from lotus_core.errors import LotusError
from lotus_core.geometry import Camera, SceneOptions, build_scene
from lotus_core.geometry.baking import ambient_occlusion, curvature_map
from lotus_core.geometry.edges import sharpen_edges
from lotus_core.geometry.fusion import fuse_normals, smooth_depth
from lotus_core.geometry.grid import fill_holes
from lotus_core.geometry.integration import integrate_normals
from lotus_core.geometry.slopes import normals_from_depth
from lotus_core.maps import Depth, Normals, Uncertainty

SHAPES = [(1, 1), (1, 9), (9, 1), (2, 2), (5, 7)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("known", [True, False])
def test_maps_of_any_shape_give_finite_numbers(shape: tuple[int, int], known: bool) -> None:
    camera = Camera.default(shape[1], shape[0])
    z = np.full(shape, 3.0)
    vectors = np.zeros((*shape, 3), np.float32)
    vectors[..., 2] = known
    normals = Normals(vectors, "opengl")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = [
            normals_from_depth(z, camera).values,
            curvature_map(normals),
            ambient_occlusion(z, normals, camera, radius_px=3),
            sharpen_edges(z),
            smooth_depth(z, np.zeros(shape)),
            fuse_normals(z, normals, camera),
            fill_holes(z, np.zeros(shape, bool), 10)[0],
        ]
    for result in results:
        assert np.isfinite(result).all()
        assert result.shape[:2] == shape
    assert np.allclose(results[5], 3)
    if known:
        assert np.isfinite(integrate_normals(normals)).all()
    else:
        with pytest.raises(LotusError, match="no normals"):
            integrate_normals(normals)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["perspective", "relief", "points"])
@pytest.mark.parametrize("masked", [True, False])
def test_scenes_of_any_shape(shape: tuple[int, int], mode: str, masked: bool) -> None:
    depth = Depth(np.full(shape, 0.5), "disparity", np.zeros(shape, bool) if masked else None)
    options = SceneOptions(mode=mode, base_mm=1.0, min_faces=0, smooth_px=1.0, fill_holes=3)  # type: ignore[arg-type]
    photo = np.zeros((*shape, 3), np.uint8)
    args = (depth, photo, Normals(np.zeros((*shape, 3))), Uncertainty(np.zeros(shape), None, 2, "depth"), options)
    if masked or (min(shape) < 2 and mode != "points"):
        with pytest.raises(LotusError):
            build_scene(*args)
    else:
        mesh = build_scene(*args).mesh
        assert len(mesh.vertices) > 0
        assert np.isfinite(mesh.vertices).all()
        assert all(np.isfinite(values).all() for values in mesh.attributes.values())
