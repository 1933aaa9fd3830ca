"""What goes wrong for users: a sentence in the UI, and the server goes on serving."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

import lotus_core as lotus
from lotus_core.checkpoints import save_model

from . import graphs
from .graphs import DEPTH, NORMAL
from .server.client import Finished, Graph, Refused
from .server.running import Server
from .test_predictions import photo, put

WEIGHTS = Path(lotus.__file__).parent / "weights"


def depth_graph(server: Server, model: str = DEPTH, images: np.ndarray | None = None, **inputs: object) -> Graph:
    images = photo()[None] if images is None else images
    return {
        "load": graphs.load(model),
        "photo": graphs.image(put(server, "trouble", images)),
        "depth": graphs.depth("load", "photo", **inputs),
        "save": graphs.save("depth", 0, "trouble"),
    }


def fails(server: Server, graph: Graph, node: str) -> str:
    """The sentence that the UI shows on `node`; the server predicts as before afterwards."""
    finished = server.client.run(graph)
    assert finished.status == "error"
    assert finished.error["node_id"] == node
    assert finished.error["exception_type"].endswith("LotusError")
    works(server)
    return finished.sentence


def refused(server: Server, graph: Graph, node: str) -> str:
    """Why the server does not even queue the graph; it predicts as before afterwards."""
    with pytest.raises(Refused) as caught:
        server.client.run(graph)
    works(server)
    return " ".join(caught.value.node_errors[node])


def works(server: Server) -> None:
    graphs.must_succeed(server.client.run(depth_graph(server, seed=time.monotonic_ns() % 2**32)))


def put_model(server: Server, name: str, source: str = DEPTH, folder: str = "diffusion_models") -> Path:
    path = server.base / "models" / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(WEIGHTS / f"{source}.safetensors", path)
    return path


def choices(server: Server) -> list[str]:
    options = server.client.get("/object_info/LoadLotus")["LoadLotus"]["input"]["required"]["model"][1]["options"]
    assert isinstance(options, list)
    return options


def test_a_model_that_was_never_there(server: Server) -> None:
    sentence = refused(server, depth_graph(server, "diffusion_models/lotus-depth-z.safetensors"), "load")
    assert "There is no Lotus model 'diffusion_models/lotus-depth-z.safetensors' any more" in sentence
    assert "lotus-tiny" not in sentence  # not the whole list


@pytest.mark.parametrize(
    ("linked", "wrong", "sentence"),
    [
        ("model", "diffusion_models/none.safetensors", "There is no Lotus model 'diffusion_models/none.safetensors'"),
        ("vae", "none.safetensors", "There is no 'none.safetensors' in models/vae any more"),
        ("precision", "fp99", "precision is 'fp99': choose one of auto, fp32, fp16, bf16."),
        ("predicts", "rain", "predicts is 'rain': choose one of automatic, disparity (1 = near)"),
        ("fast_decoder", "none.safetensors", "There is no 'none.safetensors' in models/vae_approx any more"),
    ],
)
def test_a_choice_that_comes_by_a_link(server: Server, linked: str, wrong: str, sentence: str) -> None:
    """ComfyUI asks about a linked choice before it knows it; what is wrong with it is said when the graph runs."""
    graph = depth_graph(server, seed=6)
    graphs.must_succeed(server.client.run(graph))
    chosen = graph["load"]["inputs"][linked]
    expected = graphs.saved(server.base, "trouble")["tensor"]
    graph |= {"text": graphs.text(chosen)}
    graph["load"]["inputs"][linked] = ["text", 0]
    said = len(server.log_text())
    graphs.must_succeed(server.client.run(graph))
    assert np.array_equal(graphs.saved(server.base, "trouble")["tensor"], expected)
    assert "WARNING" not in server.log_text()[said:], "the fingerprint is one"
    assert sentence in fails(server, graph | {"text": graphs.text(wrong)}, "load")


def test_a_model_file_that_is_deleted_or_replaced(server: Server) -> None:
    path = put_model(server, "mine/copy.safetensors")
    choice = "diffusion_models/mine/copy.safetensors"
    assert choice in choices(server)
    graph = depth_graph(server, choice, seed=5)
    graphs.must_succeed(server.client.run(graph))
    first = graphs.saved(server.base, "trouble")["tensor"]
    shutil.copyfile(WEIGHTS / f"{NORMAL}.safetensors", path)  # another state of the file is another model
    assert "predicts normal, not depth" in fails(server, graph, "depth")
    put_model(server, "mine/copy.safetensors")
    graphs.must_succeed(server.client.run(graph))
    assert np.array_equal(graphs.saved(server.base, "trouble")["tensor"], first)
    path.unlink()
    assert "There is no Lotus model" in refused(server, graph, "load")
    assert choice not in choices(server)


def test_a_diffusers_file_is_not_taken_for_another_of_the_same_name(server: Server) -> None:
    file = "diffusion_pytorch_model.safetensors"
    path = put_model(server, f"lotus-depth-g/unet/{file}")
    assert f"diffusion_models/lotus-depth-g/unet/{file}" in choices(server)
    sentence = refused(server, depth_graph(server, f"diffusion_models/lotus-normal-g/unet/{file}"), "load")
    assert "There is no Lotus model" in sentence
    elsewhere = depth_graph(server, f"diffusion_models/from elsewhere/lotus-depth-g/unet/{file}")
    graphs.must_succeed(server.client.run(elsewhere))  # a workflow from another machine
    shutil.rmtree(path.parents[1])


def test_corrupt_files_are_said_to_be_corrupt(server: Server) -> None:
    path = put_model(server, "cut.safetensors")
    choice = "diffusion_models/cut.safetensors"
    assert choice in choices(server)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    sentence = refused(server, depth_graph(server, choice), "load")
    assert "is cut off" in sentence
    path.unlink()


def test_other_models_are_left_out_of_the_list(server: Server) -> None:
    folder = server.base / "models" / "diffusion_models"
    folder.mkdir(exist_ok=True)
    for name, content in (("other.safetensors", b"\x08\0\0\0\0\0\0\0{}      "), ("broken.safetensors", b"<html>")):
        (folder / name).write_bytes(content)
    put_model(server, "in checkpoints.safetensors", folder="checkpoints")
    listed = choices(server)
    assert "checkpoints/in checkpoints.safetensors" in listed
    assert not [name for name in listed if "other" in name or "broken" in name]
    assert listed[:2] == [DEPTH, NORMAL]
    assert "jingheya/lotus-depth-g-v2-1-disparity" in listed


def test_wrong_model_for_the_node_says_which_to_load(server: Server) -> None:
    sentence = fails(server, depth_graph(server, NORMAL), "depth")
    assert sentence.startswith(f"{NORMAL} predicts normal, not depth: choose a depth model in Load Lotus, such as")
    assert "jingheya/lotus-depth-g-v2-1-disparity" in sentence
    graph = depth_graph(server)
    graph["normal"] = graphs.normal("load", "photo")
    graph["save"] = graphs.save("normal", 0, "trouble")
    assert "choose a normal model in Load Lotus" in fails(server, graph, "normal")


def test_lotus_d_has_no_uncertainty(server: Server, discriminative: str) -> None:
    graph = depth_graph(server, discriminative)
    graph["uncertainty"] = graphs.uncertainty("load", "photo")
    graph["save"] = graphs.save("uncertainty", 0, "trouble")
    sentence = fails(server, graph, "uncertainty")
    assert "is a Lotus-D model" in sentence
    assert "such as jingheya/lotus-depth-g-v2-1-disparity" in sentence


@pytest.fixture(scope="module")
def discriminative(server: Server) -> str:
    """A Lotus-D file in the model folder: the embedded Lotus-G without the half of conv_in that sees noise."""
    model = lotus.load_model(DEPTH, device="cpu", dtype="float32")
    old = model.unet.conv_in
    import torch

    conv = torch.nn.Conv2d(old.in_channels // 2, old.out_channels, old.kernel_size, padding=old.padding)
    conv.weight.data, conv.bias.data = old.weight.data[:, : conv.in_channels].clone(), old.bias.data
    model.unet.conv_in = conv
    model.unet.register_to_config(in_channels=conv.in_channels)
    model = lotus.LotusModel(model.unet, model.vae, model.prompt_embeds, model.info)
    path = server.base / "models" / "diffusion_models" / "tiny-d.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, path)
    return "diffusion_models/tiny-d.safetensors"


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((0, 96, 144, 3), "The image batch is empty (no frames)"),
        ((1, 96, 144, 2), "The image is 1×96×144×2, but batch×height×width×1, 3 or 4 is needed"),
    ],
)
def test_images_that_are_none(server: Server, shape: tuple[int, ...], sentence: str) -> None:
    graph = depth_graph(server, images=np.zeros(shape, np.float32))
    assert fails(server, graph, "depth").startswith(sentence)


def test_nan_is_found_before_it_spreads(server: Server) -> None:
    images = photo()[None].copy()
    images[0, 3, 3] = np.nan
    assert "NaN" in fails(server, depth_graph(server, images=images), "depth")


def test_a_resolution_that_nothing_can_be_seen_at(server: Server) -> None:
    assert "at least 32, not 7" in fails(server, depth_graph(server, resolution=7), "depth")


def test_a_frame_that_is_not_there(server: Server) -> None:
    graph = depth_graph(server)
    graph["mesh"] = graphs.mesh("depth", "photo", frame=3)
    graph["save"] = graphs.save("mesh", 0, "trouble")
    assert fails(server, graph, "mesh") == "There is no frame 3: the image input has 1, counted from 0."


def test_a_mask_that_is_not_there(server: Server) -> None:
    graph = depth_graph(server)
    graph["photo"] = graphs.image(put(server, "three", np.stack([photo()] * 3)))
    masks = np.ones((2, *photo().shape[:2]), np.float32)
    graph["mask"] = graphs.mask(put(server, "two masks", masks))
    graph["mesh"] = graphs.mesh("depth", "photo", mask=["mask", 0], frame=2)
    graph["save"] = graphs.save("mesh", 0, "trouble")
    assert fails(server, graph, "mesh") == "There is no frame 2: the mask input has 2, counted from 0."
    graph["mask"] = graphs.mask(put(server, "one mask", masks[:1]))  # one serves all frames
    graphs.must_succeed(server.client.run(graph))


def test_load_image_s_mask_of_a_photo_without_transparency_keeps_everything_inverted(server: Server) -> None:
    """Load Image gives 64×64 zeros then, whatever the photo's shape."""
    graph = depth_graph(server)
    graph["mask"] = graphs.mask(put(server, "inverted", np.ones((1, 64, 64), np.float32)))
    graph["mesh"] = graphs.mesh("depth", "photo", mask=["mask", 0])
    graph["save"] = graphs.save("mesh", 0, "inverted")
    graphs.must_succeed(server.client.run(graph))


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (np.zeros((1, 64, 64), np.float32), "The mask is what Load Image gives for a photo without transparency"),
        (np.ones((0, 96, 144), np.float32), "The mask is 0×96×144, but batch×height×width is needed"),
        (np.ones((1, 2, 96, 144), np.float32), "The mask is 1×2×96×144, but batch×height×width is needed"),
        (np.ones((1, 100, 100), np.float32), "The mask is 100×100 pixels and the photo 144×96, which is another shape"),
    ],
)
def test_a_mask_that_is_none(server: Server, mask: np.ndarray, sentence: str) -> None:
    graph = depth_graph(server)
    graph["mask"] = graphs.mask(put(server, "no mask", mask))
    graph["mesh"] = graphs.mesh("depth", "photo", mask=["mask", 0])
    graph["save"] = graphs.save("mesh", 0, "trouble")
    assert fails(server, graph, "mesh").startswith(sentence)


