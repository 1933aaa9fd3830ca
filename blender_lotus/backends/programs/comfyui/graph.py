"""The ComfyUI graph that makes the maps of one photo with our nodes."""

from __future__ import annotations

from typing import Any

from .server import Refused, Server

NODES = ("LoadLotus", "LotusDepth", "LotusNormal", "LotusUncertainty", "LotusSaveMaps")
CORE_NODES = ("LoadImage", "JoinImageWithAlpha")
DEFAULT_MODELS = {"depth": "lotus-tiny-depth-g", "normal": "lotus-tiny-normal-g"}
PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
LATER = {"tile": "tiles", "mirror": "mirror images"}  # inputs that older versions of the nodes lack
SAVE = "save"  # id of the output node

Graph = dict[str, dict[str, Any]]


def node_types(server: Server) -> dict[str, dict[str, Any]]:
    """What the server says of the nodes we use. Raises Refused where it lacks them."""
    found: dict[str, dict[str, Any]] = {}
    for name in (*CORE_NODES, *NODES):
        found |= server.get(f"/object_info/{name}")
    if not all(name in found for name in CORE_NODES):
        raise Refused(f"What answers at {server.url} is not ComfyUI: change the address in the preferences.")
    missing = [name for name in NODES if name not in found]
    if missing:
        raise Refused(
            f"The ComfyUI at {server.url} lacks the Lotus nodes ({', '.join(missing)}): install or update the node pack"
            " there and restart it."
        )
    return found


def models(types: dict[str, dict[str, Any]]) -> list[str]:
    """The models that the server's loader offers."""
    return _choices(types["LoadLotus"]["input"]["required"]["model"])


def build(types: dict[str, dict[str, Any]], photo: str, request: dict[str, Any]) -> Graph:
    """The graph for a request to predict, with the name that the server gave to the photo. Raises Refused."""
    maps, options = request["maps"], dict(request["options"])
    named: dict[str, str] = request["models"]
    graph: Graph = {
        "photo": {"class_type": "LoadImage", "inputs": {"image": photo}},
        "image": {
            "class_type": "JoinImageWithAlpha",
            "inputs": {"image": ["photo", 0], "alpha": ["photo", 1]},
        },
    }
    save: dict[str, Any] = {"filename_prefix": "lotus/blender", "format": "npy", "folder": "temp"}
    shared = _prediction(options)
    samples = options.pop("samples", 10)
    loading = _loading(options)
    if options:
        raise Refused(f"{next(iter(options))!r} is no option of the ComfyUI nodes: set it to its default.")
    kind_of = {map_: "depth" if map_ == "uncertainty" else map_ for map_ in maps}
    for kind in sorted(set(kind_of.values())):
        model = named.get(kind, DEFAULT_MODELS[kind])
        if model not in models(types):
            raise Refused(f"The ComfyUI at hand has no model {model!r}: choose one of those that its loader offers.")
        graph[f"model {kind}"] = _node(types, "LoadLotus", model=model, **loading)
    for map_, class_type, output in (
        ("depth", "LotusDepth", "depth"),
        ("normal", "LotusNormal", "normal"),
        ("uncertainty", "LotusUncertainty", "uncertainty"),
    ):
        if map_ not in maps:
            continue
        for name, what in LATER.items():
            if name in shared and name not in _inputs(types, class_type):
                raise Refused(f"The Lotus nodes of this ComfyUI know no {what}: update them, or switch that off.")
        more = {"samples": samples} if map_ == "uncertainty" else {"convention": "lotus"} if map_ == "normal" else {}
        graph[map_] = _node(
            types, class_type, model=[f"model {kind_of[map_]}", 0], image=["image", 0], **shared, **more
        )
        save[map_] = [map_, types[class_type]["output_name"].index(output)]
    graph[SAVE] = _node(types, "LotusSaveMaps", **save)
    return graph


def _prediction(options: dict[str, Any]) -> dict[str, Any]:
    """The inputs that our prediction nodes share, out of the options of `lotus predict`."""
    longest = options.pop("res", None)
    fast = options.get("fast_decoder") or options.get("fast-decoder")
    return {
        "resolution": 0 if longest is None else -1 if longest == 0 else longest,
        "seed": options.pop("seed", 0),
        **{name: value for name in LATER if (value := options.pop(name, None))},
        "decoder": "fast" if fast else "exact",
    }


def _loading(options: dict[str, Any]) -> dict[str, Any]:
    """The inputs of the loader."""
    inputs = {}
    for name in ("device", "offload"):
        options.pop(name, None)  # the server's business
    dtype = options.pop("dtype", "auto")
    if dtype != "auto":
        inputs["precision"] = PRECISIONS.get(dtype, dtype)
    if vae := options.pop("vae", None):
        inputs["vae"] = vae
    for name in ("fast_decoder", "fast-decoder"):
        if fast := options.pop(name, None):
            inputs["fast_decoder"] = fast
    return inputs


def _node(types: dict[str, dict[str, Any]], class_type: str, **inputs: Any) -> dict[str, Any]:
    """A node with its defaults filled in, and those of `inputs` that this version of it knows."""
    required, known = types[class_type]["input"]["required"], _inputs(types, class_type)
    filled = {name: default for name, entry in required.items() if (default := _default(entry)) is not None}
    return {"class_type": class_type, "inputs": filled | {key: inputs[key] for key in inputs if key in known}}


def _inputs(types: dict[str, dict[str, Any]], class_type: str) -> dict[str, Any]:
    return {**types[class_type]["input"]["required"], **types[class_type]["input"].get("optional", {})}


def _default(entry: list[Any]) -> Any:
    settings = entry[1] if len(entry) > 1 else {}
    choices = _choices(entry)
    return settings.get("default", choices[0] if choices else None)


def _choices(entry: list[Any]) -> list[str]:
    """The options of a combo input, as either schema version writes them."""
    if isinstance(entry[0], list):
        return list(entry[0])
    return list(entry[1].get("options", [])) if entry[0] == "COMBO" and len(entry) > 1 else []
