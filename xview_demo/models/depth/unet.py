"""Depth of a panorama: a U-Net with a ResNet-18 encoder that predicts log-depth and sky.

One panorama alone fixes depth only in units of the camera's height, which the network has to guess from things of known
size. What it guessed shows in the depth of the ground at the camera's feet: where the height is known, all depths are
scaled so that this ground lies as far below the camera as it should.

| stage | shape |
|---|---|
| input | (B, 3, 128, 512) strip, ±45°, and an elevation channel |
| encoder | 64, 64, 128, 256 channels at strides 2, 4, 8, 16 |
| decoder | 128, 64, 32, 16 |
| deepest features, mean and maximum | (B, 512) → 128 → 1: a scale that all pixels share, natural logarithm |
| output | (B, 2, 128, 512): natural logarithm of the metres along the ray; logit of "sky" |
"""

import math

import torch
from torch import Tensor

from xview_demo.models.blocks import UNet, levels
from xview_demo.models.hub import HubModel


class UNetDepth(HubModel):
    """Metres along the ray for every pixel, infinite in the sky.

    Args:
        encoder: encoder name of segmentation-models-pytorch; weights start random.
        depth: encoder stages.
        channels: decoder channels, one per stage.
        nearest: smallest depth that can be predicted, metres.
        farthest: largest depth that can be predicted, metres.
        sky: probability above which a pixel is sky; high, because a twig taken for sky errs by hundreds of metres
            (chosen on validation worlds).
        seam: columns by which a full panorama is continued on each side.
    """

    def __init__(
        self,
        encoder: str = "resnet18",
        depth: int = 4,
        channels: tuple[int, ...] = (128, 64, 32, 16),
        nearest: float = 0.5,
        farthest: float = 250.0,
        sky: float = 0.9,
        seam: int = 32,
    ) -> None:
        super().__init__()
        self.seam, self.farthest = seam, farthest
        self.range = (float(torch.tensor(nearest).log()), float(torch.tensor(farthest).log()))
        self.sky_logit = math.log(sky / (1 - sky))
        self.unet = UNet(2, encoder, depth, channels, elevation=True, scalars=1)

    def forward(
        self, image: Tensor, panorama: bool | None = None, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) in [0, 1] → log-depth (B, H, W), sky logit (B, H, W), log of the shared scale (B,).

        Arguments as the segmenter's.
        """
        full = not self.training if panorama is None else panorama
        raw, overall = self.unet(image, wrap=self.seam if full else 0, rows=rows)
        height = overall.float()[:, 0] + math.log(2.2)
        return raw[:, 0].float() + 2.0 + height[:, None, None], raw[:, 1].float(), height

    @torch.no_grad()
    def predict(
        self,
        image: Tensor,
        panorama: bool | None = None,
        rows: Tensor | None = None,
        camera_height: float | None = None,
    ) -> Tensor:
        """(B, 3, H, W) → metres (B, H, W), infinite in the sky.

        A known height of the camera, in metres above the ground, takes the place of the estimated one; a picture that
        ends above the horizon does not tell which that was, and stays as it is.
        """
        log_depth, sky, _ = self(image, panorama, rows)
        if camera_height is not None:
            log_depth = log_depth + (math.log(camera_height) - standing(log_depth, rows)).nan_to_num(0.0)[:, None, None]
        return log_depth.clamp(*self.range).exp().masked_fill(sky > self.sky_logit, torch.inf)


def standing(log_depth: Tensor, rows: Tensor | None = None) -> Tensor:
    """How high a camera stands by the depths that were found: the median over the lowest eighth of the rows.

    Args:
        log_depth: (B, H, W) natural logarithm of the metres along the ray.
        rows: (H,) degrees of elevation of the rows; by default +45 … −45, evenly.

    Returns:
        (B,) natural logarithm of the metres above the ground; NaN where the lowest eighth is not below the horizon.
    """
    height = log_depth.shape[-2]
    elevation = 45 * levels(height, log_depth) if rows is None else rows.to(log_depth)
    lowest = slice(height - max(1, height // 8), height)
    fall = torch.sin(torch.deg2rad(-elevation[lowest]))
    return (log_depth[:, lowest] + fall.log()[:, None]).flatten(1).median(1).values
