"""What the host knows about Lotus: the embedding of the empty prompt, for U-Net files that lack it."""

from __future__ import annotations

import torch

from lotus_core.errors import LotusError


def prompt_embedding() -> torch.Tensor:
    """ComfyUI's own constant, 1×2×1024 on the CPU (its node LotusConditioning, since 0.3.27)."""
    try:
        from comfy_extras.nodes_lotus import LotusConditioning

        output = LotusConditioning.execute()
        conditioning = output[0] if not hasattr(output, "args") else output.args[0]
    except Exception as error:  # another version may have renamed anything
        raise LotusError(
            f"This ComfyUI has no LotusConditioning to take the prompt embedding from ({error}): convert the checkpoint"
            " with `lotus convert`."
        ) from error
    return conditioning[0][0].detach().cpu()
