"""Layers of the convolutional generators and their discriminators."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


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


class Pyramid(nn.ModuleList):
    """Features of a hint at half its resolution, a quarter, … : the skip connections of a decoder.

    Args:
        inputs: channels of the hint.
        widths: channels of the features, finest first.
    """

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__(
            down(i, o, norm=n > 0) for n, (i, o) in enumerate(zip([inputs, *widths], widths, strict=False))
        )

    def forward(self, hint: Tensor) -> list[Tensor]:
        """(B, C, H, W) → features, coarsest first, as a decoder meets them."""
        features: list[Tensor] = []
        for layer in self:
            hint = layer(hint)
            features.insert(0, hint)
        return features


def convolved(inputs: int, outputs: int) -> nn.Sequential:
    """Convolution k3, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class PlanEncoder(nn.Module):
    """The first stages of a ResNet-18 over what is known of the plan: the skip connections of a decoder.

    Args:
        flat: channels of the part of full resolution.
        plan: channels of the part of half resolution.
        fine: channels of the features of full resolution.
        levels: how often the plan is halved, 1 to 4.
    """

    def __init__(self, flat: int, plan: int, fine: int, levels: int = 4) -> None:
        super().__init__()
        from torchvision.models import resnet18

        if not 1 <= levels <= 4:
            raise ValueError(f"levels is {levels}: use 1 to 4.")
        net = resnet18()
        self.detail = convolved(flat, fine)
        self.halve = down(flat, 32)
        self.join = convolved(32 + plan, 64)
        self.stages = nn.ModuleList([nn.Sequential(net.maxpool, net.layer1), net.layer2, net.layer3][: levels - 1])
        self.channels = [256, 128, 64, 64][-levels:]  # coarsest first

    def forward(self, flat: Tensor, plan: Tensor) -> list[Tensor]:
        """(B, flat, H, W) and (B, plan, H / 2, W / 2) → features, coarsest first, those of full resolution last."""
        flat = flat.contiguous(memory_format=torch.channels_last)
        x = self.join(torch.cat((self.halve(flat), plan), 1).contiguous(memory_format=torch.channels_last))
        features = [x, self.detail(flat)]
        for stage in self.stages:
            x = stage(x)
            features.insert(0, x)
        return features


class Labeller(nn.Module):
    """Says what each pixel shows, upon what is known of it: a small U-Net.

    Args:
        features: C, channels of what is known.
        classes: N.
        widths: channels of its levels, finest first.
    """

    def __init__(self, features: int, classes: int, widths: Sequence[int] = (32, 48, 64, 96)) -> None:
        super().__init__()
        fine = widths[0]
        self.fine, self.down = convolved(features, fine), Pyramid(features, widths)
        given = [widths[-1], *(2 * width for width in widths[-2:0:-1])]  # a skip connection joins all but the coarsest
        self.up = nn.ModuleList(up(i, o) for i, o in zip(given, widths[-2::-1], strict=True))
        self.last = up(2 * fine, fine)
        self.out = nn.Sequential(convolved(2 * fine, fine), nn.Conv2d(fine, classes, 1))

    def forward(self, known: Tensor) -> Tensor:
        """(B, C, H, W), sides multiples of 16 → logits (B, N, H, W)."""
        known = known.contiguous(memory_format=torch.channels_last)
        x, *skips = self.down(known)
        for layer, skip in zip(self.up, skips, strict=True):
            x = torch.cat((layer(x), skip), 1)
        return self.out(torch.cat((self.last(x), self.fine(known)), 1)).float()


class PatchDiscriminator(nn.Module):
    """PatchGAN of four layers (Isola et al. 2017): (B, C, S, S) in [0, 1] → logits of patches (B, 1, S/8 − 2, S/8 − 2).

    Args:
        inputs: channels of the picture that is judged; 3 for the unconditional X-Fork discriminator.
        width: channels of the first layer (64 published).
        condition: channels of the picture it is judged together with (X-Seq, pix2pix); 0 = unconditional.
    """

    def __init__(self, inputs: int = 3, width: int = 64, condition: int = 0) -> None:
        super().__init__()
        first = down(inputs + condition, width, norm=False)
        layers: list[nn.Module] = [first, down(width, 2 * width), down(2 * width, 4 * width)]
        layers += [nn.Conv2d(4 * width, 8 * width, 4, 1, 1, bias=False), nn.BatchNorm2d(8 * width)]
        self.net = nn.Sequential(*layers, nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(8 * width, 1, 4, 1, 1))
        self.condition = condition
        self.apply(initialise)

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        """Logits of "real" for overlapping patches; a condition of another size is resized to the picture's.

        Raises:
            ValueError: a condition that is missing or not wanted.
        """
        if (condition is not None) != bool(self.condition):
            raise ValueError(
                f"This discriminator has condition={self.condition}: pass a condition exactly if it is not 0."
            )
        if condition is not None:
            if condition.shape[-2:] != image.shape[-2:]:
                condition = nn.functional.interpolate(condition, image.shape[-2:], mode="area")
            image = torch.cat((image, condition), 1)
        return self.net((image * 2 - 1).contiguous(memory_format=torch.channels_last)).float()


