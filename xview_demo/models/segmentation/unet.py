"""U-Net with a ResNet-18 encoder: the eight classes in a panorama or in an aerial tile.

The network is segmentation-models-pytorch's (https://github.com/qubvel-org/segmentation_models.pytorch), its encoder
cut at stride 16, its last features joined by the picture at full resolution.

| stage | ground | aerial |
|---|---|---|
| input | (B, 3, 128, 512) strip, ±45° (+ elevation channel) | (B, 3, 256, 256) tile, 0.25 m/px |
| encoder | 64, 64, 128, 256 channels at strides 2, 4, 8, 16 | the same |
| decoder | 128, 64, 32, 16 | the same |
| output | (B, 8, 128, 512) logits | (B, 8, 256, 256) logits |

Any other size works. A full panorama is continued beyond its seam by 32 columns when it is evaluated.
"""

import torch
from torch import Tensor

from xview_demo.models.blocks import UNet
from xview_demo.models.hub import HubModel


class UNetSegmenter(HubModel):
    """Logits of the classes of `xview_demo.classes`.

    Args:
        view: "ground" (elevation channel, seam continued) or "aerial".
        classes: number of classes.
        encoder: encoder name of segmentation-models-pytorch; weights start random.
        depth: encoder stages.
        channels: decoder channels, one per stage.
        seam: columns by which a full panorama is continued on each side.
    """

    def __init__(
        self,
        view: str = "ground",
        classes: int = 8,
        encoder: str = "resnet18",
        depth: int = 4,
        channels: tuple[int, ...] = (128, 64, 32, 16),
        seam: int = 32,
    ) -> None:
        super().__init__()
        if view not in ("ground", "aerial"):
            raise ValueError(f"view is {view!r}: use 'ground' or 'aerial'.")
        self.view, self.seam = view, seam
        self.unet = UNet(classes, encoder, depth, channels, elevation=view == "ground")

    def forward(self, image: Tensor, panorama: bool | None = None, rows: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) in [0, 1] → logits (B, classes, H, W).

        Args:
            image: batch of pictures.
            panorama: whether the picture closes at ±180°; by default a ground picture in evaluation mode does.
            rows: (H,) degrees of elevation of the rows of a ground picture; by default +45 … −45, evenly.
        """
        full = (self.view == "ground" and not self.training) if panorama is None else panorama
        return self.unet(image, wrap=self.seam if full else 0, rows=rows)[0]

    @torch.no_grad()
    def predict(self, image: Tensor, panorama: bool | None = None, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) → labels (B, H, W) uint8 and probabilities (B, classes, H, W)."""
        probabilities = self(image, panorama, rows).float().softmax(1)
        return probabilities.argmax(1).to(torch.uint8), probabilities

    @torch.no_grad()
    def shift(self, logits: Tensor) -> None:
        """Add a constant to the logits of each class (classes,), for good."""
        bias = list(self.unet.head.parameters())[-1]
        bias.add_(logits.to(bias))
