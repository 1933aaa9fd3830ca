"""Checkpoints from one layout into another; what was written is read back before it takes its name.

A pickle keeps its tensors as they are; any loadable model becomes one of our files, or a diffusers folder.
"""

from __future__ import annotations

import gc
import json
import pickle
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ..errors import LotusError
from ..files import atomic_path, same_file
from ..model import LotusModel
from ..precision import not_finite
from ..progress import Progress
from .assemble import quiet_diffusers
from .configs import SCHEDULER
from .diffusers_layout import INFO, PROMPT_FILE, WEIGHTS
from .format import is_ours
from .header import PICKLE_SUFFIXES, name_some, read_header
from .hub import TEXT, Wanted, download
from .layouts import PROMPT
from .load import is_hub_name, load_model
from .registry import hub_id
from .single_file import same_bits, save_model
from .writing import write_tensors

QUANTISED_ERROR = 0.004  # of the largest in a row: half of 1/127, and the rounding of float16
_WRAPPERS = ("state_dict", "model", "module")  # keys under which trainers nest the weights


def convert(
    source: str,
    target: Path,
    *,
    task: str | None = None,
    space: str | None = None,
    dtype: torch.dtype | None = None,
    vae: str | None = None,
    text_encoder: str | None = None,
    rest: Path | None = None,
    progress: Progress | None = None,
) -> str:
    """Write `source` to `target` and return what was written, in words.

    A pickle (.ckpt .pt .pth .bin) keeps its names, shapes and dtypes; torch reads it with `weights_only=True`, which
    runs no code of the file. Anything `load_model` takes becomes, in `dtype` (None: float16), our single file where
    `target` ends in .safetensors, else a diffusers folder. torch.int8 is for our file only (`quantise`), and so is
    `rest`, a file of ours beside `target` whose tensors are not to be written again (`save_model`). A folder holds
    text_encoder/ and tokenizer/ where `source` or `text_encoder` have them; for Lotus itself, the embedding that it
    holds in any case is enough.

    An earlier file of ours is replaced, no other file or folder is.

    Raises LotusError where the source cannot be read so, the target cannot be written or holds anything else, reading
    it back gives other weights, and for any of the options together with a pickle.
    """
    _check_not_read(target, source, vae, text_encoder)
    path = Path(source).expanduser()
    if path.is_file() and path.suffix.lower() in PICKLE_SUFFIXES:
        if target.suffix != ".safetensors":
            raise LotusError(f"The converted file's name must end in .safetensors, but {target.name} does not.")
        _check_file(target)
        options = {"task": task, "space": space, "dtype": dtype, "vae": vae, "text-encoder": text_encoder, "rest": rest}
        given = [f"--{option}" for option, value in options.items() if value is not None]
        if given:
            raise LotusError(
                f"A pickle keeps its tensors as they are: convert {path.name} without options first, then the result"
                f" with {' and '.join(given)}."
            )
        tensors = _read_pickle(path)
        with atomic_path(target) as temporary:
            write_tensors(temporary, tensors)
            _check_tensors(tensors, temporary)
        return f"{len(tensors)} tensors, unchanged; read back, all are equal"
    if rest is not None and rest.resolve() == target.resolve():
        raise LotusError(f"{target} cannot hold its own rest: write the result under another name.")
    dtype = dtype or torch.float16
    to_folder = target.suffix != ".safetensors"
    if to_folder:
        if dtype == torch.int8:
            raise LotusError("A diffusers folder holds no 8-bit weights: use --dtype fp16, or a name in .safetensors.")
        if rest is not None:
            raise LotusError("A diffusers folder holds a whole model: leave out --rest, or use a name in .safetensors.")
        _check_folder(target)
    else:
        _check_file(target)
    loaded = torch.float32 if dtype == torch.int8 else dtype
    model = load_model(
        source, "cpu", loaded, task=task, space=space, vae=vae, text_encoder=text_encoder, progress=progress
    )
    words = f"{model.info.name}, {str(dtype).removeprefix('torch.')}, " + (
        f"what differs from {rest.name}" if rest else "with its autoencoder and empty prompt"
    )
    if dtype == torch.int8:
        with atomic_path(target) as temporary:
            save_model(model, temporary, dtype, rest)
            error = largest_error(model, load_model(temporary, "cpu", loaded))
            _let_go(model)
            if not error <= QUANTISED_ERROR:
                raise LotusError(
                    f"Reading back what was written gave other weights ({error:.3g} of the largest in a row)."
                )
        return f"{words}; read back, weights differ by at most {error:.4f} of the largest in their row"
    written = checksums(model)
    if not to_folder:
        with atomic_path(target) as temporary:
            save_model(model, temporary, dtype, rest)
            _check_reloaded(model, temporary, dtype, written)
        return f"{words}; read back, all {len(written)} tensors are equal"
    text = _text_folder(source, text_encoder, progress)
    staging = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        save_folder(model, staging, text)
        _check_reloaded(model, staging, dtype, written)
        if target.is_dir():
            target.rmdir()  # empty, see _check_folder
        staging.rename(target)
    except OSError as error:
        raise LotusError(f"Cannot write {target}: {error.strerror or error}; free some space.") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    found = "with text encoder and tokenizer" if text else "which other programs need a text encoder for"
    return f"{words}, as a diffusers folder, {found}; read back, all {len(written)} tensors are equal"


def largest_error(model: LotusModel, other: LotusModel) -> float:
    """Largest difference of a weight between two equal networks, in parts of the largest of its row, or of a vector."""
    found = other.state_dict()
    errors = []
    for name, tensor in model.state_dict().items():
        rows, again = (
            x.float().view(len(x), -1) if x.ndim > 1 else x.float().view(1, -1) for x in (tensor, found[name])
        )
        largest = rows.abs().amax(1).clamp_min(1e-20)
        errors.append(float(((rows - again).abs().amax(1) / largest).max()))
    return max(errors)


