"""Depth of a panorama: a U-Net with a ResNet-18 encoder that predicts log-depth and sky.

| stage | shape |
|---|---|
| input | (B, 3, 128, 512) strip, ±45°, and an elevation channel |
| encoder | 64, 64, 128, 256 channels at strides 2, 4, 8, 16 |
| decoder | 128, 64, 32, 16 |
| output | (B, 2, 128, 512): natural logarithm of the metres along the ray; logit of "sky" |
"""

import torch
from torch import Tensor

from xview_demo.models.blocks import UNet
from xview_demo.models.hub import HubModel


class UNetDepth(HubModel):
    """Metres along the ray for every pixel, infinite in the sky.

    Args:
        encoder: encoder name of segmentation-models-pytorch; weights start random.
        depth: encoder stages.
        channels: decoder channels, one per stage.
        nearest: smallest depth that can be predicted, metres.
        farthest: largest depth that can be predicted, metres.
        seam: columns by which a full panorama is continued on each side.
    """

    def __init__(
        self,
        encoder: str = "resnet18",
        depth: int = 4,
        channels: tuple[int, ...] = (128, 64, 32, 16),
        nearest: float = 0.5,
        farthest: float = 250.0,
        seam: int = 32,
    ) -> None:
        super().__init__()
        self.seam, self.farthest = seam, farthest
        self.range = (float(torch.tensor(nearest).log()), float(torch.tensor(farthest).log()))
        self.unet = UNet(2, encoder, depth, channels, elevation=True)

    def forward(self, image: Tensor, panorama: bool | None = None, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) in [0, 1] → log-depth (B, H, W) and sky logit (B, H, W); arguments as the segmenter's."""
        full = not self.training if panorama is None else panorama
        raw = self.unet(image, wrap=self.seam if full else 0, rows=rows).float()
        low, high = self.range
        return raw[:, 0] + 0.5 * (low + high), raw[:, 1]

    @torch.no_grad()
    def predict(self, image: Tensor, panorama: bool | None = None, rows: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) → metres (B, H, W), infinite where sky is more likely than not."""
        log_depth, sky = self(image, panorama, rows)
        return log_depth.clamp(*self.range).exp().masked_fill(sky > 0, torch.inf)
