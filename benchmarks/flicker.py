"""How much depth flickers in videos: frames one by one against what `lotus batch` makes of them.

    python -m benchmarks.flicker                     # table on the screen
    python -m benchmarks.flicker --report benchmarks/batch.md --picture docs/pictures/flicker.jpg

Clips are filmed synthetic scenes (`lotus_core.data.synthetic.clip`) that no training has seen, with sensor noise, exact
depth and exact motion, of `--frames` frames of 192×144; the model is `lotus-tiny-depth-g`.

flicker: mean change of disparity along the exact motion beyond the true change, over the mean true disparity, with one
scale and shift for the whole clip (`batch.flicker.true_flicker`), as a ratio to that of the frames one by one. AbsRel:
of depth, aligned by one scale and shift in disparity for the whole clip, and for every frame.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import lotus_core as lotus
from benchmarks.sheets import save_sheet
from lotus_core.batch.cuts import CutDetector
from lotus_core.batch.flicker import true_flicker
from lotus_core.batch.motion import Motion, find_motion, small_grey
from lotus_core.batch.noise import FreshNoise, MovingNoise
from lotus_core.batch.ranges import Affine, CausalRange, compare, fit_into_unit, two_pass
from lotus_core.batch.smoothing import Smoother
from lotus_core.data.synthetic.clip import Frame, Move, film
from lotus_core.data.synthetic.dataset import HELD_OUT_SEED
from lotus_core.data.synthetic.render import FAR_M
from lotus_core.evaluation.alignment import align_affine
from lotus_core.maps.colormap import colorize
from lotus_core.predict import LotusPredictor
from lotus_core.sampling import draw_noise

HEIGHT, WIDTH = 144, 192
SMOOTH = 0.8  # the command's default
DEFAULT = "shared noise, two-pass range, smoothed (default)"
SHOWN = "room, camera moving"
SHOWN_FRAMES = (-4, -3, -2)
LOUDER = 5  # how much a change is raised to be seen
CLIPS = {
    "room, camera still": ("room", 0, Move()),
    "room, camera moving": ("room", 0, Move(0.02, 0.01, 0.3)),
    "another room, moving": ("room", 1, Move(0.02, 0.01, 0.3)),
    "table top, moving": ("tabletop", 0, Move(0.01, 0.005, 0.2)),
    "street, moving": ("street", 0, Move(0.05, 0.1, 0.2)),
}


@dataclass(frozen=True)
class Clip:
    """Frames, and their motion as `lotus batch` finds it."""

    frames: list[Frame]
    motions: list[Motion | None]


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--picture", type=Path, help=f"JPEG of the clip {SHOWN!r} to write")
    a = parser.parse_args(argv)
    model = lotus.load_model("lotus-tiny-depth-g", device="cpu")
    model.fold()
    predictor = LotusPredictor(model)
    lines = ["| clip | | flicker | AbsRel, clip | AbsRel, frame |", "|---|---|---|---|---|"]
    kept: list[tuple[Clip, np.ndarray]] = []
    totals: dict[str, list[tuple[float, ...]]] = {}
    for name, (kind, index, move) in CLIPS.items():
        clip = shoot(kind, index, move, a.frames)
        raw = {noise: predict(predictor, clip, noise) for noise in ("fresh", "shared", "motion")}
        kept.append((clip, raw["shared"]))
        variants = {
            "one by one": raw["fresh"],
            "shared noise alone": raw["shared"],
            DEFAULT: finish(raw["shared"], clip.motions, "two-pass"),
            "shared noise, causal range, smoothed": finish(raw["shared"], clip.motions, "causal"),
            "moving noise, two-pass range, smoothed": finish(raw["motion"], clip.motions, "two-pass"),
        }
        if a.picture is not None and name == SHOWN:
            show(clip.frames, variants["one by one"], variants[DEFAULT], a.picture)
        base = score(raw["fresh"], clip.frames)[0]
        for label, maps in variants.items():
            flicker, clip_error, frame_error = score(maps, clip.frames)
            row = (flicker / base, clip_error, frame_error)
            totals.setdefault(label, []).append(row)
            lines.append(f"| {name} | {label} | {row[0]:.3f} | {row[1]:.4f} | {row[2]:.4f} |")
            print(lines[-1], flush=True)
    for label, rows in totals.items():
        mean = np.mean(rows, axis=0)
        lines.append(f"| mean | {label} | {mean[0]:.3f} | {mean[1]:.4f} | {mean[2]:.4f} |")
    text = "\n".join([*lines, "", cut_report(kept[1], kept[2])])
    print(text)
    if a.report:
        with open(a.report, "a", encoding="utf-8") as file:
            file.write(f"\n## flicker\n\n`python -m benchmarks.flicker --frames {a.frames}`\n\n{text}\n")


def shoot(kind: str, index: int, move: Move, count: int) -> Clip:
    """Film a held-out scene and find its motion."""
    frames = list(film(count, HEIGHT, WIDTH, HELD_OUT_SEED, index, move, kind))
    return Clip(frames, motions_of(frames))


def motions_of(frames: Sequence[Frame]) -> list[Motion | None]:
    greys = [small_grey(frame.image.astype(np.float32) / 255) for frame in frames]
    return [None, *(find_motion(now, then) for then, now in itertools.pairwise(greys))]


def predict(predictor: LotusPredictor, clip: Clip, noise: str) -> np.ndarray:
    """Raw depth of every frame, N×H×W, with noise as `lotus batch --noise` has it."""
    info, factor = predictor.model.info, predictor.model.latent_factor
    flows = [None if motion is None else motion.flow for motion in clip.motions]
    moving = MovingNoise((info.resolution / WIDTH / factor,) * 2, flows.__getitem__)
    fresh = FreshNoise()
    predictor.noise = {"fresh": fresh, "shared": draw_noise, "motion": moving}[noise]
    maps = []
    for index, frame in enumerate(clip.frames):
        fresh.frame = moving.frame = index
        maps.append(predictor.depth(frame.image).values)
    return np.stack(maps)


def finish(raw: np.ndarray, motions: Sequence[Motion | None], kind: str) -> np.ndarray:
    """The range and the smoothing of `lotus batch` on the frames of one scene."""
    comparisons = [
        None if motion is None else compare(raw[index], raw[index - 1], motion) for index, motion in enumerate(motions)
    ]
    affines: list[Affine]
    if kind == "two-pass":
        lows, highs = np.quantile(raw, (0.001, 0.999), axis=(1, 2))
        affines = fit_into_unit(two_pass(comparisons), lows.tolist(), highs.tolist())
    else:
        causal = CausalRange()
        affines = [causal.next(comparison) for comparison in comparisons]
    smoother, maps = Smoother(SMOOTH), []
    for values, affine, motion in zip(raw, affines, motions, strict=True):
        ranged = np.clip(values * np.float32(affine.scale) + np.float32(affine.shift), 0, 1)
        maps.append(smoother.next(ranged, motion))
    return np.stack(maps)


def show(frames: Sequence[Frame], single: np.ndarray, batch: np.ndarray, path: Path) -> None:
    """Some frames, their depth in both ways, and how far each differs from that of the frame before."""
    change_of = f"its change, {LOUDER} times"
    captions = ("frame", "depth, one by one", change_of, "lotus batch", change_of)
    rows = []
    for index in SHOWN_FRAMES:
        row = [frames[index].image]
        for maps in (single, batch):
            change = np.abs(maps[index] - maps[index - 1]) * LOUDER
            row += [colorize(maps[index], "spectral"), colorize(change.clip(0, 1), "inferno")]
        rows.append(row)
    save_sheet(captions, rows, path, WIDTH)


def score(maps: np.ndarray, frames: Sequence[Frame]) -> tuple[float, float, float]:
    """Flicker, AbsRel with one alignment for the clip, AbsRel with one for every frame."""
    depth = np.stack([frame.depth for frame in frames])
    valid = np.isfinite(depth)
    truth = np.where(valid, 1 / np.where(valid, depth, 1), 0).astype(np.float32)
    aligned = fitted(maps, truth, valid)
    flows, seen = np.stack([frame.flow for frame in frames]), np.stack([frame.seen for frame in frames])
    each = np.stack([fitted(m, t, v) for m, t, v in zip(maps, truth, valid, strict=True)])
    return (
        true_flicker(aligned, truth, flows, seen, valid),
        abs_rel(aligned, depth, valid),
        abs_rel(each, depth, valid),
    )


def fitted(maps: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """maps · scale + shift, fitted to the valid truth by least squares."""
    width = maps.shape[-1]  # frames one below the other: one tall map
    scale, shift = align_affine(*(values.reshape(-1, width) for values in (maps, truth, valid)))
    return (maps * scale + shift).astype(np.float32)


def abs_rel(disparity: np.ndarray, depth: np.ndarray, valid: np.ndarray) -> float:
    found = 1 / np.maximum(disparity[valid], 1 / FAR_M)
    return float((np.abs(found - depth[valid]) / depth[valid]).mean())


def cut_report(first: tuple[Clip, np.ndarray], second: tuple[Clip, np.ndarray]) -> str:
    """Two clips one after the other: where the cut is found, and what the second clip's frames owe to the first."""
    frames = [*first[0].frames, *second[0].frames]
    motions, detector = motions_of(frames), CutDetector()
    cuts = [index for index, motion in enumerate(motions) if motion is not None and detector.is_cut(motion)]
    joined = [motion if index not in cuts else None for index, motion in enumerate(motions)]
    smoother = Smoother(SMOOTH)
    maps = [smoother.next(values, motion) for values, motion in zip([*first[1], *second[1]], joined, strict=True)]
    alone = Smoother(SMOOTH)
    expected = [alone.next(values, motion) for values, motion in zip(second[1], second[0].motions, strict=True)]
    difference = max(float(np.abs(a - b).max()) for a, b in zip(maps[len(first[1]) :], expected, strict=True))
    return (
        f"Two moving rooms cut together after frame {len(first[1])}: cuts found before frames"
        f" {[cut + 1 for cut in cuts]}; the frames after the cut differ from those of the second clip alone by at most"
        f" {difference:g}."
    )


if __name__ == "__main__":
    main()
