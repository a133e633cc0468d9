"""The bird's-eye view: a panorama projected onto the ground. Geometry only, nothing learned, no weights.

| stage | shape |
|---|---|
| input | (B, 3, H, W) full strip in [0, 1], ±vfov/2, and its mask (B, 1, H, W) |
| output | (B, 3, P, P) seen from above, `metres` wide; mask (B, 1, P, P) |

The upper edge lies in the direction of the strip's centre column. The projection is that of
`xview_demo.geometry.bird_eye_grid`: flat ground, or curved ground z = λ·d⁴ whose far pixels climb what stands there.
"""

from functools import lru_cache

import torch
from torch import Tensor, nn

from xview_demo.geometry import bird_eye_grid, inside, sample
from xview_demo.geometry.overhead import CAMERA_HEIGHT
from xview_demo.models.synthesis.interface import AERIAL, GROUND, Drawn, Query, Sampling

SQUARE = 7  # pixels on a side, of what counts as fine detail


@lru_cache(maxsize=16)
def _grid(pixels: int, metres: float, surface: str, camera_height: float, vfov: float) -> Tensor:
    return bird_eye_grid(pixels, metres, surface=surface, camera_height=camera_height, vfov=vfov)


class BirdEye(nn.Module):
    """Panorama → what its ground looks like from above.

    Args:
        pixels: side of the output.
        metres: width of the output on the ground.
        surface: "flat" or "curved".
        camera_height: metres above the ground, used unless a call gives another.
        vfov: degrees the strip covers from top to bottom.
    """

    reads, draws, needs, samples = GROUND, AERIAL, (), False

    def __init__(
        self,
        pixels: int = 256,
        metres: float = 64.0,
        surface: str = "curved",
        camera_height: float = CAMERA_HEIGHT,
        vfov: float = 90.0,
    ) -> None:
        super().__init__()
        self.pixels, self.metres, self.surface = pixels, metres, surface
        self.camera_height, self.vfov = camera_height, vfov

    def forward(
        self, strip: Tensor, mask: Tensor | None = None, camera_height: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Strip (B, 3, H, W) → image (B, 3, P, P) and mask (B, 1, P, P), 1 where the strip shows the ground.

        Under the camera, where the strip does not reach, the image repeats the strip's last row and the mask is 0.
        """
        height = self.camera_height if camera_height is None else camera_height
        grid = _grid(self.pixels, self.metres, self.surface, height, self.vfov).to(strip)
        valid = inside(grid).to(strip).expand(len(strip), 1, -1, -1)
        if mask is not None:
            valid = valid * sample(mask.to(strip), grid, padding="wrap")
        return sample(strip, grid, padding="wrap"), valid

    def draw(self, query: Query, sampling: Sampling | None = None) -> Drawn:
        """The projection of each strip; nothing is drawn at random."""
        return Drawn(self(query.image, query.mask, query.camera_height)[0])


def local_means(image: Tensor) -> Tensor:
    """(B, C, S, S) → means over squares around each pixel, the same shape: what has no fine detail."""
    around = nn.functional.pad(image, (SQUARE // 2,) * 4, mode="replicate")
    return nn.functional.avg_pool2d(around, SQUARE, 1)


def fine_detail(hint: Tensor, metres: float, reach: float) -> Tensor:
    """What a bird's-eye view shows beyond its local means: (B, 4, S, S) with mask → (B, 3, S, S), 0 beyond `reach`.

    Args:
        hint: projection in [0, 1] and mask.
        metres: width of the view.
        reach: metres from the camera to which it is given; it fades within 5 m around that.
    """
    image, mask = hint[:, :3], hint[:, 3:]
    side = hint.shape[-1]
    line = (torch.arange(side, device=hint.device) + 0.5) * (metres / side) - metres / 2
    away = torch.hypot(line[:, None], line)
    return (image - local_means(image)) * mask * ((reach - away) / 2).sigmoid()
