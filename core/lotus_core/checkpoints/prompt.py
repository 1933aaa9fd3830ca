"""The embedding of the empty prompt: the only thing Lotus needs a text encoder for, computed once and kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch

from ..errors import LotusError


def empty_prompt_embedding(folder: Path) -> torch.Tensor:
    """float32 1×2×C: the last hidden state of text_encoder/ for the empty prompt, tokenised without padding.

    Raises LotusError where transformers is missing or the folder's text encoder cannot be used.
    """
    try:
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError:
        raise LotusError(
            f"Reading the text encoder of {folder} needs `pip install 'lotus-geometry[hub]'`; a single file made by"
            " `lotus convert` does not."
        ) from None
    for part in ("text_encoder", "tokenizer"):
        if not (folder / part).is_dir():
            raise LotusError(f"{folder} lacks {part}/: download the whole model again.")
    try:
        with _quiet():
            tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
            encoder = CLIPTextModel.from_pretrained(
                folder / "text_encoder", local_files_only=True, use_safetensors=True
            )
            tokens = tokenizer("", padding="do_not_pad", return_tensors="pt").input_ids
            with torch.no_grad():
                embedding = encoder.float().eval()(tokens)[0]
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
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
