"""The pictures of docs/blender.md, cut out of what a run of the story left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.sheets import save_small

# Pictures of the screen whose part the story has noted, and renders.
PARTS = {
    "blender-preferences": "preferences-new",
    "blender-panel": "panel-maps",
    "blender-scene": "scene-mesh",
    "blender-image-editor": "menu-image-editor",
}
RELIEF = ("blender-relief", "sunlit")
MATCH = ("blender-render", "render-cycles-cut")
_PREFERENCES = 390  # pixels at the lower end of Blender's page about the extension
_GAP = 10  # pixels between the photo and its render


def save_pictures(facts: dict[str, Any], photo: Path, output: Path, folder: Path) -> None:
    """Write a JPEG for every stage that was run. output: the run's folder."""
    for name, shot in PARTS.items():
        if shot not in facts["parts"]:
            continue
        left, top, right, bottom = facts["parts"][shot]
        if name == "blender-preferences":
            top = bottom - _PREFERENCES
        save_small(Image.open(output / f"{shot}.png").crop((left, top, right, bottom)), folder / f"{name}.jpg")
    name, render = RELIEF
    if (output / f"{render}.png").is_file():
        save_small(Image.open(output / f"{render}.png"), folder / f"{name}.jpg")
    name, render = MATCH
    if (output / f"{render}.png").is_file():
        save_small(_beside(Image.open(photo), Image.open(output / f"{render}.png")), folder / f"{name}.jpg")


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    both = Image.new("RGB", (left.width + _GAP + right.width, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + _GAP, 0))
    return both
