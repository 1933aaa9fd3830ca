"""From what a user calls a model, to the model."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LotusError
from ..progress import Progress
from .diffusers_layout import INFO, read_json
from .format import is_ours
from .header import PICKLE_SUFFIXES, Header, read_header
from .hub import HUB_ID, NETWORKS, Wanted, download
from .registry import PUBLISHED, embedded, hub_id, meaning_of, near_matches, place_of
from .rest import files_of

if TYPE_CHECKING:
    import torch

    from ..model import LotusModel

DTYPES = {
    "fp32": "float32", "float32": "float32",
    "fp16": "float16", "float16": "float16",
    "bf16": "bfloat16", "bfloat16": "bfloat16",
}  # fmt: skip


def load_model(
    source: str | os.PathLike[str],
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    *,
    task: str | None = None,
    space: str | None = None,
    vae: str | os.PathLike[str] | None = None,
    text_encoder: str | os.PathLike[str] | None = None,
    prompt_embeds: torch.Tensor | None = None,
    fast_decoder: str | os.PathLike[str] | None = None,
    fold: bool = False,
    compile: bool | str = False,
    offload: bool = False,
    progress: Progress | None = None,
) -> LotusModel:
    """Load a model for prediction, ready on its device and in evaluation mode.

    Headers are read first: what does not fit is refused before the weights are. Those come in one step, straight to
    `device` in `dtype`; on the CPU, weights that large files hold in `dtype` are used where they lie in the file
    (`reading.read_tensors`), so do not cut the file short meanwhile.

    Args:
        source: name of an embedded checkpoint (`lotus models`); path of a diffusers folder, of our single .safetensors
            file, or of a bare U-Net in diffusers or LDM names; a published name; or a hub id.
        device: "auto" takes CUDA, else MPS, else the CPU.
        dtype: float32, float16, bfloat16, or "auto": what the device computes fast (`precision.auto_dtype`).
        task, space: what the model predicts, where neither it nor its name says so ("depth" or "normal";
            "disparity" or "depth"). Our own files carry it.
        vae: the autoencoder of a bare U-Net (or another one for any model): file, folder or hub id (`sources`).
        text_encoder: for a bare U-Net, a folder or hub id with text_encoder/ and tokenizer/, or one of our files, for
            the embedding of the empty prompt.
        prompt_embeds: that embedding itself, 1×L×C, for hosts that have it.
        fast_decoder: name, file, folder or hub id of an AutoencoderTiny for `decoder="fast"` (`fast_decoder`).
        fold: fold the model for prediction (`LotusModel.fold`), which here costs no second copy of the kernels.
        compile: fold it and hand its U-Net to torch.compile (`LotusModel.fold`).
        offload: load to the CPU, in the precision for `device`, and bring weights to `device` only while they compute
            (`LotusModel.offload`): never more of them than the largest layer, or the autoencoder.
        progress: of a download; without it the hub's own bars show on a terminal.

    Raises LotusError for anything that is not a usable checkpoint, where memory does not suffice, and for `compile`
    together with `offload`.
    """
    import torch

    from ..fast_decoder import attach_fast_decoder
    from ..memory import memory_as_lotus_error
    from .bare_unet import load_bare
    from .diffusers_folder import load_folder
    from .single_file import load_single_file
    from .sources import autoencoder_from, hub_prompt, prompt_from

    if compile and offload:
        raise LotusError("Weights that are offloaded move and cannot be compiled: choose compile or offload.")
    if not isinstance(source, str | os.PathLike):
        raise LotusError(f"A model is a name, a file, a folder or a hub id, not {source!r}: see `lotus models`.")
    computing = choose_device(device)
    precision = choose_dtype(dtype, computing, source)
    at = torch.device("cpu") if offload else computing
    fold = fold or bool(compile)
    name = os.fspath(source)
    path = embedded().get(name, Path(name).expanduser())
    prompt = None if prompt_embeds is None else prompt_embeds.clone()
    half = precision.itemsize == 2
    with memory_as_lotus_error(_no_room(name, at)):
        if text_encoder is not None:
            prompt = prompt_from(os.fspath(text_encoder), progress)
        other_vae = None if vae is None else autoencoder_from(os.fspath(vae), half, progress)
        given: dict[str, Any] = {"vae": other_vae, "prompt": prompt, "channels_last": fold}
        if path.is_dir():
            model = load_folder(path, at, precision, task=task, space=space, **given)
        elif path.is_file():
            header = read_header(path)
            if is_ours(header):
                _check_told(header, task, space)
                model = load_single_file(header, at, precision, **given)
            else:
                model = load_bare(header, at, precision, task=task, space=space, **given)
        elif is_hub_name(name):
            hub_name = hub_id(name)
            folder = download(hub_name, Wanted(NETWORKS if vae is None else ("unet",), half), progress)
            if prompt is None:
                prompt = hub_prompt(hub_name, folder, half, progress)
            given["prompt"] = prompt
            model = load_folder(folder, at, precision, task=task, space=space, name=hub_name, **given)
        else:
            raise _unknown(name)
        if fast_decoder is not None:
            attach_fast_decoder(model, fast_decoder)
        if fold:
            model.fold(compile)
        if offload:
            model.offload(computing)
    return model.eval()


def _no_room(name: str, device: torch.device) -> str:
    """Said where memory runs out while the weights of the model called `name` come to `device`."""
    if device.type == "cpu":
        return f"There is not enough memory for the weights of {name}: close other programs, or use a half precision."
    return (
        f"There is not enough memory on {device} for the weights of {name}: leave them in main memory (--offload,"
        " load_model(offload=True), Offload in Blender's preferences), close what else uses the GPU, or compute on the"
        " CPU (--device cpu)."
    )


def is_hub_name(name: str) -> bool:
    """Whether `name`, which is no path on this machine, can be that of a model on the hub."""
    return name in PUBLISHED or bool(HUB_ID.fullmatch(name) and not _names_a_file(name))


def stated_task(name: str) -> str | None:
    """The task that the model a user calls `name` says itself, or its name says; None where neither does.

    Reads headers only. Names of files can be wrong: `load_model` raises MisnamedError then.
    """
    path = embedded().get(name, Path(name).expanduser())
    stated: str | None = None
    if path.is_dir() and (path / INFO).is_file():
        stated = read_json(path / INFO).get("task")
    elif path.is_file() and path.suffix.lower() not in PICKLE_SUFFIXES:
        header = read_header(path)
        stated = header.metadata.get("task") if is_ours(header) else None
    known = meaning_of(place_of(path) if path.exists() else name)
    return stated or (known.task if known else None)


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """The device that "auto" or an explicit name means on this machine. Raises LotusError where there is none such."""
    import torch

    from ..memory import ran_out

    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        if ran_out(error):
            raise LotusError(f"The memory of {chosen} is full: close what else uses it, or use the CPU.") from None
        raise LotusError(f"There is no device {str(device)!r} on this machine: use auto or cpu.") from None
    return chosen


def choose_dtype(
    dtype: str | torch.dtype, device: torch.device, source: str | os.PathLike[str] | None = None
) -> torch.dtype:
    """The precision that "auto" or an explicit name means on `device`, for the model that a user calls `source`."""
    import torch

    from ..precision import auto_dtype

    if dtype == "auto":
        return auto_dtype(device, None if source is None else count_parameters(source))
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise LotusError(f"There is no precision {name!r} to compute in: use auto, float32, float16 or bfloat16.")
    chosen = getattr(torch, DTYPES[name])
    assert isinstance(chosen, torch.dtype)
    return chosen


def count_parameters(source: str | os.PathLike[str]) -> int:
    """Numbers in the U-Net's largest file of the model that a user calls `source`; what is on the hub is full size.

    Reads headers only. Raises LotusError for files that are none of a model.
    """
    from ..precision import FULL_SIZE

    path = embedded().get(os.fspath(source), Path(source).expanduser())
    if path.is_dir():
        files = sorted((path / "unet").glob("*.safetensors"))
    elif path.is_file():
        files = [path]
    else:
        return FULL_SIZE
    headers = (read_header(part) for file in files for part in files_of(file) if part.is_file())
    return max((sum(prod(tensor.shape) for tensor in header.tensors.values()) for header in headers), default=0)


def _check_told(header: Header, task: str | None, space: str | None) -> None:
    """Refuse a task or space other than the one that a file of ours says it has."""
    for what, told in (("task", task), ("space", space)):
        if told is not None and told != header.metadata.get(what):
            own = " as ".join(filter(None, map(header.metadata.get, ("task", "space"))))
            name = header.path.stem if header.path.stem in embedded() else header.path
            raise LotusError(
                f"{name} says itself what it predicts ({own}, not {told}): leave the {what} out (in a shell --{what})."
            )


def _names_a_file(name: str) -> bool:
    return name.lower().endswith((".safetensors", *PICKLE_SUFFIXES))


def _unknown(name: str) -> LotusError:
    if _names_a_file(name):
        return LotusError(f"There is no file {name}.")
    matches = near_matches(name)
    hint = f"did you mean {' or '.join(matches)}? " if matches else ""
    return LotusError(f"There is no model {name!r}: {hint}`lotus models` lists what is available.")
