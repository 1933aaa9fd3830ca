"""LotusDepth."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from .dependencies import importing
from .frames import Frames, to_comfy
from .handle import LoadedLotus
from .predicting import Settings, predict_each
from .ranges import RANGES, checked, picture
from .schema import (
    DepthType,
    chosen,
    model_and_image,
    resolution_input,
    running_inputs,
    samples_input,
    schema,
    seed_input,
)

NEAR = {"white": True, "black": False}


class LotusDepth(io.ComfyNode):
    """Depth maps of a batch of images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LotusDepth",
            display_name="Lotus Depth",
            description="Depth of a photo or a batch of frames, at its own size, in one step of the network.",
            search_aliases=[
                "depth map",
                "depth estimation",
                "monocular depth",
                "disparity",
                "controlnet depth",
                "z depth",
            ],
            inputs=[
                *model_and_image(),
                seed_input(),
                resolution_input(),
                io.Combo.Input(
                    "near",
                    options=list(NEAR),
                    default="white",
                    tooltip="What ControlNet expects: near is white.",
                ),
                io.Combo.Input(
                    "range",
                    options=list(RANGES),
                    default="raw",
                    tooltip="What becomes black and white in the image. raw: the network's own values. whole batch: one"
                    " stretch for a sequence, so that stretching adds no flicker. The network knows depth up to a scale"
                    " and a shift, which differ between frames in all of them. 2-98 %: the darkest and brightest 2 %"
                    " are clipped. The depth output is not affected.",
                ),
                samples_input(1, 1, "Mean of so many draws of noise (Lotus-G): calmer, and so many times slower."),
                *running_inputs(),
            ],
            outputs=[
                io.Image.Output("image", tooltip="Grey, float32, the size of the input."),
                io.Mask.Output("valid", tooltip="White where there is depth; black where the input is transparent."),
                DepthType.Output("depth", tooltip="Raw values with their meaning, for Lotus Mesh."),
            ],
        )

    @classmethod
    def execute(
        cls, model: LoadedLotus, image: torch.Tensor, near: str, range: str, samples: int, **settings: Any
    ) -> io.NodeOutput:
        with importing():
            from lotus_core import Depth

        model.require_task("depth")
        near_white = chosen(NEAR, near, "near")
        how = checked(range)
        frames = Frames(image)
        height, width = frames.size
        valid = torch.ones(len(frames), height, width, dtype=torch.bool)
        raw: list[Depth] = []
        averaged = samples > 1 and model.model.variant == "g"

        def predict(predictor: Any, source: Any, **arguments: Any) -> Depth:
            if not averaged:
                return predictor.depth(source, **arguments)
            return predictor.uncertainty(source, samples=samples, **arguments).mean

        def keep(number: int, depth: Depth) -> None:
            mask = None if depth.valid is None else frames.crop(depth.valid)
            if mask is not None:
                valid[number] = torch.from_numpy(mask)
            raw.append(Depth(frames.crop(depth.values), depth.space, mask))

        inverted = (model.model.info.space == "disparity") != near_white

        def shown(number: int) -> torch.Tensor:
            values = torch.from_numpy(raw[number].values)
            return 1 - values if inverted else values

        drawn = samples if averaged else 1
        predict_each(model, frames, Settings(**settings), predict, keep, drawn)
        grey = picture(shown, valid, how, 0.0 if near_white else 1.0)
        return io.NodeOutput(to_comfy(grey), to_comfy(valid), raw)
