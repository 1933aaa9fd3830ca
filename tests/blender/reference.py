"""The scripting reference in docs/blender.md, from the registered operators: `python -m tests.blender.reference`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "blender.md"
BEGIN, END = "<!-- reference: begin -->", "<!-- reference: end -->"
_FILE_BROWSER = {"filter_image", "filter_folder", "filter_glob", "check_existing"}


def reference(bpy: Any) -> str:
    """Markdown: every operator with its parameters, and the settings of a scene."""
    parts = []
    for name in sorted(dir(bpy.ops.lotus)):
        rna = getattr(bpy.ops.lotus, name).get_rna_type()
        lines = [f"### `bpy.ops.lotus.{name}()`", "", f"{rna.description}."]
        parts.append("\n".join(lines + _table(rna)))
    settings = bpy.types.Scene.bl_rna.properties["lotus"].fixed_type
    lines = ["### `scene.lotus`", "", "What `bpy.ops.lotus.predict()` uses; kept in the .blend, for each scene apart."]
    parts.append("\n".join(lines + _table(settings)))
    return "\n\n".join(parts)


def page_with(text: str, page: str) -> str:
    """The page with its reference replaced."""
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}"


def _table(rna: Any) -> list[str]:
    rows = [_row(prop) for prop in rna.properties if prop.identifier not in {"rna_type", "name", *_FILE_BROWSER}]
    return ["", "| parameter | default | |", "|---|---|---|", *rows] if rows else []


def _row(prop: Any) -> str:
    text = prop.description
    if prop.type == "ENUM":
        text = f"{text}: {', '.join(f'`{item.identifier}` {item.name}' for item in prop.enum_items)}"
    return f"| `{prop.identifier}` | {_default(prop)} | {text} |"


def _default(prop: Any) -> str:
    if prop.type == "POINTER":
        return "`None`"
    if prop.subtype == "ANGLE":
        return f"`radians({math.degrees(prop.default):.4g})`"
    if prop.type == "FLOAT":
        return f"`{prop.default:.4g}`"
    return f"`{prop.default!r}`".replace("'", '"')


if __name__ == "__main__":
    import sys
    import tempfile

    from .inside import enabled

    with tempfile.TemporaryDirectory() as folder, enabled(Path(folder)) as blender:
        PAGE.write_text(page_with(reference(blender), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
