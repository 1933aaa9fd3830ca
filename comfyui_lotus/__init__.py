"""The ComfyUI node pack: LoadLotus, LotusDepth, LotusNormal, LotusUncertainty, LotusMesh, LotusSaveMaps.

Importing it imports neither ComfyUI nor torch; `comfy_entrypoint` does, when ComfyUI asks for the nodes.
"""

from __future__ import annotations

from typing import Any

from . import core_path as core_path  # makes lotus_core importable, before anything here needs it


async def comfy_entrypoint() -> Any:
    """The extension that ComfyUI asks for (V3 interface, ComfyUI 0.3.48 and later)."""
    from .extension import LotusExtension

    return LotusExtension()
