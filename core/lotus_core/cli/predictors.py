"""The models a command was given, and which of them makes which map."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import LotusError
from ..progress import Cancel, Progress, part
from .console import silent
from .options import check_prediction

if TYPE_CHECKING:
    from ..framing import Frame
    from ..images import LoadedImage
    from ..maps import Depth, Normals, Uncertainty
    from ..maps.picture import Picture
    from ..model import Decoder, LotusModel
    from ..predict import LotusPredictor
    from ..sampling import NoiseSource

Loader = Callable[[str, argparse.Namespace, Sequence[str]], "LotusModel"]
DEFAULT_MODELS = {"depth": "lotus-tiny-depth-g", "normal": "lotus-tiny-normal-g"}
MAPS = ("depth", "normal", "uncertainty")
RECONSTRUCTION = "reconstruct"  # not a map of the scene, so not one of MAPS: the photo under the switch s_x
DEFAULT_SAMPLES = 10  # noise samples behind an uncertainty map


class Predictors:
    """Loaded models for the wanted maps.

    Args:
        args: parsed arguments: those of `options.add_prediction_options`, and `samples` where uncertainty is wanted.
        names: models as the user named them, at most one for each kind of map.
        maps: which of MAPS are wanted; None for what the named models predict (depth, if none is named).
        also: more maps that are wanted besides.
        load: gets a model by its name, the arguments and the maps it may be for; for callers that keep models loaded.
        cancel: polled while predicting.
        progress: of a download, where models come from the hub.

    Attributes:
        notes: sentences about the last image that its owner should know, such as that memory ran out.

    Raises LotusError for models that cannot be loaded, that predict the same, or that the maps have no use for.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        names: Sequence[str],
        maps: Sequence[str] | None,
        *,
        also: Sequence[str] = (),
        load: Loader | None = None,
        cancel: Cancel | None = None,
        progress: Progress | None = None,
    ) -> None:
        check_prediction(args)
        _check_parts(args, names)
        get = load or partial(load_for_maps, progress=progress)
        self._args = args
        given: dict[str, tuple[str, LotusModel]] = {}
        for name in names:
            model = get(name, args, maps or ())
            if model.info.task in given:
                raise LotusError(f"{given[model.info.task][0]} and {name} both predict {model.info.task}: choose one.")
            given[model.info.task] = (name, model)
        wanted = set(maps or given or ("depth",)).union(also)
        self.maps = tuple(map_ for map_ in MAPS if map_ in wanted)
        self.kind_of = {map_: _kind_of(map_, self.maps, list(given)) for map_ in self.maps}
        needed = set(self.kind_of.values())
        self.kind_of[RECONSTRUCTION] = self.kind_of[self.maps[0]]
        for kind, (name, _) in given.items():
            if kind not in needed:
                raise LotusError(f"{name} predicts {kind}, which {' and '.join(self.maps)} does not use: leave it out.")
        loaded = {kind: given[kind][1] if kind in given else get(DEFAULT_MODELS[kind], args, ()) for kind in needed}
        check_space(loaded, args.space)
        if "uncertainty" in self.maps:
            _check_samples(loaded[self.kind_of["uncertainty"]], "--task" if hasattr(args, "task") else "--uncertainty")
        from ..predict import LotusPredictor

        self.notes: list[str] = []
        self.models = loaded
        self._predictors = {kind: LotusPredictor(model, cancel=cancel) for kind, model in loaded.items()}

    def predict(self, image: LoadedImage, progress: Progress | None = None) -> dict[str, Depth | Normals | Uncertainty]:
        """Map name → map of `image`, in the order of MAPS."""
        from ..encoding import encoder_digest

        encoder: Decoder = "fast" if self._args.fast_encoder else "exact"
        decoder: Decoder = "fast" if self._args.fast_decoder else "exact"
        self.notes = []
        encoded: dict[Any, Any] = {}  # what decides the latents → encoded image: all maps share an encoding that can
        maps = {}
        for index, map_ in enumerate(self.maps):
            kind = self.kind_of[map_]
            predictor = self._predictors[kind]
            model = self.models[kind]
            # With tiles the model's own resolution counts as well: the whole image is seen at it.
            sizes = (self._resolution(model), model.info.resolution if self._args.tile else None)
            key = (encoder_digest(model, encoder), *sizes, model.multiple, model.latent_factor)
            report = part(progress, index, len(self.maps), map_)
            if key not in encoded:
                encoded[key] = predictor.encode(
                    image,
                    self._args.res,
                    self._args.reference,
                    tile=self._args.tile,
                    mirror=self._args.mirror,
                    encoder=encoder,
                    progress=part(report, 0, 2),
                )
                report = part(report, 1, 2)
                self._note(predictor)
            make: Callable[..., Depth | Normals | Uncertainty] = getattr(predictor, map_)
            samples = {"samples": self._args.samples} if map_ == "uncertainty" else {}
            maps[map_] = make(
                encoded[key],
                seed=self._args.seed,
                reference=self._args.reference,
                decoder=decoder,
                progress=report,
                **samples,
            )
            self._note(predictor)
        return maps

    def reconstruct(self, image: LoadedImage, progress: Progress | None = None) -> Picture:
        """The photo as the model of the first map gives it back when it is told to reconstruct, with its PSNR."""
        from ..maps.picture import Picture, psnr

        predictor = self._predictors[self.kind_of[RECONSTRUCTION]]
        self.notes = []
        values = predictor.reconstruct(
            image,
            self._args.res,
            self._args.seed,
            self._args.reference,
            decoder="fast" if self._args.fast_decoder else "exact",
            encoder="fast" if self._args.fast_encoder else "exact",
            progress=progress,
        )
        self._note(predictor)
        return Picture(values, round(psnr(values, image.rgb), 2))

    def _note(self, predictor: LotusPredictor) -> None:
        self.notes += [note for note in predictor.notes if note not in self.notes]

    def use_noise(self, kind: str, source: NoiseSource | None) -> None:
        """Where the model of a kind of map ("depth", "normal") gets its noise from now on; None for its own."""
        from ..sampling import draw_noise

        self._predictors[kind].noise = source or draw_noise

    def frame_of(self, kind: str, height: int, width: int) -> Frame:
        """How a picture of this size lies in the input of the model of a kind of map. Raises LotusError."""
        from ..framing import Frame

        model = self.models[kind]
        multiple = model.latent_factor if self._args.reference else model.multiple
        return Frame.of(height, width, self._resolution(model), multiple, self._args.reference)

    def _resolution(self, model: LotusModel) -> int:
        """As the network sees an image, or its tiles; 0 for the image's own size."""
        own = 0 if self._args.tile else model.info.resolution
        return own if self._args.res is None else self._args.res

    def describe(self, map_: str) -> dict[str, Any]:
        """What the record of an image says about the origin of a map."""
        model = self.models[self.kind_of[map_]]
        return {
            "model": model.info.name,
            "variant": model.variant,
            "resolution": self._resolution(model),
            "device": str(model.prompt_embeds.device),
            "dtype": str(model.prompt_embeds.dtype).removeprefix("torch."),
            **({"tile": self._args.tile} if self._args.tile else {}),
            **({"mirror": True} if self._args.mirror else {}),
            **self._fast(self.kind_of[map_]),
        }

    def _fast(self, kind: str) -> dict[str, Any]:
        if not self._args.fast_decoder:
            return {}
        name, psnr = self.models[kind].fast_name, self._predictors[kind].fast_decoder_psnr
        return {
            "decoder": name,
            "decoder_psnr_db": None
            if psnr is None
            else round(psnr, 2),  # map against the exact decoder's, at its centre
            "encoder": name if self._args.fast_encoder else "exact",
        }


