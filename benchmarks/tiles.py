"""What tiles add: depth and normals of made scenes with exact truth, whole and in tiles.

    python -m benchmarks.tiles [--count 6] [--width 768] [--tile 256]
    python -m benchmarks.tiles --tile 192 --picture docs/pictures/tiles.jpg   # the bundled photo instead, as a picture

AbsRel after aligning disparity to the truth, mean angle of normals, and how well the detail agrees: the correlation of
the map with the truth after both lost everything coarser than 8 pixels. The scenes are held out (`benchmarks.tiny`).
"seam" is the median step between neighbouring columns where a tile ends over that of all columns.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage

import lotus_core as lotus
from benchmarks.bundled import PHOTO
from benchmarks.sheets import save_sheet
from lotus_core.data.sample import to_bytes
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.data.synthetic.dataset import HELD_OUT_SEED
from lotus_core.encoded import EncodedTiles
from lotus_core.evaluation.alignment import aligned_depth
from lotus_core.evaluation.metrics import angular_error, depth_metrics
from lotus_core.images import load_image
from lotus_core.tiling import Grid

NEAR_M, FAR_M = 0.1, 80.0
FINE = 8.0  # pixels, standard deviation of the Gaussian whose result is taken away
MIN_VALID = 0.05


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--picture", type=Path, help="JPEG of the photo's maps to write; nothing is measured then")
    a = parser.parse_args(argv)
    models = [lotus.load_model(name) for name in ("lotus-tiny-depth-g", "lotus-tiny-normal-g")]
    for model in models:
        model.fold()
    depth, normal = (lotus.LotusPredictor(model) for model in models)
    if a.picture is not None:
        _show(depth, normal, a.tile, a.picture)
        return
    scenes = SyntheticScenes(a.count, a.width * 3 // 4, a.width, HELD_OUT_SEED)
    rows: dict[str, list[list[float]]] = {"whole": [], f"tiles of {a.tile}": []}
    for index in range(a.count):
        sample = scenes[index]
        mask = sample.valid.numpy()
        if mask.mean() < MIN_VALID:
            continue
        photo = to_bytes(sample.image)
        truth, normals = sample.depth.numpy(), sample.normals.permute(1, 2, 0).numpy()
        for name, tile in zip(rows, (None, a.tile), strict=True):
            encoded = depth.encode(photo, tile=a.tile)
            assert isinstance(encoded, EncodedTiles)
            values = depth.depth(encoded if tile else photo, seed=index).values
            found = normal.normal(encoded if tile else photo, seed=index).values
            metres = aligned_depth(values, "disparity", truth, mask, NEAR_M, FAR_M)
            angles = angular_error(found, normals, mask)
            inverse = np.where(mask, 1 / np.maximum(np.where(mask, truth, 1), NEAR_M), 0)
            rows[name].append(
                [
                    float(depth_metrics(metres, truth, mask)["abs_rel"]),
                    float(angles.mean()),
                    _agreement(values, inverse, mask),
                    _seam(values, encoded.grid),
                ]
            )
        print(index, {name: np.round(found[-1], 4).tolist() for name, found in rows.items()}, flush=True)
    print("\n| | AbsRel | normals, degrees | fine detail, correlation | seam |\n|---|---|---|---|---|")
    for name, values in rows.items():
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in np.mean(values, axis=0)) + " |")


def _show(depth: lotus.LotusPredictor, normal: lotus.LotusPredictor, tile: int, path: Path) -> None:
    """Depth and normals of the bundled photo: whole on the left, in tiles on the right."""
    photo = load_image(PHOTO)
    tiled = depth.encode(photo, tile=tile)
    rows = [[predict(seen).preview() for seen in (photo, tiled)] for predict in (depth.depth, normal.normal)]
    captions = (f"the whole photo at {depth.model.info.resolution} pixels", f"--tile {tile}")
    save_sheet(captions, rows, path, photo.rgb.shape[1])


def _agreement(values: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    fine = [field - ndimage.gaussian_filter(field, FINE) for field in (values.astype(np.float64), truth)]
    return float(np.corrcoef(fine[0][mask], fine[1][mask])[0, 1])


def _seam(values: np.ndarray, grid: Grid) -> float:
    steps = np.median(np.abs(np.diff(values, axis=1)), axis=0)
    ends = [left - 1 for left in grid.lefts[1:]] + [left + grid.tile_width - 1 for left in grid.lefts[:-1]]
    return float(np.median(steps[[end for end in ends if end < len(steps)]]) / np.median(steps))


if __name__ == "__main__":
    main()
