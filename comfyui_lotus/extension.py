"""The list of nodes."""

from __future__ import annotations

from pathlib import Path

import folder_paths
from comfy_api.latest import ComfyExtension, io

from .depth import LotusDepth
from .examples import place_examples
from .load import LoadLotus
from .mesh import LotusMesh
from .normal import LotusNormal
from .save import LotusSaveMaps
from .uncertainty import LotusUncertainty


class LotusExtension(ComfyExtension):
    """What ComfyUI registers."""

    async def on_load(self) -> None:
        place_examples(Path(folder_paths.get_input_directory()))

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [LoadLotus, LotusDepth, LotusNormal, LotusUncertainty, LotusMesh, LotusSaveMaps]
