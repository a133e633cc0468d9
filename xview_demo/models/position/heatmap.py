"""What the position models share: their outputs, the pyramid of cosines, the head, and the calibrated probability.

After CVSegGuide: the aerial branch predicts land cover, the street branch a heat map guided by it. The source's heat
map is trained as a sightline map (the Gaussian around the camera, cut off behind obstacles), normalised to sum 1. A
second output is ours: the logarithm of the position's density, whose softmax is the probability of each cell.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xview_demo.classes import BUILDING, GROUND, LANDCOVER, ROAD, VEGETATION
from xview_demo.errors import XViewError
from xview_demo.models.blocks import IMAGENET_MEAN, IMAGENET_STD, UNet
from xview_demo.models.hub import HubModel
from xview_demo.models.position.street import OverheadProjector

HIDDEN = 10  # channels of the head
ENCODER = "resnet18"  # of `detail`
CLASS_OF_LANDCOVER = (VEGETATION, BUILDING, ROAD, GROUND)  # the commonest in each


@dataclass
class Placement:
    """What a position model says, as logits."""

    landcover: Tensor  # (B, classes, P, P)
    sightline: Tensor  # (B, h, w), its sigmoid is the sightline map
    density: Tensor  # (B, h, w), its softmax over all cells is the probability of each


class PositionModel(HubModel):
    """Base of the position models; a subclass brings the trunk that sees the tile, and the published street branch.

    The strip's centre column looks up in the tile: turn it to north first. One tile serves any number of strips.

    Args:
        size: side of the tile in pixels.
        metres: ground width of the tile.
        classes: of the land cover.
        overhead: channels in which the surroundings are compared cell by cell (ours); 0 leaves it out, as published.
        rings: distance in cells up to which they are compared.
        vector: length of the vectors compared in the pyramid where `overhead` gives them.
        detail: decoder channels of a U-Net that sees the whole tile beside the trunk (ours); its logits and overhead
            features are added to the trunk's. Empty leaves it out.
        halved: whether the trunk sees the tile at half its resolution.
    """

    mean: Tensor
    std: Tensor
    calibration: Tensor

    def __init__(
        self,
        size: int,
        metres: float,
        classes: int,
        overhead: int,
        rings: int,
        vector: int,
        detail: tuple[int, ...] = (),
        halved: bool = False,
    ) -> None:
        super().__init__()
        if classes != len(LANDCOVER):
            raise ValueError(f"classes is {classes}: the land cover has {len(LANDCOVER)}.")
        self.size, self.metres, self.classes, self.halved = size, metres, classes, halved
        self.detail = UNet(classes + overhead, ENCODER, len(detail), tuple(detail)) if detail else None
        self.projector = OverheadProjector(overhead, rings, vector=vector) if overhead else None
        self.log_scale = nn.Parameter(torch.tensor(3.0)) if overhead else None
        outputs = 2 if overhead else 1
        self.head = nn.Sequential(
            nn.Conv2d(1 + classes + bool(overhead), HIDDEN, 1), nn.ReLU(), nn.Conv2d(HIDDEN, outputs, 1)
        )
        self.register_buffer("calibration", torch.tensor([1.0, 0.0]))  # temperature, share of the even distribution
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def normalise(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] → ImageNet's mean 0 and spread 1."""
        return (image - self.mean) / self.std

    def overview(self, tile: Tensor) -> Tensor:
        """What the trunk sees of a tile (B, 3, size, size) in [0, 1]."""
        return self.normalise(F.avg_pool2d(tile, 2) if self.halved else tile)

    def with_detail(self, tile: Tensor, landcover: Tensor, cells: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Add what `detail` sees to land-cover logits (B, classes, size, size) and overhead features (B, C, h, w)."""
        if self.detail is None:
            return landcover, cells
        classes, fine = self.detail(tile)[0].tensor_split([self.classes], 1)
        if cells is not None:
            cells = cells + _resized(fine, cells.shape[-2:])
        return landcover + classes, cells

    def start_from(self, net: UNet) -> None:
        """Take over the U-Net of an aerial segmenter as `detail`; each land cover starts from its commonest class.

        Raises:
            XViewError: the model has no `detail`, or the U-Net is built otherwise.
        """
        if self.detail is None:
            raise XViewError("This model has no detail that could start from a U-Net: give it decoder channels.")
        state, last = net.state_dict(), [f"head.3.{name}" for name in ("weight", "bias")]
        own = self.detail.state_dict()
        if any(name not in state or state[name].shape != own[name].shape for name in own if name not in last):
            raise XViewError("The U-Net to start from has other layers than detail: give both the same channels.")
        for name in last:
            own[name][: self.classes] = state[name][list(CLASS_OF_LANDCOVER)]
        self.detail.load_state_dict({name: own[name] if name in last else state[name] for name in own})

    def read(self, coarse: Tensor, landcover: Tensor, cosine: Tensor | None) -> Placement:
        """Join the pyramid's map (B, 1, h, w), land-cover logits and the cell-by-cell cosine (B, h, w)."""
        guide = _resized(landcover, coarse.shape[-2:]).expand(len(coarse), -1, -1, -1)
        parts = [coarse, guide]
        if cosine is None or self.log_scale is None:
            sightline = self.head(torch.cat(parts, 1))[:, 0].float()
            return Placement(landcover, sightline, F.logsigmoid(sightline))
        likeness = self.log_scale.clamp(0, 5).exp() * cosine
        out = self.head(torch.cat([*parts, likeness[:, None]], 1)).float()
        return Placement(landcover, out[:, 0], likeness + out[:, 1])

    @torch.no_grad()
    def predict(self, strip: Tensor, tile: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Strip (B, 3, 128, 512), tile (B, 3, size, size), mask (B, 1, 128, 512), all in [0, 1].

        Returns:
            the probability of each cell (B, h, w), which sums to 1, and land-cover probabilities (B, 4, size, size).
        """
        found = self(strip, tile, mask)
        return self.probability(found.density), found.landcover.float().softmax(1)

    def probability(self, density: Tensor, dims: int = 2) -> Tensor:
        """Calibrated probabilities that sum to 1 over the last `dims` dimensions of (…, h, w) logits."""
        temperature, even = self.calibration
        flat = (density.float() / temperature).flatten(-dims).softmax(-1)
        return ((1 - even) * flat + even / flat.shape[-1]).view(density.shape)

    @torch.no_grad()
    def calibrate(self, temperature: float, even: float) -> None:
        """Set the temperature of the softmax and the share of the even distribution mixed in."""
        self.calibration.copy_(torch.tensor([temperature, even]))

    def surroundings(self, strip: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The overhead features and the pooled vector of a strip."""
        assert self.projector is not None
        return self.projector(strip, mask)


class Pyramid(nn.Module):
    """Cosines between the street's vector and the tile's features at several strides, merged from coarse to fine.

    Args:
        street: length of the street's vector.
        widths: channels of the tile's features, the coarsest first.
    """

    def __init__(self, street: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.queries = nn.ModuleList(nn.Linear(street, width) for width in widths)
        self.merges = nn.ModuleList(nn.Conv2d(2, 1, 3, padding=1) for _ in widths[1:])

    def forward(self, vector: Tensor, features: list[Tensor]) -> Tensor:
        """(B, V), [(B, C, h, w), coarsest first] → (B, 1, h, w) at the finest stride."""
        merged = None
        for number, (query, level) in enumerate(zip(self.queries, features, strict=True)):
            cosine = F.cosine_similarity(query(vector)[:, :, None, None], level, dim=1)[:, None]
            if merged is None:
                merged = cosine
            else:
                merged = self.merges[number - 1](torch.cat((_resized(merged, cosine.shape[-2:]), cosine), 1))
        assert merged is not None
        return merged


def soft_argmax(logits: Tensor) -> Tensor:
    """Mean position (column, row) in pixels under the softmax of logits (B, H, W): (B, 2), differentiable."""
    height, width = logits.shape[-2:]
    weight = logits.float().flatten(1).softmax(1).view(-1, height, width)
    column = (weight.sum(1) * (torch.arange(width, device=logits.device) + 0.5)).sum(1)
    row = (weight.sum(2) * (torch.arange(height, device=logits.device) + 0.5)).sum(1)
    return torch.stack((column, row), 1)


def _resized(x: Tensor, size: tuple[int, ...] | torch.Size) -> Tensor:
    if x.shape[-2:] == tuple(size):
        return x
    if x.shape[-1] > size[-1]:
        return F.adaptive_avg_pool2d(x, tuple(size))  # type: ignore[arg-type]
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)
