"""The Lotus network: one U-Net step between the encoder and the decoder of an autoencoder.

Source: "Lotus: diffusion-based visual foundation model for high-quality dense prediction" (section numbers below).
"""

from __future__ import annotations

from typing import Literal, TypeAlias, cast, get_args

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import nn
from torch.utils.hooks import RemovableHandle

from .arguments import check_choice
from .decoding import decode_latents
from .errors import LotusError
from .folding import CurrentTask, fold_unet, foldable
from .memory import Memory, Strips, chunked_feed_forward, strips_for
from .model_info import ModelInfo
from .offload import Offloaded, offload_layers, presence
from .tiny_strips import encode_tiny
from .turns import turn
from .upsampling import fold_upsampling
from .vae_strips import encode_moments

TIMESTEP = 999  # t = T: the only time step of the single-step formulation (section 4.2), as an index into 1000 steps
TASK_SWITCH = {"annotation": (1.0, 0.0), "reconstruct": (0.0, 1.0)}  # s_y and s_x of the detail preserver (section 4.3)

Autoencoder: TypeAlias = AutoencoderKL | AutoencoderTiny
Decoder: TypeAlias = Literal["exact", "fast"]  # the checkpoint's own autoencoder, or a small one in its place


def task_embedding(task: str) -> torch.Tensor:
    """The task switcher's input to the U-Net: float32 1×4, [sin s, cos s] of the one-hot switch s of `task`.

    `task`: "annotation" predicts depth or normals, "reconstruct" gives the image back.
    """
    switch = torch.tensor([TASK_SWITCH[task]], dtype=torch.float32, device="cpu")
    return torch.cat([switch.sin(), switch.cos()], dim=-1)


