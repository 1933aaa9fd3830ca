"""What a bare U-Net lacks, from where the user says: the autoencoder, and the embedding of the empty prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

import torch

from ..errors import LotusError
from ..model import Autoencoder
from ..progress import Progress
from .assemble import Unfilled
from .autoencoders import find_autoencoder
from .diffusers_layout import PROMPT_FILE
from .format import is_ours
from .header import Header, read_header
from .hub import HUB_ID, TEXT, Wanted, download, matching
from .layouts import PROMPT, contents_of
from .prompt import empty_prompt_embedding, keep_embedding, kept_embedding
from .reading import read_tensors
from .rest import parts_of

_BARE_AUTOENCODER = ("config.json", "diffusion_pytorch_model.safetensors")


def autoencoder_from(name: str, half: bool, progress: Progress | None = None) -> Unfilled[Autoencoder]:
    """The autoencoder in a file, a folder or a model on the hub, of which only headers are read yet.

    Raises LotusError where it is not there, or no autoencoder of Stable Diffusion 1 and 2.
    """
    path = Path(name).expanduser()
    if path.exists():
        return find_autoencoder(path, half)
    if not HUB_ID.fullmatch(name) or name.lower().endswith(".safetensors"):
        raise LotusError(f"There is no autoencoder {name}: --vae names a file, a folder or a hub id.")

    def choose(files: Collection[str]) -> list[str]:
        whole_model = any(file.startswith("vae/") for file in files)
        return (Wanted(("vae",), half) if whole_model else matching(*_BARE_AUTOENCODER))(files)

    return find_autoencoder(download(name, choose, progress), half)


def prompt_from(name: str, progress: Progress | None = None) -> torch.Tensor:
    """The embedding of the empty prompt, float32 1×L×C, from a folder or hub id with text_encoder/ and tokenizer/, or
    from a file that holds the embedding.

    Raises LotusError where `name` is none of these.
    """
    path = Path(name).expanduser()
    if path.is_file():
        header = read_header(path)
        ours = is_ours(header)
        holder = parts_of(header).prompt if ours else header if contents_of(header).prompt else None
        if holder is None:
            raise LotusError(
                f"{path} holds no embedding of the empty prompt: name a folder or hub id with text_encoder/."
            )
        return _read(holder)
    if path.is_dir():
        kept = path / PROMPT_FILE
        return _read(read_header(kept)) if kept.is_file() else empty_prompt_embedding(path)
    if not HUB_ID.fullmatch(name) or name.lower().endswith(".safetensors"):
        raise LotusError(f"There is no text encoder {name}: --text-encoder names a folder or a hub id.")
    return empty_prompt_embedding(download(name, Wanted(TEXT), progress))


def hub_prompt(hub_id: str, folder: Path, half: bool, progress: Progress | None) -> torch.Tensor | None:
    """The embedding of a hub model whose networks lie in the snapshot `folder`.

    Its text encoder is downloaded only where the embedding of this snapshot is not kept from before. None where the
    snapshot holds the embedding itself, as the folders of `lotus convert` do.
    """
    if (folder / PROMPT_FILE).is_file():
        return None
    key = hashlib.sha256(f"{hub_id}@{folder.name} {'half' if half else 'full'}".encode()).hexdigest()[:32]
    embedding = kept_embedding(key)
    if embedding is None:
        embedding = empty_prompt_embedding(download(hub_id, Wanted(TEXT, half), progress))
        keep_embedding(key, embedding)
    return embedding


def _read(header: Header) -> torch.Tensor:
    if PROMPT not in header.tensors:
        raise LotusError(f"{header.path} holds no {PROMPT}: convert the model again.")
    return dict(read_tensors(header, {PROMPT: PROMPT}, torch.device("cpu"), torch.float32))[PROMPT]
