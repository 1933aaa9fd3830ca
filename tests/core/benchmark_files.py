"""Tiny benchmarks written in the published layouts, with the truth they hold."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from PIL import Image

from .exr import write_exr


def write_rgb(path: Path, height: int, width: int, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((width, height)).save(path)


def write_png16(path: Path, values: np.ndarray, steps_per_metre: int) -> np.ndarray:
    """Returns what the file holds, metres."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = np.round(values * steps_per_metre).astype(np.uint16)
    Image.fromarray(stored).save(path)
    return (stored / steps_per_metre).astype(np.float32)


def room(height: int, width: int, seed: int = 0, near: float = 1.0, far: float = 6.0) -> np.ndarray:
    """Smooth made depth."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    a, b, c = rng.uniform(1, 5, 3)
    waves = np.sin(a * x + b) * np.cos(c * y + a) + x - y
    return near + (far - near) * (waves - waves.min()) / np.ptp(waves)


def made_normals(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    a, b = rng.uniform(1, 4, 2)
    vectors = np.stack([np.sin(a * x), np.cos(b * y), np.ones(x.shape)], axis=-1)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def write_nyu(root: Path, count: int = 3) -> dict[str, np.ndarray]:
    """NYUv2 as Marigold lays it out; sample name → depth."""
    truths, lines = {}, []
    for number in range(1, count + 1):
        folder, digits = "test/kitchen_0004", f"{number:04d}"
        write_rgb(root / folder / f"rgb_{digits}.png", 480, 640, number)
        depth = room(480, 640, number)
        depth[200:210, 300:310] = 0
        truths[f"{folder}/rgb_{digits}"] = write_png16(root / folder / f"depth_{digits}.png", depth, 1000)
        write_png16(root / folder / f"filled_{digits}.png", np.maximum(depth, 1), 1000)
        lines.append(" ".join(f"{folder}/{kind}_{digits}.png" for kind in ("rgb", "depth", "filled")))
    (root / "filename_list_test.txt").write_text("\n".join(lines) + "\n")
    return truths


def write_scannet(root: Path, count: int = 3) -> dict[str, np.ndarray]:
    """ScanNet as Marigold lays it out, tiny; sample name → depth."""
    truths, lines = {}, []
    for number in range(count):
        image, depth = f"scene/color/{number:06d}.jpg", f"scene/depth/{number:06d}.png"
        write_rgb(root / image, 48, 64, number)
        values = room(48, 64, number)
        values[20:24, 30:40] = 0
        truths[image.removesuffix(".jpg")] = write_png16(root / depth, values, 1000)
        lines.append(f"{image} {depth}")
    (root / "scannet_val_sampled_list_800_1.txt").write_text("\n".join(lines) + "\n")
    return truths


def write_dsine(root: Path, suffix: str, list_name: str, count: int = 2) -> dict[str, np.ndarray]:
    """A normal benchmark as DSINE lays it out; sample name → normals."""
    truths, lines = {}, []
    for number in range(count):
        stem = f"scene/{number:06d}"
        write_rgb(root / f"{stem}_img.png", 48, 64, number)
        normals = made_normals(48, 64, number).astype(np.float32)
        normals[:4] = 0
        path = root / f"{stem}_normal{suffix}"
        if suffix == ".png":
            coded = np.round((normals + 1) / 2 * 255) * (normals != 0).any(axis=-1, keepdims=True)
            Image.fromarray(coded.astype(np.uint8)).save(path)
        elif suffix == ".exr":
            channels = {name: np.ascontiguousarray(normals[..., i]) for i, name in enumerate("RGB")}
            write_exr(path, channels)
        else:
            box = normals[10:40, 8:60] * [-1, -1, 1]
            record = {"min_y": 10, "max_y": 39, "min_x": 8, "max_x": 59, "normal": box}
            path.write_bytes(pickle.dumps(record))
            normals[:10], normals[40:], normals[:, :8], normals[:, 60:] = 0, 0, 0, 0
        truths[f"{stem}_img"] = normals
        lines.append(f"{stem}_img.png")
    (root / list_name).write_text("\n".join(lines) + "\n")
    return truths
