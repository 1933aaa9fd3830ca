"""Networks with more layers than their base, which compute what the base does until they are trained.

Net2Net (Chen et al. 2016, arXiv 1511.05641) keeps the function likewise.
"""

from __future__ import annotations

from diffusers import AutoencoderTiny, UNet2DConditionModel
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn

from ..checkpoints.assemble import quiet_diffusers
from ..errors import LotusError
from ..model import Autoencoder


def deepened(unet: UNet2DConditionModel, layers: int) -> UNet2DConditionModel:
    """A U-Net whose attention modules have `layers` transformer layers each, and which computes what `unet` does.

    Added layers come last in their module. Each adds to its input what its output projections make of it, and these
    start from zero, so that training sets out from what the base has learnt. The rest of them is random.

    Raises LotusError where the U-Net has no attention, or more layers than that.
    """
    # As arguments: from_config takes the class's own default for keys that the file of a base did not have.
    deep: UNet2DConditionModel = type(unet).from_config(
        unet.config, transformer_layers_per_block=layers, reverse_transformer_layers_per_block=None
    )
    present, wanted = unet.state_dict(), deep.state_dict()
    if present.keys() - wanted.keys() or layers_of(deep) != layers:
        raise LotusError(
            f"[model] transformer_layers = {layers} only adds layers: the base's U-Net has more in its attention"
            " modules, or has none of these."
        )
    deep.load_state_dict(present, strict=False)
    for name, parameter in deep.named_parameters():
        if name not in present and is_output(name):
            nn.init.zeros_(parameter)
    return deep


def layers_of(unet: UNet2DConditionModel) -> int | None:
    """How many transformer layers each attention module has; None where there are none, or they differ."""
    depths = {len(m.transformer_blocks) for m in unet.modules() if isinstance(m, Transformer2DModel)}
    return depths.pop() if len(depths) == 1 else None


def is_output(name: str) -> bool:
    """Whether a parameter of a transformer layer belongs to a projection whose result is added to the layer's input."""
    return name.rsplit(".", 1)[0].endswith((".to_out.0", ".ff.net.2"))


def with_decoder_blocks(vae: Autoencoder, blocks: int) -> AutoencoderTiny:
    """An AutoencoderTiny whose decoder has `blocks` residual blocks at the latents' size, and which decodes as `vae`.

    Added blocks come after those that are there, before the first enlargement. A block is relu(x + its convolutions of
    x) with x ≥ 0, and the last convolution of an added one starts from zero. The rest of them is random.

    Raises LotusError where the autoencoder is of another kind, or has more blocks than that.
    """
    if not isinstance(vae, AutoencoderTiny):
        raise LotusError("[model] decoder_blocks adds to an AutoencoderTiny's decoder: the base has an AutoencoderKL.")
    present, *others = vae.config.num_decoder_blocks
    if blocks < present:
        raise LotusError(
            f"[model] decoder_blocks = {blocks} only adds blocks: the base has {present} at the latents' size."
        )
    with quiet_diffusers():  # it warns of a key that it adds to its configs itself
        grown: AutoencoderTiny = type(vae).from_config(vae.config, num_decoder_blocks=[blocks, *others])
    grown.encoder.load_state_dict(vae.encoder.state_dict())
    layers = list(grown.decoder.layers)
    first = next(n for n, layer in enumerate(layers) if isinstance(layer, AutoencoderTinyBlock))
    added = layers[first + present : first + blocks]
    for own, layer in zip(vae.decoder.layers, layers[: first + present] + layers[first + blocks :], strict=True):
        layer.load_state_dict(own.state_dict())
    for block in added:
        nn.init.zeros_(block.conv[-1].weight)
        nn.init.zeros_(block.conv[-1].bias)
    return grown
