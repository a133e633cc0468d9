"""Joint bilateral upsampling of features, guided by the picture they came from, in pure PyTorch.

After FeatUp (Fu et al., ICLR 2024, https://arxiv.org/abs/2403.10516), whose upsampler needs a compiled extension. Each
step doubles the side: the features are enlarged, then every pixel becomes a weighted mean of its neighbourhood, the
weights being a softmax over the likeness of learned projections of the guiding picture, times a Gaussian of distance.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def joint_bilateral(features: Tensor, guide: Tensor, temperature: Tensor, sigma: Tensor, radius: int = 3) -> Tensor:
    """Weighted means over neighbourhoods of (2·radius + 1)² pixels; the weights of a pixel sum to 1.

    weight(p, q) ∝ softmax_q(temperature · ⟨guide(p), guide(q)⟩) · exp(−|p − q|² / 2σ²), distances in units of the
    radius. Beyond the edge the picture is mirrored.

    Args:
        features: (B, C, H, W).
        guide: (B, K, H, W).
        temperature, sigma: positive scalars.
        radius: pixels.
    """
    height, width = features.shape[-2:]
    wide_guide = F.pad(guide, (radius,) * 4, mode="reflect")
    wide = F.pad(features, (radius,) * 4, mode="reflect")
    steps = [(dy, dx) for dy in range(2 * radius + 1) for dx in range(2 * radius + 1)]
    alike = torch.stack(
        [(guide * wide_guide[..., dy : dy + height, dx : dx + width]).sum(1) for dy, dx in steps], 1
    )  # (B, neighbours, H, W)
    offsets = torch.tensor(steps, device=features.device, dtype=features.dtype) / radius - 1
    near = torch.exp(-offsets.square().sum(1) / (2 * sigma.square()))
    weight = (temperature * alike).softmax(1) * near[None, :, None, None]
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-7)
    out = torch.zeros_like(features)
    for number, (dy, dx) in enumerate(steps):  # one neighbour at a time: C · H · W numbers, not 49 times as many
        out = out + weight[:, number, None] * wide[..., dy : dy + height, dx : dx + width]
    return out


class JointBilateralUpsampler(nn.Module):
    """One step: features at half the side in, at the guide's side out.

    Args:
        key: channels of the guide's projection.
        radius: of the neighbourhood in pixels.
    """

    def __init__(self, key: int = 32, radius: int = 3) -> None:
        super().__init__()
        self.radius = radius
        self.project = nn.Sequential(nn.Conv2d(3, key, 1), nn.GELU(), nn.Conv2d(key, key, 1))
        self.log_temperature = nn.Parameter(torch.zeros(()))
        self.log_sigma = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor, guide: Tensor) -> Tensor:
        """(B, C, h, w), (B, 3, H, W) → (B, C, H, W)."""
        large = F.interpolate(features, guide.shape[-2:], mode="bicubic", align_corners=False)
        temperature = self.log_temperature.exp().clamp(1e-4, 1e4)
        return joint_bilateral(large, self.project(guide), temperature, self.log_sigma.exp(), self.radius)


class UpsamplerStack(nn.Module):
    """Doubling steps up to `factor`, and a residual 1 × 1 convolution at the end.

    Args:
        channels: of the features.
        factor: a power of two.
        key, radius: of each step.
    """

    def __init__(self, channels: int, factor: int = 16, key: int = 32, radius: int = 3) -> None:
        super().__init__()
        if factor < 1 or factor & (factor - 1):
            raise ValueError(f"factor is {factor}: use a power of two.")
        self.steps = nn.ModuleList(JointBilateralUpsampler(key, radius) for _ in range(factor.bit_length() - 1))
        self.mend = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        """(B, C, h, w), (B, 3, H, W) → (B, C, factor · h, factor · w)."""
        for step in self.steps:
            size = (2 * features.shape[-2], 2 * features.shape[-1])
            features = step(features, F.adaptive_avg_pool2d(image, size))
        return features + 0.1 * self.mend(features)
