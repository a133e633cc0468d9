"""Features of a photograph: a torchvision backbone, one global descriptor to retrieve by, a grid of local ones.

The baselines of GeoWarp (Berton et al., "Viewpoint Invariant Dense Matching for Visual Geolocalization", ICCV 2021):

| backbone | layers | stride | channels | GeM | NetVLAD, 64 clusters |
|---|---|---|---|---|---|
| alexnet | `features[:-2]` | 16 | 256 | 256 | 16,384 |
| vgg16 | `features[:-2]` | 16 | 512 | 512 | 32,768 |
| resnet50 | up to `layer3` | 16 | 1,024 | 1,024 | 65,536 |

`width` scales every channel count. The local features are the same maps averaged to 15 × 15 cells. The names of the
parameters (`encoder.<i>.…`, `pool.1.p`, `pool.conv.weight`, `pool.centroids`) are those of the published files.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xview_demo.models.blocks import IMAGENET_MEAN, IMAGENET_STD

CHANNELS = {"alexnet": 256, "vgg16": 512, "resnet50": 1024}
POOLINGS = ("gem", "netvlad")
EPSILON = 1e-6
GRID = 15  # cells per side of the local features
CLUSTERS = 64


def l2_norm(x: Tensor) -> Tensor:
    """Divide (B, C, …) by √(Σ x² + 1e-6) over the channels: nearly unit length, and 0 where everything is 0."""
    return x / (x.square().sum(1, keepdim=True) + EPSILON).sqrt()


def truncated(net: Any, backbone: str) -> nn.Sequential:
    """The layers of a torchvision network that the source keeps, renumbered from 0."""
    layers = list(net.children())[:-3] if backbone == "resnet50" else list(net.features.children())[:-2]
    return nn.Sequential(*layers)


def build_encoder(backbone: str, width: float = 1.0) -> nn.Sequential:
    """A backbone with random weights (He et al., fan out), `width` times as wide as torchvision's.

    Raises:
        ValueError: an unknown backbone or a width that leaves no channel.
    """
    if backbone not in CHANNELS:
        raise ValueError(f"No backbone named {backbone!r}. Available: {', '.join(CHANNELS)}.")
    if not 1 / 16 <= width <= 4:
        raise ValueError(f"A backbone {width:g} times as wide is not possible: give 0.0625 to 4.")
    from torchvision import models

    with torch.device("meta"):  # the structure alone: no time or memory for weights that are not used
        net = models.get_model(backbone, weights=None)
    return _rebuilt(truncated(net, backbone), width)


def _rebuilt(module: Any, width: float) -> Any:
    """The same layers with real weights and scaled channels."""
    if isinstance(module, nn.Conv2d):
        inputs = 3 if module.in_channels == 3 else round(module.in_channels * width)
        conv = nn.Conv2d(
            inputs, round(module.out_channels * width), module.kernel_size, module.stride, module.padding,  # type: ignore[arg-type]
            bias=module.bias is not None,
        )  # fmt: skip
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
        return conv
    if isinstance(module, nn.BatchNorm2d):
        return nn.BatchNorm2d(round(module.num_features * width))
    module = copy.deepcopy(module)
    for name, child in module.named_children():
        setattr(module, name, _rebuilt(child, width))
    return module


class L2Norm(nn.Module):
    """`l2_norm` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same."""
        return l2_norm(x)


class GeM(nn.Module):
    """Generalised mean over the picture, (mean x^p)^(1/p) with a learnable p (Radenović et al., 2018)."""

    def __init__(self, p: float = 3.0) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), float(p)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C), not of unit length."""
        return x.clamp_min(EPSILON).pow(self.p).mean((2, 3)).pow(1.0 / self.p)


class NetVLAD(nn.Module):
    """Residuals to 64 centres, softly assigned (Arandjelović et al., 2016)."""

    def __init__(self, channels: int, clusters: int = CLUSTERS) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, clusters, 1, bias=False)
        self.centroids = nn.Parameter(torch.rand(clusters, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, clusters · C) of unit length."""
        x = F.normalize(x, dim=1)
        share = self.conv(x).flatten(2).softmax(1)  # (B, K, N)
        residual = share @ x.flatten(2).mT - share.sum(2)[..., None] * self.centroids
        return F.normalize(F.normalize(residual, dim=2).flatten(1), dim=1)

    @torch.no_grad()
    def start_from(self, centres: Tensor, sharpness: float) -> None:
        """Begin with given centres (K, C) of unit length, and an assignment that many times the cosine."""
        self.centroids.copy_(centres)
        self.conv.weight.copy_(sharpness * centres[:, :, None, None])


class FeatureExtractor(nn.Module):
    """A backbone with its pooling.

    Args:
        backbone: alexnet, vgg16 or resnet50.
        pooling: gem or netvlad.
        width: of every layer, relative to torchvision's.

    Attributes:
        channels, dimension: of the local features and of the global descriptor.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: str = "alexnet", pooling: str = "gem", width: float = 1.0) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"No pooling named {pooling!r}. Available: {', '.join(POOLINGS)}.")
        self.encoder = build_encoder(backbone, width)
        self.channels = round(CHANNELS[backbone] * width)
        self.dimension = self.channels * (CLUSTERS if pooling == "netvlad" else 1)
        self.pool: nn.Module = NetVLAD(self.channels) if pooling == "netvlad" else nn.Sequential(L2Norm(), GeM())
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def maps(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], at least 64 a side → (B, channels, about H / 16, about W / 16)."""
        return self.encoder((image - self.mean) / self.std)

    def pooled(self, maps: Tensor) -> Tensor:
        """Maps → global descriptors (B, dimension), compared by their L2 distance."""
        return self.pool(maps)

    def cells(self, maps: Tensor) -> Tensor:
        """Maps → local features (B, channels, 15, 15), each cell of unit length."""
        return l2_norm(F.adaptive_avg_pool2d(maps, GRID))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) in [0, 1] → global descriptors (B, dimension), local features (B, channels, 15, 15)."""
        maps = self.maps(image)
        return self.pooled(maps), self.cells(maps)
