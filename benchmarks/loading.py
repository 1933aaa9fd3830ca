"""Loading at full size: the same numbers from every layout as from plain diffusers, how long it takes, in what memory.

    python -m benchmarks.loading parity DIR    # every layout × G/D × depth/normal, float32, 256×256; 14 GB of disk
                                               # (--everywhere: predict from each layout, not compare weights alone;
                                               # --folder-only: parity alone)
    python -m benchmarks.loading cost DIR      # seconds and peak memory, each in a process of its own; 6 GB of disk

Weights are random, in the exact layouts of the released ones (`benchmarks.full_size`, `benchmarks.layouts`); DIR takes
them. The plain composition reads the folder with `from_pretrained`: U-Net, autoencoder, text encoder and tokenizer, as
the original code does. `--report FILE` adds the tables to a Markdown file. Needs 9 GB of memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

import lotus_core as lotus
from benchmarks.full_size import random_autoencoder, random_unet, write_folder
from benchmarks.layouts import AUTOENCODER_PREFIX, ldm_autoencoder, ldm_unet
from lotus_core.checkpoints.convert import convert

SIZE, SEED = 256, 0
SMALL = 64  # pixels along the edge of the image behind `cost`, where loading is to count and not the prediction
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
    parser.add_argument("what", choices=("parity", "cost", *_PROCESSES))
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--only", choices=[f"{variant}-{task}" for variant, task in NAMES])
    parser.add_argument("--folder-only", action="store_true", help="leave the other layouts out")
    parser.add_argument("--everywhere", action="store_true", help="predict from every layout, not the folder alone")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--report", type=Path)
    a = parser.parse_args(argv)
    if a.what in _PROCESSES:
        print(json.dumps(_measure(_PROCESSES[a.what], a.folder)))
        return
    a.folder.mkdir(parents=True, exist_ok=True)
    table = parity(a.folder, a.only, a.everywhere, a.folder_only) if a.what == "parity" else cost(a.folder, a.rounds)
    print(table)
    if a.report:
        with a.report.open("a", encoding="utf-8") as file:
            file.write(table + "\n")


# Parity


def parity(folder: Path, only: str | None, everywhere: bool, folder_only: bool) -> str:
    """Largest difference to the plain composition, and whether all layouts give the same to the bit."""
    rows = []
    for (variant, task), name in NAMES.items():
        if only not in (None, f"{variant}-{task}"):
            continue
        unet, vae = random_unet(variant, task), random_autoencoder()
        official = folder / name
        if not official.exists():
            write_folder(official, variant, task)
        states = {"unet.": unet.state_dict(), "vae.": vae.state_dict()}
        expected = _plain_map(official, variant)
        first: np.ndarray | None = None
        for layout, source, parts in _layouts(folder, official, states):
            model = lotus.load_model(source, "cpu", "float32", **parts)
            same = [_same_weights(model, states)]
            error = ""
            if everywhere or first is None:
                found = _our_map(model)
                same.append(first is None or np.array_equal(found, first))
                error = f"{_difference(found, expected, task):.1e}"
            rows.append(f"| Lotus-{variant.upper()} {task} | {layout} | {error} | {'yes' if all(same) else 'NO'} |")
            print(rows[-1], flush=True)
            if first is None:
                first = found
                model.fold()
                error = f"{_difference(_our_map(model), expected, task):.1e}"
                rows.append(f"| Lotus-{variant.upper()} {task} | folded, as `lotus predict` does | {error} | |")
                print(rows[-1], flush=True)
            del model
            gc.collect()
            if folder_only:
                break
        shutil.rmtree(official)
    head = f"`python -m benchmarks.loading parity`: {SIZE}×{SIZE}, float32, torch {torch.__version__}"
    same_words = "same weights and maps to the bit" if everywhere else "same weights to the bit"
    header = f"| model | layout | largest difference to plain diffusers | {same_words} |\n|---|---|---|---|"
    return "\n".join([head, "", header, *rows, ""])


def _layouts(
    folder: Path, official: Path, states: dict[str, dict[str, torch.Tensor]]
) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """(words, source, further arguments of load_model), one after the other on the disk."""
    yield "diffusers folder", official, {}
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


def _our_map(model: lotus.LotusModel) -> np.ndarray:
    predict = getattr(lotus.LotusPredictor(model), model.info.task)
    return np.asarray(predict(_photo(), resolution=0, seed=SEED).values)


def _photo(size: int = SIZE) -> np.ndarray:
    """Smooth colours with edges: something of every frequency."""
    y, x = np.mgrid[0:size, 0:size] / size
    waves = [np.sin(2 * np.pi * (k + 1) * (x + k * y)) / 2 + 0.5 for k in range(3)]
    return (np.dstack(waves) * np.where((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.1, 1.0, 0.4)[..., None]).astype(np.float32)


def _plain_map(folder: Path, variant: str) -> np.ndarray:
    """3×H×W, the decoded annotation in [−1, 1]."""
    parts = _from_pretrained(folder)
    decoded = _compose(*parts, variant)
    del parts
    gc.collect()
    return decoded


def _difference(found: np.ndarray, decoded: np.ndarray, task: str) -> float:
    if task == "depth":
        return float(np.abs(found - (decoded.mean(0) / 2 + 0.5).clip(0, 1)).max())
    # Near zero length a rounding error turns a vector by any angle, in either code: weigh by the length.
    length = np.linalg.norm(decoded, axis=0)
    return float((np.abs(found - (decoded / length).transpose(1, 2, 0)).max(axis=2) * length).max())


def _from_pretrained(folder: Path) -> tuple[Any, Any, Any]:
    """U-Net, autoencoder and prompt as the original pipeline gets them."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    with torch.no_grad():
        prompt = encoder(tokenizer("", padding="do_not_pad", return_tensors="pt").input_ids)[0]
    return unet, vae, prompt