def save_folder(model: LotusModel, folder: Path, text: Path | None = None) -> None:
    """Write `model` as a new diffusers folder in its precision. `text` has text_encoder/ and tokenizer/ to copy."""
    broken = not_finite(model.state_dict())
    if broken is not None:
        raise LotusError(
            f"The weights of {model.info.name} are not finite ({broken}), so {folder.name} was not written."
        )
    for name, network in (("unet", model.unet), ("vae", model.vae)):
        with quiet_diffusers():
            network.save_config(folder / name)
        write_tensors(folder / name / f"{WEIGHTS}.safetensors", network.state_dict(), {"format": "pt"})
    (folder / "scheduler").mkdir()
    _write_json(folder / "scheduler" / "scheduler_config.json", model.info.scheduler_config or SCHEDULER)
    write_tensors(folder / PROMPT_FILE, {PROMPT: model.prompt_embeds}, {"format": "pt"})
    info = model.info
    stated = {"name": info.name, "task": info.task, "space": info.space, "resolution": info.resolution}
    _write_json(folder / INFO, {**stated, "normal_convention": info.normal_convention, "training": info.training})
    parts = {
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", type(model.unet).__name__],
        "vae": ["diffusers", type(model.vae).__name__],
    }
    if text is not None:
        parts |= {"text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"]}
        for part in TEXT:
            _copy_part(text / part, folder / part)
    _write_json(folder / "model_index.json", {"_class_name": f"Lotus{model.variant.upper()}Pipeline", **parts})


def checksums(model: LotusModel) -> dict[str, int]:
    """A CRC of each of the model's tensors, bit for bit."""
    return {
        name: zlib.crc32(memoryview(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy()))
        for name, tensor in model.state_dict().items()
    }


def _check_reloaded(model: LotusModel, path: Path, dtype: torch.dtype, written: dict[str, int]) -> None:
    """Raise LotusError unless `path` loads as what was written. Drops the weights of `model`, to need memory once."""
    _let_go(model)
    found = checksums(load_model(path, "cpu", dtype))
    _let_go(model)
    _refuse([name for name in written.keys() | found.keys() if written.get(name) != found.get(name)])


def _check_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Raise LotusError unless `path` holds just these, bit for bit."""
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        _refuse(
            [
                name
                for name in names | tensors.keys()
                if name not in names or name not in tensors or not same_bits(file.get_tensor(name), tensors[name])
            ]
        )


def _refuse(wrong: list[str]) -> None:
    if wrong:
        raise LotusError(
            f"Reading back what was written gave other weights ({name_some(sorted(wrong))}): the disk may be failing."
        )


def _let_go(model: LotusModel) -> None:
    """Drop the weights of `model` and of models that nobody holds: Windows replaces no file that weights lie in."""
    model.to("meta")
    gc.collect()  # models refer to themselves


def _check_not_read(target: Path, *read: str | None) -> None:
    for name in read:
        if name and same_file(Path(name).expanduser(), target):
            raise LotusError(f"{target} is what is converted: write the result under another name.")


def _check_file(target: Path) -> None:
    if target.exists():
        try:
            ours = is_ours(read_header(target))
        except LotusError:  # no safetensors file, or a damaged one
            ours = False
        if not ours:
            raise LotusError(f"{target} is there already and not a file of ours: choose another name, or remove it.")


def _check_folder(target: Path) -> None:
    if target.suffix.lower() in (*PICKLE_SUFFIXES, ".onnx", ".gguf", ".sft"):
        raise LotusError(
            f"The converted file's name must end in .safetensors, but {target.name} does not; a name without ending"
            " makes a diffusers folder."
        )
    if not target.parent.is_dir():
        raise LotusError(f"Cannot write {target}: there is no folder {target.parent}; create it or choose another.")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise LotusError(f"{target} is there already: choose another name, or remove it.")


def _text_folder(source: str, text_encoder: str | None, progress: Progress | None) -> Path | None:
    """Where text_encoder/ and tokenizer/ are: as named, else those of the source; None where there are none."""
    for name in (text_encoder, source):
        if name is None:
            continue
        path = Path(name).expanduser()
        if not path.exists() and is_hub_name(name):
            path = download(hub_id(name), Wanted(TEXT), progress)
        if all((path / part).is_dir() for part in TEXT):
            return path
    return None


def _copy_part(source: Path, target: Path) -> None:
    """Small files and safetensors; half precision under the plain name, which every program finds."""
    target.mkdir()
    plain = [file for file in source.iterdir() if file.suffix == ".safetensors" and ".fp16" not in file.name]
    for file in source.iterdir():
        if file.suffix in (".json", ".txt") or file in plain:
            shutil.copyfile(file, target / file.name)
        elif file.suffix == ".safetensors" and not plain:
            shutil.copyfile(file, target / file.name.replace(".fp16", ""))


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile, ValueError, KeyError) as error:
        raise LotusError(
            f"{path} holds more than weights, or is damaged, so it was not opened: get the model's .safetensors file."
        ) from error
    while isinstance(content, Mapping) and (key := next((k for k in _WRAPPERS if k in content), None)) is not None:
        content = content[key]
    tensors = (
        {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
        if isinstance(content, Mapping)
        else {}
    )
    if not tensors:
        raise LotusError(f"{path} holds no named tensors: it is not a checkpoint.")
    # safetensors refuses tensors that share memory; a copy of each is what the file needs anyway.
    return {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
