"""Cameras that are not perfect: colour response, exposure, blur, noise, JPEG. One function for both views."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

EXPOSED = 0.44  # mean brightness that automatic exposure aims at


def expose(images: Tensor, rng: np.random.Generator, *, strength: float = 1.0) -> Tensor:
    """(B, 3, H, W) in [0, 1] as B different cameras would record them, independent from picture to picture.

    `strength` scales what varies from camera to camera: gain, white balance, contrast, gamma, saturation, blur and
    sensor noise. What every camera does it does not scale: automatic exposure with a soft shoulder, a slight loss of
    saturation, and JPEG at a random quality. Leave the function out for a perfect camera.
    """
    batch = len(images)
    device = images.device

    def draw(scale: float, *shape: int) -> Tensor:
        values = rng.normal(0, scale * strength, (batch, *shape)).astype(np.float32)
        return torch.from_numpy(values).to(device)

    metered = (EXPOSED / images.mean((1, 2, 3), keepdim=True).clamp(0.08, 1)) ** 0.7
    gain = metered * torch.exp(draw(0.10, 1, 1, 1) + draw(0.045, 3, 1, 1))
    gamma = torch.exp(draw(0.16, 1, 1, 1) + draw(0.03, 3, 1, 1))
    contrast = torch.exp(draw(0.14, 1, 1, 1))
    saturation = torch.exp(draw(0.22, 1, 1, 1) - 0.05)
    images = (images * gain).clamp(min=1e-4)
    images = torch.where(images > 0.8, 0.8 + 0.2 * torch.tanh((images - 0.8) / 0.2), images) ** gamma
    images = 0.45 + (images - 0.45) * contrast + draw(0.02, 1, 1, 1)
    grey = images.mean(1, keepdim=True)
    images = (grey + (images - grey) * saturation).clamp(0, 1)
    images = _blur(images, rng, strength)
    grain = torch.from_numpy(rng.standard_normal(images.shape, dtype=np.float32)).to(device)
    images = (images + grain * draw(0.015, 1, 1, 1).abs()).clamp(0, 1)
    return _jpeg(images, rng.integers(55, 97, batch))


def _blur(images: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    """Each picture mixed with its own 3 × 3 binomial blur."""
    kernel = torch.tensor([1.0, 2.0, 1.0], device=images.device) / 4
    kernel = (kernel[:, None] * kernel).expand(3, 1, 3, 3)
    soft = F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)
    share = torch.from_numpy(rng.uniform(-0.35, 1.0, (len(images), 1, 1, 1)).astype(np.float32)).to(images.device)
    return (images + (soft - images) * share * strength).clamp(0, 1)


def _jpeg(images: Tensor, quality: np.ndarray) -> Tensor:
    pictures = (images * 255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()
    decoded = []
    for picture, q in zip(pictures, quality, strict=True):
        _, code = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(q)])
        decoded.append(np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR)))
    return torch.from_numpy(np.stack(decoded)).to(images.device).permute(0, 3, 1, 2).float() / 255
