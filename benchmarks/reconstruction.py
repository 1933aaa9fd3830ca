"""What a model gives back of a photo under the switch s_x, which the detail preserver trains.

    python -m benchmarks.reconstruction --report benchmarks/reconstruction.md --picture docs/pictures/reconstruction.jpg

The autoencoder alone is the best that s_x can be; both see the photo at the model's own resolution, which blurs a
larger one. `lotus predict PHOTO -o DIR --task reconstruct` does it for any photo.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import lotus_core as lotus
from benchmarks.bundled import PHOTO
from benchmarks.sheets import save_sheet
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.data.synthetic.dataset import HELD_OUT_SEED
from lotus_core.images import load_image
from lotus_core.maps.picture import Picture, psnr
from lotus_core.model import LotusModel

SCENES = (2, 7, 11)


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lotus-tiny-depth-g")
    parser.add_argument("--photo", type=Path, default=PHOTO)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--picture", type=Path)
    a = parser.parse_args(argv)
    model = lotus.load_model(a.model, device="cpu", dtype=torch.float32)
    predictor = lotus.LotusPredictor(model)
    photos = {a.photo.name: load_image(a.photo).rgb} | _scenes()
    lines = ["| photo | autoencoder alone, PSNR | under s_x, PSNR |", "|---|---|---|"]
    rows = []
    for name, photo in photos.items():
        alone, given = autoencoded(model, photo), predictor.reconstruct(photo)
        lines.append(f"| {name} | {psnr(alone, photo):.1f} dB | {psnr(given, photo):.1f} dB |")
        rows.append([Picture(each).preview() for each in (photo, alone, given)] + [predictor.depth(photo).preview()])
    print("\n".join(lines))
    if a.report:
        text = f"# Reconstruction under s_x\n\n{__doc__}\n{a.model}:\n\n" + "\n".join(lines) + "\n"
        a.report.write_text(text, encoding="utf-8")
    if a.picture:
        save_sheet(("picture", "autoencoder alone", "U-Net under s_x", "U-Net under s_y"), rows, a.picture, width=240)


@torch.no_grad()
def autoencoded(model: LotusModel, photo: NDArray[np.float32]) -> NDArray[np.float32]:
    """A photo H×W×3 in [0, 1] after encoder and decoder, at the size that `LotusPredictor.reconstruct` uses."""
    encoded = lotus.LotusPredictor(model).encode(photo)
    decoded = (model.decode(encoded.latents) / 2 + 0.5).clamp(0, 1)  # type: ignore[union-attr]
    values: NDArray[np.float32] = encoded.frame.from_network(decoded)[0].clamp(0, 1).permute(1, 2, 0).numpy()
    return values


def _scenes() -> dict[str, NDArray[np.float32]]:
    scenes = SyntheticScenes(max(SCENES) + 1, 192, 256, HELD_OUT_SEED)
    return {f"held-out scene {i}": (scenes[i].image / 2 + 0.5).permute(1, 2, 0).numpy() for i in SCENES}


if __name__ == "__main__":
    main()
