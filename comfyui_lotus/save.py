"""LotusSaveMaps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import comfy.model_management as mm
import comfy.utils
import folder_paths
from comfy_api.latest import io

from lotus_core.errors import LotusError

from .dependencies import importing
from .schema import DepthType, NormalType, UncertaintyType, chosen, schema

if TYPE_CHECKING:
    from lotus_core import Depth, Normals, Uncertainty

FORMATS = ("png", "exr", "npy")
FOLDERS = {"output": folder_paths.get_output_directory, "temp": folder_paths.get_temp_directory}


class LotusSaveMaps(io.ComfyNode):
    """Files that keep the raw values and say what they mean."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LotusSaveMaps",
            display_name="Lotus Save Maps",
            description="Saves raw maps as 16-bit PNG, 32-bit EXR or NPY files that say what their values mean.",
            search_aliases=["save depth", "save exr", "16 bit", "32 bit", "save normal map"],
            is_output_node=True,
            inputs=[
                DepthType.Input("depth", optional=True, tooltip="From Lotus Depth."),
                NormalType.Input("normal", optional=True, tooltip="From Lotus Normal."),
                UncertaintyType.Input("uncertainty", optional=True, tooltip="From Lotus Uncertainty."),
                io.String.Input(
                    "filename_prefix",
                    default="lotus/maps",
                    tooltip="Folder and beginning of the file's name, in the output folder.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(FORMATS),
                    default="png",
                    tooltip="png: 16 bits a channel, for any program. exr, npy: float32, nothing lost.",
                ),
                io.Combo.Input(
                    "convention",
                    options=["lotus", "opengl", "directx"],
                    default="lotus",
                    tooltip="Of the normals; the file says which.",
                ),
                io.Combo.Input(
                    "folder",
                    options=list(FOLDERS),
                    default="output",
                    tooltip="output: stays. temp: emptied when ComfyUI starts next.",
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(
        cls,
        filename_prefix: str,
        format: str,
        convention: str,
        folder: str,
        depth: list[Depth] | None = None,
        normal: list[Normals] | None = None,
        uncertainty: list[Uncertainty] | None = None,
    ) -> io.NodeOutput:
        directory = chosen(FOLDERS, folder, "folder")
        if format == "exr":
            with importing():
                import OpenEXR  # noqa: F401
        given: dict[str, list[Any]] = {
            "depth": depth or [],
            "normal": [one.to(convention) for one in normal or []],  # type: ignore[arg-type]
            "uncertainty": uncertainty or [],
        }
        every = [one for maps in given.values() for one in maps]
        if not every:
            raise LotusError("There is nothing to save: connect depth, normal or uncertainty.")
        height, width = (every[0].std if hasattr(every[0], "std") else every[0].values).shape[:2]
        place, stem, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, directory(), width, height
        )
        saved: list[dict[str, Any]] = []
        bar = comfy.utils.ProgressBar(len(every))
        for kind, maps in given.items():
            for number, one in enumerate(maps):
                mm.throw_exception_if_processing_interrupted()
                name = f"{stem}_{counter + number:05}_{kind}.{format}"
                one.save(Path(place) / name)
                meaning = {word: getattr(one, word) for word in ("space", "convention", "unit") if hasattr(one, word)}
                saved.append({"map": kind, "filename": name, "subfolder": subfolder, "type": folder, **meaning})
                bar.update(1)
        return io.NodeOutput(ui={"lotus_maps": saved})
