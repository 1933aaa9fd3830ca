"""What each step of `LotusModel.fold` changes, at full size in float32: the largest difference that it makes.

    python -m benchmarks.folding                    # 192×192, random weights; about two minutes on two cores

The U-Net's rows are of the predicted latents (standard deviation 0.3), the decoder's of what it makes of the same
latents, in [−1, 1]. Beside them, how far the decoder spreads a difference of 1e-6 in its input, whatever caused it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from lotus_core.folding import fold_unet
from lotus_core.model import TASK_SWITCH, TIMESTEP, task_embedding
from lotus_core.upsampling import fold_upsampling

from .full_size import AUTOENCODER, random_autoencoder, random_unet

EDGE = 24  # latents along one edge
NUDGE = 1e-6


def main() -> None:
    """Print a Markdown table."""
    torch.manual_seed(0)
    with torch.no_grad():
        rows, latents = of_the_unet()
        rows += of_the_decoder(latents / AUTOENCODER["scaling_factor"])
    print("| step | largest difference |\n|---|---|")
    for step, difference in rows:
        print(f"| {step} | {difference:.1e} |")


def of_the_unet() -> tuple[list[tuple[str, float]], torch.Tensor]:
    """The steps in the order of `fold`, each on top of those before it; and the latents without any of them."""
    unet = random_unet("d", "normal").eval()
    prompt, latents = torch.randn(1, 2, 1024), torch.randn(1, 4, EDGE, EDGE)
    plain = unet(
        latents, TIMESTEP, prompt, class_labels=task_embedding("annotation"), return_dict=False
    )[0]  # fmt: skip

    def apart(input: torch.Tensor = latents) -> float:
        return largest(unet(input, TIMESTEP, prompt, return_dict=False)[0] - plain)

    fold_unet(unet, prompt, TIMESTEP, torch.cat([task_embedding(task) for task in TASK_SWITCH]))
    rows = [("U-Net: constants", apart())]
    fold_upsampling(unet)
    rows.append(("U-Net: + enlargements", apart()))
    unet.to(memory_format=torch.channels_last)
    rows.append(("U-Net: + channels last", apart(latents.to(memory_format=torch.channels_last))))
    return rows, plain


def of_the_decoder(latents: torch.Tensor) -> list[tuple[str, float]]:
    """The same for the autoencoder's decoder, and its answer to a small change of its input."""
    vae = random_autoencoder().eval()
    decode: Callable[[torch.Tensor], torch.Tensor] = lambda z: vae.decode(z, return_dict=False)[0]  # noqa: E731
    plain = decode(latents)
    nudged = decode(latents + NUDGE * torch.randn_like(latents))
    rows = [(f"decoder: {NUDGE:.0e} of noise on its latents, nothing folded", largest(nudged - plain))]
    fold_upsampling(vae.decoder)
    rows.append(("decoder: enlargements", largest(decode(latents) - plain)))
    vae.to(memory_format=torch.channels_last)
    rows.append(("decoder: + channels last", largest(decode(latents) - plain)))
    return rows


def largest(difference: torch.Tensor) -> float:
    """Of all numbers, by magnitude."""
    return float(difference.abs().max())


if __name__ == "__main__":
    main()