@torch.no_grad()
def _compose(unet: Any, vae: Any, prompt: torch.Tensor, variant: str, size: int = SIZE) -> np.ndarray:
    from lotus_core.sampling import draw_noise

    image = torch.from_numpy(_photo(size)).permute(2, 0, 1)[None] * 2 - 1
    latents = vae.encode(image).latent_dist.mode() * vae.config.scaling_factor
    noise = [draw_noise(SEED, 0, 0, latents.shape)] if variant == "g" else []
    switch = torch.tensor([[1.0, 0.0]])
    predicted = unet(
        torch.cat([latents, *noise], dim=1),
        torch.tensor([999]),
        encoder_hidden_states=prompt,
        class_labels=torch.cat([switch.sin(), switch.cos()], dim=-1),
    ).sample
    return np.asarray(vae.decode(predicted / vae.config.scaling_factor).sample[0].numpy())


# Cost


def cost(folder: Path, rounds: int) -> str:
    """Seconds and memory of each way to load, alternately, each in a fresh process; least of the rounds."""
    official = folder / NAMES["g", "depth"]
    if not official.exists():
        write_folder(official, "g", "depth")
    environment = {**os.environ, "LOTUS_CACHE": str(folder / "cache")}
    shutil.rmtree(folder / "cache", ignore_errors=True)
    least: dict[str, dict[str, float]] = {}
    for file in official.rglob("*"):  # into the file cache: disks are not what is compared
        if file.is_file():
            file.read_bytes()
    for number in range(rounds):
        for what in _PROCESSES:
            if what == "ours-first":
                shutil.rmtree(folder / "cache", ignore_errors=True)
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.loading", what, str(official)],
                env=environment, check=True, capture_output=True, text=True,
            )  # fmt: skip
            found = json.loads(done.stdout.splitlines()[-1])
            print(number, what, found, flush=True)
            before = least.get(what, found)
            least[what] = {key: min(before[key], found[key]) for key in found}
    base = least["plain"]
    rows = []
    for what, found in least.items():
        times = (f"{found[key]:.2f} ({found[key] / base[key]:.2f})" for key in ("load", "first", "overhead"))
        rows.append(f"| {_WORDS[what]} | {' | '.join(times)} | {found['peak'] / found['weights']:.2f} |")
    head = f"`python -m benchmarks.loading cost`: float32, {SMALL}×{SMALL}, {torch.get_num_threads()} threads"
    table = (
        "| seconds (÷ from_pretrained) | load | load, first map | of it beyond a later map | peak memory ÷ weights |\n"
        "|---|---|---|---|---|"
    )
    return "\n".join([head, "", table, *rows, ""])


def _measure(load: Callable[[Path], tuple[Callable[[], object], int]], folder: Path) -> dict[str, float]:
    """Seconds and bytes of loading and predicting in this process, imports not counted."""
    import diffusers.models.unets.unet_2d_condition  # noqa: F401
    import transformers  # noqa: F401
    from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: F401
    from transformers import CLIPTextModel, CLIPTokenizer  # noqa: F401

    import lotus_core.predict  # noqa: F401

    before = _resident()
    _forget_peak()
    start = time.perf_counter()
    predict, weights = load(folder)
    loaded = time.perf_counter() - start
    peak = _resident("VmHWM") - before
    predict()
    first = time.perf_counter() - start
    later = _timed(predict)
    return {"load": loaded, "first": first, "overhead": first - later, "peak": peak, "weights": weights}


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _resident(what: str = "VmRSS") -> int:
    """Bytes that this process has in memory, mapped files included; "VmHWM": the most since `_forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _load_plain(folder: Path) -> tuple[Callable[[], object], int]:
    parts = _from_pretrained(folder)
    return lambda: _compose(*parts, "g", SMALL), sum(p.nbytes for part in parts[:2] for p in part.state_dict().values())


def _load_ours(folder: Path) -> tuple[Callable[[], object], int]:
    model = lotus.load_model(folder, "cpu", "float32")
    predictor = lotus.LotusPredictor(model)
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    return lambda: predictor.depth(_photo(SMALL), resolution=0, seed=SEED), weights


def _load_half(folder: Path) -> tuple[Callable[[], object], int]:
    model = lotus.load_model(folder, "cpu", "bfloat16")
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    return lambda: None, weights


_PROCESSES = {"plain": _load_plain, "ours-first": _load_ours, "ours": _load_ours, "ours-half": _load_half}
_WORDS = {
    "plain": "from_pretrained of the folder's parts, and the prompt",
    "ours-first": "ours, the first time (computes the prompt)",
    "ours": "ours, later (prompt from the cache)",
    "ours-half": "ours, to bfloat16 (loading alone)",
}


if __name__ == "__main__":
    main()
