"""Open every example workflow as an artist does, run it, and keep what is seen: python -m tests.browser.pictures.

Needs Chromium, which CI does not have. What it writes is committed, and tests without a browser check against it:
- tests/comfyui/prompts/<name>.json: each workflow as the real front end sends it to the server
- example_workflows/<name>.jpg: thumbnails, made of what the run gave
- docs/pictures/comfyui-*.jpg: screenshots
- comfyui_lotus/web/docs/pictures/*.jpg: the pictures on the nodes' help pages
and it prints what happened, which is kept in tests/browser/recorded.md.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.sheets import save_small
from tests.comfyui import workflows
from tests.comfyui.server.install import ROOT
from tests.comfyui.server.running import Server, running_server
from tests.comfyui.test_workflows import THIRD_PARTY

from . import front_end, help_pictures
from .chromium import Page, chromium

DOCS = ROOT / "docs" / "pictures"
WINDOW = (1600, 900)
THUMBNAIL = 400  # pixels a side
JPEG_QUALITY = 82  # of thumbnails


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        front_end.prepare(base)
        for files in THIRD_PARTY.values():
            for file in files:
                (base / "models" / file).parent.mkdir(parents=True, exist_ok=True)
                (base / "models" / file).touch()
        with running_server(base, packs=()) as server, chromium() as page:
            page.size(*WINDOW)
            front_end.open_comfyui(page, server)
            print(f"# {page.evaluate('navigator.userAgent')}\n")
            for name in workflows.NAMES:
                _one(page, server, name)
            _language(page, server)
            _help_page(page)
            front_end.browse_templates(page)
            _keep(page.picture(), DOCS / "comfyui-templates.jpg")
            _print_errors(page)


def _one(page: Page, server: Server, name: str) -> None:
    front_end.open_template(page, name)
    prompt = front_end.as_prompt(page)
    text = json.dumps(prompt, indent=1, ensure_ascii=False) + "\n"
    (workflows.RECORDED / f"{name}.json").write_text(text, encoding="utf-8")
    ends = "PreviewImage" if name in THIRD_PARTY else None
    record = front_end.run(page, server, ends)
    status = record["status"]["status_str"]
    seconds = (record["status"]["messages"][-1][1]["timestamp"] - record["status"]["messages"][0][1]["timestamp"]) / 1e3
    print(
        f"- {name}: {len(prompt)} nodes, {status} in {seconds:.0f} s, outputs of nodes {', '.join(record['outputs'])}"
    )
    assert status == "success", record["status"]["messages"]
    if workflows.of_kind(prompt, "Preview3D"):
        front_end.turn(page, "Preview3D", 24, 8)
    front_end.fit(page)
    front_end.wait_for_quiet(page)
    slug = "-".join(re.findall(r"[a-z0-9]+", name.lower()))
    _keep(page.picture(), DOCS / f"comfyui-{slug}.jpg")
    MAKERS[name](page, server, prompt, record["outputs"]).save(
        workflows.FOLDER / f"{name}.jpg", quality=JPEG_QUALITY, optimize=True
    )


def _help_page(page: Page) -> None:
    """What the info button of a selected node opens."""
    front_end.open_template(page, "Photo to three maps")
    front_end.open_help(page, "LotusNormal")
    _keep(page.picture(), DOCS / "comfyui-help.jpg")


def _language(page: Page, server: Server) -> None:
    front_end.change_setting(page, server, "Comfy.Locale", "fr")
    front_end.open_template(page, "Photo to three maps")
    _keep(page.picture(), DOCS / "comfyui-french.jpg")
    front_end.change_setting(page, server, "Comfy.Locale", "en")


def _shown(server: Server, prompt: dict[str, Any], outputs: dict[str, Any], kind: str) -> list[Image.Image]:
    numbers = [number for number in workflows.of_kind(prompt, kind) if number in outputs]
    entries = [outputs[number]["images"][0] for number in numbers]
    return [Image.open(io.BytesIO(server.client.view(entry))).convert("RGB") for entry in entries]


def _photo(server: Server) -> Image.Image:
    return Image.open(server.base / "input" / "lotus_coffee.jpg").convert("RGB")


def _strips(pictures: list[Image.Image]) -> Image.Image:
    """One scene through several maps: slanted strips of the same crop."""
    square = Image.new("RGB", (THUMBNAIL, THUMBNAIL))
    slant, width = THUMBNAIL // 8, THUMBNAIL / len(pictures)
    for number, picture in enumerate(pictures):
        edge = min(picture.size)
        left = (picture.width - edge) // 2
        crop = picture.crop((left, 0, left + edge, edge)).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        mask = Image.new("L", crop.size, 255)
        if number:
            start = number * width
            for row in range(THUMBNAIL):
                edge_x = round(start + slant * (0.5 - row / THUMBNAIL))
                mask.paste(0, (0, row, edge_x, row + 1))
        square.paste(crop, (0, 0), mask)
    return square


def _three_maps(page: Page, server: Server, prompt: dict[str, Any], outputs: dict[str, Any]) -> Image.Image:
    photo, maps = _photo(server), _shown(server, prompt, outputs, "PreviewImage")
    help_pictures.depth(photo, maps[0])
    help_pictures.normals(maps[1])
    for number in workflows.of_kind(prompt, "LotusSaveMaps"):
        entry = next(entry for entry in outputs[number]["lotus_maps"] if entry["map"] == "depth")
        help_pictures.banding(server.base / "output" / entry["subfolder"] / entry["filename"])
    return _strips([photo, *maps])


def _control_images(page: Page, server: Server, prompt: dict[str, Any], outputs: dict[str, Any]) -> Image.Image:
    return _strips([_photo(server), *_shown(server, prompt, outputs, "PreviewImage")])


def _viewer(page: Page, server: Server, prompt: dict[str, Any], outputs: dict[str, Any]) -> Image.Image:
    """The middle of the 3D preview as it is on the screen."""
    view = Image.open(io.BytesIO(page.picture(front_end.viewer_area(page, "Preview3D"), scale=2.0))).convert("RGB")
    masks = _shown(server, prompt, outputs, "MaskPreview")
    if masks:
        help_pictures.uncertainty(_photo(server), _shown(server, prompt, outputs, "PreviewImage")[0], masks[0])
    else:
        help_pictures.mesh(view)
    edge = min(view.size)
    left = (view.width - edge) // 2
    return view.crop((left, 0, left + edge, edge)).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)


def _video(page: Page, server: Server, prompt: dict[str, Any], outputs: dict[str, Any]) -> Image.Image:
    """What the two players show of the clip and of its depth."""
    players = page.evaluate("""[...document.querySelectorAll('video')].map(v => {
        v.controls = false; const c = document.createElement('canvas');
        [c.width, c.height] = [v.videoWidth, v.videoHeight]; c.getContext('2d').drawImage(v, 0, 0);
        return c.toDataURL('image/png').split(',')[1]; })""")
    return _strips([Image.open(io.BytesIO(front_end.decoded(player))).convert("RGB") for player in players])


MAKERS: dict[str, Callable[[Page, Server, dict[str, Any], dict[str, Any]], Image.Image]] = {
    "Photo to three maps": _three_maps,
    "Photo to textured 3D mesh": _viewer,
    "Mesh without uncertain parts": _viewer,
    "Video depth with one range": _video,
    "New picture with ControlNet": _control_images,
}


def _keep(png: bytes, path: Path) -> None:
    save_small(Image.open(io.BytesIO(png)), path)


def _print_errors(page: Page) -> None:
    """What the browser's console said of these nodes; a fresh ComfyUI complains of much else."""
    ours = [line for line in page.console if "otus" in line or line.startswith("uncaught")]
    print(f"\n{len(ours)} errors or warnings about the pack in the browser's console")
    for line in ours:
        print(f"- {line[:300]}")


if __name__ == "__main__":
    main()
