"""The street branch: what stands around the camera, laid out as seen from above, to be found in the tile.

Ours: the source pools the panorama into one vector and compares it with every pixel of the tile. Here a network also
reads each column of the panorama from the ground to the sky and writes it along the ray of its bearing (as in
"Translating Images into Maps", Saha et al., ICRA 2022): a small overhead picture of features, which is compared with
the tile at every position at once, by a Fourier transform.

| stage | shape |
|---|---|
| strip, ±45°, without its own colour cast; mask; elevation | (B, 5, 128, 512) → (B, 5, 128, 256) |
| circular convolutions | 16 × 64 × 128, 32 × 32 × 128, 48 × 16 × 128 |
| each column to its ray | (B, channels, rings, 128) |
| overhead | (B, channels, 2·rings + 1, 2·rings + 1), one cell a ring |
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xview_demo.geometry import sample
from xview_demo.models.blocks import AzimuthBlock, pad_azimuth, standardise

SECTORS = 8  # of bearing, into which the panorama is pooled for the coarse comparison


class OverheadProjector(nn.Module):
    """A level panorama as features seen from above, and as one vector.

    Args:
        channels: of the overhead features.
        rings: distance in cells up to which it looks.
        widths: channels of the convolutions.
        vector: length of the pooled vector.
        height: rows of the strip.
    """

    grid: Tensor

    def __init__(
        self,
        channels: int = 16,
        rings: int = 24,
        widths: tuple[int, int, int] = (16, 32, 48),
        vector: int = 64,
        height: int = 128,
    ) -> None:
        super().__init__()
        self.channels, self.rings = channels, rings
        self.stem = AzimuthBlock(5, widths[0], (2, 2))
        self.blocks = nn.Sequential(
            AzimuthBlock(widths[0], widths[1], (2, 1)), AzimuthBlock(widths[1], widths[2], (2, 1))
        )
        self.column = nn.Conv2d(widths[2], channels * rings, (height // 8, 1))
        self.pooled = nn.Linear(widths[2] * SECTORS * 2, vector)
        self.register_buffer("grid", polar_grid(rings), persistent=False)

    def forward(self, strip: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W), mask (B, 1, H, W) → overhead (B, C, S, S), the centre column up, and vectors (B, V)."""
        mask = torch.ones_like(strip[:, :1]) if mask is None else mask
        rows = torch.linspace(1, -1, strip.shape[-2], device=strip.device, dtype=strip.dtype)
        x = torch.cat((standardise(strip, mask), mask, rows[:, None].expand_as(mask) * mask), 1)
        x = self.blocks(self.stem(F.avg_pool2d(x, (1, 2))))
        halves = F.adaptive_avg_pool2d(x, (2, SECTORS)).flatten(1)
        polar = self.column(x).view(len(x), self.channels, self.rings, -1)
        wide = pad_azimuth(polar.float(), 1)  # single precision: the grid is read in the type of the features
        return sample(wide, self.grid, padding="zeros"), self.pooled(halves)


def polar_grid(rings: int, columns: int = 128) -> Tensor:
    """Grid (S, S, 2), S = 2·rings + 1, from an overhead square to rays (rings rows; columns + 2, the seam repeated).

    The middle cell is the camera, up is the centre column; ring n holds distances n … n + 1 cells.
    """
    cells = torch.arange(-rings, rings + 1, dtype=torch.float64)
    right, forward = cells[None].expand(len(cells), -1), -cells[:, None].expand(-1, len(cells))
    distance = torch.hypot(right, forward)
    azimuth = torch.atan2(right, forward) / (2 * math.pi)  # −0.5 … 0.5
    x = ((azimuth + 0.5) * columns + 1) / (columns + 2) * 2 - 1
    y = distance.clamp_min(0.5) / rings * 2 - 1
    outside = distance > rings
    grid = torch.stack((x, y), -1)
    grid[outside] = 4.0
    return grid.float()


def cosine_map(overhead: Tensor, features: Tensor) -> Tensor:
    """Cosine between an overhead picture centred on each cell of a tile, and the tile around that cell.

    What lies beyond the tile takes no part, on either side.

    Args:
        overhead: (B, C, S, S), S odd, the camera in the middle cell.
        features: (B, C, H, W), at the same ground size of a cell.

    Returns:
        (B, H, W) in [−1, 1].
    """
    height, width = features.shape[-2:]
    overhead, features = overhead.float(), F.normalize(features.float(), dim=1)
    weight = overhead.square().sum(1, keepdim=True)
    inside = torch.ones_like(features[:, :1])
    product = correlate(overhead, features).sum(1)
    energy = correlate(weight, inside)[:, 0].clamp_min(0)
    count = correlate((weight > 0).to(weight), inside)[:, 0].clamp_min(1.0)
    return (product / (energy * count).clamp_min(1e-6).sqrt()).view(-1, height, width)


def correlate(kernel: Tensor, image: Tensor) -> Tensor:
    """Cross-correlation of each channel, the image zero beyond its edge: (B, C, H, W).

    out(p) = Σ_u kernel(u) · image(p + u), u from the kernel's middle.

    Args:
        kernel: (B, C, S, S), S odd.
        image: (B, C, H, W).
    """
    height, width = image.shape[-2:]
    half = kernel.shape[-1] // 2
    size = (height + 2 * half, width + 2 * half)
    spectrum = torch.fft.rfft2(image, s=size) * torch.fft.rfft2(kernel, s=size).conj()
    out = torch.fft.irfft2(spectrum, s=size)
    return out.roll((half, half), (-2, -1))[..., :height, :width]
