"""What the embedded fast decoder costs in quality: PSNR of its maps against the exact decoder's, in dB.

    python -m benchmarks.fast_decoder [--count 20] [--report FILE]    # the bundled photo, and scenes no training saw

Maps of the embedded checkpoints at 256 pixels, whole pictures, over the range of the map: depth in [0, 1], normals in
[−1, 1] (`lotus_core.fast_decoder.decoder_psnr`). `lotus predict --fast-decoder` writes the same for the photo at hand,
measured on its centre, into the photo's record.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import lotus_core as lotus
from benchmarks.bundled import PHOTO
from benchmarks.heading import heading
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.data.synthetic.dataset import HELD_OUT_SEED
from lotus_core.fast_decoder import decoder_psnr
from lotus_core.sampling import draw_noise

DECODER = "lotus-tiny-decoder"
SIZE = 256


@torch.no_grad()
def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20, help="made scenes")
    parser.add_argument("--report", type=Path, help="Markdown file to write")
    a = parser.parse_args(argv)
    scenes = SyntheticScenes(a.count, SIZE * 3 // 4, SIZE, HELD_OUT_SEED)
    rows = [f"| | bundled photo | {a.count} scenes, mean | least |", "|---|---|---|---|"]
    for name in ("lotus-tiny-depth-g", "lotus-tiny-normal-g"):
        model = lotus.load_model(name, fast_decoder=DECODER, fold=True)
        predictor = lotus.LotusPredictor(model)

        def psnr(photo: object, model: lotus.LotusModel = model, predictor: lotus.LotusPredictor = predictor) -> float:
            latents = predictor.encode(photo, SIZE).latents  # type: ignore[arg-type]
            return decoder_psnr(model, model(latents, draw_noise(0, 0, 0, latents.shape)))

        found = [psnr((scenes[index].image.permute(1, 2, 0).numpy() + 1) / 2) for index in range(a.count)]
        cells = (f"{value:.1f} dB" for value in (psnr(PHOTO), float(np.mean(found)), min(found)))
        rows.append(f"| {model.info.task} | {' | '.join(cells)} |")
    table = "\n".join(rows)
    print(table)
    if a.report:
        title = heading(parser, a, "benchmarks.fast_decoder", "What the fast decoder costs in quality")
        words = (
            "PSNR of the maps by the embedded fast decoder against the exact decoder's, whole pictures of 256 pixels."
        )
        a.report.write_text(f"{title}{words}\n\n{table}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
