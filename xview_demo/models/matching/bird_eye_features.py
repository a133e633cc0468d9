"""Dense matching, learned: the bird's-eye view of a panorama and the tile, each as maps of learned features.

As `BirdEyeCorrelation`, with two small fully convolutional networks in the place of colour contrasts. What is compared
stays local and keeps its geometry, so little of a training world's looks can be learned by heart, and the best shift is
the camera's place in the tile.

| stage | shape |
|---|---|
| bird's-eye view, 0.4 m/px, 48 m | (B, 3, 120, 120) |
| tile, 0.4 m/px, 64 m | (B, 3, 160, 160) |
| network, stride 2 | (B, 12, 60, 60) and (B, 12, 80, 80) |
"""

import torch
from torch import Tensor, nn

from xview_demo.models.blocks import standardise
from xview_demo.models.matching.bird_eye_correlation import HEIGHTS, BirdEyeCorrelation


class DenseEncoder(nn.Sequential):
    """(B, 3, P, P) → (B, channels, P / 2, P / 2): five 3×3 convolutions with instance norm, 6.8 m of context each way.

    Args:
        width: channels inside.
        channels: channels of the result.
        dilations: of the four convolutions after the first.
    """

    def __init__(self, width: int, channels: int, dilations: tuple[int, ...] = (1, 2, 4, 1)) -> None:
        layers: list[nn.Module] = []
        inputs = 3
        for number, dilation in enumerate((1, *dilations)):
            last = number == len(dilations)
            outputs = channels if last else width
            stride = 2 if number == 1 else 1
            layers.append(nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, padding_mode="replicate"))
            layers += [] if last else [nn.InstanceNorm2d(outputs, affine=True), nn.ReLU(inplace=True)]
            inputs = outputs
        super().__init__(*layers)


class BirdEyeFeatures(BirdEyeCorrelation):
    """Compares views with tiles by learned maps; see `BirdEyeCorrelation` for what is not said here.

    Args:
        width: channels inside the networks.
        maps: channels of the maps.
        temperature: start value of the learned temperature of the training loss.
    """

    joint = True

    def __init__(
        self,
        width: int = 32,
        maps: int = 12,
        temperature: float = 0.07,
        resolution: float = 0.4,
        reach: float = 3.2,
        heights: tuple[float, ...] = HEIGHTS,
        spread: float = 14.0,
        headings: int = 72,
        calibration: tuple[float, float] = (0.03, 0.03),
        fusion: tuple[float, float, float, float] = (3.0, 4.0, 0.03, 0.03),
    ) -> None:
        super().__init__(
            resolution=resolution, stride=2, reach=reach, heights=heights, spread=spread, headings=headings,
            calibration=calibration, fusion=fusion,
        )  # fmt: skip
        self.maps = maps
        self.ground, self.aerial = DenseEncoder(width, maps), DenseEncoder(width, maps)
        self.log_scale = nn.Parameter(-torch.tensor(temperature).log())

    @property
    def channels(self) -> int:
        """Number of maps."""
        return self.maps

    def features(self, image: Tensor, view: str) -> Tensor:
        """Maps (B, C, P / 2, P / 2) of a picture seen from above (B, 3, P, P)."""
        image = standardise(image).contiguous(memory_format=torch.channels_last)
        return (self.ground if view == "ground" else self.aerial)(image).float()

    def forward(self, strip: Tensor, tile: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Descriptors of both views, each (B, D)."""
        return self.encode_ground(strip, mask), self.encode_aerial(tile)
