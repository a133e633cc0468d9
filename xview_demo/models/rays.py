"""Columns of a panorama written along their rays: features of what stands around the camera, as seen from above.

As in "Translating Images into Maps" (Saha et al., ICRA 2022): a network reads each column from the ground to the sky
and says what stands at each distance.

| stage | shape |
|---|---|
| strip, ±45°, without its own colour cast; mask; elevation | (B, 5, 128, 512) → (B, 5, 128, 256) |
| circular convolutions | 16 × 64 × 128, 32 × 32 × 128, 48 × 16 × 128 |
| each column to its ray | (B, channels, rings, 128) |
| overhead | (B, channels, S, S) |
"""

import math
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xview_demo.geometry import sample
from xview_demo.models.blocks import AzimuthBlock, pad_azimuth, standardise

STRIP = (128, 512)  # pixels, of which rays are read
RING = 1.0  # metres, the step along a ray over a tile


class RayProjector(nn.Module):
    """A level panorama as features seen from above.

    Args:
        cells: (S,) places of the overhead picture's columns right of the camera, and of its rows from the farthest
            behind to the farthest ahead, in rings.
        channels: of the overhead features.
        rings: how many distances are told apart; nothing is seen beyond the last.
        widths: channels of the convolutions.
        height: rows of the strip.
    """

    grid: Tensor

    def __init__(
        self,
        cells: Tensor,
        channels: int = 16,
        rings: int = 24,
        widths: tuple[int, int, int] = (16, 32, 48),
        height: int = STRIP[0],
    ) -> None:
        super().__init__()
        self.channels, self.rings = channels, rings
        self.stem = AzimuthBlock(5, widths[0], (2, 2))
        self.blocks = nn.Sequential(
            AzimuthBlock(widths[0], widths[1], (2, 1)), AzimuthBlock(widths[1], widths[2], (2, 1))
        )
        self.column = nn.Conv2d(widths[2], channels * rings, (height // 8, 1))
        self.register_buffer("grid", ray_grid(cells, rings), persistent=False)

    @classmethod
    def over_tile(cls, pixels: int, metres: float, channels: int) -> Self:
        """One whose overhead picture covers a tile of so many pixels and metres, the camera over its middle."""
        reach = metres / 2 / RING
        cells = ((torch.arange(pixels) + 0.5) / pixels * 2 - 1) * reach
        return cls(cells, channels, math.ceil(reach * math.sqrt(2)))

    def read(self, strip: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, 3, H, W), mask (B, 1, H, W) → features of the columns (B, widths[-1], H / 8, W / 4)."""
        mask = torch.ones_like(strip[:, :1]) if mask is None else mask
        rows = torch.linspace(1, -1, strip.shape[-2], device=strip.device, dtype=strip.dtype)
        x = torch.cat((standardise(strip, mask), mask, rows[:, None].expand_as(mask) * mask), 1)
        return self.blocks(self.stem(F.avg_pool2d(x, (1, 2))))

    def lay(self, columns: Tensor) -> Tensor:
        """Features of the columns → overhead (B, C, S, S), the centre column up."""
        polar = self.column(columns).view(len(columns), self.channels, self.rings, -1)
        wide = pad_azimuth(polar.float(), 1)  # single precision: the grid is read in the type of the features
        return sample(wide, self.grid, padding="zeros")

    def forward(self, strip: Tensor) -> Tensor:
        """(B, 3, H, W), brought to the size of `STRIP` → overhead (B, C, S, S), the centre column up."""
        return self.lay(self.read(strip if strip.shape[-2:] == STRIP else F.interpolate(strip, STRIP, mode="area")))


def ray_grid(cells: Tensor, rings: int, columns: int = 128) -> Tensor:
    """Grid (S, S, 2) from an overhead square to rays (rings rows; columns + 2, the seam repeated).

    Up is the centre column; ring n holds distances n … n + 1.

    Args:
        cells: (S,) places of the square's columns right of the camera, in rings, ascending; its rows mirror them.
        rings: number of rings; what is farther reads outside.
        columns: of the panorama's features.
    """
    cells = cells.double()
    right, forward = cells[None].expand(len(cells), -1), -cells[:, None].expand(-1, len(cells))
    distance = torch.hypot(right, forward)
    azimuth = torch.atan2(right, forward) / (2 * math.pi)  # −0.5 … 0.5
    x = ((azimuth + 0.5) * columns + 1) / (columns + 2) * 2 - 1
    y = distance.clamp_min(0.5) / rings * 2 - 1
    outside = distance > rings
    grid = torch.stack((x, y), -1)
    grid[outside] = 4.0
    return grid.float()
