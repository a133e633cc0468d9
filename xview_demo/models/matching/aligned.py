"""What the matchers of the source systems share: one vector a view, compared at one heading.

They are trained on aligned pairs: the direction of the strip's centre column points up in the tile. A query of unknown
heading is therefore described `turns` times, once for each heading that is tried, and the best one counts.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from xview_demo.errors import ModelError
from xview_demo.models.matching.calibrated import Calibrated

KINDS = ("synthetic", "segmentation")


class AlignedMatcher(Calibrated):
    """Base of those matchers; a family gives `describe_query` and `describe_reference`.

    Attributes:
        needs: pictures of the query that other models make, of `KINDS`: its synthetic aerial view, and the classes of
            that in their colours. Both are square, in [0, 1], with the strip's centre column up.
        turns: headings that are tried when the query's is unknown.
        calibration: temperatures that turn scores into probabilities with a known and with an unknown heading.
    """

    needs: tuple[str, ...] = ()

    def __init__(self, turns: int, calibration: Sequence[float]) -> None:
        super().__init__()
        self.turns, self.calibration = turns, tuple(float(t) for t in calibration)

    def describe_query(self, strip: Tensor, **made: Tensor) -> Tensor:
        """Strip (B, 3, H, W) and what the matcher needs → vectors (B, D) of any length."""
        raise ModelError(f"{type(self).__name__} does not say how a query is described.")

    def describe_reference(self, tile: Tensor) -> Tensor:
        """Tile (B, 3, P, P) → vectors (B, D) of any length."""
        raise ModelError(f"{type(self).__name__} does not say how a tile is described.")

    def encode_ground(self, strip: Tensor, mask: Tensor | None = None, **made: Tensor) -> Tensor:
        """Descriptors (B, D) of queries, unit length.

        Args:
            strip: (B, 3, H, W) in [0, 1], ±45°.
            mask: (B, 1, H, W), 1 where the view shows something.
            made: a picture (B, 3, P, P) in [0, 1] for each name in `needs`.

        Raises:
            ModelError: one of them is missing.
        """
        missing = [kind for kind in self.needs if kind not in made]
        if missing:
            raise ModelError(
                f"{type(self).__name__} needs the {' and the '.join(missing)} of the query: use it in a GeoLocalizer, "
                f"which makes them, or pass {missing[0]}=."
            )
        vector = self.describe_query(
            strip if mask is None else strip * mask, **{kind: made[kind] for kind in self.needs}
        )
        return F.normalize(vector.float(), dim=1)

    def encode_aerial(self, tile: Tensor) -> Tensor:
        """Descriptors (B, D) of tiles (B, 3, P, P) in [0, 1], unit length; they depend on the tile alone."""
        return F.normalize(self.describe_reference(tile).float(), dim=1)

    def forward(self, strip: Tensor, tile: Tensor, mask: Tensor | None = None, **made: Tensor) -> tuple[Tensor, Tensor]:
        """Descriptors of both views, each (B, D)."""
        return self.encode_ground(strip, mask, **made), self.encode_aerial(tile)

    @torch.no_grad()
    def aligned(self, query: Tensor, reference: Tensor) -> Tensor:
        """Scores (Q, N) in [-1, 1] of queries (Q, D) turned to north."""
        return query @ reference.T

    @torch.no_grad()
    def score(self, query: Tensor, reference: Tensor, chunk: int = 64) -> tuple[Tensor, Tensor]:
        """Best score and its heading for every pair.

        Args:
            query: (Q, K·D): the descriptors at K headings evenly around, the first at 0°, side by side.
            reference: (N, D) aerial descriptors, north up.
            chunk: queries at a time.

        Returns:
            scores (Q, N) in [-1, 1]; headings (Q, N) in degrees clockwise from north, a multiple of 360 / K.
        """
        turns = query.shape[1] // reference.shape[1]
        scores, headings = [], []
        for part in query.split(chunk):
            volume = (part.reshape(len(part) * turns, -1) @ reference.T).view(len(part), turns, -1)
            best, k = volume.max(1)
            scores.append(best)
            headings.append(k * (360.0 / turns))
        return torch.cat(scores), torch.cat(headings)


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """(B, C, H, W) at another size: averaged over pixels when it shrinks, interpolated when it grows."""
    if image.shape[-2:] == (height, width):
        return image
    if image.shape[-2] >= height and image.shape[-1] >= width:
        return F.interpolate(image, (height, width), mode="area")
    return F.interpolate(image, (height, width), mode="bilinear", align_corners=False, antialias=True)
