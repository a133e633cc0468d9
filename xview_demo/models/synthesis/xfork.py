"""X-Fork: a conditional GAN that draws the aerial view and its segmentation from a panorama.

Regmi & Borji, "Cross-view image synthesis using conditional GANs", CVPR 2018 (https://arxiv.org/abs/1803.03396), as
used in Regmi & Shah, "Bridging the domain gap", ICCV 2019 (https://arxiv.org/abs/1904.11045).

| stage | published (size 512, width 64) | bundled (size 128, width 32, bird's eye) |
|---|---|---|
| input | (B, 3, 256, 1024) strip | (B, 3, 64, 256) strip, (B, 4, 128, 128) bird's eye and mask |
| encoder, k4 s2 | 64, 128, 256, 512, 512, 512, 512 → 512×2×8 | 32, 64, 128, 256, 256 → 256×2×8 |
| reshape | 512×4×4 | 256×4×4 |
| shared decoder, k4 s2 | 512, 512, 512, 256, 128 | 256, 128, 64, each joined by bird's-eye features |
| two branches | 64 → 3 (tanh): image; 64 → 3 (tanh): segmentation | 32 → 3 (tanh): image; 32 → 8 logits |

The bird's-eye input and the class logits are ours: the source has neither. Images are [0, 1] outside, [-1, 1] inside.
"""

import math

import torch
from torch import Tensor, nn

from xview_demo.models.hub import HubModel

ENCODER = (1, 2, 4, 8, 8, 8, 8)  # channels of each layer in units of `width`
DECODER = (8, 8, 8, 4, 2)


def down(inputs: int, outputs: int, norm: bool = True) -> nn.Sequential:
    """Convolution k4 s2 p1, batch norm (not in the first layer), LeakyReLU 0.2."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=not norm)]
    return nn.Sequential(*layers, *([nn.BatchNorm2d(outputs)] if norm else []), nn.LeakyReLU(0.2, inplace=True))


def up(inputs: int, outputs: int, dropout: float = 0.0) -> nn.Sequential:
    """Transposed convolution k4 s2 p1, batch norm, dropout, ReLU."""
    layers: list[nn.Module] = [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.Dropout(dropout)] if dropout else []), nn.ReLU(inplace=True))


def initialise(module: nn.Module) -> None:
    """Weights N(0, 0.02), batch norm N(1, 0.02), as published."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class XForkGenerator(HubModel):
    """Panorama → aerial view and its segmentation.

    Args:
        size: side of the output in pixels, a power of two from 32; the strip is (size / 2, 2·size).
        width: channels of the first layer (64 published).
        dropout: rate in the decoder's layers of 8·width channels (0.5 published).
        bird_eye: take the bird's-eye projection of the panorama and its mask as a second input [ours].
        classes: None for the published segmentation picture (3 channels, tanh); a number for logits of classes [ours].
        metres: width of the tile that is drawn.
    """

    def __init__(
        self,
        size: int = 512,
        width: int = 64,
        dropout: float = 0.5,
        bird_eye: bool = False,
        classes: int | None = None,
        metres: float = 64.0,
    ) -> None:
        super().__init__()
        levels = int(math.log2(size)) - 2
        if 2 ** (levels + 2) != size or not 3 <= levels <= 7:
            raise ValueError(f"size is {size}: use 32, 64, 128, 256 or 512.")
        self.size, self.bird_eye, self.classes, self.metres = size, bird_eye, classes, metres
        encoder = [width * m for m in ENCODER[:levels]]
        decoder = [width * m for m in DECODER[len(DECODER) - (levels - 2) :]]
        steps = list(zip([3, *encoder[:-1]], encoder, strict=True))
        self.encoder = nn.Sequential(*(down(i, o, norm=n > 0) for n, (i, o) in enumerate(steps)))
        overhead = [min(width * 4, width * 2**n) for n in range(levels - 1)] if bird_eye else []
        pairs = list(zip([4, *overhead[:-1]], overhead, strict=True)) if bird_eye else []
        self.overhead = nn.ModuleList(down(i, o, norm=n > 0) for n, (i, o) in enumerate(pairs))
        skips = overhead[::-1]  # at 8, 16, … size / 2 pixels, as the decoder meets them
        wide = [encoder[-1], *(c + (skips[n] if bird_eye else 0) for n, c in enumerate(decoder))]
        rates = [dropout if c == 8 * width else 0.0 for c in decoder]
        self.decoder = nn.ModuleList(up(i, o, r) for i, o, r in zip(wide[:-1], decoder, rates, strict=True))
        half = width + (skips[-1] if bird_eye else 0)
        self.image_up, self.image_out = up(wide[-1], width), nn.ConvTranspose2d(half, 3, 4, 2, 1)
        self.label_up, self.label_out = up(wide[-1], width), nn.ConvTranspose2d(half, classes or 3, 4, 2, 1)
        self.apply(initialise)

    def forward(self, strip: Tensor, overhead: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw the aerial view.

        Args:
            strip: (B, 3, H, W) full panorama in [0, 1], ±45°, resized to (size / 2, 2·size) if need be.
            overhead: (B, 4, size, size) bird's-eye projection in [0, 1] and its mask; needed with `bird_eye`.

        Returns:
            image (B, 3, size, size) in [0, 1]; segmentation (B, 3, size, size) in [0, 1] or logits (B, classes, …).
            The upper edge lies in the direction of the strip's centre column.
        """
        if self.bird_eye and overhead is None:
            raise ValueError("This generator has bird_eye=True: pass the bird's-eye projection and its mask.")
        shape = (self.size // 2, 2 * self.size)
        if strip.shape[-2:] != shape:
            strip = nn.functional.interpolate(strip, shape, mode="area")
        x = self.encoder((strip * 2 - 1).contiguous(memory_format=torch.channels_last))
        x = x.reshape(len(x), -1, 4, 4)
        skips: list[Tensor] = []
        if overhead is not None and self.bird_eye:
            y = torch.cat((overhead[:, :3] * 2 - 1, overhead[:, 3:]), 1).contiguous(memory_format=torch.channels_last)
            for layer in self.overhead:
                y = layer(y)
                skips.insert(0, y)
        for n, layer in enumerate(self.decoder):
            x = layer(x)
            x = torch.cat((x, skips[n]), 1) if skips else x
        image, labels = self.image_up(x), self.label_up(x)
        if skips:
            image, labels = torch.cat((image, skips[-1]), 1), torch.cat((labels, skips[-1]), 1)
        image, labels = self.image_out(image), self.label_out(labels)
        image = image.float().tanh() * 0.5 + 0.5
        return image, labels.float() if self.classes else labels.float().tanh() * 0.5 + 0.5


class PatchDiscriminator(nn.Module):
    """PatchGAN of four layers (Isola et al. 2017): (B, C, S, S) in [0, 1] → logits of patches (B, 1, S/8 − 2, S/8 − 2).

    Args:
        inputs: 3 for the unconditional X-Fork discriminator.
        width: channels of the first layer (64 published).
    """

    def __init__(self, inputs: int = 3, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [down(inputs, width, norm=False), down(width, 2 * width), down(2 * width, 4 * width)]
        layers += [nn.Conv2d(4 * width, 8 * width, 4, 1, 1, bias=False), nn.BatchNorm2d(8 * width)]
        self.net = nn.Sequential(*layers, nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(8 * width, 1, 4, 1, 1))
        self.apply(initialise)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of "real" for overlapping patches."""
        return self.net((image * 2 - 1).contiguous(memory_format=torch.channels_last)).float()