def test_a_photo_that_the_depth_is_not_of(server: Server) -> None:
    graph = depth_graph(server)
    graph["other"] = graphs.image(put(server, "other", np.zeros((1, 100, 320, 3), np.float32)))
    graph["mesh"] = graphs.mesh("depth", "other")
    graph["save"] = graphs.save("mesh", 0, "trouble")
    assert fails(server, graph, "mesh").startswith("The depth is 144×96 pixels and the photo 320×100")


@pytest.mark.parametrize(("name", "wrong"), [("near", "White"), ("range", "per frame")])
def test_a_linked_choice_that_is_none(server: Server, name: str, wrong: str) -> None:
    graph = depth_graph(server)
    graph["text"] = graphs.text(wrong)
    graph["depth"]["inputs"][name] = ["text", 0]
    assert fails(server, graph, "depth").startswith(f"{name} is '{wrong}': choose one of ")


def test_a_far_end_nearer_than_the_near_end(server: Server) -> None:
    graph = depth_graph(server)
    graph["mesh"] = graphs.mesh("depth", "photo", far=0.5)
    graph["save"] = graphs.save("mesh", 0, "trouble")
    sentence = "far is 0.5, but the near end lies at 1: choose more, or 0 to find it from the normals."
    assert fails(server, graph, "mesh") == sentence


