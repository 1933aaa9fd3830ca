"""Distilling a fast decoder: it comes to decode as its teacher, resumes, states its loss, and is what lotus takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import lotus_core as lotus
from lotus_core.errors import LotusError
from lotus_core.fast_decoder import attach_fast_decoder, decoder_psnr
from lotus_core.training import decoder
from lotus_core.training.config import DecoderRunConfig, parse_config
from lotus_core.training.decoder import train_decoder
from lotus_core.training.state import checkpoints, load_checkpoint

from .training_runs import log_lines, losses, table

STUDENT = {
    "encoder_block_out_channels": [8, 8, 8],
    "decoder_block_out_channels": [8, 8, 8],
    "num_encoder_blocks": [1, 1, 1],
    "num_decoder_blocks": [1, 1, 1],
}


def config(ingredients: Path, output: Path, model: dict[str, Any] | None = None, **optim: Any) -> DecoderRunConfig:
    run = table(ingredients, output, optim=optim)
    run |= {"kind": "decoder", "loss": {"crop": 32, "latent_noise": 0.02}}
    run["model"] = {"name": "student", "teacher": "lotus-tiny-depth-g", "config": STUDENT, **(model or {})}
    run["log"] |= {"validation_every": optim.get("steps", 4), "checkpoint_every": 2}
    parsed = parse_config(run)
    assert isinstance(parsed, DecoderRunConfig)
    return parsed


def stated_psnr(path: Path) -> dict[str, float]:
    with safe_open(path, "pt") as file:
        return {key: float(value) for key, value in file.metadata().items() if key.startswith("psnr_")}


def test_a_student_comes_to_decode_as_its_teacher_and_says_how_well(
    ingredients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers = []
    load = decoder.load_autoencoder
    monkeypatch.setattr(decoder, "load_autoencoder", lambda name: teachers.append(load(name)) or teachers[-1])
    path = train_decoder(config(ingredients, tmp_path, steps=80, lr=4e-3, ema_decay=0.9, batch_size=4))
    curve = losses(tmp_path)
    assert curve[80] < 0.5 * curve[1], curve
    stated = stated_psnr(path)
    assert stated.keys() == {"psnr_image", "psnr_depth", "psnr_normal"}
    last = next(line for line in reversed(log_lines(tmp_path)) if "psnr_depth" in line)
    assert stated["psnr_depth"] == pytest.approx(last["psnr_depth"], abs=0.01)
    model = attach_fast_decoder(lotus.load_model("lotus-tiny-depth-g", device="cpu"), path)
    untrained = train_decoder(config(ingredients, tmp_path / "untrained", steps=1, lr=1e-9))
    with torch.no_grad():
        image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
        latents = model.encode(image)
        trained = decoder_psnr(model, latents)
        assert trained > decoder_psnr(attach_fast_decoder(model, untrained), latents) + 3
    # the teacher's weights stayed what they are
    fresh = load("lotus-tiny-depth-g").state_dict()
    assert teachers[0].state_dict().keys() == fresh.keys()
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in teachers[0].state_dict().items())


def test_a_resumed_run_ends_where_an_unbroken_one_does(ingredients: Path, tmp_path: Path) -> None:
    train_decoder(config(ingredients, tmp_path / "parts", steps=2, schedule="constant"))
    with pytest.raises(LotusError, match="already holds a training run"):
        train_decoder(config(ingredients, tmp_path / "parts", steps=4))
    unbroken = config(ingredients, tmp_path / "unbroken", steps=4, schedule="constant")
    stated = stated_psnr(train_decoder(unbroken))
    assert len(stated) == 3
    assert stated_psnr(train_decoder(unbroken, resume=True)) == stated  # there was nothing left to do
    train_decoder(config(ingredients, tmp_path / "parts", steps=4, schedule="constant"), resume=True)
    ends = [load_checkpoint(checkpoints(tmp_path / name / "checkpoints")[-1])[0] for name in ("unbroken", "parts")]
    for stem in ("weights", "average", "optimizer"):
        assert ends[0][stem].keys() == ends[1][stem].keys()
        assert all(torch.equal(ends[0][stem][name], ends[1][stem][name]) for name in ends[0][stem])


def test_training_can_go_on_from_a_fast_decoder(ingredients: Path, tmp_path: Path) -> None:
    first = train_decoder(config(ingredients, tmp_path / "first", steps=40, lr=4e-3, ema_decay=0.9))
    model = {"base": str(first), "config": {}}
    train_decoder(config(ingredients, tmp_path / "second", model, steps=4, lr=1e-4))
    assert losses(tmp_path / "second")[1] < losses(tmp_path / "first")[1]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"base": "some.safetensors"}, r"\[model.config\] is read without base only"),
        ({"base": "taesd.safetensors", "config": {}}, "There is no fast decoder"),
        ({"config": {**STUDENT, "decoder_block_out_channels": [8, 8]}}, "does not describe an AutoencoderTiny"),
        (
            {"config": {**STUDENT, "decoder_block_out_channels": [8, 8], "num_decoder_blocks": [1, 1]}},
            "needs 3 decoder_block_out_channels, not 2",
        ),
        ({"teacher": "no-such-model"}, "no-such-model"),
    ],
)
def test_students_that_cannot_be_are_refused(
    ingredients: Path, tmp_path: Path, model: dict[str, Any], words: str
) -> None:
    with pytest.raises(LotusError, match=words):
        train_decoder(config(ingredients, tmp_path, model))
