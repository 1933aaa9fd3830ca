"""What the nodes say of themselves: tooltips, help pages, other languages, words that the node search finds."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from .server.install import ROOT
from .server.running import Server

NODES = ("LoadLotus", "LotusDepth", "LotusNormal", "LotusUncertainty", "LotusMesh", "LotusSaveMaps")
LANGUAGES = ("fr", "ja", "zh")
WRITTEN_IN = {"fr": r"[àâçéèêîôùœÀÉ]", "ja": r"[\u3040-\u30ff]", "zh": r"[\u4e00-\u9fff]"}
DOCS = "/extensions/lotus/docs"


@pytest.fixture(scope="module")
def definitions(server: Server) -> dict[str, Any]:
    info = server.client.get("/object_info")
    assert {name for name, node in info.items() if node["python_module"] == "custom_nodes.lotus"} == set(NODES)
    return {name: info[name] for name in NODES}


def inputs_of(definition: dict[str, Any]) -> dict[str, Any]:
    return {**definition["input"].get("required", {}), **definition["input"].get("optional", {})}


@pytest.mark.parametrize("node", NODES)
def test_everything_has_a_tooltip(node: str, definitions: dict[str, Any]) -> None:
    definition = definitions[node]
    assert len(definition["description"]) > 30
    for name, (_, *rest) in inputs_of(definition).items():
        assert len((rest[0] if rest else {}).get("tooltip", "")) >= 10, name
    for name, tooltip in zip(definition["output_name"], definition["output_tooltips"] or [], strict=True):
        assert len(tooltip or "") >= 10, name


def test_search_finds_the_nodes_by_their_usual_names(definitions: dict[str, Any]) -> None:
    words = {node: " ".join(definition["search_aliases"]) for node, definition in definitions.items()}
    for query, node in {
        "depth estimation": "LotusDepth",
        "disparity": "LotusDepth",
        "normalbae": "LotusNormal",
        "surface normals": "LotusNormal",
        "confidence": "LotusUncertainty",
        "image to 3d": "LotusMesh",
        "depth to mesh": "LotusMesh",
        "save exr": "LotusSaveMaps",
        "16 bit": "LotusSaveMaps",
        "lotus loader": "LoadLotus",
    }.items():
        assert query in words[node]


@pytest.mark.parametrize("node", NODES)
def test_help_page(node: str, server: Server, definitions: dict[str, Any]) -> None:
    """Served where the front end asks for it, says every input and output, and its pictures are there."""
    page = server.client.get_bytes(f"{DOCS}/{node}.md").decode()
    assert page.startswith(f"# {definitions[node]['display_name']}\n")
    for name in (*inputs_of(definitions[node]), *definitions[node]["output_name"]):
        if (node, name) != ("LoadLotus", "model"):
            assert f"`{name}`" in page, name
    for combo in ("range", "convention", "near", "mode"):
        _, options = inputs_of(definitions[node]).get(combo, ("COMBO", {"options": []}))
        for option in {part for words in options["options"] for part in words.split(", ")}:
            assert f"*{option}*" in page, option
    for picture in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page):
        content = server.client.get_bytes(f"{DOCS}/{picture}")
        assert content[:2] == b"\xff\xd8"
        assert len(content) < 150_000


def test_what_a_relief_ignores_says_so(server: Server, definitions: dict[str, Any]) -> None:
    page = server.client.get_bytes(f"{DOCS}/LotusMesh.md").decode()
    for name in ("normal", "fov", "far", "cut"):
        assert inputs_of(definitions["LotusMesh"])[name][1]["tooltip"].startswith("perspective: ")
        assert re.search(rf"^\| .*`{name}`.*\*perspective\*", page, re.MULTILINE), name


@pytest.mark.parametrize("language", LANGUAGES)
def test_language(language: str, server: Server, definitions: dict[str, Any]) -> None:
    """Every node, input, output and tooltip is translated; options stay: ComfyUI does not translate them."""
    translated = server.client.get("/i18n")[language]["nodeDefs"]
    assert translated == json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    assert set(translated) == set(NODES)
    for node, definition in definitions.items():
        words = translated[node]
        assert words["display_name"]
        assert words["description"] != definition["description"]
        assert set(words["inputs"]) == set(inputs_of(definition))
        assert set(words["outputs"]) == {str(number) for number in range(len(definition["output"]))}
        for entry in (*words["inputs"].values(), *words["outputs"].values()):
            assert entry["name"]
            assert len(entry["tooltip"]) >= 4
        combos = [rest[0].get("options", []) for _, *rest in inputs_of(definition).values()]
        options = {option for combo in combos for option in combo if isinstance(option, str)}
        for name, (_, *rest) in inputs_of(definition).items():
            tooltip = words["inputs"][name]["tooltip"]
            assert tooltip != rest[0]["tooltip"]
            # An option that the English explains, of this input or another, is named as the list shows it.
            for option in options:
                if re.search(rf"(^|[ .]){re.escape(option)}:", rest[0]["tooltip"]):
                    assert option in tooltip, (node, name, option)
            numbers = set(re.findall(r"\d+", rest[0]["tooltip"]))
            assert numbers <= set(re.findall(r"\d+", tooltip)), (node, name, "says less than the English")
    text = json.dumps(translated, ensure_ascii=False)
    assert len(re.findall(WRITTEN_IN[language], text)) > 100
