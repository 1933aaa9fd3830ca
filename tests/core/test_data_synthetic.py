"""The ray caster: surfaces where they should be, normals that stand on them, scenes that repeat."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus_core.data.cache import SceneCache, main
from lotus_core.data.normals_from_depth import normals_from_depth
from lotus_core.data.sample import flip
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.data.synthetic.blobs import Blob, Lump, body
from lotus_core.data.synthetic.build import make, rod, shaped, turned, vector
from lotus_core.data.synthetic.compose import FIRST_KINDS, KINDS, compose
from lotus_core.data.synthetic.materials import Material
from lotus_core.data.synthetic.patterns import PATTERNS
from lotus_core.data.synthetic.primitives import Shape
from lotus_core.data.synthetic.render import render, trace
from lotus_core.data.synthetic.scene import Focus, Scene, View
from lotus_core.data.synthetic.sensor import defocus
from lotus_core.data.synthetic.terrain import Sheet, Terrain, Waves
from lotus_core.errors import LotusError

GREY = Material("plain", vector((0.5, 0.5, 0.5)), vector((0.4, 0.4, 0.4)), 1.0, vector((0, 0, 0)))

# f(p) = 0 on the canonical surface, negative inside: written here independently of the intersections.
IMPLICIT = {
    Shape.ELLIPSOID: lambda p, _: p.norm(dim=-1) - 1,
    Shape.BOX: lambda p, _: p.abs().amax(-1) - 1,
    Shape.TORUS: lambda p, tube: torch.hypot(torch.hypot(p[:, 0], p[:, 2]) - 1, p[:, 1]) - tube,
    Shape.FRUSTUM: lambda p, top: torch.maximum(
        p[:, 1].abs() - 1, torch.hypot(p[:, 0], p[:, 2]) - (1 + (top - 1) * (p[:, 1] + 1) / 2)
    ),
}


def rays(seed: int, count: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    origins = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1) * 6
    targets = torch.rand(count, 3, generator=generator) * 3 - 1.5
    return origins, targets - origins


@pytest.mark.parametrize("shape", list(IMPLICIT))
@given(seed=st.integers(0, 10_000), parameter=st.floats(0.2, 0.8), yaw=st.floats(0, 6), tilt=st.floats(-1, 1))
@settings(max_examples=8, deadline=None)
def test_hits_lie_on_the_surface_and_nothing_is_hit_earlier(
    shape: Shape, seed: int, parameter: float, yaw: float, tilt: float
) -> None:
    size = (0.8, 0.8, 0.8) if shape is Shape.TORUS else (0.6, 0.9, 1.2)
    thing = make(shape, (0.2, -0.1, 0.3), size, GREY, turned(yaw, tilt), parameter)
    origins, directions = rays(seed)
    t = thing.intersect(origins, directions)
    hit = torch.isfinite(t)
    assert 0.02 < hit.float().mean() < 0.95
    points = origins[hit] + t[hit, None] * directions[hit]
    surface = IMPLICIT[shape]
    assert surface(thing.to_local(points), parameter).abs().max() < 3e-3
    # March along every ray: before the hit (or anywhere, for a miss) it must stay outside, up to grazing contact.
    for fraction in torch.linspace(0, 1, 100):
        reach = torch.where(hit, t * 0.999, torch.full_like(t, 2.0))
        inside = surface(thing.to_local(origins + (fraction * reach)[:, None] * directions), parameter)
        assert inside.min() > -5e-3


@pytest.mark.parametrize("shape", list(IMPLICIT))
def test_normals_are_the_gradient_of_the_surface(shape: Shape) -> None:
    parameter, size = 0.5, (0.8, 0.8, 0.8) if shape is Shape.TORUS else (0.6, 0.9, 1.2)
    thing = make(shape, (0.2, -0.1, 0.3), size, GREY, turned(0.7, 0.4, 0.2), parameter)
    origins, directions = rays(3)
    t = thing.intersect(origins, directions)
    points = (origins + t[:, None] * directions)[torch.isfinite(t)].requires_grad_()
    IMPLICIT[shape](thing.to_local(points), parameter).sum().backward()
    assert points.grad is not None
    gradient = torch.nn.functional.normalize(points.grad, dim=-1)
    cosine = (gradient * thing.normals(points.detach())).sum(-1)
    # Points within float noise of an edge may belong to either face.
    assert (cosine > 0.9999).float().mean() > 0.99


def test_depth_is_distance_to_the_camera_plane_and_normals_use_the_model_convention() -> None:
    eye = vector((0.0, 1.5, 0.0))
    ground = make(Shape.GROUND, (0, 0, 0), (1, 1, 1), GREY)
    dark = vector((0.1, 0.1, 0.1))
    scene = Scene(View.look(eye, 0, 0, 0, 60, 48, 64), [ground], None, [], dark, dark, dark, dark, 0.0, math.inf)
    seen = render(scene)
    rows = torch.arange(48) + 0.5
    expected = 1.5 * scene.view.focal_px / (rows - 24)  # z = height · f / (row − centre) below the horizon
    below = (rows > 24) & (expected < 80)
    assert torch.allclose(seen.depth[below], expected[below, None].expand(-1, 64), rtol=1e-4)
    assert torch.isinf(seen.depth[:24]).all()
    assert torch.allclose(
        seen.normals[-1, 0], torch.tensor([0.0, -1.0, 0.0]), atol=1e-6
    )  # up, in OpenCV's y-down frame
    sample = SyntheticScenes(1, 48, 64, seed=1, textures=None, kinds="street")[0]
    solid = sample.normals[:, sample.valid]
    assert solid[1].max() > 0.9  # the ground is green (y up) in the model's convention
    assert (solid.norm(dim=0) - 1).abs().max() < 1e-5
    assert solid[2].mean() > 0  # and surfaces face the camera


@pytest.mark.parametrize("kind", KINDS)
def test_normals_agree_with_the_slope_of_the_depth(kind: str) -> None:
    sample = SyntheticScenes(4, 96, 128, seed=3, textures=None, kinds=kind)[1]
    found, known = normals_from_depth(
        torch.where(sample.valid, sample.depth, torch.zeros(())).numpy().astype(np.float64), sample.focal_px
    )[:2]
    both = torch.from_numpy(np.asarray(known)) & sample.valid
    truth = sample.normals.permute(1, 2, 0)[both]
    cosine = (torch.from_numpy(np.asarray(found)).float()[both] * truth).sum(-1).clamp(-1, 1)
    assert cosine.acos().rad2deg().median() < 1.0


def test_the_same_seed_gives_the_same_scene_and_others_differ() -> None:
    first, again = (SyntheticScenes(3, 48, 64, seed=5, textures=None)[2] for _ in range(2))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.depth, again.depth)
    assert not torch.equal(first.image, SyntheticScenes(3, 48, 64, seed=6, textures=None)[2].image)
    assert not torch.equal(first.image, SyntheticScenes(3, 48, 64, seed=5, textures=None)[1].image)


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (56, 56)], ids=["landscape", "portrait", "square"])
@pytest.mark.parametrize("kind", KINDS)
def test_samples_keep_their_promises(kind: str, size: tuple[int, int]) -> None:
    scenes = SyntheticScenes(2, *size, seed=11, textures="public", kinds=kind)
    for index in range(2):
        sample = scenes[index]
        assert sample.image.shape == (3, *size)
        assert sample.image.min() >= -1
        assert sample.image.max() <= 1
        assert sample.image.std() > 0.03  # something is to be seen
        assert torch.equal(sample.sky, torch.isinf(sample.depth))
        assert torch.equal(sample.valid, ~sample.sky)
        assert sample.valid.float().mean() > 0.1
        assert sample.depth[sample.valid].min() > 0.05
        assert sample.depth[sample.valid].max() <= 80
        assert (sample.normals[:, sample.valid].norm(dim=0) - 1).abs().max() < 1e-4
        assert (sample.normals[:, sample.sky] == 0).all()
        assert torch.equal(flip(flip(sample)).normals, sample.normals)
    with pytest.raises(IndexError):
        scenes[2]


def test_kinds_can_be_chosen_and_a_wrong_one_is_named() -> None:
    assert FIRST_KINDS == ("room", "tabletop", "street", "hills")
    ground = [compose(np.random.default_rng([4, i]), 24, 32, [], ("forest", "hills")).terrain for i in range(6)]
    assert all(terrain is not None for terrain in ground)
    with pytest.raises(LotusError, match="attic"):
        SyntheticScenes(1, kinds=("room", "attic"))
    with pytest.raises(LotusError, match="choose from room"):
        SyntheticScenes(1, kinds=())


def blob(seed: int, count: int = 7) -> Blob:
    g = torch.Generator().manual_seed(seed)
    lumps = [
        Lump(
            (torch.randn(3, generator=g) * 0.5).tolist(),
            (torch.rand(3, generator=g) * 0.6 + 0.2).tolist(),
            turned(i, i),
            i >= count - 2,
        )
        for i in range(count)
    ]
    return Blob(
        lumps, 0.08, torch.randn(3, 3, generator=g) * 6, torch.full((3,), 0.008), torch.rand(3, generator=g) * 6
    )


def test_a_body_of_one_lump_is_an_ellipsoid() -> None:
    half, turn = (0.6, 0.9, 1.2), turned(0.7, 0.4, 0.2)
    smooth = body(Blob([Lump((0.2, -0.1, 0.3), half, turn)], 0.05), GREY)
    exact = make(Shape.ELLIPSOID, (0.2, -0.1, 0.3), half, GREY, turn)
    origins, directions = rays(5, 3000)
    t, known = smooth.intersect(origins, directions), exact.intersect(origins, directions)
    both = torch.isfinite(t) & torch.isfinite(known)
    assert both.float().mean() > 0.2
    assert (torch.isfinite(t) != torch.isfinite(known)).float().mean() < 0.002  # rays that graze
    assert (t - known)[both].abs().median() < 1e-6
    assert (t - known)[both].abs().max() < 1e-3
    points = (origins + known[:, None] * directions)[both]
    assert ((smooth.normals(points) * exact.normals(points)).sum(-1) > 0.9999).all()


@pytest.mark.parametrize("seed", range(3))
def test_bodies_are_hit_on_their_surface_and_not_behind_it(seed: int) -> None:
    made = blob(seed)
    origins, directions = rays(seed, 1500)
    t = made.intersect(origins, directions)
    hit = torch.isfinite(t)
    assert 0.1 < hit.float().mean() < 0.95
    points = (origins + t[:, None] * directions)[hit].requires_grad_()
    values = made.value(points)
    assert values.abs().median() < 1e-5
    assert values.abs().max() < 2e-3
    values.sum().backward()
    assert points.grad is not None
    assert torch.allclose(points.grad, made.normals(points.detach()), atol=1e-5)
    late = torch.zeros_like(hit)
    for fraction in torch.linspace(0, 1, 250):
        reach = torch.where(hit, t * 0.999, torch.full_like(t, 2.0))
        late |= made.value(origins + (fraction * reach)[:, None] * directions) < -3e-3
    assert late.float().mean() < 0.01  # rays that graze
    assert (torch.isfinite(made.intersect(origins, directions, exact=False)) == hit).float().mean() > 0.97


def test_sheets_are_hit_from_both_sides_and_only_within_their_square() -> None:
    g = torch.Generator().manual_seed(2)
    waves = Waves(torch.randn(5, 2, generator=g) * 6, torch.full((5,), 0.02), torch.rand(5, generator=g) * 6, 0.0)
    sheet = shaped(Sheet(waves), GREY)
    origins, directions = rays(7, 4000)
    t = sheet.intersect(origins, directions)
    hit = torch.isfinite(t)
    points = (origins + t[:, None] * directions)[hit]
    assert 0.1 < hit.float().mean() < 0.7
    assert (points[:, 1] - waves.height(points)).abs().max() < 1e-5
    assert points[:, [0, 2]].abs().max() < 1.001
    assert (origins[hit, 1] > 0).any()
    assert (origins[hit, 1] < 0).any()
    down = torch.tensor([[0.3, -2.0, 0.2]]).expand(4000, 3)
    above = torch.cat([origins[:, :1] % 1 - 0.5, torch.ones(4000, 1), origins[:, 2:] % 1 - 0.5], 1)
    assert torch.isfinite(sheet.intersect(above, down)).all()  # no holes


def test_a_rod_runs_from_point_to_point() -> None:
    bar = rod((1, 0, 0), (1, 2, 2), 0.05, GREY)
    middle = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.02, 0.02], [1.0, 1.98, 1.98], [1.0, 2.1, 2.1]])
    away = torch.tensor([[5.0, 0.0, 0.0]])
    t = bar.intersect(middle + away, -away.expand(4, 3))
    assert t[:3].tolist() == pytest.approx([1 - 0.05 / 5] * 3, abs=1e-4)
    assert torch.isinf(t[3])


@pytest.mark.parametrize("kind", ["clutter", "thin", "figures"])
def test_culling_never_changes_what_is_hit(kind: str) -> None:
    scene = compose(np.random.default_rng([3, 5]), 40, 48, [], (kind,))
    rows, columns = torch.meshgrid(torch.arange(40) + 0.5, torch.arange(48) + 0.5, indexing="ij")
    directions = scene.view.directions(columns.reshape(-1), rows.reshape(-1))
    t, what = trace(scene, scene.view.position, directions)
    each = torch.stack([p.intersect(scene.view.position.expand_as(directions), directions) for p in scene.primitives])
    assert torch.equal(torch.isinf(t), torch.isinf(each.amin(0)))
    near = torch.isfinite(t)
    chosen = each.gather(0, what.clamp_min(0)[None])[0]
    for values in (each.amin(0), chosen):
        off = (values[near] / t[near] - 1).abs()
        # Fewer rays at a time round otherwise on some processors: up to 1e-4 at a few thin things.
        assert off.quantile(0.9) < 1e-6
        assert off.max() < 1e-3


def test_what_is_out_of_focus_blurs_and_what_is_in_front_stays_sharp() -> None:
    g = torch.Generator().manual_seed(0)
    image = torch.rand(40, 60, 3, generator=g)
    depth = torch.full((40, 60), 10.0)
    depth[:, :20] = 1.0
    blurred = defocus(image, depth, Focus(1.2, 3.0))
    assert torch.equal(blurred[:, :20], image[:, :20])
    assert blurred[:, 20:].std() < 0.4 * image[:, 20:].std()
    image[:, :20] = 100.0  # and does not shine into what is behind
    assert torch.allclose(defocus(image, depth, Focus(1.2, 3.0))[:, 20:], blurred[:, 20:], atol=1e-4)


def test_terrain_is_hit_where_its_height_is() -> None:
    generator = torch.Generator().manual_seed(0)
    hills = Terrain(torch.randn(4, 2, generator=generator) * 0.3, torch.full((4,), 0.4), torch.zeros(4), 0.0, GREY)
    origins = torch.tensor([[0.0, 4.0, 0.0]]).expand(500, 3)
    directions = torch.randn(500, 3, generator=generator) * torch.tensor([1.0, 0.2, 1.0]) - torch.tensor([0, 0.6, 0])
    t = hills.intersect(origins, directions)
    hit = torch.isfinite(t)
    assert hit.float().mean() > 0.8
    points = origins[hit] + t[hit, None] * directions[hit]
    assert (points[:, 1] - hills.height(points)).abs().max() < 1e-3
    step = 1e-2
    slope = (hills.height(points + vector((step, 0, 0))) - hills.height(points - vector((step, 0, 0)))) / (2 * step)
    normals = hills.normals(points)
    assert torch.allclose(-normals[:, 0] / normals[:, 1], slope, atol=1e-2)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_gives_a_colour_between_its_two(pattern: str) -> None:
    photo = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) if pattern == "photo" else None
    low, high = vector((0.1, 0.2, 0.3)), vector((0.6, 0.7, 0.8))
    material = Material(pattern, low, high, 0.4, vector((1, 2, 3)), photo=photo)
    points = torch.randn(3000, 3, generator=torch.Generator().manual_seed(1)) * 5
    colour = material.colour(points, torch.tensor([[0.0, 0.0, 1.0]]).expand_as(points))
    assert colour.shape == (3000, 3)
    assert colour.std(0).min() > 0.005
    if pattern != "photo":
        assert (colour >= low - 1e-6).all()
        assert (colour <= high + 1e-6).all()


def test_cached_scenes_equal_rendered_ones_within_what_a_shard_stores(tmp_path: Path) -> None:
    arguments = [str(tmp_path), "--count", "3", "--height", "48", "--width", "64", "--seed", "8", "--workers", "1"]
    arguments += ["--kinds", "street,clutter"]
    main(arguments)
    scenes, cache = SyntheticScenes(3, 48, 64, seed=8, kinds=("street", "clutter")), SceneCache(tmp_path)
    assert len(cache) == 3
    for index in range(3):
        made, kept = scenes[index], cache[index]
        assert torch.equal(made.valid, kept.valid)
        assert torch.equal(made.sky, kept.sky)
        assert (made.image - kept.image).abs().max() < 1e-6
        ratio = kept.depth[made.valid] / made.depth[made.valid]
        assert (ratio - 1).abs().max() < 1e-3
        cosine = (made.normals * kept.normals).sum(0)[made.valid].clamp(-1, 1)
        assert cosine.acos().rad2deg().max() < 0.6
        assert kept.focal_px == pytest.approx(made.focal_px, rel=1e-6)
    before = next(tmp_path.glob("*.safetensors")).stat().st_mtime_ns
    main(arguments)  # everything is there already
    assert next(tmp_path.glob("*.safetensors")).stat().st_mtime_ns == before
    half = SceneCache(tmp_path, reduce=2)[0]
    full = cache[0]
    assert half.image.shape == (3, 24, 32)
    assert torch.allclose(half.image[:, 3, 5], full.image[:, 6:8, 10:12].mean((1, 2)), atol=1e-6)
    block = full.depth[6:8, 10:12]
    assert float(half.depth[3, 5]) == pytest.approx(float(1 / (1 / block).mean()), rel=1e-5)
    assert half.focal_px == pytest.approx(full.focal_px / 2)


def test_missing_shards_and_textures_are_named(tmp_path: Path) -> None:
    with pytest.raises(LotusError, match="No scene shards"):
        SceneCache(tmp_path)
    with pytest.raises(LotusError, match="No photographs"):
        SyntheticScenes(1, 24, 32, textures=str(tmp_path))[0]
