"""What a safetensors file holds, by the names of its tensors: U-Net, autoencoder, prompt, in whose layout. No torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from ..errors import LotusError
from .header import Header, name_some
from .ldm import autoencoder_names, autoencoder_shape, is_ldm_autoencoder, unet_names

PROMPT = "prompt_embeds"
SCALE = ".int8_scale"  # ends the name of what the rows of an 8-bit tensor are to be multiplied by, in our own files
SWITCHER = "class_embedding.linear_1.weight"  # takes the task; see `model.task_embedding`
SWITCHES = 4  # numbers that it takes
_LDM_UNET, _UNET = "input_blocks.0.0.weight", "down_blocks.0.resnets.0.conv1.weight"
_AUTOENCODER = "encoder.conv_in.weight"
_AUTOENCODER_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
# Of whole Stable Diffusion checkpoints, beside what Lotus uses: text encoders, averages, training's and sampling's own.
_OTHER: tuple[str, ...] = (
    "cond_stage_model.", "conditioner.", "text_encoders.", "model_ema.", "loss.", "denoiser.", "alphas_cumprod",
    "betas", "sqrt_", "log_one_minus_", "posterior_", "logvar", "ddim_", "model_spec",
)  # fmt: skip

Names = dict[str, str]


@dataclass(frozen=True)
class Part:
    """A network's tensors, in one file or several.

    sources: header and {name in its file: diffusers' name} of each file.
    shapes: {diffusers' name: shape} of all of them.
    layout: "diffusers" or "LDM", whose names the files have.
    """

    sources: tuple[tuple[Header, Names], ...]
    shapes: dict[str, tuple[int, ...]]
    layout: str

    @classmethod
    def of(cls, sources: Iterable[tuple[Header, Names]], layout: str, where: str) -> Part:
        """Raises LotusError, naming `where`, for tensors that are there twice."""
        sources = tuple(sources)
        counts = Counter(new for _, names in sources for new in names.values())
        if twice := [name for name, count in counts.items() if count > 1]:
            raise LotusError(f"{where} holds {len(twice)} tensors twice ({name_some(twice)}): download it again.")
        shapes = {
            new: autoencoder_shape(new, header.shape(stored))
            for header, names in sources
            for stored, new in names.items()
        }
        return cls(sources, shapes, layout)

    @property
    def channels(self) -> tuple[int, int] | None:
        """Of a U-Net: channels in and out; None where its ends are missing or misshaped."""
        into, out = self.shapes.get("conv_in.weight", ()), self.shapes.get("conv_out.weight", ())
        return (into[1], out[0]) if len(into) == 4 and len(out) == 4 else None

    @property
    def variant(self) -> str | None:
        """Of a U-Net: "g" or "d" by its channels, see `model.variant_of`; None for other U-Nets."""
        into, out = self.channels or (0, 0)
        return {2 * out: "g", out: "d"}.get(into) if out else None

    @property
    def is_lotus(self) -> bool:
        """Whether a U-Net has Lotus's task switcher."""
        return self.shapes.get(SWITCHER, ())[1:] == (SWITCHES,)

    @property
    def dtypes(self) -> str:
        """safetensors' names of the precisions, such as "F16" or "F16/F32"."""
        return "/".join(sorted({header.tensors[name].dtype for header, names in self.sources for name in names}))

    @property
    def numbers(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def bytes(self) -> int:
        entries = (header.tensors[name] for header, names in self.sources for name in names)
        return sum(entry.end - entry.begin for entry in entries)


@dataclass(frozen=True)
class Contents:
    """What one file holds; None for what it does not. `prompt`: the tensor's name in the file."""

    unet: Part | None
    vae: Part | None
    prompt: str | None


def contents_of(header: Header) -> Contents:
    """Recognise a file by its tensors' names. Never raises for a file of another model: all its parts are None."""
    names = [name for name in header.tensors if not name.endswith(SCALE)]
    ldm_prefix, prefix = _prefix(names, _LDM_UNET), _prefix(names, _UNET)
    vae_prefix = _prefix(names, _AUTOENCODER)
    vae = None
    if vae_prefix is not None:
        own = [name for name in names if name.startswith(tuple(vae_prefix + part for part in _AUTOENCODER_PARTS))]
        plain = [name.removeprefix(vae_prefix) for name in own]
        layout = "LDM" if is_ldm_autoencoder(plain) else "diffusers"
        vae = _part(header, own, vae_prefix, autoencoder_names, layout)
    unet = None
    if ldm_prefix is not None:
        unet = _part(header, _of_unet(names, ldm_prefix, vae_prefix), ldm_prefix, unet_names, "LDM")
    elif prefix is not None:
        unet = _part(header, _of_unet(names, prefix, vae_prefix), prefix, same, "diffusers")
    return Contents(unet, vae, PROMPT if PROMPT in names else None)


def describe(header: Header) -> str:
    """In words, what a file is that is not what was asked for."""
    contents = contents_of(header)
    if contents.unet is not None:
        lotus = "Lotus's task switcher" if contents.unet.is_lotus else "no task switcher, as Lotus has it"
        return f"a U-Net with {lotus}"
    if contents.vae is not None:
        return "an autoencoder and no U-Net: pass it with --vae (vae= in Python) beside the U-Net's file"
    first = ", ".join(sorted(header.tensors)[:3]) or "no tensors"
    return f"{len(header.tensors)} tensors of another model ({first}): run `lotus models` for what is available"


def same(names: Collection[str]) -> Names:
    """The names themselves: those of a network that diffusers wrote."""
    return {name: name for name in names}


def _part(header: Header, own: list[str], prefix: str, rename: Callable[[Collection[str]], Names], layout: str) -> Part:
    renamed = rename([name.removeprefix(prefix) for name in own])
    return Part.of([(header, {name: renamed[name.removeprefix(prefix)] for name in own})], layout, str(header.path))


def _prefix(names: Collection[str], ending: str) -> str | None:
    """What stands before `ending` in the shortest name that ends so, a whole word; None where there is none."""
    found = [name.removesuffix(ending) for name in names if name.endswith(ending)]
    whole = [prefix for prefix in found if not prefix or prefix.endswith(".")]
    fitting = [
        prefix for prefix in whole if not prefix.endswith(("encoder.", "control_model.")) and "ema" not in prefix
    ]
    return min(fitting, key=len, default=None)


def _of_unet(names: Collection[str], prefix: str, vae_prefix: str | None) -> list[str]:
    """Names that start with `prefix`; without a prefix, all that are of nothing else."""
    if prefix:
        return [name for name in names if name.startswith(prefix)]
    others = (*_OTHER, PROMPT)
    if vae_prefix is not None:
        others += tuple(vae_prefix + part for part in _AUTOENCODER_PARTS)
    return [name for name in names if not name.startswith(others)]
