"""How many samples uncertainty takes: how it ranks errors, by the number of noise samples whose spread it is.

    python -m benchmarks.samples --report benchmarks/samples.md    # 15 minutes on one core

The spread of a few samples is itself a guess of how far all would spread, and ranks errors worse for it. Scenes, masks
and measures are those of `benchmarks.tiny`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import trange

import lotus_core as lotus
from benchmarks.heading import heading
from benchmarks.tiny import MIN_VALID, Pixels, uncertainty_measures, uncertainty_of_pixels
from lotus_core.data.sample import to_bytes
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.data.synthetic.compose import FIRST_KINDS
from lotus_core.data.synthetic.dataset import HELD_OUT_SEED
from lotus_core.evaluation.metrics import spearman
from lotus_core.evaluation.summary import markdown_table
from lotus_core.finishing import uncertainty_map
from lotus_core.sampling import draw_noise

HEIGHT, WIDTH = 192, 256


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="held-out scenes")
    parser.add_argument("--numbers", default="2,5,10,20,50", help="of samples, with commas between")
    parser.add_argument("--kinds", default=",".join(FIRST_KINDS), help="of scenes, with commas between")
    parser.add_argument("--depth-model", default="lotus-tiny-depth-g")
    parser.add_argument("--report", type=Path, help="also write the table to this Markdown file")
    a = parser.parse_args(argv)
    predictor = lotus.LotusPredictor(lotus.load_model(a.depth_model))
    predictor.noise = noise_of_samples
    scenes = SyntheticScenes(a.count, HEIGHT, WIDTH, HELD_OUT_SEED, kinds=a.kinds.split(","))
    rows: dict[int, list[dict[str, float]]] = {int(number): [] for number in a.numbers.split(",")}
    of_all: dict[int, list[Pixels]] = {number: [] for number in rows}
    for index in trange(a.count, desc="scenes", disable=None):
        sample = scenes[index]
        mask = sample.valid.numpy()
        if mask.mean() < MIN_VALID:
            continue
        photo = to_bytes(sample.image)
        maps = predictor.depth([predictor.encode(photo)] * max(rows), seed=index)
        for number, measures in rows.items():
            drawn = [torch.from_numpy(one.values.copy())[None] for one in maps[:number]]
            found = uncertainty_map(predictor.model.info, drawn, number, maps[0].valid)
            pixels = uncertainty_of_pixels(found, sample, mask)
            of_all[number].append(pixels)
            measures.append(dict(uncertainty_measures(pixels, found.std, sample, mask, photo)))
    ranked = ("Spearman with the error within a picture", "of all pixels")
    table: list[tuple[str, ...]] = [("samples", *ranked, "AUSE", "AUSE of the image gradient")]
    for number, measures in rows.items():
        mean = {name: float(np.nanmean([one[name] for one in measures])) for name in measures[0]}
        errors, deviations = (np.concatenate(of) for of in zip(*of_all[number], strict=True))
        correlations = f"{mean['spearman']:.2f}", f"{spearman(deviations, errors):.2f}"
        table.append((str(number), *correlations, f"{mean['ause']:.3f}", f"{mean['ause_gradient']:.3f}"))
    where = f"{WIDTH}×{HEIGHT} pixels ({a.kinds.replace(',', ', ')})"
    text = f"{len(measures)} held-out scenes of {where}; {a.depth_model}, errors of the samples' mean."
    text += f"\n\n{markdown_table(table)}"
    print(text)
    if a.report:
        title = "How many samples uncertainty takes"
        a.report.write_text(heading(parser, a, "benchmarks.samples", title) + text, encoding="utf-8")


def noise_of_samples(seed: int, number: int, _sample: int, shape: Sequence[int]) -> torch.Tensor:
    """Of picture `number` of a list that of the uncertainty's sample `number`: the samples, each predicted once."""
    return draw_noise(seed, 0, number, shape)


if __name__ == "__main__":
    main()