class LotusModel(nn.Module):
    """U-Net, autoencoder and the embedding of the empty prompt. One thread at a time is in them (`turns`).

    Args:
        unet: with a `projection` class embedding of 4 numbers, one for each number of `task_embedding`.
        vae: AutoencoderKL or AutoencoderTiny whose latent channels are those that the U-Net predicts.
        prompt_embeds: 1×L×C, C being the U-Net's cross-attention width. A constant of the checkpoint.
        info: what the output means.

    Attributes:
        variant: "g" (generative: the U-Net also sees noise) or "d" (discriminative), told by the U-Net's channels.
        latent_channels, latent_scale: of the autoencoder; latents are multiplied by the scale.
        latent_factor: pixels along one edge of a latent.
        memory: "auto", or "least" to do everything in small pieces (`memory`).
        fast_vae, fast_name: the fast decoder (`fast_decoder.attach_fast_decoder`) and what it is called; None without.
        multiple: image sizes must be a multiple of this many pixels for every level of both networks to divide evenly.

    Raises LotusError where the parts do not fit together.
    """

    memory: Memory = "auto"
    prompt_embeds: torch.Tensor
    fast_vae: AutoencoderTiny | None

    def __init__(
        self, unet: UNet2DConditionModel, vae: Autoencoder, prompt_embeds: torch.Tensor, info: ModelInfo
    ) -> None:
        super().__init__()
        self.info = info
        self.variant = variant_of(unet.config.in_channels, unet.config.out_channels)
        self.latent_channels = int(vae.config.latent_channels)
        self.latent_scale = float(vae.config.scaling_factor)
        self.latent_factor = latent_factor(vae)
        self.multiple = self.latent_factor * 2 ** (len(unet.config.block_out_channels) - 1)
        _check_parts(unet, self.latent_channels, prompt_embeds)
        self.unet = unet
        self.vae = vae
        self.register_buffer("prompt_embeds", prompt_embeds)
        self.fast_vae = None
        self.fast_name = ""
        self._folded: CurrentTask | None = None
        self._offloaded: dict[Decoder, Offloaded] = {}  # the autoencoders
        self._hooks: list[RemovableHandle] = []  # those of an offloaded U-Net

    def encode(
        self,
        images: torch.Tensor,
        sample_generator: torch.Generator | None = None,
        *,
        encoder: Decoder = "exact",
    ) -> torch.Tensor:
        """Images B×3×H×W in [−1, 1] to scaled latents B×C×h×w, h = H / latent_factor.

        Takes the mode of the posterior, or a sample of it where `sample_generator` is given (as the original code does;
        AutoencoderTiny has no posterior and ignores it). `encoder` "fast" is `fast_vae`, or LotusError without one.
        """
        check_choice("encoder", encoder, get_args(Decoder))
        with turn(self), presence(self._offloaded.get(encoder)):
            return self._encode(images, sample_generator, encoder)

    def _encode(self, images: torch.Tensor, sample_generator: torch.Generator | None, encoder: Decoder) -> torch.Tensor:
        images = images.to(next(self.vae.parameters()).dtype)
        how = self._strips(images.shape[2] * images.shape[3])
        if encoder == "fast":
            fast = self._fast()
            if fast.encoder is None:
                raise LotusError(
                    f"{self.fast_name} holds a decoder only: encode with the checkpoint's own autoencoder."
                )
            return encode_tiny(fast, images, how) * fast.config.scaling_factor
        if isinstance(self.vae, AutoencoderTiny):
            return encode_tiny(self.vae, images, how) * self.latent_scale
        posterior = encode_moments(self.vae, images, how)
        latents = posterior.mode() if sample_generator is None else posterior.sample(sample_generator)
        return cast(torch.Tensor, latents * self.latent_scale)

    def decode(self, latents: torch.Tensor, *, decoder: Decoder = "exact", mean: bool = False) -> torch.Tensor:
        """Scaled latents B×C×h×w to B×3×H×W, nominally in [−1, 1] (not clamped); with `mean` B×1×H×W, their mean.

        float32 from half precisions too: their steps would show as bands on smooth surfaces.
        `decoder` "fast" is `fast_vae`, or LotusError without one.
        """
        check_choice("decoder", decoder, get_args(Decoder))
        latents = latents.to(next(self.vae.parameters()).dtype)
        how = self._strips(latents.shape[2] * latents.shape[3] * self.latent_factor**2)
        with turn(self), presence(self._offloaded.get(decoder)):
            if decoder == "fast":
                fast = self._fast()
                return decode_latents(fast, latents / fast.config.scaling_factor, mean, how)
            return decode_latents(self.vae, latents / self.latent_scale, mean, how)

    def _strips(self, pixels: int) -> Strips:
        return "none" if torch.is_grad_enabled() else strips_for(self.memory, pixels)

    def _fast(self) -> AutoencoderTiny:
        if self.fast_vae is None:
            raise LotusError(f"{self.info.name} was loaded without a fast decoder: name one with fast_decoder.")
        return self.fast_vae

    def forward(
        self,
        image_latents: torch.Tensor,
        noise: torch.Tensor | None = None,
        task: str | torch.Tensor = "annotation",
        timestep: int | torch.Tensor = TIMESTEP,
    ) -> torch.Tensor:
        """One U-Net call: scaled image latents B×C×h×w to predicted latents of the same shape.

        Args:
            noise: B×C×h×w, needed by Lotus-G ("g"), refused by Lotus-D ("d").
            task: "annotation" or "reconstruct" for the whole batch, or `task_embedding` rows, B×4, one per image.
            timestep: only training with more than one step passes it.
        """
        with turn(self):
            if self.memory == "least" and not torch.is_grad_enabled():
                with chunked_feed_forward(self.unet, image_latents.shape[2] * image_latents.shape[3]):
                    return self._step(image_latents, noise, task, timestep)
            return self._step(image_latents, noise, task, timestep)

    def _step(
        self,
        image_latents: torch.Tensor,
        noise: torch.Tensor | None,
        task: str | torch.Tensor,
        timestep: int | torch.Tensor,
    ) -> torch.Tensor:
        if (noise is None) == (self.variant == "g"):
            raise ValueError("Lotus-G needs noise" if noise is None else "Lotus-D takes no noise")
        sample = image_latents if noise is None else torch.cat([image_latents, noise.to(image_latents)], dim=1)
        if self._folded is not None:
            return self._forward_folded(self._folded, sample, task, timestep)
        batch = image_latents.shape[0]
        switch = task_embedding(task) if isinstance(task, str) else task
        prompt = self.prompt_embeds.to(image_latents)
        return cast(
            torch.Tensor,
            self.unet(
                sample,
                timestep,
                encoder_hidden_states=prompt.expand(batch, -1, -1),
                class_labels=switch.to(image_latents).expand(batch, -1),
                return_dict=False,
            )[0],
        )

    def fold(self, compile: bool | str = False) -> bool:
        """Compute once what is constant in the single step (`folding`, `upsampling`), in place, for prediction only.

        Afterwards the time and task embeddings and the prompt's keys and values are gone from the network, enlargements
        and the convolutions after them are one, and weights lie channels last. It gives the same results within
        rounding (1e-5 in float32) but can be neither trained nor saved. Folding again changes nothing.

        `compile` hands the U-Net to torch.compile, that of a model folded before as well; its first predictions at a
        size take minutes. A name chooses the backend (True: torch's own, which needs a C++ compiler on CPUs). It has
        not been measured on a GPU. What is compiled stays so: another backend changes nothing.

        Returns whether the model is folded: a U-Net of a kind that Lotus does not use stays as it is, and works.

        Raises LotusError where an offloaded model shall be compiled.
        """
        if compile and self.offloaded:
            raise LotusError(f"{self.info.name} is offloaded, and weights that move cannot be compiled: choose one.")
        if self._folded is None and foldable(self.unet):
            switches = torch.cat([task_embedding(task) for task in TASK_SWITCH])
            self._folded = fold_unet(self.unet, self.prompt_embeds, TIMESTEP, switches)
            for network in (self.unet, self.vae.decoder):
                fold_upsampling(network)
            self.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if compile and not self.compiled:
            self.unet.compile(backend="inductor" if compile is True else compile)
        return self._folded is not None

    def offload(self, device: torch.device | None = None) -> None:
        """Keep the weights in the CPU's memory from now on, and each part on `device` only while it computes.

        None: where the model is now. One on the CPU that is given the device to compute on never lies there as a whole.
        For prediction on GPUs that the weights would fill; each pass takes the time to move them once. The results are
        the same. Doing it again changes nothing.

        Raises LotusError for a compiled model.
        """
        if self.offloaded:
            return
        if self.compiled:
            raise LotusError(f"{self.info.name} is compiled, so its weights cannot move: load it without.")
        device = device or device_of(self)
        self.prompt_embeds = self.prompt_embeds.to(device)  # it says where the model computes
        self.eval().requires_grad_(False)
        self._hooks = offload_layers(self.unet, device)
        self._offloaded["exact"] = Offloaded(self.vae, device)
        if self.fast_vae is not None:
            self._offloaded["fast"] = Offloaded(self.fast_vae, device)

    def end_offload(self) -> None:
        """Leave the weights on the CPU, as of a model that was loaded there: `.to(device)` moves them all again."""
        with turn(self):
            for hook in self._hooks:
                hook.remove()
            self._hooks, self._offloaded = [], {}
            self.to("cpu")

    @property
    def compiled(self) -> bool:
        """Whether `fold` handed the U-Net to torch.compile."""
        return self.unet._compiled_call_impl is not None

    @property
    def offloaded(self) -> bool:
        """Whether `offload` was called, and not ended."""
        return bool(self._offloaded)

    @property
    def folded(self) -> bool:
        """Whether `fold` changed the network."""
        return self._folded is not None

    def _forward_folded(
        self, current: CurrentTask, sample: torch.Tensor, task: str | torch.Tensor, timestep: int | torch.Tensor
    ) -> torch.Tensor:
        if not isinstance(task, str) or not isinstance(timestep, int) or timestep != TIMESTEP or self.training:
            raise LotusError(f"{self.info.name} is folded for prediction and cannot be trained: load it again.")
        current.index = list(TASK_SWITCH).index(task)
        prompt = self.prompt_embeds.to(sample)
        return cast(torch.Tensor, self.unet(sample, timestep, encoder_hidden_states=prompt, return_dict=False)[0])


