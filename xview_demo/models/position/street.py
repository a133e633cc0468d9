"""The street branch: what stands around the camera, laid out as seen from above, to be found in the tile.

Ours: the source pools the panorama into one vector and compares it with every pixel of the tile. Here its columns are
also written along their rays (`models.rays`): a small overhead picture of features, which is compared with the tile at
every position at once, by a Fourier transform.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xview_demo.models.rays import RayProjector

SECTORS = 8  # of bearing, into which the panorama is pooled for the coarse comparison


class OverheadProjector(RayProjector):
    """A level panorama as features seen from above, and as one vector.

    Args:
        channels, rings, widths, height: as `RayProjector`'s; one overhead cell a ring, the camera in the middle cell.
        vector: length of the pooled vector.
    """

    def __init__(
        self,
        channels: int = 16,
        rings: int = 24,
        widths: tuple[int, int, int] = (16, 32, 48),
        vector: int = 64,
        height: int = 128,
    ) -> None:
        super().__init__(torch.arange(-rings, rings + 1), channels, rings, widths, height)
        self.pooled = nn.Linear(widths[2] * SECTORS * 2, vector)

    def forward(self, strip: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """(B, 3, H, W), mask (B, 1, H, W) → overhead (B, C, S, S), S = 2·rings + 1, and vectors (B, V)."""
        columns = self.read(strip, mask)
        halves = F.adaptive_avg_pool2d(columns, (2, SECTORS)).flatten(1)
        return self.lay(columns), self.pooled(halves)


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
