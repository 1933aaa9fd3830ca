"""The Blender extension measured inside the Python module bpy: `python -m benchmarks.blender speed|match`.

speed: Scene Mesh at 1024² and 2048², a slider's edit, and what `validate()` finds. Times are CPU seconds of the process
(all threads), so that a busy machine does not blur them; the wall time stands beside them. Blender's own Python has no
scipy: `--without-scipy` measures what its users get.
match: how close a render from the matched camera comes to the photo, on synthetic scenes with true and with predicted
depth, with and without cuts, in both engines (EEVEE needs a GPU, or Xvfb and Mesa).
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.blender.inside import enabled
from tests.blender.scenes import MODULE

SSIM = {"cut": 0.90, "uncut": 0.97}
SEED = 990001  # of the synthetic scenes that no training has seen


def main(arguments: list[str] | None = None) -> int:
    """Returns the number of bounds that do not hold."""
    parser = argparse.ArgumentParser(description="Measure the Blender extension inside bpy.")
    commands = parser.add_subparsers(dest="command", required=True)
    speed_options = commands.add_parser("speed", help="seconds of Scene Mesh and of a slider's edit")
    speed_options.add_argument("--without-scipy", action="store_true", help="as in Blender's own Python")
    speed_options.add_argument("--rounds", type=int, default=7)
    match_options = commands.add_parser("match", help="likeness of render and photo")
    match_options.add_argument("--scenes", type=int, default=6)
    match_options.add_argument("--size", type=int, nargs=2, default=(384, 512), metavar=("HEIGHT", "WIDTH"))
    options = parser.parse_args(arguments)
    if options.command == "speed" and options.without_scipy:
        sys.modules["scipy"] = None  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder, enabled(Path(folder)) as bpy:
        print(f"Blender {bpy.app.version_string}, Python {platform.python_version()}, numpy {np.__version__}")
        if options.command == "speed":
            return speed(bpy, options.rounds)
        return match(bpy, Path(folder), options.scenes, *options.size)


def speed(bpy: Any, rounds: int) -> int:
    """Prints a table."""
    from lotus_core.maps import Depth, Normals
    from tests.blender.scenes import add_photo, checks, hills, put

    failed = 0
    print(
        "| scene mesh, ms | first | median | slowest | wall, median | bound | |",
        "|---|---|---|---|---|---|---|",
        sep="\n",
    )
    for size, built, edited in ((1024, 250, 300), (2048, 1200, None)):
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        photo = add_photo(bpy, checks(size, size))
        values = hills(size, size)
        put(photo, "depth", Depth(values, "disparity"))
        cases: list[tuple[str, Callable[[int], dict[str, Any]], int | None]] = [
            ("depth only, the same again", lambda _: {}, built),
            ("depth only, slider Jump", lambda i: {"cut": 0.02 + 0.01 * i}, edited),
            ("depth only, slider Depth range", lambda i: {"far": 5.0 + i}, edited),
        ]
        for what, sliders, bound in cases:
            failed += row(bpy, f"{size}², {what}", rounds, sliders, bound)
        slope = np.gradient(Depth(values, "disparity").to_z())
        tilted = np.dstack([-slope[1] * size, slope[0] * size, np.full_like(values, 8)])
        put(photo, "normal", Normals.from_vectors(tilted, "opengl"))
        for what, sliders, bound in cases:
            failed += row(bpy, f"{size}², {what.replace('depth only', 'with normals')}", rounds, sliders, bound)
    return failed


def row(bpy: Any, what: str, rounds: int, sliders: Callable[[int], dict[str, Any]], bound: int | None) -> int:
    """Time one case, print its line; 1 where it misses its bound."""
    taken, walls = [], []
    fixed = False
    for i in range(rounds + 1):
        started, wall = time.process_time(), time.perf_counter()
        bpy.ops.lotus.scene_mesh(**sliders(i))
        taken.append(1000 * (time.process_time() - started))
        walls.append(1000 * (time.perf_counter() - wall))
        obj = bpy.context.view_layer.objects.active
        if i == 0:
            fixed = obj.data.validate(verbose=True)
        bpy.data.batch_remove([obj.data, *bpy.data.cameras, *bpy.data.materials])
    warm = taken[1:]
    holds = (bound is None or statistics.median(warm) <= bound) and not fixed
    numbers = f"{taken[0]:.0f} | {statistics.median(warm):.0f} | {max(warm):.0f} | {statistics.median(walls[1:]):.0f}"
    print(
        f"| {what} | {numbers} | {bound or ''} | {'' if holds else '**misses**'}{' invalid' if fixed else ''} |",
        flush=True,
    )
    return not holds


def match(bpy: Any, folder: Path, scenes: int, height: int, width: int) -> int:
    """Prints a table: the least and the mean likeness of all scenes."""
    from PIL import Image

    from lotus_core.data.sample import to_bytes
    from lotus_core.data.synthetic import SyntheticScenes

    data = SyntheticScenes(count=scenes, height=height, width=width, seed=SEED)
    found: dict[tuple[str, str, str], list[float]] = {}
    for number in range(scenes):
        sample = data[number]
        pixels = to_bytes(sample.image)
        path = folder / f"scene{number}.png"
        Image.fromarray(pixels).save(path)
        for source, view in (("true", true_maps), ("predicted", predicted_maps)):
            bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
            bpy.ops.lotus.open_photo(filepath=str(path))
            options = view(bpy, sample)
            for cut in ("uncut", "cut"):
                bpy.ops.lotus.scene_mesh(use_cut=cut == "cut", **options)
                for engine in engines(bpy):
                    likeness = compare(bpy, engine, pixels, folder / "render.png")
                    found.setdefault((source, cut, engine), []).append(likeness)
                bpy.data.batch_remove(list(bpy.data.objects))
    print(f"{scenes} scenes, {width}×{height}", "")
    print("| depth | surface | engine | SSIM, least | mean | bound | |", "|---|---|---|---|---|---|---|", sep="\n")
    failed = 0
    for (source, cut, engine), values in sorted(found.items()):
        holds = min(values) >= SSIM[cut]
        failed += not holds
        numbers = f"{min(values):.4f} | {statistics.mean(values):.4f} | {SSIM[cut]}"
        print(f"| {source} | {cut} | {engine} | {numbers} | {'' if holds else '**misses**'} |")
    return failed


def true_maps(bpy: Any, sample: Any) -> dict[str, Any]:
    """Give the photo the depth of the ray-caster; returns the options that make the scene as it was."""
    from lotus_core.maps import Depth, Normals
    from tests.blender.scenes import put

    z, solid = sample.depth.numpy().astype(np.float64), sample.valid.numpy()
    near, far = z[solid].min(), z[solid].max()
    disparity = np.where(solid, (1 / np.where(solid, z, 1) - 1 / far) / (1 / near - 1 / far), 0)
    photo = bpy.context.scene.lotus.image
    put(photo, "depth", Depth(disparity.astype(np.float32), "disparity"))
    put(photo, "normal", Normals.from_vectors(sample.normals.numpy().transpose(1, 2, 0), "lotus"))
    fov = 2 * math.atan(z.shape[1] / 2 / sample.focal_px)
    return {"far": far / near, "use_fov": True, "fov": fov}


def predicted_maps(bpy: Any, _sample: Any) -> dict[str, Any]:
    """Predict with the embedded models through the worker."""
    chosen = bpy.context.preferences.addons[MODULE].preferences
    chosen.backend, chosen.python, chosen.place = "WORKER", sys.executable, "PACKED"
    bpy.ops.lotus.predict()
    return {}


def engines(bpy: Any) -> list[str]:
    """EEVEE's name depends on the version."""
    return ["CYCLES", "BLENDER_EEVEE" if bpy.app.version >= (5, 0, 0) else "BLENDER_EEVEE_NEXT"]


def compare(bpy: Any, engine: str, pixels: np.ndarray, path: Path) -> float:
    """Structural similarity of the photo and the render from the scene's camera."""
    from PIL import Image
    from skimage.metrics import structural_similarity

    scene = bpy.context.scene
    scene.render.engine = engine
    if engine == "CYCLES":
        scene.cycles.samples, scene.cycles.use_denoising = 16, False
    else:
        scene.eevee.taa_render_samples = 16
    if bpy.app.version >= (5, 0, 0):
        scene.render.image_settings.media_type = "IMAGE"
    scene.render.image_settings.file_format = "PNG"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    render = np.asarray(Image.open(path).convert("RGB"))
    return float(structural_similarity(pixels, render, channel_axis=2, data_range=255))


if __name__ == "__main__":
    sys.exit(main())
