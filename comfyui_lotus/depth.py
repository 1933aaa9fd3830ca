"""LotusDepth."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from .dependencies import importing
from .frames import Frames, to_comfy
from .handle import LoadedLotus
from .predicting import Settings, predict_each
from .ranges import RANGES, stretched
from .schema import DepthType, model_and_image, resolution_input, running_inputs, samples_input, schema, seed_input


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
            hidden=[io.Hidden.unique_id],
            inputs=[
                *model_and_image(),
                seed_input(),
                resolution_input(),
                io.Combo.Input(
                    "near",
                    options=["white", "black"],
                    default="white",
                    tooltip="What ControlNet expects: near is white.",
                ),
                io.Combo.Input(
                    "range",
                    options=list(RANGES),
                    default="raw",
                    tooltip="What becomes black and white in the image. raw: the network's own values, which are"
                    " comparable between frames. whole batch: one range for a sequence, which does not flicker."
                    " 2-98 %: the darkest and brightest 2 % are clipped. The depth output is not affected.",
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
        frames = Frames(image)
        height, width = frames.size
        values = torch.zeros(len(frames), height, width)
        valid = torch.ones(len(frames), height, width, dtype=torch.bool)
        raw: list[Depth] = []
        averaged = samples > 1 and model.model.variant == "g"

        def predict(predictor: Any, source: Any, **arguments: Any) -> Depth:
            if not averaged:
                return predictor.depth(source, **arguments)
            return predictor.uncertainty(source, samples=samples, **arguments).mean

        def keep(number: int, depth: Depth) -> None:
            values[number] = torch.from_numpy(frames.crop(depth.values))
            mask = None
            if depth.valid is not None:
                valid[number] = torch.from_numpy(frames.crop(depth.valid))
                mask = valid[number].numpy()
            raw.append(Depth(values[number].numpy(), depth.space, mask))

        drawn = samples if averaged else 1
        predict_each(model, frames, Settings(**settings), cls.hidden.unique_id, predict, keep, drawn)
        white_is_near = model.model.info.space == "disparity"
        shown = values if white_is_near == (near == "white") else 1 - values
        grey = stretched(shown, valid, range, 0.0 if near == "white" else 1.0)
        return io.NodeOutput(to_comfy(grey[..., None].repeat(1, 1, 1, 3)), to_comfy(valid), raw)
