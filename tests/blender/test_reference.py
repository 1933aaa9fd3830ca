"""docs/blender.md says what the operators really take."""

from __future__ import annotations

from typing import Any

from .reference import PAGE, page_with, reference


def test_the_scripting_reference_is_that_of_the_operators(bpy: Any) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == page_with(reference(bpy), page), "run `python -m tests.blender.reference` (it needs Python 3.11)"


def test_everything_that_can_be_set_says_what_it_is(bpy: Any) -> None:
    """Tooltips, which the reference repeats."""
    for name in dir(bpy.ops.lotus):
        rna = getattr(bpy.ops.lotus, name).get_rna_type()
        assert len(rna.description) > 10, name
        for prop in rna.properties:
            if prop.identifier != "rna_type" and not prop.is_hidden:
                assert prop.description or prop.name == "", f"{name}.{prop.identifier}"
