"""Example workflows: the files, what the real front end sends of them, and the same in Python.

tests/browser/pictures.py writes prompts/<name>.json: what `app.graphToPrompt()` of ComfyUI's own front end makes of
each workflow. `to_prompt` does the same here, so that a machine without a browser notices when a workflow, a node's
inputs and the recorded prompt no longer belong together.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .server.client import Graph
from .server.install import ROOT

FOLDER = ROOT / "example_workflows"
RECORDED = Path(__file__).parent / "prompts"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
NEVER, BYPASSED = 2, 4  # modes of LiteGraph's nodes
WIDGETS = {"COMBO", "INT", "FLOAT", "STRING", "BOOLEAN", "COMFY_DYNAMICCOMBO_V3"}
NOTES = {"MarkdownNote", "Note"}  # nodes of the front end alone


def workflow(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return content


def recorded(name: str) -> Graph:
    graph: Graph = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    return graph


def to_prompt(graph: dict[str, Any], object_info: dict[str, Any]) -> Graph:
    """A workflow in the API format. Values belong to widgets by their order in the node's present definition.

    Bypassed nodes that something follows, sub-graphs and reroutes are not translated: no example has any.
    """
    source = {link[0]: [str(link[1]), link[2]] for link in graph["links"]}
    prompt: Graph = {}
    for node in graph["nodes"]:
        if node["type"] in NOTES or node["mode"] in (NEVER, BYPASSED):
            continue
        inputs = dict(zip(_slots(object_info[node["type"]]), node.get("widgets_values") or [], strict=False))
        for socket in node["inputs"]:
            if socket["link"] is not None:
                inputs[socket["name"]] = source[socket["link"]]
        known = _inputs(object_info[node["type"]])
        named = {name: value for name, value in inputs.items() if name in known}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": named}
    return prompt


def known_inputs(graph: Graph, object_info: dict[str, Any]) -> Graph:
    """A prompt without titles and without values of the front end's own widgets, such as a video's preview."""
    return {
        number: {
            "class_type": node["class_type"],
            "inputs": {k: v for k, v in node["inputs"].items() if k in _inputs(object_info[node["class_type"]])},
        }
        for number, node in graph.items()
    }


def upstream(graph: Graph, *ends: str) -> Graph:
    """The part of a prompt that `ends` need."""
    needed: set[str] = set()
    waiting = list(ends)
    while waiting:
        number = waiting.pop()
        if number not in needed:
            needed.add(number)
            waiting += [value[0] for value in graph[number]["inputs"].values() if isinstance(value, list)]
    return {number: graph[number] for number in graph if number in needed}


def of_kind(graph: Graph, kind: str) -> list[str]:
    return [number for number, node in graph.items() if node["class_type"] == kind]


def _inputs(definition: dict[str, Any]) -> dict[str, Any]:
    return {**definition["input"].get("required", {}), **definition["input"].get("optional", {})}


def _slots(definition: dict[str, Any]) -> list[str]:
    """Names for a node's widgets_values; those of the front end's extra widgets are of no input."""
    slots = []
    for name, (kind, *rest) in _inputs(definition).items():
        options = rest[0] if rest else {}
        if isinstance(kind, list) or kind in WIDGETS or "widgetType" in options:
            slots.append(name)
            if options.get("control_after_generate") or name in ("seed", "noise_seed"):
                slots.append(f"{name}: control after generate")
            if options.get("image_upload") or options.get("video_upload"):
                slots.append(f"{name}: upload")
    return slots
