"""Training: the paper's adaptation protocol, the autoencoder of the embedded checkpoints, and fast decoders."""

from __future__ import annotations

from pathlib import Path

from ..errors import LotusError


def require_accelerate() -> None:
    """Raise LotusError where accelerate, which all of training runs on, is not installed."""
    try:
        import accelerate  # noqa: F401
    except ImportError:
        raise LotusError("Training needs accelerate: pip install accelerate.") from None


def train(config_path: str | Path, resume: bool = False) -> Path:
    """Run the training that a TOML file describes; returns what it wrote: a file, or an autoencoder folder.

    Raises LotusError for anything wrong with the config, the data or the output folder, and without accelerate.
    """
    from .config import AutoencoderRunConfig, DecoderRunConfig, load_config

    run = load_config(config_path)
    require_accelerate()
    if isinstance(run, AutoencoderRunConfig):
        from .autoencoder import train_autoencoder

        return train_autoencoder(run, resume)
    if isinstance(run, DecoderRunConfig):
        from .decoder import train_decoder

        return train_decoder(run, resume)
    from .trainer import train_model

    return train_model(run, resume)
