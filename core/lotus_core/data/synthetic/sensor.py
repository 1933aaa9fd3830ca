"""From light to a photograph: white balance, exposure, lens blur, vignette, sensor noise, tone curve, JPEG."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from .scene import Focus

_BLURS = (0.33, 0.66, 1.0)  # of the largest: between them it is mixed


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


def defocus(image: Tensor, depth: Tensor, focus: Focus) -> Tensor:
    """Linear RGB H×W×3 blurred behind the focus, by blur · (1 − distance / depth) pixels (standard deviation).

    What is sharp does not bleed into what is blurred, so outlines in front stay sharp, as they do behind a lens.
    """
    blur = focus.blur * (1 - focus.distance / depth).clamp(0, 1)
    behind = (blur > 0.3).float()
    layers = torch.cat([image.permute(2, 0, 1) * behind, behind[None]])
    result = image.permute(2, 0, 1)
    for share in _BLURS:
        soft = _blur(layers, share * focus.blur)
        soft = soft[:3] / soft[3:].clamp_min(1e-3)
        weight = ((blur / focus.blur - share) / 0.33 + 1).clamp(0, 1) * behind
        result = result + weight * (soft - result)
    return result.permute(1, 2, 0)


def _blur(image: Tensor, sigma: float) -> Tensor:
    reach = max(2, round(2.5 * sigma))
    taps = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (taps / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    planes = F.pad(image[:, None], (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(planes, kernel), kernel.transpose(2, 3))[:, 0]


def _jpeg(pixels: Tensor, quality: int) -> Tensor:
    buffer = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=quality)
    return torch.from_numpy(np.asarray(Image.open(buffer)).copy()).permute(2, 0, 1)
