"""Seconds of one prediction at full size on a CPU: ours against the plain composition of diffusers' networks.

    python -m benchmarks.speed maps                # depth: exact, fast decoder, small autoencoder at both ends
    python -m benchmarks.speed uncertainty         # 10 samples against ten predictions, time and memory
    python -m benchmarks.speed parts               # what each measure saves, one after the other
    python -m benchmarks.speed autocast            # the plain composition under the original's CPU autocast (bfloat16)

Weights are random, in the exact shape of the released ones (`benchmarks.full_size`); the small autoencoder has the
shape of TAESD. The plain composition is what the original pipeline computes: both networks in float32 as diffusers
builds them, or under `torch.autocast`. All variants run alternately, A B A B, after one run each on a small image that
is not counted; figures are the least of the rounds, in CPU seconds of one thread (`--threads`), which other work on the
machine disturbs least. Needs 9 GB of memory. `--report FILE` adds the table to a Markdown file.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel

import lotus_core as lotus
from benchmarks.full_size import random_autoencoder, random_unet
from benchmarks.plain import compose, latent_noise
from lotus_core.folding import fold_unet
from lotus_core.measure import peak_bytes, reset_peak
from lotus_core.model import TASK_SWITCH, TIMESTEP, LotusModel, task_embedding
from lotus_core.model_info import ModelInfo
from lotus_core.precision import FULL_SIZE, auto_dtype
from lotus_core.upsampling import fold_upsampling

Variant = Callable[[], object]
CPU = torch.device("cpu")
WARM_UP = 128  # pixels along the edge of the image that every variant sees first


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("maps", "uncertainty", "parts", "autocast"))
    parser.add_argument("--size", type=int, default=512, help="edge of the square image in pixels")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--report", type=Path)
    a = parser.parse_args(argv)
    torch.set_num_threads(a.threads)
    photo = np.random.default_rng(0).random((a.size, a.size, 3), dtype=np.float32)
    with torch.no_grad():
        table = {"maps": maps, "uncertainty": uncertainty, "parts": parts, "autocast": autocast}[a.what](
            photo, a.rounds
        )
    head = f"{a.size}×{a.size}, {torch.get_num_threads()} threads, torch {torch.__version__}, {precision()}"
    table = f"`python -m benchmarks.speed {a.what} --size {a.size}`: {head}\n\n{table}\n"
    print(table)
    if a.report:
        with a.report.open("a", encoding="utf-8") as file:
            file.write(table + "\n")


def precision() -> str:
    """What "auto" takes on this CPU."""
    return f"{str(auto_dtype(CPU, FULL_SIZE)).removeprefix('torch.')} by itself, CPU seconds"


def networks() -> tuple[UNet2DConditionModel, AutoencoderKL, torch.Tensor]:
    """Random Lotus-G networks of full size, float32, and a prompt of two tokens."""
    prompt = torch.randn(1, 2, 1024, generator=torch.Generator().manual_seed(3))
    return random_unet("g", "depth").eval(), random_autoencoder().eval(), prompt


def ours(unet: UNet2DConditionModel, vae: AutoencoderKL, prompt: torch.Tensor) -> LotusModel:
    """As the command line runs it: folded, in the precision of "auto"; a small autoencoder for the fast decoder."""
    model = LotusModel(unet, vae, prompt, ModelInfo("full size", "depth", "disparity", resolution=0x7FFF)).eval()
    torch.manual_seed(4)
    model.fast_vae, model.fast_name = AutoencoderTiny().eval(), "random"
    fold_upsampling(model.fast_vae.decoder)
    model.to(auto_dtype(CPU, FULL_SIZE)).fold()
    model.fast_vae.to(memory_format=torch.channels_last)
    return model


def plain(
    unet: UNet2DConditionModel, vae: AutoencoderKL, prompt: torch.Tensor, photo: np.ndarray, bfloat16: bool = False
) -> np.ndarray:
    """One depth map as the original pipeline computes it."""
    image = torch.from_numpy(photo).permute(2, 0, 1)[None] * 2 - 1
    with torch.autocast("cpu", torch.bfloat16) if bfloat16 else nullcontext():
        decoded = compose(unet, vae, prompt, image, latent_noise(image))
    return (decoded.float().mean(1) / 2 + 0.5).clamp(0, 1)[0].numpy()


def alternate(variants: dict[str, Variant], rounds: int) -> dict[str, float]:
    """Least CPU seconds of each variant over `rounds` rounds through all of them."""
    least = dict.fromkeys(variants, float("inf"))
    for number in range(rounds):
        for name, run in variants.items():
            seconds = cpu_seconds(run)
            least[name] = min(least[name], seconds)
            print(f"round {number}: {name} {seconds:.2f} s", flush=True)
    return least


def cpu_seconds(run: Variant) -> float:
    """Of the process: other work on the machine makes a call wait, but does not add to them."""
    start = time.process_time()
    run()
    return time.process_time() - start


def ratios(seconds: dict[str, float], base: str) -> str:
    """Seconds and their ratio to `base` as a Markdown table."""
    rows = (f"| {name} | {value:.2f} | {value / seconds[base]:.2f} |" for name, value in seconds.items())
    return "\n".join([f"| | seconds | × {base} |", "|---|---|---|", *rows])


def maps(photo: np.ndarray, rounds: int) -> str:
    """Depth of one image in every way."""
    unet, vae, prompt = networks()
    predictor = lotus.LotusPredictor(ours(*networks()))
    predictor.fast_decoder_psnr = 0.0  # measured for the first map only: not part of the steady state
    ways: dict[str, Callable[[np.ndarray], object]] = {
        "plain float32": lambda image: plain(unet, vae, prompt, image),
        "plain, CPU autocast": lambda image: plain(unet, vae, prompt, image, bfloat16=True),
        "exact": lambda image: predictor.depth(image, resolution=0),
        "fast decoder": lambda image: predictor.depth(image, resolution=0, decoder="fast"),
        "small at both ends": lambda image: predictor.depth(image, resolution=0, decoder="fast", encoder="fast"),
    }
    if auto_dtype(CPU, FULL_SIZE) != torch.bfloat16:
        del ways["plain, CPU autocast"]  # emulated, minutes an image: `autocast` measures it once
    for way in ways.values():
        way(photo[:WARM_UP, :WARM_UP])
    seconds = alternate({name: partial(way, photo) for name, way in ways.items()}, rounds)
    return "\n\n".join(ratios(seconds, base) for base in ways if base.startswith("plain"))


def uncertainty(photo: np.ndarray, rounds: int, samples: int = 10) -> str:
    """`samples` draws of one image against as many predictions, exact and fast, and what memory they take."""
    predictor = lotus.LotusPredictor(ours(*networks()))
    predictor.fast_decoder_psnr = 0.0
    small = photo[:WARM_UP, :WARM_UP]
    predictor.depth(small, resolution=0)
    reset_peak(CPU)
    one = alternate({"one": lambda: predictor.depth(photo, resolution=0)}, rounds)["one"]
    peak = {"one": peak_bytes(CPU) or 0}
    found = {f"{samples} predictions (one × {samples})": samples * one}
    ways: dict[str, dict[str, Any]] = {
        "exact": {},
        "fast decoder": {"decoder": "fast"},
        "small at both ends": {"decoder": "fast", "encoder": "fast"},
    }
    for name, way in ways.items():
        predictor.uncertainty(small, resolution=0, samples=2, **way)
        reset_peak(CPU)
        seconds = cpu_seconds(partial(predictor.uncertainty, photo, resolution=0, samples=samples, **way))
        found[f"{samples} samples, {name}"] = seconds
        print(f"uncertainty, {name}: {seconds:.2f} s", flush=True)
        peak[name] = peak_bytes(CPU) or 0
    memory = ", ".join(f"{name} {value / 1e9:.2f} GB" for name, value in peak.items())
    return f"{ratios(found, next(iter(found)))}\n\nPeak resident memory, weights included: {memory}."


def parts(photo: np.ndarray, rounds: int) -> str:
    """The networks' time as the measures are taken one after the other, least of the rounds each."""
    unet, vae, prompt = networks()
    image = torch.from_numpy(photo).permute(2, 0, 1)[None] * 2 - 1
    noisy = torch.randn(1, 8, photo.shape[0] // 8, photo.shape[1] // 8, generator=torch.Generator().manual_seed(0))
    latents, labels = noisy[:, :4], {"class_labels": task_embedding("annotation")}

    def measured() -> dict[str, float]:
        variants: dict[str, Variant] = {
            "encoder": lambda: vae.encode(image),
            "U-Net": lambda: unet(noisy, TIMESTEP, encoder_hidden_states=prompt, **labels),
            "decoder": lambda: vae.decode(latents),
        }
        return alternate(variants, rounds)

    def channels_last() -> None:
        unet.to(memory_format=torch.channels_last)
        vae.to(memory_format=torch.channels_last)

    def fold() -> None:
        fold_unet(unet, prompt, TIMESTEP, torch.cat([task_embedding(task) for task in TASK_SWITCH]))
        labels.clear()

    def enlarge() -> None:
        for network in (unet, vae.decoder):
            fold_upsampling(network)
            network.to(memory_format=torch.channels_last)

    measures: dict[str, Callable[[], None]] = {
        "as diffusers builds them": lambda: None,
        "+ channels last": channels_last,
        "+ constants folded": fold,
        "+ enlargements folded": enlarge,
    }
    rows = []
    for name, take in measures.items():
        take()
        seconds = measured()
        rows.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in (*seconds.values(), sum(seconds.values()))))
    return "\n".join(["| | encoder | U-Net | decoder | all |", "|---|---|---|---|---|", *(f"{row} |" for row in rows)])


def autocast(photo: np.ndarray, rounds: int) -> str:
    """The plain composition in float32 and under autocast: once each, the second takes minutes without hardware."""
    parts = networks()
    seconds = {}
    for name, bfloat16 in (("plain float32", False), ("plain, CPU autocast", True)):
        seconds[name] = cpu_seconds(lambda bfloat16=bfloat16: plain(*parts, photo, bfloat16))
        print(f"{name} {seconds[name]:.2f} s", flush=True)
    return ratios(seconds, "plain float32")


if __name__ == "__main__":
    main()
