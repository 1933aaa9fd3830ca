"""The ray caster: exact depth, normals and sky of a scene, and a shaded picture of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .noise import fractal
from .primitives import NO_HIT, Shape
from .scene import Light, Scene
from .sensor import defocus

NOTHING, TERRAIN = -1, -2
FAR_M = 80.0  # beyond this everything counts as sky, as in Virtual KITTI
_SHADOW_BIAS = 2e-3
_SUBPIXELS = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))


@dataclass(frozen=True)
class Rendering:
    """What one camera sees.

    image: linear RGB H×W×3 ≥ 0. depth: H×W metres along the optical axis, +inf on sky. normals: H×W×3 in the OpenCV
    camera frame (x right, y down, z forward), zero on sky. what: H×W index of the primitive (−1 nothing, −2 terrain).
    """

    image: Tensor
    depth: Tensor
    normals: Tensor
    what: Tensor


def render(scene: Scene, antialias: bool = True) -> Rendering:
    """Cast one ray through each pixel centre; with `antialias`, four more where the surface changes between pixels."""
    view = scene.view
    height, width, device = view.height, view.width, view.position.device
    rows, columns = torch.meshgrid(
        torch.arange(height, device=device) + 0.5, torch.arange(width, device=device) + 0.5, indexing="ij"
    )
    rows, columns = rows.reshape(-1), columns.reshape(-1)
    directions = view.directions(columns, rows)
    depth, what = trace(scene, view.position, directions)
    normals = _normals(scene, view.position + depth.clamp_max(1e6)[:, None] * directions, directions, what)
    colour = _shade(scene, directions, depth, what, normals)
    if antialias:
        mixed = _silhouettes(what.view(height, width), normals.view(height, width, 3)).view(-1).nonzero()[:, 0]
        sub = torch.cat([view.directions(columns[mixed] + dx, rows[mixed] + dy) for dx, dy in _SUBPIXELS])
        t, hit = trace(scene, view.position, sub)
        n = _normals(scene, view.position + t.clamp_max(1e6)[:, None] * sub, sub, hit)
        shaded = _shade(scene, sub, t, hit, n).clamp_max(4.0)  # a highlight must not eat its neighbours
        colour[mixed] = shaded.view(len(_SUBPIXELS), -1, 3).mean(0)
    sky = depth > FAR_M
    depth = depth.masked_fill(sky, math.inf)
    in_camera = (normals @ view.axes).masked_fill(sky[:, None], 0.0)
    if scene.focus is not None:
        colour = defocus(colour.view(height, width, 3), depth.view(height, width), scene.focus)
    return Rendering(
        colour.view(height, width, 3),
        depth.view(height, width),
        in_camera.view(height, width, 3),
        what.masked_fill(sky, NOTHING).view(height, width),
    )


def trace(scene: Scene, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest hit of N rays from origins (3 or N×3) along directions (N×3): t (N, +inf = miss) and what (N, int64)."""
    count, device = len(directions), directions.device
    origins = origins.expand(count, 3)
    t = torch.full((count,), NO_HIT, device=device)
    what = torch.full((count,), NOTHING, dtype=torch.int64, device=device)
    if scene.terrain is not None:
        t = scene.terrain.intersect(origins, directions)
        what = torch.where(torch.isfinite(t), TERRAIN, what)
    return scene.index.nearest(origins, directions, t, what)


def _normals(scene: Scene, points: Tensor, directions: Tensor, what: Tensor) -> Tensor:
    """Unit normals N×3 in the world, turned toward the viewer; zero where nothing was hit."""
    normals = torch.zeros_like(points)
    for index in what.unique().tolist():
        if index == NOTHING:
            continue
        some = (what == index).nonzero()[:, 0]
        surface = scene.terrain if index == TERRAIN else scene.primitives[index]
        assert surface is not None
        normals[some] = surface.normals(points[some])
    away = (normals * directions).sum(-1, keepdim=True) > 0
    return torch.where(away, -normals, normals)


def _silhouettes(what: Tensor, normals: Tensor) -> Tensor:
    """bool H×W: pixels whose right, left, upper or lower neighbour shows another thing or another face."""
    edge = torch.zeros_like(what, dtype=torch.bool)
    across = (what[:, 1:] != what[:, :-1]) | ((normals[:, 1:] * normals[:, :-1]).sum(-1) < 0.9)
    down = (what[1:] != what[:-1]) | ((normals[1:] * normals[:-1]).sum(-1) < 0.9)
    empty = what == NOTHING
    across &= ~(empty[:, 1:] & empty[:, :-1])
    down &= ~(empty[1:] & empty[:-1])
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge


