"""Published checkpoints from the Hugging Face hub: only the files that a prediction needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import LotusError
from .registry import near_matches

# Configs, vocabulary and safetensors weights; neither pickles nor the copies for other frameworks.
PATTERNS = ["model_index.json", "lotus.json", "scheduler/*.json", "tokenizer/*"] + [
    f"{part}/{file}" for part in ("unet", "vae", "text_encoder") for file in ("*.json", "*.safetensors")
]


def download(hub_id: str, patterns: Sequence[str] = PATTERNS) -> Path:
    """The local folder of a hub id's newest snapshot: its files that match `patterns`, downloaded where not there yet.

    Raises LotusError where the hub has no such model, cannot be reached, or a needed package is missing.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
        )
    except ImportError:
        raise LotusError(
            f"Loading {hub_id} from the Hugging Face hub needs `pip install 'lotus-geometry[hub]'`."
        ) from None
    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(patterns)))
    except GatedRepoError:
        raise LotusError(f"{hub_id} asks you to accept its terms on huggingface.co and to log in first.") from None
    except (RepositoryNotFoundError, HFValidationError):
        matches = near_matches(hub_id)
        hint = f"did you mean {' or '.join(matches)}?" if matches else "`lotus models` lists what is available."
        raise LotusError(f"{hub_id} is neither a local path nor a model on the Hugging Face hub: {hint}") from None
    except LocalEntryNotFoundError:
        raise LotusError(
            f"{hub_id} is not on this machine and the Hugging Face hub cannot be reached: check the connection, or pass"
            " the path of a folder that you downloaded."
        ) from None
    except (HfHubHTTPError, OSError) as error:
        raise LotusError(f"Downloading {hub_id} failed ({type(error).__name__}): try again later.") from None
