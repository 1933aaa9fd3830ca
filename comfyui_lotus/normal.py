"""LotusNormal."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from .dependencies import importing
from .frames import Frames, to_comfy
from .handle import LoadedLotus
from .predicting import Settings, predict_each
from .schema import NormalType, model_and_image, resolution_input, running_inputs, samples_input, schema, seed_input


class LotusNormal(io.ComfyNode):
    """Normal maps of a batch of images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LotusNormal",
            display_name="Lotus Normal",
            description="Surface normals of a photo or a batch of frames, at its own size, in one step of the network.",
            search_aliases=["normal map", "surface normals", "normalbae", "controlnet normal", "bump"],
            inputs=[
                *model_and_image(),
                seed_input(),
                resolution_input(),
                io.Combo.Input(
                    "convention",
                    options=["lotus", "opengl", "directx"],
                    default="lotus",
                    tooltip="lotus: red = left, green = up, as ControlNet's NormalBae. opengl: red = right,"
                    " green = up, for Blender, Unity, glTF. directx: red = right, green = down, for Unreal. Blue faces"
                    " the camera in all.",
                ),
                samples_input(1, 1, "Mean direction of so many draws of noise (Lotus-G): calmer, and slower."),
                *running_inputs(),
            ],
            outputs=[
                io.Image.Output("image", tooltip="0.5 n + 0.5, float32, the size of the input."),
                io.Mask.Output("valid", tooltip="White where there is a normal; black where the input is transparent."),
                NormalType.Output("normal", tooltip="Raw unit vectors with their convention, for Lotus Mesh."),
            ],
        )

    @classmethod
    def execute(
        cls, model: LoadedLotus, image: torch.Tensor, convention: str, samples: int, **settings: Any
    ) -> io.NodeOutput:
        with importing():
            from lotus_core import Normals

        model.require_task("normal")
        frames = Frames(image)
        height, width = frames.size
        picture = torch.zeros(len(frames), height, width, 3)
        valid = torch.ones(len(frames), height, width, dtype=torch.bool)
        raw: list[Normals] = []
        averaged = samples > 1 and model.model.variant == "g"

        def predict(predictor: Any, source: Any, **arguments: Any) -> Normals:
            if not averaged:
                return predictor.normal(source, **arguments)
            return predictor.uncertainty(source, samples=samples, **arguments).mean

        def keep(number: int, normals: Normals) -> None:
            cropped = Normals(frames.crop(normals.values), normals.convention)
            picture[number] = torch.from_numpy(0.5 * cropped.to(convention).values + 0.5)  # type: ignore[arg-type]
            valid[number] = torch.from_numpy(cropped.valid)
            raw.append(cropped)

        predict_each(model, frames, Settings(**settings), predict, keep, samples if averaged else 1)
        return io.NodeOutput(to_comfy(picture), to_comfy(valid), raw)