class Painter(nn.Module):
    """Paints a picture over a sketch, upon classes: sharp edges and textures where a sketch alone would be blurred.

    Its grain comes from noise: random in training, always the same afterwards.

    Args:
        classes: N; 0 = it is told none, but the features that the sketch was drawn from.
        width: channels, raised to a multiple of 16.
        grain: spread of the noise after training, in which it is 1: less gives smoother pictures.
        strength: of what is painted, after training, in which it is 1: 0 leaves the sketch as it is.
        dilations: of its convolutions.
        features: C, channels of the features; the last three are added to the sketch before it is painted over.
    """

    NOISE = 4  # channels

    def __init__(
        self,
        classes: int,
        width: int = 32,
        grain: float = 1.0,
        strength: float = 1.0,
        dilations: Sequence[int] = (1, 2, 4),
        features: int = 0,
    ) -> None:
        super().__init__()
        self.classes, self.grain, self.strength = classes, grain, strength
        # by sixteens: in bfloat16 oneDNN's gradient of a dilated convolution is NaN for other numbers of channels
        width = -(-width // 16) * 16
        wide = [3 + classes + features + self.NOISE, *(width for _ in dilations)]
        steps = zip(wide[:-1], wide[1:], dilations, strict=True)
        layers = [(nn.Conv2d(i, o, 3, padding=far, dilation=far), nn.LeakyReLU(0.2)) for i, o, far in steps]
        self.layers = nn.Sequential(*(one for pair in layers for one in pair), nn.Conv2d(width, 3, 3, padding=1))

    def forward(self, sketch: Tensor, told: Tensor) -> Tensor:
        """Paint.

        Args:
            sketch: (B, 3, H, W) in [0, 1].
            told: classes (B, H, W), or features (B, C, H, W).

        Returns:
            (B, 3, H, W) in [0, 1].
        """
        shape = (len(sketch) if self.training else 1, self.NOISE, *sketch.shape[-2:])
        if self.training:
            noise = torch.randn(shape)
        else:
            noise = self.grain * torch.randn(shape, generator=torch.Generator().manual_seed(0))
        noise = noise.to(sketch).expand(len(sketch), -1, -1, -1)
        if self.classes:
            told = nn.functional.one_hot(told.long(), self.classes).permute(0, 3, 1, 2)
        else:
            sketch = sketch + told[:, -3:]
        x = torch.cat((sketch * 2 - 1, told.to(sketch), noise), 1).contiguous(memory_format=torch.channels_last)
        level = sketch.clamp(0.02, 0.98).logit() / 2  # of the tanh below
        strength = 1.0 if self.training else self.strength
        return (strength * self.layers(x).float() + level).tanh() * 0.5 + 0.5


class ClassDiscriminator(nn.Module):
    """A discriminator that segments: each pixel is one of the classes if the picture is true, or "drawn".

    As OASIS (Sushko et al., "You only need adversarial supervision for semantic image synthesis", ICLR 2021), a small
    U-Net with spectral normalisation.

    Args:
        classes: N.
        width: channels of the first layer.
    """

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__()
        wide = (width, 2 * width, 4 * width, 4 * width)
        self.down = nn.ModuleList(
            spectral_norm(nn.Conv2d(i, o, 4, 2, 1)) for i, o in zip((3, *wide), wide, strict=False)
        )
        self.up = nn.ModuleList(
            spectral_norm(nn.Conv2d(i, o, 3, padding=1))
            for i, o in ((8 * width, 4 * width), (6 * width, 2 * width), (3 * width, width))
        )
        self.out = nn.Conv2d(width + 3, classes + 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] → logits (B, N + 1, H, W); the last is "drawn"."""
        x = image = (image * 2 - 1).contiguous(memory_format=torch.channels_last)
        seen: list[Tensor] = []
        for layer in self.down:
            x = nn.functional.leaky_relu(layer(x), 0.2)
            seen.append(x)
        x = seen.pop()
        for layer in self.up:
            x = nn.functional.leaky_relu(layer(torch.cat((_doubled(x), seen.pop()), 1)), 0.2)
        return self.out(torch.cat((_doubled(x), image), 1)).float()


def _doubled(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """The same value, its gradient multiplied by `factor`."""
    return x * factor + x.detach() * (1 - factor)


def canny(image: Tensor, low: float = 50.0, high: float = 100.0) -> Tensor:
    """Canny edges of pictures: (B, 3, H, W) in [0, 1] → (B, 1, H, W), 0 or 1. Thresholds as published, of 255."""
    import cv2

    grey = (image.detach().float().clamp(0, 1).mean(1) * 255).round().byte().cpu().numpy()
    edges = torch.stack([torch.from_numpy(cv2.Canny(picture, low, high)) for picture in grey])
    return edges[:, None].to(image) / 255
