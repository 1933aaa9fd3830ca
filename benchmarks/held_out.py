"""Scenes that no training has seen, as the embedded checkpoints see them: one of each kind, as a picture.

python -m benchmarks.held_out --out docs/pictures/embedded-held-out.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lotus_core as lotus
from benchmarks.sheets import grey, save_sheet
from lotus_core.data.sample import to_bytes
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.data.synthetic.compose import KINDS
from lotus_core.data.synthetic.dataset import HELD_OUT_SEED
from lotus_core.maps import Normals
from lotus_core.training.annotation import annotation

CAPTIONS = ("picture", "disparity", "predicted", "normals", "predicted")


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JPEG to write")
    parser.add_argument("--depth-model", default="lotus-tiny-depth-g")
    parser.add_argument("--normal-model", default="lotus-tiny-normal-g")
    a = parser.parse_args(argv)
    depth, normals = (lotus.LotusPredictor(lotus.load_model(name)) for name in (a.depth_model, a.normal_model))
    rows = []
    for kind in KINDS:
        scene = SyntheticScenes(1, 192, 256, HELD_OUT_SEED, kinds=(kind,))[0]
        photo = to_bytes(scene.image)
        seen = grey(depth.depth(photo, seed=0).values)
        true = annotation(scene, "depth", "disparity")
        facing = Normals(scene.normals.permute(1, 2, 0).numpy()).preview()
        rows.append([photo, to_bytes(true), seen, facing, normals.normal(photo, seed=0).preview()])
    save_sheet(CAPTIONS, rows, a.out, 150, KINDS)


if __name__ == "__main__":
    main()