def device_of(model: LotusModel) -> torch.device:
    """Where `model` computes. Not a property: hosts give modules an attribute `device` of their own."""
    return model.prompt_embeds.device


def variant_of(in_channels: int, out_channels: int) -> str:
    """ "g" for a U-Net that sees image latents and noise, "d" for one that sees image latents alone."""
    if in_channels == 2 * out_channels:
        return "g"
    if in_channels == out_channels:
        return "d"
    raise LotusError(
        f"A Lotus U-Net takes as many channels as it predicts (Lotus-D) or twice as many (Lotus-G), but this one takes"
        f" {in_channels} and predicts {out_channels}: it belongs to another model."
    )


def latent_factor(vae: Autoencoder) -> int:
    """Pixels along one edge of a latent: each resolution the autoencoder works at halves the one above it."""
    tiny = isinstance(vae, AutoencoderTiny)
    return 2 ** (len(vae.config.encoder_block_out_channels if tiny else vae.config.block_out_channels) - 1)


def _check_parts(unet: UNet2DConditionModel, latent_channels: int, prompt_embeds: torch.Tensor) -> None:
    if unet.config.out_channels != latent_channels:
        raise LotusError(
            f"The U-Net predicts {unet.config.out_channels} channels but the autoencoder has {latent_channels}: use the"
            " autoencoder that the U-Net was trained with."
        )
    width = unet.config.projection_class_embeddings_input_dim
    if unet.config.class_embed_type != "projection" or width != 4:
        raise LotusError("This U-Net has no Lotus task switcher (a projection class embedding of 4 numbers).")
    if prompt_embeds.ndim != 3 or prompt_embeds.shape[0] != 1:
        raise LotusError(f"The prompt embedding has the shape 1×L×C, not {tuple(prompt_embeds.shape)}.")
    if prompt_embeds.shape[2] != unet.config.cross_attention_dim:
        raise LotusError(
            f"The prompt embedding is {prompt_embeds.shape[2]} numbers wide but the U-Net's cross-attention"
            f" {unet.config.cross_attention_dim}: use the text encoder that the U-Net was trained with."
        )