def test_a_model_without_fast_decoder_says_where_to_put_one(server: Server) -> None:
    put_model(server, "plain.safetensors")
    graph = depth_graph(server, "diffusion_models/plain.safetensors", decoder="fast")
    assert "put taesd_decoder.safetensors (madebyollin/taesd on Hugging Face) into models/vae_approx" in fails(
        server, graph, "depth"
    )


def test_saving_nothing_is_said(server: Server) -> None:
    inputs = {"filename_prefix": "lotus/none", "format": "png", "convention": "lotus", "folder": "output"}
    graph = {"maps": {"class_type": "LotusSaveMaps", "inputs": inputs}}
    assert fails(server, graph, "maps") == "There is nothing to save: connect depth, normal or uncertainty."


def test_wiring_the_wrong_type_is_refused(server: Server) -> None:
    graph = depth_graph(server)
    graph["mesh"] = graphs.mesh("depth", "photo", normal=["depth", 2])
    graph["save"] = graphs.save("mesh", 0, "trouble")
    assert "LOTUS_DEPTH" in refused(server, graph, "mesh")


def test_reruns_are_cached_and_another_seed_is_not(server: Server) -> None:
    graph = depth_graph(server, seed=11)
    server.client.run(graph)
    again = graphs.must_succeed(server.client.run(graph))
    assert again.cached == set(graph)
    first = graphs.saved(server.base, "trouble")["tensor"]
    other = graphs.must_succeed(server.client.run(depth_graph(server, seed=12)))
    assert {"load", "photo"} <= other.cached
    assert not other.cached & {"depth", "save"}
    assert not np.array_equal(graphs.saved(server.base, "trouble")["tensor"], first)


