"""Small modules shared by the families: circular convolutions, residual blocks, input normalisation, a U-Net trunk."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xview_demo.errors import ModelError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class _PadAzimuth(torch.autograd.Function):
    """`torch.cat` of slices, whose own gradient is four pictures to be added up: a fifth of a training step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, columns: int) -> Tensor:
        ctx.columns = columns
        return torch.cat((x[..., -columns:], x, x[..., :columns]), dim=-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (padded,), columns = gradients, ctx.columns
        gradient = padded[..., columns:-columns].clone()
        gradient[..., -columns:] += padded[..., :columns]
        gradient[..., :columns] += padded[..., -columns:]
        return gradient, None


def pad_azimuth(x: Tensor, columns: int) -> Tensor:
    """Continue a full panorama (..., W) beyond its seam by `columns` on each side: (..., W + 2·columns)."""
    return _PadAzimuth.apply(x, columns) if columns else x


def standardise(image: Tensor, mask: Tensor | None = None, floor: float = 0.03) -> Tensor:
    """Remove an image's own mean and spread per channel, which takes the sensor's gain and offset away.

    Args:
        image: (B, C, H, W).
        mask: (B, 1, H, W), 1 where the image is valid; statistics are taken there and the rest becomes 0.
        floor: smallest standard deviation, in units of the image.
    """
    weight = torch.ones_like(image[:, :1]) if mask is None else mask
    total = weight.sum((2, 3), keepdim=True).clamp_min(1.0)
    mean = (image * weight).sum((2, 3), keepdim=True) / total
    centred = (image - mean) * weight
    spread = (centred.square().sum((2, 3), keepdim=True) / total).sqrt()
    return centred / spread.clamp_min(floor)


class CircularConv2d(nn.Conv2d):
    """A 3×3 convolution of a panorama: circular in azimuth (width), zeros above and below."""

    def __init__(self, inputs: int, outputs: int, stride: int | tuple[int, int] = 1) -> None:
        super().__init__(inputs, outputs, 3, stride, padding=(1, 0), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, O, H / stride, W / stride)."""
        return super().forward(pad_azimuth(x, 1))


class AzimuthBlock(nn.Module):
    """Residual block of two circular 3×3 convolutions with group normalisation."""

    def __init__(self, inputs: int, outputs: int, stride: int | tuple[int, int] = 1, groups: int = 8) -> None:
        super().__init__()
        self.conv1 = CircularConv2d(inputs, outputs, stride)
        self.norm1 = nn.GroupNorm(groups, outputs)
        self.conv2 = CircularConv2d(outputs, outputs)
        self.norm2 = nn.GroupNorm(groups, outputs)
        same = inputs == outputs and stride == 1
        pool = nn.Identity() if stride in (1, (1, 1)) else nn.AvgPool2d(stride)
        project = nn.Sequential(pool, nn.Conv2d(inputs, outputs, 1, bias=False))
        self.skip = nn.Identity() if same else project
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, O, H / stride, W / stride)."""
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(y)) + self.skip(x))


def levels(height: int, like: Tensor) -> Tensor:
    """(H,) elevation of the rows of a strip, from 1 (+45°) to −1 (−45°), of the type of `like` and where it is."""
    return 1 - (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) * (2 / height)


class UNet(nn.Module):
    """segmentation-models-pytorch U-Net that ends at stride 1, its encoder cut after `depth` stages.

    The library keeps the unused stages of a cut ResNet; they are dropped here (8.4 M of ResNet-18's 11 M parameters).
    Its decoder sees nothing finer than stride 2; here the last features meet the picture itself once more, because half
    the wrong pixels of small pictures lie within one pixel of an edge.

    Args:
        outputs: channels of the result.
        encoder: encoder name of segmentation-models-pytorch; its weights start random.
        depth: encoder stages; the image's sides are padded to multiples of 2^depth.
        channels: decoder channels, one per stage.
        elevation: add a fourth input channel that runs from 1 (top row) to -1 (bottom row).
        scalars: numbers that are estimated for the picture as a whole.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        outputs: int,
        encoder: str,
        depth: int,
        channels: tuple[int, ...],
        elevation: bool = False,
        scalars: int = 0,
    ) -> None:
        super().__init__()
        import segmentation_models_pytorch as smp

        inputs, fine = (4 if elevation else 3), channels[-1]
        net = smp.Unet(
            encoder, encoder_weights=None, encoder_depth=depth, decoder_channels=tuple(channels), in_channels=inputs
        )
        self.encoder, self.decoder = net.encoder, net.decoder
        for name in (f"layer{stage}" for stage in range(depth, 5)):
            if hasattr(self.encoder, name):
                setattr(self.encoder, name, nn.Identity())
        self.detail = nn.Sequential(nn.Conv2d(inputs, fine, 3, padding=1, bias=False), nn.BatchNorm2d(fine), nn.ReLU())
        self.head = nn.Sequential(
            nn.Conv2d(2 * fine, fine, 3, padding=1, bias=False),
            nn.BatchNorm2d(fine),
            nn.ReLU(),
            nn.Conv2d(fine, outputs, 3, padding=1),
        )
        self.overall = None
        if scalars:
            pooled = 2 * self.encoder.out_channels[-1]
            self.overall = nn.Sequential(nn.Linear(pooled, 128), nn.ReLU(), nn.Linear(128, scalars))
        self.elevation, self.multiple, self.origin = elevation, 2**depth, (encoder, inputs, depth)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def start_from_imagenet(self) -> None:
        """Fetch the encoder's ImageNet weights through the library, for a training run.

        Raises:
            ModelError: they are neither in the local cache nor within reach.
        """
        import segmentation_models_pytorch as smp

        name, inputs, depth = self.origin
        try:
            found = smp.encoders.get_encoder(name, inputs, depth, weights="imagenet").state_dict()
        except OSError as error:
            raise ModelError(
                f"The ImageNet weights of {name} are not in the local cache and cannot be fetched "
                f"({type(error).__name__}): connect to the Hub once, or start without them."
            ) from error
        self.encoder.load_state_dict({key: found[key] for key in self.encoder.state_dict()})

    def forward(self, image: Tensor, wrap: int = 0, rows: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """(B, 3, H, W) in [0, 1], any size → (B, outputs, H, W), and (B, scalars) or None.

        Args:
            image: batch of pictures.
            wrap: columns that continue a full panorama beyond its seam.
            rows: (H,) degrees of elevation of the rows; by default +45 … −45, evenly.
        """
        height, width = image.shape[-2:]
        x = (image - self.mean) / self.std
        if self.elevation:
            if rows is None:
                level = levels(height, x)
            else:
                level = (rows.to(x) / 45.0).clamp(-1, 1)
            x = torch.cat((x, level.view(1, 1, -1, 1).expand(len(x), 1, -1, width)), 1)
        left = min(wrap, width)
        x = pad_azimuth(x, left)
        down, right = -x.shape[-2] % self.multiple, -x.shape[-1] % self.multiple
        if down or right:
            x = F.pad(x, (0, right, 0, down), mode="replicate")
        x = x.contiguous(memory_format=torch.channels_last)
        features = self.encoder(x)
        y = self.head(torch.cat((self.decoder(features), self.detail(x)), 1))
        overall = None
        if self.overall is not None:
            edge = left // self.multiple
            deep = features[-1][..., edge : features[-1].shape[-1] - edge]
            overall = self.overall(torch.cat((deep.mean((2, 3)), deep.amax((2, 3))), 1))
        return y[..., :height, left : left + width], overall
