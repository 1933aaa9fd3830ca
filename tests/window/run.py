"""Drive a real Blender window under Xvfb, with the built zip installed as users do: `python -m tests.window.run`.

Needs Xvfb and a Blender from 4.2 on. Blender may live in another root (a chroot, a container) if it sees the
repository, the environment and the output folder under the same paths: `--blender "chroot DIR blender"`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageGrab
from skimage.metrics import structural_similarity

from blender_lotus import build

from .pictures import save_pictures

ROOT = Path(__file__).resolve().parents[2]
SSIM_CUT, SSIM_UNCUT = 0.90, 0.97
CALLBACK, CANCEL = 0.050, 0.5  # seconds
_SIZE = (1600, 900)


def main(arguments: list[str] | None = None) -> int:
    """Returns the number of requirements that do not hold."""
    parser = argparse.ArgumentParser(description="Drive a real Blender window through photo, maps, scene and render.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="empty folder for pictures and the report")
    parser.add_argument("--blender", default="blender", help="command line that starts Blender (blender)")
    parser.add_argument("--python", default=sys.executable, help="Python with lotus-geometry for the worker (this one)")
    parser.add_argument("--photo", type=Path, default=ROOT / "core/lotus_core/assets/coffee.jpg")
    parser.add_argument("--display", default=":77", help="number of the X display to start (:77)")
    parser.add_argument("--stages", default="preferences,cancel,renders,relief,menus", help="which to run besides")
    parser.add_argument("--engines", default="CYCLES,EEVEE", help="that render (both)")
    parser.add_argument("--pictures", type=Path, help="folder for the guide's pictures, of the stages that were run")
    options = parser.parse_args(arguments)
    output: Path = options.output.resolve()
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    if build.main(["-o", str(output / "dist")]) != 0:
        return 1
    (archive,) = (output / "dist").glob("*.zip")
    photo = output / "My photos – été" / options.photo.name
    photo.parent.mkdir()
    shutil.copy(options.photo, photo)
    stages = options.stages.split(",")
    task = {"stages": stages, "engines": options.engines.split(",")}
    task |= {"output": str(output), "python": options.python, "photo": str(photo)}
    (output / "task.json").write_text(json.dumps(task), encoding="utf-8")
    (output / "user").mkdir()
    environment = {
        **os.environ,
        "BLENDER_USER_RESOURCES": str(output / "user"),
        "DISPLAY": options.display,
        "LIBGL_ALWAYS_SOFTWARE": "1",
    }
    command = shlex.split(options.blender)
    install = [*command, "--command", "extension", "install-file", "-r", "user_default", "-e", str(archive)]
    subprocess.run(install, env=environment, check=True)
    with display(options.display):
        show = ["--window-geometry", "0", "0", *map(str, _SIZE), "--enable-event-simulate"]
        tell = ["--python", str(Path(__file__).with_name("story.py")), "--", str(output / "task.json")]
        with open(output / "blender.log", "w", encoding="utf-8") as log:
            blender = subprocess.Popen([*command, *show, *tell], env=environment, stdout=log, stderr=log)
            try:
                watch(blender, output, options.display)
            finally:
                blender.kill()
    facts = json.loads((output / "facts.json").read_text(encoding="utf-8"))
    text, failed = report(facts, photo, output)
    (output / "report.md").write_text(text, encoding="utf-8")
    if options.pictures is not None:
        save_pictures(facts, photo, output, options.pictures)
    print(text)
    return failed


@contextmanager
def display(name: str) -> Iterator[None]:
    """An X server without a screen."""
    server = subprocess.Popen(["Xvfb", name, "-screen", "0", f"{_SIZE[0]}x{_SIZE[1]}x24", "+extension", "GLX"])
    time.sleep(2)
    try:
        yield
    finally:
        server.terminate()
        server.wait()


def watch(blender: subprocess.Popen[bytes], output: Path, screen: str) -> None:
    """Take the pictures that the story asks for until Blender ends."""
    end = time.monotonic() + 3600
    while blender.poll() is None and time.monotonic() < end:
        for wish in output.glob("*.wanted"):
            ImageGrab.grab(xdisplay=screen).convert("RGB").save(wish.with_suffix(".png"))
            wish.unlink()
        time.sleep(0.05)


def report(facts: dict[str, Any], photo: Path, output: Path) -> tuple[str, int]:
    """A table of what was asked and found, and how many rows of it fail."""
    if facts["problem"]:
        return f"The story stopped:\n\n{facts['problem']}", 1
    rows: list[tuple[str, str, bool]] = []
    calls = facts["prediction"]["callbacks"]
    p99 = calls[min(math.ceil(0.99 * len(calls)), len(calls)) - 1]
    rows.append((f"timer callbacks of a prediction ({len(calls)}), 99th percentile ≤ 50 ms", ms(p99), p99 <= CALLBACK))
    rows.append(("the slowest of them", ms(calls[-1]), True))
    if "cancel" in facts:
        slowest = max(facts["cancel"])
        rows.append(("cancel by its button ≤ 0.5 s, the slowest of 3", ms(slowest), slowest <= CANCEL))
        rows.append(("predict again after it", facts["after_cancel"], facts["after_cancel"] == "works"))
    if "check" in facts:
        rows.append(("Check of the environment", facts["check"], facts["check"] == "works"))
    adjusted = facts["adjust"]
    what = "a new depth range under Adjust Last Operation builds the same things anew"
    rows.append((what, ms(adjusted["seconds"]), adjusted["same"]))
    undo = facts["undo"]
    undone = undo["before"] == undo["undone"] and undo["made"] == undo["redone"] != undo["before"]
    rows.append(("undo removes what Scene Mesh made, redo brings it back", str(undo["made"]), undone))
    original = np.asarray(Image.open(photo).convert("RGB"))
    for made in facts["renders"]:
        picture = np.asarray(Image.open(output / made["file"]).convert("RGB"))
        likeness = structural_similarity(original, picture, channel_axis=2, data_range=255)
        least = SSIM_CUT if made["cut"] else SSIM_UNCUT
        how = f"F12, {made['engine']}, {'with cuts' if made['cut'] else 'uncut'} ({made['seconds']:.0f} s)"
        rows.append((f"{how}: SSIM ≥ {least}", f"{likeness:.4f}", likeness >= least))
    lines = [f"Blender {facts['blender']}, from the built zip, in a window", "", "| what | found | |", "|---|---|---|"]
    lines += [f"| {what} | {found} | {'holds' if holds else '**fails**'} |" for what, found, holds in rows]
    return "\n".join(lines) + "\n", sum(not holds for _, _, holds in rows)


def ms(seconds: float) -> str:
    """A duration."""
    return f"{seconds * 1000:.0f} ms"


if __name__ == "__main__":
    sys.exit(main())