def test_interrupting_a_mesh_stops_it_between_its_stages(server: Server) -> None:
    large = photo(768, 1152)  # a second's work
    graph = depth_graph(server, images=large[None], seed=21)
    graph["mesh"] = graphs.mesh("depth", "photo")
    graph["save"] = graphs.save("mesh", 0, "trouble")
    seen: list[int] = []

    def interrupt(kind: str, data: dict[str, object]) -> None:
        if kind == "progress" and data["node"] == "mesh":
            seen.append(int(str(data["value"])))
            if len(seen) == 1:
                server.client.post("/interrupt", {})

    finished = server.client.run(graph, on_message=interrupt)
    _, kind, data = finished.messages[-1]
    assert (kind, data.get("node_id")) == ("execution_interrupted", "mesh")
    assert seen[-1] < 800, "of 1000, where the file would be written"
    seen[:] = [-1]
    graphs.must_succeed(server.client.run(graph, on_message=interrupt))
    assert seen == sorted(seen)
    assert max(seen) >= 800


def test_interrupting_a_batch_returns_at_once(server: Server) -> None:
    frames = np.repeat(photo()[None], 400, axis=0)
    asked: list[float] = []

    def interrupt(kind: str, data: dict[str, object]) -> None:
        running = kind == "progress" and data["node"] == "depth" and int(str(data["value"])) > 20
        if running and not asked:
            asked.append(time.monotonic())
            server.client.post("/interrupt", {})

    finished: Finished = server.client.run(depth_graph(server, images=frames, seed=21), on_message=interrupt)
    ended, kind, data = finished.messages[-1]
    assert kind == "execution_interrupted"
    assert data["node_id"] == "depth"
    assert ended - asked[0] < 2
    works(server)
