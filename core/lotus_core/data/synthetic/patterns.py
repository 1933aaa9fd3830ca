"""What surfaces are painted with: each pattern is a number for each point, between a first and a second colour."""

from __future__ import annotations

import torch
from torch import Tensor

from .noise import flatten, fractal, hashed, value_noise

PATTERNS = (
    *("plain", "noise", "checker", "planks", "bricks", "stripes", "marble", "wood", "speckle", "windows", "photo"),
    *("woven", "cracks", "tiles", "leaves", "gradient", "text", "stains", "strands", "dots"),
)


def weight(pattern: str, p: Tensor, normals: Tensor) -> Tensor:
    """How much of its second colour a surface shows (mostly in [0, 1]) at N×3 points in repeats of the pattern: N."""
    match pattern:
        case "noise":
            return fractal(p, 4) * 1.6 - 0.3
        case "checker":
            return torch.floor(p + 1e-3).sum(-1).remainder(2)
        case "stripes":
            return ((p[:, 0] + p[:, 1]).remainder(1) < 0.5).float()
        case "marble":
            return 0.5 + 0.5 * torch.sin(6.28 * (p[:, 0] + 2.5 * fractal(p * 0.7, 4)))
        case "wood":
            ring = (p[:, 0] ** 2 + (p[:, 2] * 0.3) ** 2).sqrt() * 3 + 0.8 * fractal(p, 3)
            return ring.remainder(1)
        case "speckle":
            return ((value_noise(p * 6) - 0.62) * 12).clamp(0, 1)
        case "planks":
            uv = flatten(p, normals)
            seam = (uv[:, 0].remainder(1) < 0.05) | ((uv[:, 1] * 0.2 + uv[:, 0].floor() * 0.37).remainder(1) < 0.01)
            tone = hashed(uv[:, 0].floor(), (uv[:, 1] * 0.2 + uv[:, 0].floor() * 0.37).floor())
            return torch.where(seam, torch.ones_like(tone), 0.15 + 0.5 * tone * fractal(p * 2, 2))
        case "bricks":
            uv = flatten(p, normals)
            row = (uv[:, 1] * 2).floor()
            u = uv[:, 0] + 0.5 * row.remainder(2)
            mortar = ((uv[:, 1] * 2).remainder(1) < 0.12) | (u.remainder(1) < 0.06)
            return torch.where(mortar, torch.ones_like(u), 0.35 * hashed(u.floor(), row))
        case "windows":
            uv = flatten(p, normals)
            inside = ((uv.remainder(1) - 0.5).abs() < 0.28).all(-1)
            wall = (normals[:, 1].abs() < 0.7) & inside
            return wall.float() * (0.7 + 0.3 * hashed(uv[:, 0].floor(), uv[:, 1].floor()))
        case "woven":
            uv = flatten(p, normals) * 8
            over = (uv.floor().sum(-1)).remainder(2) < 1
            thread = torch.where(over, (uv[:, 0].remainder(1) - 0.5).abs(), (uv[:, 1].remainder(1) - 0.5).abs())
            return 0.4 * over.float() + 1.2 * thread**2 + 0.2 * fractal(p, 2)
        case "cracks":
            nearest, second, tone = _cells(flatten(p, normals) * 2)
            return torch.where(second - nearest < 0.06, torch.ones_like(tone), 0.4 * tone)
        case "tiles":
            uv = flatten(p, normals) * 2
            grout = (uv.remainder(1) < 0.07).any(-1)
            tone = hashed(uv[:, 0].floor(), uv[:, 1].floor())
            return torch.where(grout, torch.ones_like(tone), 0.35 * (tone > 0.7).float() * tone + 0.15 * fractal(p, 3))
        case "leaves":
            nearest, second, tone = _cells(flatten(p, normals) * torch.tensor([5.0, 3.0], device=p.device))
            return (0.2 + 0.8 * tone) * (1 - nearest) * ((second - nearest) * 4).clamp(0.2, 1)
        case "gradient":
            slope = 0.5 + 0.5 * torch.sin(1.3 * (0.35 * p[:, 0] + 0.8 * p[:, 1] + 0.5 * p[:, 2]))
            return slope + 0.03 * fractal(p * 4, 2)
        case "text":  # lines of words of marks
            uv = flatten(p, normals) * torch.tensor([16.0, 8.0], device=p.device)
            line, place = uv[:, 1].floor(), uv[:, 1].remainder(1)
            letter = uv[:, 0].floor()
            gap = hashed(letter, line) < 0.2
            blank = hashed(line, torch.full_like(line, 3.0)) < 0.15
            strokes = hashed((uv[:, 0] * 3).floor(), line + (place * 4).floor() * 17.0) > 0.45
            return (strokes & ~gap & ~blank & (place > 0.3) & (place < 0.85)).float()
        case "stains":
            wet = fractal(p * 0.8, 3) + 0.15 * fractal(p * 5, 2)
            rim = (1 - ((wet - 0.6) / 0.03).abs()).clamp_min(0)
            return 0.6 * (wet > 0.6).float() + 0.4 * rim + 0.15 * fractal(p * 3, 3)
        case "strands":  # hair, fur, grass: noise drawn out along the upright axis
            return fractal(p * torch.tensor([6.0, 0.5, 6.0], device=p.device), 3) * 1.6 - 0.3
        case "dots":
            uv = flatten(p, normals) * 2
            row = uv[:, 1].floor()
            u = uv[:, 0] + 0.5 * row.remainder(2)
            inside = (u.remainder(1) - 0.5) ** 2 + (uv[:, 1].remainder(1) - 0.5) ** 2 < 0.08
            return inside.float()
        case _:
            return 0.12 * fractal(p * 2, 2)


def _cells(uv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Voronoi cells around one point in each unit square: distances to the nearest and second point, and the cell's own
    number in [0, 1); N each."""
    square = uv.floor()
    distances, tones = [], []
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            x, y = square[:, 0] + dx, square[:, 1] + dy
            across, up = x + hashed(x, y) - uv[:, 0], y + hashed(y + 31.7, x) - uv[:, 1]
            distances.append((across**2 + up**2).sqrt())
            tones.append(hashed(x + 5.3, y + 11.9))
    near, which = torch.stack(distances, 1).topk(2, 1, largest=False)
    return near[:, 0], near[:, 1], torch.stack(tones, 1).gather(1, which[:, :1])[:, 0]
