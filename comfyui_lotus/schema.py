"""What the nodes' schemas share: types, inputs, and newer schema fields only where the running ComfyUI has them."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from comfy_api.latest import io

from lotus_core.errors import LotusError

T = TypeVar("T")
CATEGORY = "Lotus"
MAX_TILE = 2944  # pixels; larger ones are refused (lotus_core.tiling)
MAX_SEED = 0xFFFFFFFFFFFFFFFF
# Offered, but not started with: a rerun is to find its results cached. Front ends that come with a ComfyUI without the
# name refuse a node with anything but True here.
SEED_CONTROL: Any = "fixed" if hasattr(io, "ControlAfterGenerate") else True

LotusModelType = io.Custom("LOTUS_MODEL")  # handle.LoadedLotus
DepthType = io.Custom("LOTUS_DEPTH")  # list[lotus_core.Depth], one for each frame
NormalType = io.Custom("LOTUS_NORMAL")  # list[lotus_core.Normals]
UncertaintyType = io.Custom("LOTUS_UNCERTAINTY")  # list[lotus_core.Uncertainty]


def schema(**fields: Any) -> io.Schema:
    """An io.Schema without those fields that this ComfyUI does not know (search_aliases came after 0.3.64)."""
    known = {field.name for field in dataclasses.fields(io.Schema)}
    for output in fields["outputs"]:
        # ComfyUI 0.3.64 takes no output with the id of an input, and shows only what is called display_name.
        output.display_name, output.id = output.display_name or output.id, None
    return io.Schema(category=CATEGORY, **{name: value for name, value in fields.items() if name in known})


def advanced(given: Any) -> Any:
    """An input that the front end hides at first. Not by an argument: ComfyUI 0.3.64 has none for it on any widget."""
    given.extra_dict = {"advanced": True}
    return given


def chosen(options: dict[str, T], value: str, name: str) -> T:
    """What a choice stands for. Raises LotusError for another value: ComfyUI does not check linked ones."""
    if value not in options:
        raise LotusError(f"{name} is {value!r}: choose one of {', '.join(options)}.")
    return options[value]


def model_and_image() -> list[Any]:
    """The two sockets of every predicting node."""
    return [
        LotusModelType.Input("model", tooltip="From Load Lotus."),
        io.Image.Input(
            "image",
            tooltip="A photo or a batch of frames, any size. Of RGBA images the transparent part is not valid; Load"
            " Image gives RGB, and Join Image with Alpha puts its mask back.",
        ),
    ]


def seed_input() -> Any:
    """The seed of the noise that Lotus-G sees."""
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=MAX_SEED,
        control_after_generate=SEED_CONTROL,
        tooltip="Noise of generative models (Lotus-G). Lotus-D models take none: any seed gives the same map.",
    )


def resolution_input() -> Any:
    """The longest edge that the network sees; see predicting.network_resolution."""
    return io.Int.Input(
        "resolution",
        default=0,
        min=-1,
        max=8192,
        tooltip="Longest edge that the network sees, in pixels. 0: what the model was trained with (768 for the"
        " released weights). -1: the image's own size. The map always has the image's size.",
    )


def samples_input(default: int, least: int, tooltip: str) -> Any:
    """How many draws of noise."""
    return io.Int.Input("samples", default=default, min=least, max=100, tooltip=tooltip)


def running_inputs() -> list[Any]:
    """How the network is run, the same for every predicting node; advanced."""
    return [
        io.Boolean.Input(
            "shared_noise",
            default=True,
            tooltip="On: every frame sees the same noise, so a frame's map does not depend on its place in the batch"
            " and video flickers less. Off: new noise for every frame.",
        ),
        advanced(
            io.Int.Input(
                "chunk_size",
                default=1,
                min=1,
                max=64,
                tooltip="How many samples of a frame the network takes at once. More is faster on a GPU and takes more"
                " memory; where it runs out, the number is halved. Frames pass one after the other, so that a frame in"
                " a batch gives exactly what it gives alone.",
            )
        ),
        advanced(
            io.Int.Input(
                "tile",
                default=0,
                min=0,
                max=MAX_TILE,
                step=64,
                tooltip="0: the image passes the network whole. Else an image larger than the model's own resolution is"
                " worked on in tiles of so many pixels (768, say) as well, at its own size or the resolution above:"
                " more detail, in the memory of one tile.",
            )
        ),
        advanced(
            io.Combo.Input(
                "decoder",
                options=["exact", "fast"],
                default="exact",
                tooltip="fast: the small decoder chosen in Load Lotus; less exact.",
            )
        ),
        advanced(
            io.Boolean.Input(
                "mirror",
                default=False,
                optional=True,  # graphs that were saved before it existed still run
                tooltip="On: the mirror image of every frame is predicted as well, and the map is the mean of both:"
                " fewer errors in twice the time.",
            )
        ),
    ]
