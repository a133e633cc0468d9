"""The street's view of a tile: an aerial tile read along the rays of a panorama taken at its centre. No weights.

| stage | shape |
|---|---|
| input | (B, 3, P, P) tile in [0, 1], north up, `metres` wide |
| output | (B, 3, H, W) strip, ±vfov/2, centre column north; mask (B, 1, H, W), 1 where the tile shows that ground |

The inverse of the bird's-eye view on flat ground (`xview_demo.geometry.street_grid`). What stands above the ground is
unknown: those rows repeat the edge of the tile in their direction.
"""

from functools import lru_cache

from torch import Tensor, nn

from xview_demo.geometry import sample, street_grid
from xview_demo.geometry.overhead import CAMERA_HEIGHT
from xview_demo.models.synthesis.interface import AERIAL, GROUND, Drawn, Query, Sampling


@lru_cache(maxsize=16)
def _grid(height: int, width: int, metres: float, camera_height: float, vfov: float) -> tuple[Tensor, Tensor]:
    return street_grid(height, width, metres, camera_height=camera_height, vfov=vfov)


class StreetEye(nn.Module):
    """Tile → its ground as a panorama from its centre shows it.

    Args:
        height, width: pixels of the output.
        metres: width of the tile on the ground.
        camera_height: metres above the ground, used unless a call gives another.
        vfov: degrees the strip covers from top to bottom.
    """

    reads, draws, needs, samples = AERIAL, GROUND, (), False

    def __init__(
        self,
        height: int = 128,
        width: int = 512,
        metres: float = 64.0,
        camera_height: float = CAMERA_HEIGHT,
        vfov: float = 90.0,
    ) -> None:
        super().__init__()
        self.height, self.width, self.metres = height, width, metres
        self.camera_height, self.vfov = camera_height, vfov

    def forward(self, tile: Tensor, camera_height: float | None = None) -> tuple[Tensor, Tensor]:
        """Tile (B, 3, P, P) → strip (B, 3, H, W) and mask (B, 1, H, W)."""
        metres_up = self.camera_height if camera_height is None else camera_height
        grid, seen = _grid(self.height, self.width, self.metres, metres_up, self.vfov)
        return sample(tile, grid.to(tile)), seen.to(tile).expand(len(tile), 1, -1, -1)

    def draw(self, query: Query, sampling: Sampling | None = None) -> Drawn:
        """The projection of each tile; nothing is drawn at random."""
        return Drawn(self(query.image, query.camera_height)[0])
