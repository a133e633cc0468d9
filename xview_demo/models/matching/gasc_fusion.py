"""VGG16 features of ground (G), synthetic aerial (A), its classes (S) and candidate (C), each side fused by a network.

Ground-to-satellite matching (document 001): A and C share their encoder, triplet loss with margin 0.2. The source
fuses A into the candidate's embedding too, which makes it depend on the query so that no gallery can be built; ours is
FFN(C) alone. How feature maps become vectors is left open there: we average them over `cells`² cells.

| stage | G | A, C | S |
|---|---|---|---|
| input, published | (B, 3, 128, 512) | (B, 3, 256, 256) | (B, 3, 256, 256) |
| VGG16, average | 512 · cells² | 512 · cells² | 512 · cells² |

Query: [G, A, S] → 1024 → 512 → 256; candidate: [C] → 1024 → 512 → 256; ReLU between, L2 at the end.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xview_demo.models.matching.aligned import KINDS, AlignedMatcher, resized
from xview_demo.models.matching.vgg import VGG16, VGGEncoder, start_from_imagenet


def fusion(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    sizes = (inputs, *hidden, outputs)
    layers: list[nn.Module] = []
    for i, o in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class GascFusion(AlignedMatcher):
    """Three encoders and two fusion networks.

    Args:
        layers: of the encoders, see `VGGEncoder`.
        batch_norm: after each convolution of the encoders.
        cells: feature maps are averaged over cells × cells.
        hidden: widths inside the fusion networks.
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
        cells: int = 1,
        hidden: Sequence[int] = (1024, 512),
        features: int = 256,
        aerial_size: int = 256,
        ground_size: Sequence[int] = (128, 512),
        turns: int = 16,
        calibration: Sequence[float] = (0.05, 0.05),
    ) -> None:
        super().__init__(turns, calibration)
        self.cells = cells
        self.aerial_shape, self.ground_shape = (aerial_size, aerial_size), (ground_size[0], ground_size[1])
        self.ground, self.aerial, self.classes = (VGGEncoder(layers, batch_norm) for _ in range(3))
        length = self.aerial.channels * cells**2
        self.query_fusion = fusion(3 * length, hidden, features)
        self.reference_fusion = fusion(length, hidden, features)

    def encoders(self) -> list[nn.Parameter]:
        """Parameters that start from ImageNet in the source and learn more slowly."""
        return [p for part in (self.ground, self.aerial, self.classes) for p in part.parameters()]

    def start_from_imagenet(self) -> None:
        """Give every encoder ImageNet's VGG16 (see `vgg.start_from_imagenet`)."""
        start_from_imagenet(self.ground, self.aerial, self.classes)

    def _pooled(self, encoder: nn.Module, image: Tensor, shape: tuple[int, int]) -> Tensor:
        return F.adaptive_avg_pool2d(encoder(resized(image, *shape)), self.cells).flatten(1)

    def describe_query(self, strip: Tensor, **made: Tensor) -> Tensor:
        """(B, features), not normalised."""
        parts = (
            self._pooled(self.ground, strip, self.ground_shape),
            self._pooled(self.aerial, made["synthetic"], self.aerial_shape),
            self._pooled(self.classes, made["segmentation"], self.aerial_shape),
        )
        return self.query_fusion(torch.cat(parts, 1))

    def describe_reference(self, tile: Tensor) -> Tensor:
        """(B, features), not normalised."""
        return self.reference_fusion(self._pooled(self.aerial, tile, self.aerial_shape))
