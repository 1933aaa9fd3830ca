"""From light to a photograph: white balance, exposure, lens blur, vignette, sensor noise, tone curve, JPEG."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


def photograph(linear: Tensor, rng: np.random.Generator) -> Tensor:
    """Linear RGB H×W×3 ≥ 0 → uint8 3×H×W as a camera would have stored it. Every choice comes from `rng`."""
    image = linear.permute(2, 0, 1).cpu()
    height, width = image.shape[1:]
    image = image * torch.tensor(np.exp(rng.normal(0, 0.06, 3)), dtype=torch.float32)[:, None, None]
    bright = float(torch.quantile(image.mean(0).flatten()[::7], float(rng.uniform(0.85, 0.99))))
    image = image * (float(rng.uniform(0.6, 1.05)) / max(bright, 1e-3))
    if rng.random() < 0.5:
        image = _blur(image, float(rng.uniform(0.3, 0.9)))
    if rng.random() < 0.4:
        y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        image = image * (1 - float(rng.uniform(0.05, 0.35)) * (x * x + y * y) / 2)
    noise = torch.from_numpy(rng.standard_normal((3, height, width), dtype=np.float32))
    level = float(np.exp(rng.uniform(np.log(0.001), np.log(0.03))))
    pixels = develop(image, noise, level)
    return _jpeg(pixels, int(rng.integers(55, 97))) if rng.random() < 0.6 else pixels


def develop(image: Tensor, noise: Tensor, level: float) -> Tensor:
    """Exposed linear light 3×H×W and standard normal noise of that shape → uint8 through the tone curve."""
    image = (image + noise * level * (0.3 + image.clamp(0, 1)).sqrt()).clamp_min(0)
    # A soft shoulder keeps highlights from clipping hard; 2.2 is the usual display gamma.
    image = (image / (1 + 0.25 * image) * 1.25).clamp(0, 1) ** (1 / 2.2)
    return (image * 255).round().to(torch.uint8)


def _blur(image: Tensor, sigma: float) -> Tensor:
    taps = torch.arange(-2, 3, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (taps / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, 5)
    planes = F.pad(image[:, None], (2, 2, 2, 2), mode="replicate")
    return F.conv2d(F.conv2d(planes, kernel), kernel.transpose(2, 3))[:, 0]


def _jpeg(pixels: Tensor, quality: int) -> Tensor:
    buffer = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=quality)
    return torch.from_numpy(np.asarray(Image.open(buffer)).copy()).permute(2, 0, 1)
