"""The same numbers from every layout, and as from plain diffusers, at full size in float32.

    python -m benchmarks.parity DIR [--only g-depth] [--report FILE]    # 14 GB of disk, 9 GB of memory

Weights are random, in the exact layouts of the released ones (`benchmarks.full_size`, `benchmarks.layouts`); DIR takes
them. For each of Lotus-G and Lotus-D for depth and normals: the map of a 256×256 picture from the diffusers folder
against the plain composition's (`benchmarks.plain`), not folded and folded; and from every layout, whether the weights
and the map of a 64×64 picture are those of the folder to the bit.
"""

from __future__ import annotations

import argparse
import gc
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

import lotus_core as lotus
from benchmarks.full_size import random_autoencoder, random_unet, write_folder
from benchmarks.layouts import AUTOENCODER_PREFIX, ldm_autoencoder, ldm_unet
from benchmarks.plain import compose, from_pretrained
from lotus_core.checkpoints.convert import convert
from lotus_core.sampling import draw_noise

SIZE, SMALL, SEED = 256, 64, 0  # pixels along the edges of the pictures
NAMES = {
    ("g", "depth"): "lotus-depth-g-v2-1-disparity",
    ("d", "depth"): "lotus-depth-d-v1-1",
    ("g", "normal"): "lotus-normal-g-v1-1",
    ("d", "normal"): "lotus-normal-d-v1-1",
}
LAYERS = 2


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--only", choices=[f"{variant}-{task}" for variant, task in NAMES])
    parser.add_argument("--report", type=Path)
    a = parser.parse_args(argv)
    a.folder.mkdir(parents=True, exist_ok=True)
    rows = ["| model | layout | largest difference to plain diffusers | same weights and map to the bit |"]
    rows.append("|---|---|---|---|")
    print("\n".join(rows))
    for (variant, task), name in NAMES.items():
        if a.only in (None, f"{variant}-{task}"):
            for row in parity(a.folder / name, variant, task):
                rows.append(row)
                print(row, flush=True)
    if a.report:
        with a.report.open("a", encoding="utf-8") as file:
            file.write("\n".join([*rows, "", ""]))


def parity(official: Path, variant: str, task: str) -> Iterator[str]:
    """Rows of the table for one model, whose folder `official` is made, and removed if it was not there."""
    there = official.exists()
    if not there:
        write_folder(official, variant, task)
    expected = _plain_map(official, variant)
    unet, vae = random_unet(variant, task), random_autoencoder()
    states = {"unet.": unet.state_dict(), "vae.": vae.state_dict()}
    name = f"Lotus-{variant.upper()} {task}"
    small: np.ndarray | None = None
    for layout, source, parts in _layouts(official.parent, official, states):
        model = lotus.load_model(source, "cpu", "float32", **parts)
        found, same = _our_map(model, SMALL), _same_weights(model, states)
        error = ""
        if small is None:
            small = found
            error = f"{_difference(_our_map(model), expected, task):.1e}"
        same = same and np.array_equal(found, small)
        yield f"| {name} | {layout} | {error} | {'yes' if same else 'NO'} |"
        if layout == FOLDER:
            model.fold()
            error = f"{_difference(_our_map(model), expected, task):.1e}"
            yield f"| {name} | folded, as `lotus predict` does | {error} | |"
        del model
        gc.collect()
    if not there:
        shutil.rmtree(official)


FOLDER = "diffusers folder"


def _layouts(
    folder: Path, official: Path, states: dict[str, dict[str, torch.Tensor]]
) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """(words, source, further arguments of load_model), one after the other on the disk."""
    yield FOLDER, official, {}
    unet, vae = states["unet."], states["vae."]
    ldm, ldm_vae = ldm_unet(unet, LAYERS), ldm_autoencoder(vae)
    text = {"text_encoder": official}
    file, vae_file = folder / f"{official.name}.safetensors", folder / "vae-ft-mse-840000-ema-pruned.safetensors"
    save_file(unet, file)
    save_file(vae, vae_file)
    yield "U-Net and autoencoder, diffusers names", file, {**text, "vae": vae_file}
    save_file(ldm_vae, vae_file)
    yield "U-Net in diffusers, autoencoder in LDM names", file, {**text, "vae": vae_file}
    save_file(ldm, file)
    yield "U-Net and autoencoder, LDM names", file, {**text, "vae": vae_file}
    save_file({**ldm, **ldm_autoencoder(vae, AUTOENCODER_PREFIX)}, file)
    yield "whole checkpoint, LDM names", file, text
    file.unlink()
    vae_file.unlink()
    ours, back = folder / "ours.safetensors", folder / "back"
    convert(str(official), ours, dtype=torch.float32)
    yield "ours, made of the folder", ours, {}
    convert(str(ours), back, dtype=torch.float32)
    ours.unlink()
    yield "diffusers folder made of ours", back, {}
    shutil.rmtree(back)


def _same_weights(model: lotus.LotusModel, states: dict[str, dict[str, torch.Tensor]]) -> bool:
    own = model.state_dict()
    there = {prefix + name: tensor for prefix, state in states.items() for name, tensor in state.items()}
    return own.keys() - {"prompt_embeds"} == there.keys() and all(torch.equal(own[name], there[name]) for name in there)


def _our_map(model: lotus.LotusModel, size: int = SIZE) -> np.ndarray:
    predict = getattr(lotus.LotusPredictor(model), model.info.task)
    return np.asarray(predict(photo(size), resolution=0, seed=SEED).values)


def photo(size: int) -> np.ndarray:
    """Smooth colours with edges: something of every frequency."""
    y, x = np.mgrid[0:size, 0:size] / size
    waves = [np.sin(2 * np.pi * (k + 1) * (x + k * y)) / 2 + 0.5 for k in range(3)]
    return (np.dstack(waves) * np.where((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.1, 1.0, 0.4)[..., None]).astype(np.float32)


def _plain_map(folder: Path, variant: str) -> np.ndarray:
    """3×H×W, the decoded annotation in [−1, 1]."""
    unet, vae, prompt = from_pretrained(folder)
    image = torch.from_numpy(photo(SIZE)).permute(2, 0, 1)[None] * 2 - 1
    noise = draw_noise(SEED, 0, 0, (1, 4, SIZE // 8, SIZE // 8)) if variant == "g" else None
    return np.asarray(compose(unet, vae, prompt, image, noise)[0].numpy())


def _difference(found: np.ndarray, decoded: np.ndarray, task: str) -> float:
    if task == "depth":
        return float(np.abs(found - (decoded.mean(0) / 2 + 0.5).clip(0, 1)).max())
    # Near zero length a rounding error turns a vector by any angle, in either code: weigh by the length.
    length = np.linalg.norm(decoded, axis=0)
    return float((np.abs(found - (decoded / length).transpose(1, 2, 0)).max(axis=2) * length).max())


if __name__ == "__main__":
    main()
