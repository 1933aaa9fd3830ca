"""LotusUncertainty."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from comfy_api.latest import io

from .dependencies import importing
from .frames import Frames, to_comfy
from .handle import LoadedLotus
from .predicting import Settings, predict_each
from .ranges import RANGES, checked, picture
from .schema import (
    UncertaintyType,
    advanced,
    model_and_image,
    resolution_input,
    running_inputs,
    samples_input,
    schema,
    seed_input,
)

FULL_SCALE = {"depth": 1.0, "degrees": 180.0}  # what white means in a raw image, in the unit of Uncertainty.std


class LotusUncertainty(io.ComfyNode):
    """Where the samples of Lotus-G disagree."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LotusUncertainty",
            display_name="Lotus Uncertainty",
            description="How much each pixel's depth or normal depends on the noise. Needs a generative model"
            " (Lotus-G).",
            search_aliases=["confidence", "standard deviation", "variance", "uncertainty map", "ensemble"],
            inputs=[
                *model_and_image(),
                seed_input(),
                resolution_input(),
                samples_input(10, 2, "Draws of noise to compare."),
                io.Float.Input(
                    "threshold",
                    default=0.05,
                    min=0.0,
                    max=1.0,
                    step=0.005,
                    tooltip="Pixels above it become white in the mask. In units of the raw image: a share of the depth"
                    " range, or of 180 degrees for normals (0.05 = 9 degrees).",
                ),
                advanced(
                    io.Combo.Input(
                        "range",
                        options=list(RANGES),
                        default="per image, 2-98 %",
                        tooltip="What becomes black and white in the image. raw: standard deviation in units of the"
                        " depth range, or mean angle / 180 degrees. The mask and the uncertainty output are not"
                        " affected.",
                    )
                ),
                *running_inputs(),
            ],
            outputs=[
                io.Image.Output("image", tooltip="Grey, white = uncertain, float32, the size of the input."),
                io.Mask.Output("uncertain", tooltip="White where the uncertainty is above the threshold."),
                io.Mask.Output(
                    "valid", tooltip="White where there is a prediction; black where the input is transparent."
                ),
                UncertaintyType.Output(
                    "uncertainty", tooltip="Raw values with their unit and mean map, for Lotus Mesh."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: LoadedLotus,
        image: torch.Tensor,
        samples: int,
        threshold: float,
        range: str,
        **settings: Any,
    ) -> io.NodeOutput:
        with importing():
            from lotus_core import Depth, Normals, Uncertainty

        model.require_generative()
        how = checked(range)
        frames = Frames(image)
        height, width = frames.size
        uncertain = torch.zeros(len(frames), height, width, dtype=torch.bool)
        valid = torch.ones(len(frames), height, width, dtype=torch.bool)
        raw: list[Uncertainty] = []

        def predict(predictor: Any, source: Any, **arguments: Any) -> Uncertainty:
            return predictor.uncertainty(source, samples=samples, **arguments)

        def cropped(mean: Depth | Normals) -> Depth | Normals:
            if isinstance(mean, Normals):
                return Normals(frames.crop(mean.values), mean.convention)
            mask = None if mean.valid is None else frames.crop(mean.valid)
            return Depth(frames.crop(mean.values), mean.space, mask)

        def keep(number: int, found: Uncertainty) -> None:
            assert found.mean is not None  # only files lack it
            mean = cropped(found.mean)
            valid[number] = torch.from_numpy(mean.valid if isinstance(mean, Normals) else mean.mask)
            raw.append(Uncertainty(frames.crop(found.std), mean, found.samples, found.unit))
            uncertain[number] = (shown(number) > threshold) & valid[number]

        def shown(number: int) -> torch.Tensor:
            return torch.from_numpy(raw[number].std / np.float32(FULL_SCALE[raw[number].unit]))

        predict_each(model, frames, Settings(**settings), predict, keep, samples)
        return io.NodeOutput(to_comfy(picture(shown, valid, how)), to_comfy(uncertain), to_comfy(valid), raw)
