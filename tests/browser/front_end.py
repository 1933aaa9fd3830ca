"""ComfyUI's own front end in a browser: what an artist clicks, as functions."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

from tests.comfyui.server.running import Server

from .chromium import Page

Area = tuple[float, float, float, float]
READY = "window.app?.vueAppReady && window.app.extensionManager && !!LiteGraph.registered_node_types['LotusMesh']"
SETTINGS = {
    "Comfy.TutorialCompleted": True,  # no welcome dialog
    "Comfy.InstalledVersion": "1.47.12",
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,  # words also where the whole graph is in view
}
RUNS_WITHIN = 300.0  # seconds


def prepare(base: Path, **settings: Any) -> None:
    """The settings of a user who has opened ComfyUI before, for a server that starts with this base folder."""
    folder = base / "user" / "default"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comfy.settings.json").write_text(json.dumps({**SETTINGS, **settings}), encoding="utf-8")


def open_comfyui(page: Page, server: Server) -> None:
    # With --disable-api-nodes ComfyUI sends a policy under which its own 3D viewer cannot read a GLB's textures.
    page.call("Page.setBypassCSP", enabled=True)
    page.open(f"http://{server.client.address}/")
    page.wait_for(READY, 120)
    page.wait_for("app.graph?.nodes.length > 0")  # the graph that ComfyUI starts with
    time.sleep(1)


def command(page: Page, name: str) -> None:
    """One of the front end's commands, which its menus and keys stand for."""
    page.evaluate(f"app.extensionManager.command.execute({json.dumps(name)})")


def browse_templates(page: Page) -> None:
    """Open the templates browser at this pack's own."""
    command(page, "Comfy.BrowseTemplates")
    page.click("[...document.querySelectorAll('[role=dialog] nav div, [role=dialog] div')]"
               ".find(e => e.innerText?.trim() === 'lotus' && !e.querySelector('div'))")  # fmt: skip
    page.wait_for("[...document.querySelectorAll('[data-testid^=template-workflow-] img')].every(i => i.complete)")
    time.sleep(1)


def open_template(page: Page, name: str) -> None:
    """Click a template in the templates browser and wait until its graph is there."""
    browse_templates(page)
    page.click(f"document.querySelector('[data-testid=\"template-workflow-{name}\"]')")
    page.wait_for("!document.querySelector('[data-testid^=template-workflow-]') && app.graph.nodes.length > 0")
    time.sleep(1)
    fit(page)


def fit(page: Page) -> None:
    """The whole graph into view; the key "." leaves wide margins."""
    page.evaluate("""(() => {
        const canvas = app.canvas, ds = canvas.ds, box = canvas.canvas.getBoundingClientRect();
        canvas.deselectAll?.();
        const ends = app.graph.nodes.map(n => [n.pos[0], n.pos[1] - 60, n.pos[0] + n.size[0], n.pos[1] + n.size[1]]);
        const [x0, y0, x1, y1] = ends.reduce((a, b) =>
            [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[2], b[2]), Math.max(a[3], b[3])]);
        const [left, top, right, bottom] = [75, 70, box.width - 15, box.height - 15];  // beside the menus
        ds.scale = Math.min((right - left) / (x1 - x0), (bottom - top) / (y1 - y0));
        ds.offset[0] = (left + right) / 2 / ds.scale - (x0 + x1) / 2;
        ds.offset[1] = (top + bottom) / 2 / ds.scale - (y0 + y1) / 2;
        canvas.setDirty(true, true); })()""")
    time.sleep(1)


def as_prompt(page: Page) -> dict[str, Any]:
    """The open graph as the front end would send it to /prompt."""
    output: dict[str, Any] = page.evaluate("app.graphToPrompt().then(p => p.output)")
    return output


def run(page: Page, server: Server, ends: str | None = None) -> dict[str, Any]:
    """Click Run and wait for the end; the record of the prompt in the server's history.

    ends: only what the nodes of this kind need, as the button of selected output nodes does.
    """
    known = set(server.client.get("/history"))
    if ends is None:
        page.click("document.querySelector('[data-testid=queue-button]')")
    else:
        page.evaluate(f"app.canvas.selectItems(app.graph.nodes.filter(n => n.type === {json.dumps(ends)}))")
        command(page, "Comfy.QueueSelectedOutputNodes")
    until = time.monotonic() + RUNS_WITHIN
    while time.monotonic() < until:
        history = server.client.get("/history")
        for identifier in set(history) - known:
            record: dict[str, Any] = history[identifier]
            if record["status"]["completed"] or record["status"]["status_str"] == "error":
                time.sleep(3)  # pictures arrive and are drawn
                return record
        time.sleep(0.5)
    raise TimeoutError(f"Not finished within {RUNS_WITHIN} s.")


def wait_for_quiet(page: Page) -> None:
    """Until the note that a job is done is gone from above the graph."""
    page.wait_for("!document.body.innerText.includes('Job completed')", 60)
    time.sleep(1)


def open_help(page: Page, kind: str) -> None:
    """The help page of the first node of a kind, beside the graph."""
    page.evaluate(f"app.canvas.selectItems([app.graph.nodes.find(n => n.type === {json.dumps(kind)})])")
    page.click("document.querySelector('[data-testid=info-button]')")
    page.wait_for("!!document.querySelector('.node-help-content')")
    page.wait_for("[...document.querySelectorAll('.node-help-content img')].every(i => i.complete)")
    time.sleep(1)


def change_setting(page: Page, server: Server, name: str, value: Any) -> None:
    """A setting that takes effect after loading the page again."""
    page.evaluate(f"app.extensionManager.setting.set({json.dumps(name)}, {json.dumps(value)})")
    time.sleep(1)
    open_comfyui(page, server)


def viewer_area(page: Page, kind: str) -> Area:
    """Where the 3D view inside the first node of a kind is: x, y, width, height in CSS pixels."""
    node = page.evaluate(f"""(() => {{
        const node = app.graph.nodes.find(n => n.type === {json.dumps(kind)}), ds = app.canvas.ds;
        const box = app.canvas.canvas.getBoundingClientRect(), [x, y] = ds.convertOffsetToCanvas(node.pos);
        return [box.x + x, box.y + y, node.size[0] * ds.scale, node.size[1] * ds.scale]; }})()""")
    inside = page.evaluate(f"""(() => {{
        const [x, y, w, h] = {json.dumps(node)};
        const seen = [...document.querySelectorAll('canvas')].filter(c => c !== app.canvas.canvas)
            .map(c => c.getBoundingClientRect())
            .filter(r => r.width > w / 2 && r.x >= x - 1 && r.right <= x + w + 1 && r.y >= y - 1);
        const r = seen.sort((a, b) => b.width * b.height - a.width * a.height)[0];
        return [r.x, r.y, r.width, r.height]; }})()""")
    return (inside[0], inside[1], inside[2], inside[3])


def turn(page: Page, kind: str, right: float, down: float) -> None:
    """Drag with the left button in a node's 3D view, by so many CSS pixels."""
    x, y, width, height = viewer_area(page, kind)
    x, y = x + width / 2, y + height / 2
    page.drag((x, y), (x + right, y + down))
    time.sleep(1)


def decoded(base64_text: str) -> bytes:
    return base64.b64decode(base64_text)
