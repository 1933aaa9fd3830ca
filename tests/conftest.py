"""The order of the tests."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those inside Blender last: once bpy is imported its threads live as long as the process, and forks may hang."""
    items.sort(key=lambda item: item.nodeid.startswith("tests/blender/"))
