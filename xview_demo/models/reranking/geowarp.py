"""GeoWarp: re-rank photographs by warping query and candidate to the region they share.

Berton, Masone, Paolicelli, Caputo, "Viewpoint Invariant Dense Matching for Visual Geolocalization" (ICCV 2021).

| step | shape |
|---|---|
| local features of both photographs | (B, C, 15, 15) |
| similarity of each cell of a (column by column) with each cell of b, ReLU, L2 | (B, 225, 15, 15) |
| six convolutions, kernels 7 5 5 5 5 5, padding 1, batch norm, ReLU | (B, 64, 1, 1) |
| linear: four corners of the shared region on a, then four on b, x and y in [−1, 1] | (B, 8, 2) |
| both orders averaged, both photographs warped, their features compared | score |

Corners run top left, top right, bottom right, bottom left. Only the regressor is trained for this; the features are
those of the retrieval that comes before (`features.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xview_demo.geometry import find_homography, homography_grid, sample
from xview_demo.models.hub import HubModel
from xview_demo.models.reranking.features import GRID, FeatureExtractor, l2_norm

RECTANGLE = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))  # the corners of a whole picture
CELLS = GRID * GRID
KERNELS = (7, 5, 5, 5, 5, 5)
LEAST_CROSS = 1e-4  # twice the area of three neighbouring corners below which they count as one line


def similarity(a: Tensor, b: Tensor) -> Tensor:
    """Similarity of every cell of a with every cell of b, local features (B, C, 15, 15) each.

    Returns:
        (B, 225, 15, 15): channel 15·x + y is the cell of a in column x and row y; rows and columns are b's.
    """
    volume = a.mT.flatten(2).mT @ b.flatten(2)
    return l2_norm(F.relu(volume).unflatten(2, b.shape[-2:]))


def rectangle_like(corners: Tensor) -> Tensor:
    """The whole picture's corners in the shape (…, 4, 2), type and place of `corners`."""
    return torch.tensor(RECTANGLE, dtype=corners.dtype, device=corners.device).expand_as(corners)


