"""The embedding of the empty prompt: the only thing Lotus needs a text encoder for. Computed once, then kept (8 KB)."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ..errors import LotusError
from .identity import fingerprint
from .layouts import PROMPT
from .writing import write_tensors

PARTS = ("text_encoder", "tokenizer")


def cache_folder() -> Path:
    """Where computed embeddings are kept: `lotus-geometry` in the user's cache folder, or $LOTUS_CACHE."""
    if chosen := os.environ.get("LOTUS_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        root = "~/Library/Caches"
    else:
        root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "lotus-geometry"


def kept_embedding(key: str) -> torch.Tensor | None:
    """The embedding kept under `key`, or None. A damaged file counts as none."""
    with contextlib.suppress(Exception):
        embedding = load_file(_kept(key))[PROMPT].clone()  # to memory of its own, see `reading.read_tensors`
        if embedding.ndim == 3 and embedding.dtype == torch.float32 and bool(torch.isfinite(embedding).all()):
            return embedding
    return None


def keep_embedding(key: str, embedding: torch.Tensor) -> None:
    """Keep `embedding` under `key` for the next time; where that is impossible, it is computed again then."""
    with contextlib.suppress(OSError, LotusError):
        target = _kept(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(target, {PROMPT: embedding})


def empty_prompt_embedding(folder: Path) -> torch.Tensor:
    """float32 1×2×C: the last hidden state of text_encoder/ for the empty prompt, tokenised without padding.

    Computed where this text encoder has not been met before, else read from the user's cache.

    Raises LotusError where transformers is missing or the folder's text encoder cannot be used.
    """
    for part in PARTS:
        if not (folder / part).is_dir():
            raise LotusError(
                f"{folder} lacks {part}/: download the whole model again, or pass another folder or hub id that has it"
                " with --text-encoder (text_encoder= in Python)."
            )
    key = fingerprint(folder, (file for part in PARTS for file in (folder / part).iterdir() if file.is_file()))
    embedding = kept_embedding(key)
    if embedding is None:
        embedding = _compute(folder)
        keep_embedding(key, embedding)
    return embedding


def _kept(key: str) -> Path:
    return cache_folder() / "prompts" / f"{key}.safetensors"


def _compute(folder: Path) -> torch.Tensor:
    try:
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError:
        raise LotusError(
            f"Reading the text encoder of {folder} needs `pip install transformers`; a single file made by"
            " `lotus convert` does not."
        ) from None
    full = any(not file.name.endswith(".fp16.safetensors") for file in (folder / "text_encoder").glob("*.safetensors"))
    read: Callable[..., Any] = CLIPTextModel.from_pretrained
    try:
        with _quiet():
            tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
            encoder = read(
                folder / "text_encoder",
                local_files_only=True,
                use_safetensors=True,
                variant=None if full else "fp16",
                torch_dtype=torch.float32,
            )
            tokens = tokenizer("", padding="do_not_pad", return_tensors="pt").input_ids
            with torch.no_grad():
                embedding: torch.Tensor = encoder.eval()(tokens)[0]
    except Exception as error:  # transformers raises whatever it trips over in the files
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LotusError(f"The text encoder of {folder} cannot be used: {reason}") from None
    if not bool(torch.isfinite(embedding).all()):
        raise LotusError(f"The text encoder of {folder} gives no finite numbers: download it again.")
    return embedding


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Neither advice nor a progress bar from transformers while two small files are read."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
