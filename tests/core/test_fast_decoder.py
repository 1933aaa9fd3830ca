"""The small autoencoder in place of the checkpoint's own: the files it comes in, what it decodes, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import save_file

import lotus_core as lotus
from lotus_core.checkpoints import save_model
from lotus_core.cli import main
from lotus_core.encoding import encoder_digest
from lotus_core.fast_decoder import attach_fast_decoder, decoder_psnr, load_fast_decoder

from .models import tiny_model

PHOTO = np.random.default_rng(2).random((40, 56, 3), dtype=np.float32)
CPU = torch.device("cpu")


def taesd(levels: int = 3, width: int = 8, latents: int = 4) -> AutoencoderTiny:
    torch.manual_seed(5)
    return AutoencoderTiny(
        encoder_block_out_channels=(width,) * levels,
        decoder_block_out_channels=(width,) * levels,
        num_encoder_blocks=(1, 3, 2, 3)[:levels],
        num_decoder_blocks=(3, 2, 1, 1)[:levels],
        latent_channels=latents,
    ).eval()


def original_files(vae: AutoencoderTiny, folder: Path, encoder: bool = True) -> Path:
    """The two files of TAESD's own repository: layers by number, the decoder's counted from its clamp."""
    folder.mkdir()
    layers = {name.removeprefix("layers."): tensor for name, tensor in vae.encoder.state_dict().items()}
    if encoder:
        save_file(layers, folder / "taesd_encoder.safetensors")
    layers = {}
    for name, tensor in vae.decoder.state_dict().items():
        _, number, rest = name.split(".", 2)
        layers[f"{int(number) + 1}.{rest}"] = tensor
    save_file(layers, folder / "taesd_decoder.safetensors")
    return folder


def diffusers_folder(vae: AutoencoderTiny, folder: Path) -> Path:
    vae.save_pretrained(folder)
    return folder


@pytest.fixture
def layouts(tmp_path: Path) -> dict[str, Path]:
    vae = taesd()
    original = original_files(vae, tmp_path / "original")
    folder = diffusers_folder(vae, tmp_path / "diffusers")
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes((folder / "diffusion_pytorch_model.safetensors").read_bytes())
    return {"folder": folder, "bare": bare, "original": original, "decoder": original / "taesd_decoder.safetensors"}


def test_every_layout_gives_the_same_autoencoder(layouts: dict[str, Path]) -> None:
    expected = taesd()
    image, latents = torch.rand(1, 3, 16, 24) * 2 - 1, torch.randn(1, 4, 4, 6)
    with torch.no_grad():
        for layout, path in layouts.items():
            loaded = load_fast_decoder(path, CPU, torch.float32)
            assert loaded.config.num_decoder_blocks == [3, 2, 1], layout
            torch.testing.assert_close(loaded.encode(image).latents, expected.encode(image).latents)
            torch.testing.assert_close(loaded.decode(latents).sample, expected.decode(latents).sample)


def test_the_published_structure_is_read_off_the_tensors(tmp_path: Path) -> None:
    """TAESD: 64 channels, 4 resolutions, 3 blocks each but for the first of the encoder and the last of the decoder."""
    loaded = load_fast_decoder(original_files(AutoencoderTiny(), tmp_path / "taesd"), CPU, torch.float16)
    assert (loaded.config.num_encoder_blocks, loaded.config.num_decoder_blocks) == ([1, 3, 3, 3], [3, 3, 3, 1])
    assert (loaded.config.latent_channels, loaded.config.scaling_factor) == (4, 1.0)
    assert loaded.config.decoder_block_out_channels == [64] * 4
    assert next(loaded.parameters()).dtype == torch.float16


def test_maps_are_decoded_with_it_when_asked_and_only_then(layouts: dict[str, Path]) -> None:
    for task in ("depth", "normal"):
        predictor = lotus.LotusPredictor(attach_fast_decoder(tiny_model("g", task), layouts["original"]))
        exact = getattr(predictor, task)(PHOTO)
        assert predictor.fast_decoder_psnr is None
        fast = getattr(predictor, task)(PHOTO, decoder="fast")
        again = getattr(lotus.LotusPredictor(tiny_model("g", task)), task)(PHOTO)
        np.testing.assert_array_equal(exact.values, again.values)
        assert fast.values.shape == exact.values.shape
        assert np.abs(fast.values - exact.values).max() > 1e-2
        assert 0 < predictor.fast_decoder_psnr < 40


def test_depth_is_what_the_small_decoder_makes_of_the_predicted_latents(layouts: dict[str, Path]) -> None:
    model = attach_fast_decoder(tiny_model("d"), layouts["original"])
    depth = lotus.LotusPredictor(model).depth(PHOTO, resolution=0, decoder="fast").values
    with torch.no_grad():
        image = torch.from_numpy(PHOTO).permute(2, 0, 1)[None] * 2 - 1
        decoded = taesd().decode(model(model.encode(image))).sample
    np.testing.assert_allclose(depth, (decoded.mean(1)[0] / 2 + 0.5).clamp(0, 1).numpy(), atol=1e-6)


def test_the_encoder_is_used_where_asked_and_there_is_one(layouts: dict[str, Path], tmp_path: Path) -> None:
    model = attach_fast_decoder(tiny_model("d"), layouts["folder"])
    image = torch.from_numpy(PHOTO).permute(2, 0, 1)[None] * 2 - 1
    encoded = lotus.LotusPredictor(model).encode(PHOTO, resolution=0, encoder="fast")
    with torch.no_grad():
        torch.testing.assert_close(encoded.latents, taesd().encode(image).latents)
    lotus.LotusPredictor(model).depth(encoded, decoder="exact")
    alone = original_files(taesd(), tmp_path / "alone", encoder=False) / "taesd_decoder.safetensors"
    model = attach_fast_decoder(tiny_model("d"), alone)
    lotus.LotusPredictor(model).depth(PHOTO, decoder="fast")
    with pytest.raises(lotus.LotusError, match=r"taesd_decoder\.safetensors holds a decoder only"):
        lotus.LotusPredictor(model).depth(PHOTO, encoder="fast")


def test_the_stated_loss_is_that_of_the_map(layouts: dict[str, Path]) -> None:
    model = lotus.load_model("lotus-tiny-depth-g", device="cpu")
    model.fast_vae = model.vae
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert decoder_psnr(model, latents) >= 120  # where decoders agree to the bit
        model = attach_fast_decoder(tiny_model("g"), layouts["bare"])
        latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
        exact = (model.decode(latents).mean(1) / 2 + 0.5).clamp(0, 1)
        fast = (taesd().decode(latents).sample.mean(1) / 2 + 0.5).clamp(0, 1)
        expected = -10 * float(torch.log10((exact - fast).square().mean()))
        assert abs(decoder_psnr(model, latents) - expected) < 0.01


def test_what_cannot_be_a_fast_decoder_is_refused_in_one_sentence(layouts: dict[str, Path], tmp_path: Path) -> None:
    model = tiny_model()
    save_model(model, tmp_path / "model.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(layouts["bare"].read_bytes()[:-100])
    (tmp_path / "empty").mkdir()
    (tmp_path / "old.pth").write_bytes(b"PK\x03\x04 pickle")
    refusals = {
        layouts["original"] / "taesd_encoder.safetensors": "holds no decoder of an AutoencoderTiny",
        tmp_path / "model.safetensors": "holds no decoder of an AutoencoderTiny",
        tmp_path / "cut.safetensors": "cut off",
        tmp_path / "empty": "holds neither",
        tmp_path / "old.pth": "is a pickle",
        tmp_path / "none.safetensors": "There is no fast decoder",
        "tasd": "one of .*taesd",
        diffusers_folder(taesd(levels=2), tmp_path / "two"): "belongs to another model",
        diffusers_folder(taesd(latents=16), tmp_path / "sixteen"): "latents of 16 channels",
    }
    for source, words in refusals.items():
        with pytest.raises(lotus.LotusError, match=words) as caught:
            attach_fast_decoder(model, source)
        assert "\n" not in str(caught.value)
    with pytest.raises(lotus.LotusError, match="loaded without a fast decoder: name one with fast_decoder"):
        lotus.LotusPredictor(model).depth(PHOTO, decoder="fast")


def test_the_command_line_decodes_fast_and_records_what_it_costs(
    layouts: dict[str, Path], checkpoints: dict[str, str], photo: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    models = ["--model", checkpoints["depth"], "--model", checkpoints["normal"], "--task", "all", "--samples", "2"]
    command = ["predict", photo, "-o", str(out), *models, "--device", "cpu", "--format", "npy", "--quiet"]
    assert main([*command, "--fast-decoder", str(layouts["original"]), "--fast-encoder"]) == 0
    record = json.loads((out / "photo.json").read_text())
    for name in ("depth", "normal", "uncertainty"):
        entry = record["maps"][name]
        assert (entry["decoder"], entry["encoder"]) == ("original", "original")
        assert 0 < entry["decoder_psnr_db"] < 60
    assert main([*command, "--fast-encoder"]) == 2


def test_depth_normals_and_uncertainty_share_one_encoding(
    checkpoints: dict[str, str], photo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files with the same autoencoder: one encoding, and the maps are those of each file alone, to the bit."""
    encoded: list[tuple[int, ...]] = []
    encode = lotus.LotusModel.encode

    def count(self: lotus.LotusModel, images: torch.Tensor, *args: object, **options: object) -> torch.Tensor:
        encoded.append(tuple(images.shape))
        return encode(self, images, *args, **options)

    monkeypatch.setattr(lotus.LotusModel, "encode", count)
    common = ["--device", "cpu", "--format", "npy", "--quiet", "--samples", "3"]
    models = ["--model", checkpoints["depth"], "--model", checkpoints["normal"]]
    assert main(["predict", photo, "-o", str(tmp_path / "all"), "--task", "all", *models, *common]) == 0
    assert len(encoded) == 1
    for task in ("depth", "normal"):
        alone = tmp_path / task
        assert main(["predict", photo, "-o", str(alone), "--model", checkpoints[task], *common]) == 0
        maps = [np.load(folder / f"photo_{task}.npy") for folder in (tmp_path / "all", alone)]
        np.testing.assert_array_equal(*maps)


def test_encodings_of_another_autoencoder_are_refused() -> None:
    one, other = tiny_model(), tiny_model()
    with torch.no_grad():
        other.vae.encoder.conv_in.bias[0] += 1e-6
    assert encoder_digest(one) == encoder_digest(tiny_model())
    assert encoder_digest(one) != encoder_digest(other)
    encoded = lotus.LotusPredictor(one).encode(PHOTO)
    lotus.LotusPredictor(tiny_model("d")).depth(encoded)
    with pytest.raises(lotus.LotusError, match="comes from another autoencoder"):
        lotus.LotusPredictor(other).depth(encoded)


def test_the_embedded_one_serves_both_embedded_checkpoints() -> None:
    photo = Path(lotus.__file__).parent / "assets" / "coffee.jpg"
    for task, least in (("depth", 40), ("normal", 33)):
        model = lotus.load_model(f"lotus-tiny-{task}-g", device="cpu", fast_decoder="lotus-tiny-decoder")
        predictor = lotus.LotusPredictor(model)
        exact, fast = (getattr(predictor, task)(photo, decoder=decoder).values for decoder in ("exact", "fast"))
        error = ((exact - fast) ** 2).mean()
        assert least < 10 * np.log10((1 if task == "depth" else 4) / error) < 60
