"""A folded model answers as the unfolded one did, without the parts that were constant, and says what it can't do."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.upsampling import Upsample2D

import lotus_core as lotus
from lotus_core.checkpoints import save_model
from lotus_core.model import LotusModel, task_embedding
from lotus_core.upsampling import FoldedUpsample2D, fold_upsampling

from .models import tiny_model

GONE = ("time_embedding", "class_embedding", "time_emb_proj", "attn2.to_", "add_embedding")


def answers(model: LotusModel, task: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    latents, noise = torch.randn(2, 2, 4, 8, 12, generator=generator)
    dtype = next(model.unet.parameters()).dtype
    with torch.no_grad():
        return model(latents.to(dtype), noise.to(dtype) if model.variant == "g" else None, task).float()


@pytest.mark.parametrize("task", ["annotation", "reconstruct"])
@pytest.mark.parametrize("variant", ["g", "d"])
def test_folding_keeps_both_tasks_within_1e_5(variant: str, task: str) -> None:
    model = tiny_model(variant)
    before = answers(model, task)
    assert model.fold()
    assert (answers(model, task) - before).abs().max() < 1e-5
    assert before.abs().mean() > 0.1


def test_the_tasks_of_a_folded_model_differ_and_can_alternate() -> None:
    model = tiny_model()
    model.fold()
    first = answers(model, "annotation")
    second = answers(model, "reconstruct")
    assert (first - second).abs().max() > 1e-2
    assert torch.equal(answers(model, "annotation"), first)


@pytest.mark.parametrize("tokens", [1, 2, 77])
def test_prompts_of_any_length_fold(tokens: int) -> None:
    model = tiny_model()
    generator = torch.Generator().manual_seed(tokens)
    model.prompt_embeds = torch.randn(1, tokens, model.prompt_embeds.shape[2], generator=generator)
    before = answers(model, "annotation")
    model.fold()
    assert (answers(model, "annotation") - before).abs().max() < 1e-5


def test_what_was_constant_is_gone_from_the_network_and_from_the_run() -> None:
    model = tiny_model()
    names = [name for name, _ in model.unet.named_parameters()]
    assert all(any(part in name for name in names) for part in GONE[:4])
    model.fold()
    called: list[str] = []
    for name, module in model.unet.named_modules():
        module.register_forward_hook(lambda *_, name=name: called.append(name))
    answers(model, "annotation")
    left = [*dict(model.unet.named_parameters()), *dict(model.unet.named_buffers()), *called]
    projections = [name for name in left if any(part in name for part in GONE)]
    # a module stands where the time MLP was, since diffusers calls it; it holds nothing and does nothing
    assert set(projections) <= {"time_embedding"}
    assert not list(model.unet.time_embedding.parameters())
    assert "conv_in" in called


def test_maps_of_a_folded_model_equal_those_of_the_unfolded_one() -> None:
    photo = torch.rand(40, 56, 3, generator=torch.Generator().manual_seed(1)).numpy()
    for task in ("depth", "normal"):
        plain, folded = tiny_model("g", task), tiny_model("g", task)
        folded.fold()
        maps = [getattr(lotus.LotusPredictor(model), task)(photo, seed=5).values for model in (plain, folded)]
        assert abs(maps[0] - maps[1]).max() < (1e-5 if task == "depth" else 1e-4)


def test_folding_twice_is_folding_once() -> None:
    model = tiny_model()
    model.fold()
    once = answers(model, "annotation")
    assert model.fold()
    assert model.folded
    assert torch.equal(answers(model, "annotation"), once)


def test_a_model_folded_before_is_compiled_when_that_is_asked_for() -> None:
    model = tiny_model()
    model.fold()
    once = answers(model, "annotation")
    assert not model.compiled
    assert model.fold(compile="eager")
    assert model.compiled
    assert (answers(model, "annotation") - once).abs().max() < 1e-6
    assert model.fold(compile=True)  # compiled already: nothing is compiled anew
    assert model.fold()
    assert model.compiled


def test_loading_folds_and_compiles() -> None:
    model = lotus.load_model("lotus-tiny-depth-g", "cpu", compile="eager")
    assert (model.folded, model.compiled) == (True, True)
    assert not lotus.load_model("lotus-tiny-depth-g", "cpu", fold=True).compiled


def test_a_folded_model_is_moved_cast_and_copied_as_a_whole() -> None:
    """Constants are buffers: a host that casts or copies the module takes them along."""
    model = tiny_model()
    model.fold()
    exact = answers(model, "reconstruct")
    assert torch.equal(answers(copy.deepcopy(model), "reconstruct"), exact)
    model.to(torch.float64)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float64}
    assert (answers(model, "reconstruct") - exact).abs().max() < 1e-4
    assert {tensor.device.type for tensor in copy.deepcopy(model).to("meta").state_dict().values()} == {"meta"}


def test_a_folded_model_is_neither_trained_nor_saved(tmp_path: Path) -> None:
    model = tiny_model()
    model.fold()
    with pytest.raises(lotus.LotusError, match="cannot be saved: load it again"):
        save_model(model, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())
    latents = torch.zeros(1, 4, 8, 8)
    with pytest.raises(lotus.LotusError, match="cannot be trained: load it again"):
        model(latents, latents, task_embedding("annotation"))
    with pytest.raises(lotus.LotusError, match="cannot be trained: load it again"):
        model(latents, latents, timestep=500)
    with pytest.raises(lotus.LotusError, match="cannot be trained: load it again"):
        model.train()(latents, latents)


def test_a_u_net_of_another_kind_stays_as_it_is_and_works() -> None:
    model = tiny_model()
    config = {**model.unet.config, "resnet_time_scale_shift": "scale_shift", "_use_default_values": []}
    model.unet = UNet2DConditionModel.from_config(config).eval()
    before = answers(model, "annotation")
    assert not model.fold()
    assert not model.folded
    assert torch.equal(answers(model, "annotation"), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_decodes_without_bands(dtype: torch.dtype) -> None:
    """A ramp decoded in a half precision keeps more levels than the precision itself can tell apart."""
    model = tiny_model("d").to(dtype)
    ramp = torch.linspace(-1, 1, 64).expand(1, 4, 64, 64) * torch.linspace(0.5, 1, 64).view(1, 1, 64, 1)
    with torch.no_grad():
        decoded = model.decode(ramp, mean=True)
        rounded = model.vae.decode((ramp / model.latent_scale).to(dtype)).sample.mean(1)
    assert decoded.dtype == torch.float32
    assert len(decoded.unique()) > 10_000
    assert len(rounded.unique()) < (2_500 if dtype == torch.bfloat16 else 15_000)


def test_the_mean_over_the_channels_is_exact_for_both_kinds_of_autoencoder() -> None:
    for model in (tiny_model("d"), lotus.load_model("lotus-tiny-depth-g", device="cpu")):
        latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            own = model.vae.decode(latents / model.latent_scale).sample
            torch.testing.assert_close(model.decode(latents), own, atol=1e-6, rtol=0)
            mean = model.decode(latents, mean=True)
        torch.testing.assert_close(mean, own.mean(1, keepdim=True), atol=1e-6, rtol=0)


def test_strips_of_rows_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("d").bfloat16()
    latents = torch.randn(1, 4, 12, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = model.decode(latents)
        monkeypatch.setattr("lotus_core.decoding.STRIP", 7 * 8 * 32)
        torch.testing.assert_close(model.decode(latents), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [None, (10, 14), (9, 13)])
def test_an_enlargement_and_its_convolution_are_one(size: tuple[int, int] | None) -> None:
    """Also where the network asks for an odd size, which is not twice the input's."""
    torch.manual_seed(0)
    plain = Upsample2D(3, use_conv=True, out_channels=6).eval()
    network = torch.nn.ModuleList([plain])
    inputs = torch.randn(2, 3, 5, 7)
    with torch.no_grad():
        expected = plain(inputs, size)
        fold_upsampling(network)
        assert isinstance(network[0], FoldedUpsample2D)
        for layout in (torch.contiguous_format, torch.channels_last):
            torch.testing.assert_close(network[0](inputs.contiguous(memory_format=layout), size), expected)


def test_decoders_of_both_kinds_fold_and_decode_the_same() -> None:
    embedded = lotus.load_model("lotus-tiny-normal-g", device="cpu")
    for model in (tiny_model("d"), embedded):
        latents = torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            plain = model.decode(latents)
            assert model.fold()
            assert (model.decode(latents) - plain).abs().max() < 1e-5
        folded = [part for part in model.vae.decoder.modules() if isinstance(part, FoldedUpsample2D)]
        assert len(folded) == 2  # four times as large as the latents


def test_a_compiled_u_net_answers_the_same_for_both_tasks() -> None:
    """Traced and guarded by torch.compile, run by torch as ever: the task is not baked in."""
    plain, compiled = tiny_model(), tiny_model()
    plain.fold()
    compiled.fold(compile="eager")
    for task in ("annotation", "reconstruct", "annotation"):
        assert (answers(compiled, task) - answers(plain, task)).abs().max() < 1e-6
