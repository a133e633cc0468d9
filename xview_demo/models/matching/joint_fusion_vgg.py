"""Two VGG16 encoders whose features of panorama, synthetic view and its classes are fused by a 1×1 convolution.

The matching network of the CV project (document 000): JointFeatureLearningNet (encoders, fusion), FeatureFusionNet
(global average, linear layer to 256), trained with the weighted soft margin of query and tile and, as an auxiliary, of
synthetic view and tile. Where the source leaves it open we pool the panorama's features to the shape of the aerial
ones, put a ReLU behind the fusion, and give tiles a 1×1 convolution of their own.

| stage | panorama | synthetic view, classes | tile |
|---|---|---|---|
| input, published | (B, 3, 128, 512) | (B, 3, 256, 256) each | (B, 3, 256, 256) |
| VGG16 | (B, 512, 4, 16), pooled to 8×8 | (B, 512, 8, 8) each, the tile's encoder | (B, 512, 8, 8) |
| 1×1 | 1536 → 512, all three together | – | 512 → 512 |
| average, linear, L2 | 256 | – | 256, the same layer |
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xview_demo.models.matching.aligned import KINDS, AlignedMatcher, resized
from xview_demo.models.matching.vgg import VGG16, VGGEncoder, start_from_imagenet


class JointFusionVGG(AlignedMatcher):
    """Ground encoder, aerial encoder, fusion.

    Args:
        layers: of the encoders, see `VGGEncoder`.
        batch_norm: after each convolution of the encoders.
        features: length of a descriptor.
        aerial_size: side of aerial pictures in pixels.
        ground_size: (height, width) of the strip in pixels.
        turns, calibration: see `AlignedMatcher`.
    """

    needs = KINDS

    def __init__(
        self,
        layers: Sequence[int | str] = VGG16,
        batch_norm: bool = False,
        features: int = 256,
        aerial_size: int = 256,
        ground_size: Sequence[int] = (128, 512),
        turns: int = 16,
        calibration: Sequence[float] = (0.05, 0.05),
    ) -> None:
        super().__init__(turns, calibration)
        self.aerial_shape, self.ground_shape = (aerial_size, aerial_size), (ground_size[0], ground_size[1])
        self.ground, self.aerial = VGGEncoder(layers, batch_norm), VGGEncoder(layers, batch_norm)
        channels = self.aerial.channels
        self.fuse = nn.Conv2d(3 * channels, channels, 1)
        self.lift = nn.Conv2d(channels, channels, 1)
        self.reduce = nn.Linear(channels, features)

    def start_from_imagenet(self) -> None:
        """Give every encoder ImageNet's VGG16 (see `vgg.start_from_imagenet`)."""
        start_from_imagenet(self.ground, self.aerial)

    def _vector(self, x: Tensor) -> Tensor:
        return self.reduce(F.relu(x).mean((2, 3)))

    def describe_query(self, strip: Tensor, **made: Tensor) -> Tensor:
        """(B, features), not normalised."""
        overhead = [self.aerial(resized(made[kind], *self.aerial_shape)) for kind in KINDS]
        ground = self.ground(resized(strip, *self.ground_shape))
        ground = F.adaptive_avg_pool2d(ground, overhead[0].shape[-2:])
        return self._vector(self.fuse(torch.cat((ground, *overhead), 1)))

    def describe_reference(self, tile: Tensor) -> Tensor:
        """(B, features), not normalised; of a synthetic view in the auxiliary loss as well."""
        return self._vector(self.lift(self.aerial(resized(tile, *self.aerial_shape))))
