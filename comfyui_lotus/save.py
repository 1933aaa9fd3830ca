"""LotusSaveMaps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import comfy.model_management as mm
import comfy.utils
import folder_paths
from comfy.cli_args import args
from comfy_api.latest import io

from lotus_core.errors import LotusError

from .bar import say
from .dependencies import importing
from .schema import DepthType, NormalType, UncertaintyType, chosen, schema

if TYPE_CHECKING:
    from lotus_core import Depth, Normals, Uncertainty
    from lotus_core.maps.depth import Space

AS_PREDICTED = "as predicted"
SPACES: dict[str, Space | None] = {AS_PREDICTED: None, "white": "disparity", "black": "depth"}
MEANINGS = {
    ("space", "disparity"): "disparity: near is 1, white",
    ("space", "depth"): "depth: near is 0, black",
    ("unit", "depth"): "uncertainty: white is the depth range",
    ("unit", "degrees"): "uncertainty: white is 180 degrees",
}
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
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
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
                io.Combo.Input(
                    "near",
                    options=list(SPACES),
                    optional=True,  # prompts saved before it came lack it
                    default=AS_PREDICTED,
                    tooltip="Of the depth. as predicted: by the model, which the file says. white: disparity, 1 is"
                    " near. black: depth, 1 is far. What the model predicts otherwise is converted as the same surface"
                    " between the distances 1 and 10, as Lotus Mesh places it.",
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
        near: str = AS_PREDICTED,
    ) -> io.NodeOutput:
        directory = chosen(FOLDERS, folder, "folder")
        space = chosen(SPACES, near, "near")
        if format == "exr":
            with importing():
                import OpenEXR  # noqa: F401
        given: dict[str, list[Any]] = {"depth": depth or [], "normal": normal or [], "uncertainty": uncertainty or []}
        every = [one for maps in given.values() for one in maps]
        if not every:
            raise LotusError("There is nothing to save: connect depth, normal or uncertainty.")
        height, width = (every[0].std if hasattr(every[0], "std") else every[0].values).shape[:2]
        place, stem, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, directory(), width, height
        )
        text = graph_words(cls.hidden)
        saved: list[dict[str, Any]] = []
        bar = comfy.utils.ProgressBar(len(every))
        for kind, maps in given.items():
            for number, raw in enumerate(maps):
                mm.throw_exception_if_processing_interrupted()
                name = f"{stem}_{counter + number:05}_{kind}.{format}"
                one = converted(raw, kind, convention, space)
                one.save(Path(place) / name, text)
                meaning = {word: getattr(one, word) for word in ("space", "convention", "unit") if hasattr(one, word)}
                saved.append({"map": kind, "filename": name, "subfolder": subfolder, "type": folder, **meaning})
                bar.update(1)
        say("\n".join(map(_told, _by_kind(saved).values())))
        shown = (
            [{key: one[key] for key in ("filename", "subfolder", "type")} for one in saved] if format == "png" else []
        )
        return io.NodeOutput(ui={"lotus_maps": saved, "images": shown})


def converted(one: Any, kind: str, convention: str, space: Space | None) -> Any:
    """The map as it is to be written: normals in the convention, depth in the space (None: its own)."""
    if kind == "normal":
        return one.to(convention)
    return one.to_space(space) if kind == "depth" and space is not None else one


def graph_words(hidden: Any) -> dict[str, str]:
    """The prompt and the workflow, under the names that ComfyUI reads when a file is dropped on it."""
    if args.disable_metadata:
        return {}
    words = {} if hidden.prompt is None else {"prompt": hidden.prompt}
    return {name: json.dumps(value) for name, value in (words | (hidden.extra_pnginfo or {})).items()}


def _by_kind(saved: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    kinds: dict[str, list[dict[str, Any]]] = {}
    for one in saved:
        kinds.setdefault(one["map"], []).append(one)
    return kinds


def _told(saved: list[dict[str, Any]]) -> str:
    """Where the maps of one kind are, and what their values mean."""
    first, last = saved[0], saved[-1]
    names = first["filename"] if first is last else f"{first['filename']} … {last['filename']}"
    said = next((word, first[word]) for word in ("space", "convention", "unit") if word in first)
    place = "/".join(part for part in (first["type"], first["subfolder"], names) if part)
    return f"{place} ({MEANINGS.get(said, f'{said[1]} normals')})"