def load_for_maps(
    name: str,
    args: argparse.Namespace,
    maps: Sequence[str],
    progress: Progress | None = None,
    *,
    fold: bool = True,
) -> LotusModel:
    """Load a model; `maps` decides the task of one that does not say it, `args.space` the space of its depth.

    progress: of a download. fold: `load_model`'s. Raises LotusError.
    """
    from ..checkpoints import load_model
    from ..checkpoints.load import stated_task
    from ..checkpoints.meaning import MisnamedError
    from ..checkpoints.registry import embedded

    stated = stated_task(name)
    kinds = {"depth"} if args.space else set(maps) & DEFAULT_MODELS.keys()
    told = {"task": kinds.pop() if len(kinds) == 1 else None, "space": args.space}
    # Which maps are wanted does not change what a model is, and the space is not meant for normals beside the depth.
    added = told if stated is None else {"space": args.space if stated == "depth" else None}
    options: dict[str, Any] = {"fast_decoder": args.fast_decoder, "fold": fold, "offload": args.offload}
    options["progress"] = progress or silent
    if name not in embedded():  # those are whole; the options are for the models that the user named
        options |= {option: getattr(args, option, None) for option in ("vae", "text_encoder")}
    load = partial(load_model, name, args.device, args.dtype, **options)
    try:
        return load(**added)
    except MisnamedError:
        if told["task"] is None:
            raise
        return load(**told)


def _check_parts(args: argparse.Namespace, names: Sequence[str]) -> None:
    """Raise LotusError where --vae or --text-encoder would be without effect."""
    from ..checkpoints.registry import embedded

    given = [option for option in ("vae", "text_encoder") if getattr(args, option, None)]
    if given and not set(names) - set(embedded()):
        whole = names[0] if names else "the embedded model"
        raise LotusError(
            f"--{given[0].replace('_', '-')} completes the U-Net file that --model names, but {whole} is whole: leave"
            " it out, or name the U-Net."
        )


def check_space(tasks: Collection[str], space: str | None) -> None:
    """Raise LotusError for a --space where no model of these tasks predicts depth."""
    if space is not None and "depth" not in tasks:
        raise LotusError("--space says what depth means, but none is predicted here: leave it out.")


def _kind_of(map_: str, maps: tuple[str, ...], given: list[str]) -> str:
    """Which kind of model makes a map. Uncertainty is that of depth, unless only a normal model was named."""
    if map_ != "uncertainty":
        return map_
    return "normal" if given == ["normal"] and "depth" not in maps else "depth"


def _check_samples(model: LotusModel, asked: str) -> None:
    if model.variant == "d":
        raise LotusError(
            f"{model.info.name} is Lotus-D, which gives one answer and so has no uncertainty: name a Lotus-G model, or"
            + (
                " leave out --task to get the maps of the models you named."
                if asked == "--task"
                else " leave out --uncertainty, --max-std and --smooth."
            )
        )