def warp(image: Tensor, corners: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cut the quadrilateral `corners` out of each picture and stretch it over the whole frame.

    Args:
        image: (B, 3, H, W).
        corners: (B, 4, 2), x right and y down in [−1, 1]; three on one line would show nothing, so that the picture
            is then left as it is.
        weights: (B, 4) of the corners in the direct linear transform (four corners fit exactly with any).

    Returns:
        (B, 3, H, W), 0 beyond the picture; differentiable in the picture and the corners.
    """
    edges = corners.roll(-1, 1) - corners
    following = edges.roll(-1, 1)
    cross = edges[..., 0] * following[..., 1] - edges[..., 1] * following[..., 0]
    usable = (cross.abs() > LEAST_CROSS).all(1) & corners.isfinite().all(2).all(1)
    rectangle = rectangle_like(corners)
    corners = torch.where(usable[:, None, None], corners, rectangle)
    grid = homography_grid(find_homography(rectangle, corners, weights), *image.shape[-2:])
    return sample(image, grid.nan_to_num(2.0, 2.0, -2.0).clamp(-2, 2).to(image.dtype), padding="zeros")


def agreeing_cells(a: Tensor, b: Tensor) -> Tensor:
    """How many cells of two warped pictures find each other: (B,) of 225.

    A cell counts if its best match among all cells of the other picture lies at its own place or next to it, in both
    directions. Unrelated pictures agree in about 1 cell.
    """
    volume = a.flatten(2).mT @ b.flatten(2)
    own = torch.arange(CELLS, device=a.device)
    near = torch.ones(len(a), CELLS, dtype=torch.bool, device=a.device)
    for best in (volume.argmax(2), volume.argmax(1)):
        rows, columns = best // GRID - own // GRID, best % GRID - own % GRID
        near &= (rows.abs() <= 1) & (columns.abs() <= 1)
    return near.sum(1)


class HomographyRegressor(nn.Module):
    """Corners of the shared region from a similarity volume; begins with the whole of both pictures.

    Args:
        channels: of the six convolutions.
    """

    def __init__(self, channels: Sequence[int] = (128, 128, 64, 64, 64, 64)) -> None:
        super().__init__()
        if len(channels) != len(KERNELS):
            raise ValueError(f"{len(channels)} channel counts for {len(KERNELS)} convolutions: give one for each.")
        layers: list[nn.Module] = []
        for inputs, outputs, kernel in zip((CELLS, *channels), channels, KERNELS, strict=False):
            layers += [nn.Conv2d(inputs, outputs, kernel, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.conv = nn.Sequential(*layers)
        side = GRID + sum(3 - kernel for kernel in KERNELS)
        self.linear = nn.Linear(channels[-1] * side * side, 16)
        nn.init.zeros_(self.linear.weight)
        with torch.no_grad():
            self.linear.bias.copy_(torch.tensor(RECTANGLE).flatten().repeat(2))

    def forward(self, volume: Tensor) -> Tensor:
        """(B, 225, 15, 15) → (B, 8, 2): four corners on a, four on b."""
        return self.linear(self.conv(volume).flatten(1)).view(-1, 8, 2)


@dataclass(frozen=True)
class Comparison:
    """What GeoWarp says about pairs of photographs."""

    similarity: Tensor  # (B,) sum over cells of the product of local features after warping, at most 225
    agreeing: Tensor  # (B,) cells of 225 that find each other
    corners_a: Tensor  # (B, 4, 2) of the shared region on a
    corners_b: Tensor  # (B, 4, 2) on b


class GeoWarp(HubModel):
    """Retrieval features and the homography regressor.

    Args:
        backbone: alexnet, vgg16 or resnet50.
        pooling: gem or netvlad.
        width: of the backbone, relative to the published one.
        channels: of the regressor's six convolutions.
        size: (height, width) in pixels to which photographs are brought.
        single: keep single precision on disk, for weights whose outputs must not change.
    """

    temperature: Tensor

    def __init__(
        self,
        backbone: str = "alexnet",
        pooling: str = "gem",
        width: float = 1.0,
        channels: Sequence[int] = (128, 128, 64, 64, 64, 64),
        size: Sequence[int] = (480, 640),
        single: bool = False,
    ) -> None:
        super().__init__()
        self.backbone, self.pooling, self.bits = backbone, pooling, 32 if single else 16
        self.size = (int(size[0]), int(size[1]))
        self.extractor = FeatureExtractor(backbone, pooling, width)
        self.regressor = HomographyRegressor(channels)
        self.register_buffer("temperature", torch.tensor(0.05))

    @property
    def dimension(self) -> int:
        """Length of a global descriptor."""
        return self.extractor.dimension

    def calibrate(self, temperature: float) -> None:
        """Set the temperature that turns scores (1 − squared distance / 2) into probabilities."""
        self.temperature.fill_(temperature)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) in [0, 1] → global descriptors (B, D), local features (B, C, 15, 15)."""
        return self.extractor(image)

    def local(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] → local features (B, C, 15, 15)."""
        return self.extractor.cells(self.extractor.maps(image))

    def corners(self, local_a: Tensor, local_b: Tensor) -> tuple[Tensor, Tensor]:
        """Corners (B, 4, 2) of the shared region on a and on b: the mean of both orders."""
        ab, ba = self.regressor(similarity(local_a, local_b)), self.regressor(similarity(local_b, local_a))
        return (ab[:, :4] + ba[:, 4:]) / 2, (ab[:, 4:] + ba[:, :4]) / 2

    def compare(self, image_a: Tensor, local_a: Tensor, image_b: Tensor, local_b: Tensor) -> Comparison:
        """Warp pairs of photographs to what they share and compare them there.

        Args:
            image_a, image_b: (B, 3, H, W) in [0, 1].
            local_a, local_b: their local features, from `encode`.
        """
        corners_a, corners_b = self.corners(local_a, local_b)
        both = torch.cat((warp(image_a, corners_a), warp(image_b, corners_b)))
        a, b = self.local(both).chunk(2)
        return Comparison((a * b).sum((1, 2, 3)), agreeing_cells(a, b), corners_a, corners_b)

    def forward(self, image_a: Tensor, image_b: Tensor) -> Tensor:
        """Two batches (B, 3, H, W) in [0, 1] → the regressor's corners (B, 8, 2) in this order."""
        return self.regressor(similarity(self.local(image_a), self.local(image_b)))