def _shade(scene: Scene, directions: Tensor, depth: Tensor, what: Tensor, normals: Tensor) -> Tensor:
    """Linear RGB N×3: ambient from a two-colour dome, each light with its shadow, Blinn-Phong highlights, haze."""
    position = scene.view.position
    unit = torch.nn.functional.normalize(directions, dim=-1)
    colour = sky_colour(scene, unit)
    solid = (what != NOTHING).nonzero()[:, 0]
    if not len(solid):
        return colour
    t, n, view = depth[solid], normals[solid], unit[solid]
    points = position + t[:, None] * directions[solid]
    albedo, specular, gloss = _surface(scene, points, n, what[solid])
    up = 0.5 + 0.5 * n[:, 1:2]
    lit = albedo * (scene.ambient_down + up * (scene.ambient_up - scene.ambient_down))
    for light in scene.lights:
        to_light, strength = _towards(light, points)
        facing = (n * to_light).sum(-1)
        seen = facing > 1e-3
        seen[seen.clone()] = ~_blocked(scene, points[seen], n[seen], light)
        halfway = torch.nn.functional.normalize(to_light - view, dim=-1)
        shine = specular * (n * halfway).sum(-1).clamp_min(0) ** gloss
        received = (seen * strength)[:, None] * light.colour
        lit = lit + received * (albedo * facing.clamp_min(0)[:, None] + shine[:, None])
    if math.isfinite(scene.haze_m):
        air = 1 - torch.exp(-t / scene.haze_m)[:, None]
        lit = lit + air * (scene.sky_horizon - lit)
    colour[solid] = lit
    return colour


def _surface(scene: Scene, points: Tensor, normals: Tensor, what: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    albedo = torch.zeros_like(points)
    specular, gloss = torch.zeros_like(points[:, 0]), torch.ones_like(points[:, 0])
    for index in what.unique().tolist():
        some = (what == index).nonzero()[:, 0]
        if index == TERRAIN:
            assert scene.terrain is not None
            material, local, turned = scene.terrain.material, points[some], normals[some]
        else:
            thing = scene.primitives[index]
            material = thing.material
            local = (points[some] - thing.centre) @ thing.rotation
            turned = normals[some] @ thing.rotation
            if thing.shape is Shape.ROOM:
                local = points[some]
        albedo[some] = material.colour(local, turned)
        specular[some], gloss[some] = material.specular, material.gloss
    return albedo, specular, gloss


def _towards(light: Light, points: Tensor) -> tuple[Tensor, Tensor]:
    """Unit directions N×3 to the light and its strength N there."""
    if light.is_sun:
        return light.position.expand_as(points), torch.ones_like(points[:, 0])
    offset = light.position - points
    distance = offset.norm(dim=-1)
    return offset / distance[:, None], 1 / (0.3 + distance**2)


def _blocked(scene: Scene, points: Tensor, normals: Tensor, light: Light) -> Tensor:
    """bool N: something stands between the point and the light. Rooms and grounds cast no shadow on themselves."""
    start = points + _SHADOW_BIAS * (1 + points.norm(dim=-1, keepdim=True) * 0.1) * normals
    direction = light.position.expand_as(start) if light.is_sun else light.position - start
    blocked = scene.index.blocked(start, direction, math.inf if light.is_sun else 1.0)
    if scene.terrain is not None and light.is_sun:
        free = (~blocked).nonzero()[:, 0]
        blocked[free] = torch.isfinite(scene.terrain.intersect(start[free], direction[free], near=0.3, fine=0.08))
    return blocked


def sky_colour(scene: Scene, unit: Tensor) -> Tensor:
    """Linear RGB N×3 of the sky in unit world directions N×3: horizon to zenith, clouds, the sun's glow."""
    up = unit[:, 1].clamp_min(0)[:, None]
    colour = scene.sky_horizon + up.sqrt() * (scene.sky_zenith - scene.sky_horizon)
    if scene.cloudiness > 0:
        plane = unit / (unit[:, 1:2].clamp_min(0) + 0.15)
        cover = ((fractal(plane * 1.7, 4) - 0.62 + 0.3 * scene.cloudiness) * 5).clamp(0, 1)[:, None]
        colour = colour + cover * (scene.sky_horizon.mean() * 1.3 - colour)
    for light in scene.lights:
        if light.is_sun:
            colour = colour + 0.3 * light.colour * (unit @ light.position).clamp_min(0)[:, None] ** 64
    if scene.mountains is not None:
        high, rough, phase = scene.mountains.tolist()
        around = torch.atan2(unit[:, 0], -unit[:, 2])
        for layer, tone in ((1.0, 0.75), (0.6, 0.55)):
            waves = [torch.sin(around * rough * 2.1**k + phase * (k + layer)) / 2**k for k in range(6)]
            ridge = high * layer * (0.5 + 0.35 * torch.stack(waves).sum(0))
            behind = (unit[:, 1] < ridge * unit[:, [0, 2]].norm(dim=-1))[:, None]
            colour = torch.where(behind, scene.sky_horizon * tone, colour)
    return colour
