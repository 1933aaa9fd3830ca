"""LoadLotus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.model_management as mm
from comfy_api.latest import io

from lotus_core.checkpoints.registry import embedded
from lotus_core.checkpoints.rest import files_of
from lotus_core.errors import LotusError

from .bar import interruptible_bar
from .bare import host_prompt, meaning_for, vae_for
from .dependencies import importing
from .files import (
    AUTOMATIC,
    everything_listed,
    fast_decoder_choices,
    fast_decoder_path,
    model_choices,
    model_path,
    stamp,
    vae_choices,
)
from .schema import LotusModelType, advanced, chosen, schema

PRECISIONS = {"auto": None, "fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
MEANINGS: dict[str, dict[str, Any]] = {
    "automatic": {},
    "disparity (1 = near)": {"task": "depth", "space": "disparity"},
    "depth (1 = far)": {"task": "depth", "space": "depth"},
    "normals": {"task": "normal"},
}


class LoadLotus(io.ComfyNode):
    """One dropdown over everything that is a Lotus model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LoadLotus",
            display_name="Load Lotus",
            description="Loads a Lotus model: included, from the model folders, or from the Hugging Face hub.",
            search_aliases=["lotus model", "depth model", "normal model", "lotus loader"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=model_choices(),
                    tooltip="lotus-tiny-…: included, small, to try things out. jingheya/…: the authors' weights,"
                    " downloaded once. The rest: Lotus files in your model folders; other files are not listed.",
                ),
                io.Combo.Input(
                    "precision",
                    options=list(PRECISIONS),
                    default="auto",
                    tooltip="auto: fp16 where the GPU is good at it, bf16 for full-size models on CPUs that compute it,"
                    " else fp32.",
                ),
                advanced(
                    io.Combo.Input(
                        "vae",
                        options=vae_choices(),
                        default=AUTOMATIC,
                        tooltip="Only for a U-Net file without VAE. automatic: the model's own, else that of Stable"
                        " Diffusion in models/vae.",
                    )
                ),
                advanced(
                    io.Combo.Input(
                        "fast_decoder",
                        options=fast_decoder_choices(),
                        default=AUTOMATIC,
                        tooltip="The small decoder that the other nodes use where their decoder is set to fast."
                        " automatic: the one that belongs to the model.",
                    )
                ),
                advanced(
                    io.Combo.Input(
                        "predicts",
                        options=list(MEANINGS),
                        default="automatic",
                        tooltip="Only for a renamed U-Net file, whose name does not say any more what it predicts.",
                    )
                ),
            ],
            outputs=[LotusModelType.Output("model", tooltip="For the other Lotus nodes.")],
        )

    @classmethod
    def validate_inputs(cls, model: str | None, vae: str | None, fast_decoder: str | None) -> bool | str:
        """Our own check of the lists of files, for ComfyUI's answer to a missing file is the whole list."""
        try:
            _paths(model, vae, fast_decoder)
        except LotusError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, model: str | None, vae: str | None, fast_decoder: str | None, **others: Any) -> str:
        """Another file under the same name is another model; of a linked name, whose file is not known yet, any."""
        try:
            paths = _paths(model, vae, fast_decoder)
            if None in (model, vae, fast_decoder):
                paths += everything_listed()
            parts = [Path(embedded().get(part, part)) for part in paths if part]
            files = [str(file) for part in parts for file in files_of(part)]
        except LotusError as error:
            return str(error)
        return " ".join(f"{file} {stamp(file)}" for file in files)

    @classmethod
    def execute(cls, model: str, precision: str, vae: str, fast_decoder: str, predicts: str) -> io.NodeOutput:
        with importing():
            import lotus_core.fast_decoder
            import lotus_core.predict  # noqa: F401  # what load_model and the other nodes import when they need it
            from lotus_core import load_model

            from .handle import LoadedLotus

        path = model_path(model)
        loaded = load_model(
            path,
            "cpu",
            chosen(PRECISIONS, precision, "precision") or _best_precision(),
            **meaning_for(path, chosen(MEANINGS, predicts, "predicts")),
            vae=vae_for(path, vae),
            prompt_embeds=host_prompt(path),
            fast_decoder=fast_decoder_path(fast_decoder, model),
            progress=interruptible_bar(words=True),  # a download's
            fold=True,  # a graph only predicts: constants of the single step are computed once
        )
        return io.NodeOutput(LoadedLotus(loaded))


def _paths(model: str | None, vae: str | None, fast_decoder: str | None) -> list[str]:
    """Of the model, its VAE and its fast decoder, "" where there is none. Raises LotusError for one that is missing.

    None: linked. ComfyUI knows such a value only when the graph runs, and `execute` then says what is wrong with it.
    """
    path = "" if model is None else model_path(model)
    return [
        path,
        ("" if vae is None else vae_for(path, vae)) or "",
        ("" if fast_decoder is None else fast_decoder_path(fast_decoder, model or "")) or "",
    ]


def _best_precision() -> str:
    device = mm.get_torch_device()
    if device.type == "cpu":
        return "auto"  # the core's choice, by what the processor computes fast
    return "float16" if mm.should_use_fp16(device) else "float32"
