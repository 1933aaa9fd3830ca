"""How long Blender is held up while the worker predicts, and how soon a cancelled prediction has ended.

`python -m benchmarks.blender_responsiveness` steps a prediction every 50 ms, as the operator's timer does, and measures
every step; then it cancels one at several moments. It needs bpy and an environment with torch, the one that it runs in.
On a machine with other work the longest step says more of that work than of ours, so its own CPU time stands beside it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZES = ((1024, 1024), (2048, 2048), (4000, 3000))
TICK = 0.05  # seconds, `operators.predict.INTERVAL`
CANCELS = 10
BOUND_STEP, BOUND_CANCEL = 0.050, 0.5


def main() -> int:
    """Returns 1 where a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cancels", type=int, default=CANCELS, help="how often (10)")
    parser.add_argument("--sizes", type=int, default=len(SIZES), help="how many of the sizes, the small ones first (3)")
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp())
    os.environ["BLENDER_USER_RESOURCES"] = str(place / "user")
    import bpy

    from tests.blender.driving import preferences
    from tests.blender.inside import enable
    from tests.blender.scenes import checks

    enable(place / "repository")
    preferences(bpy).python, preferences(bpy).device = sys.executable, "cpu"
    print(
        "| photo | maps kept | click, ms | steps | median, ms | 99 %, ms | longest, ms | most CPU, ms |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    longest = []
    for width, height in SIZES[: options.sizes]:
        path = place / f"{width}x{height}.png"
        Image.fromarray(checks(height, width)).save(path, compress_level=1)
        for kept in ("BESIDE", "PACKED"):
            open_photo(bpy, path, place)
            preferences(bpy).place = kept
            click, steps, cpu = predict(bpy)
            longest.append(float(np.quantile(steps, 0.99)))
            numbers = [click, np.median(steps), longest[-1], max(steps), max(cpu)]
            shown = [f"{1000 * number:.1f}" for number in numbers]
            print(f"| {width}×{height} | {kept.lower()} | {shown[0]} | {len(steps)} | {' | '.join(shown[1:])} |")
            sys.stdout.flush()
    ends = sorted(cancelled_after(bpy, 0.3 + 0.37 * number) for number in range(options.cancels))
    print(f"\ncancelled after {ends[len(ends) // 2]:.2f} s (median of {len(ends)}), at most {ends[-1]:.2f} s")
    return int(max(longest) > BOUND_STEP or ends[-1] > BOUND_CANCEL)


def open_photo(bpy: Any, path: Path, place: Path) -> None:
    """A new .blend with the photo, and settings that make all three maps (the network's share does not matter here)."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(place / "scene.blend"))
    bpy.ops.lotus.open_photo(filepath=str(path))
    lotus = bpy.context.scene.lotus
    lotus.use_depth = lotus.use_normal = lotus.use_uncertainty = True
    lotus.samples, lotus.quality, lotus.resolution = 2, "CUSTOM", 256


def predict(bpy: Any) -> tuple[float, list[float], list[float]]:
    """Seconds of the click, of every step, and of this thread's CPU in every step."""
    from tests.blender.driving import begin
    from tests.blender.scenes import part

    jobs = part("jobs").jobs
    start = time.perf_counter()
    begin(bpy)
    click, going = time.perf_counter() - start, True
    steps: list[float] = []
    cpu: list[float] = []
    while going:
        time.sleep(TICK)
        start, computed = time.perf_counter(), time.thread_time()
        going = jobs.step()
        steps.append(time.perf_counter() - start)
        cpu.append(time.thread_time() - computed)
    assert bpy.context.scene.lotus.image.lotus.normal is not None, jobs.message
    return click, steps, cpu


def cancelled_after(bpy: Any, moment: float) -> float:
    """Seconds from Cancel, `moment` seconds after the worker has begun to compute, until the run has ended."""
    from tests.blender.driving import begin, drive, long_job, working
    from tests.blender.scenes import part

    jobs = part("jobs").jobs
    long_job(bpy)
    begin(bpy)
    drive(working)
    end = time.monotonic() + moment
    drive(lambda run: time.monotonic() > end)
    start = time.perf_counter()
    bpy.ops.lotus.cancel()
    while jobs.step():
        time.sleep(TICK)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
