"""The list of nodes."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .depth import LotusDepth
from .load import LoadLotus
from .mesh import LotusMesh
from .normal import LotusNormal
from .save import LotusSaveMaps
from .uncertainty import LotusUncertainty


class LotusExtension(ComfyExtension):
    """What ComfyUI registers."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [LoadLotus, LotusDepth, LotusNormal, LotusUncertainty, LotusMesh, LotusSaveMaps]
