"""The ComfyUI node pack. It has no nodes yet: the empty mapping lets ComfyUI load the folder without a complaint."""

from __future__ import annotations

NODE_CLASS_MAPPINGS: dict[str, type] = {}
