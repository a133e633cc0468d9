"""What judges of a first matcher's candidates share: how the query lies on each tile, and the sum of both scores."""

from dataclasses import dataclass

import torch
from torch import Tensor

from xview_demo.models.matching.calibrated import Calibrated


@dataclass(frozen=True)
class Fit:
    """How a query lies best on each of K tiles."""

    score: Tensor  # (K,) correlation in [-1, 1], or a verifier's evidence
    heading: Tensor  # (K,) degrees clockwise from north
    height: Tensor  # (K,) metres of the camera above the ground
    east_north: Tensor  # (K, 2) metres of the camera from the tile's centre


class Judge(Calibrated):
    """Base of the matchers that re-rank.

    Attributes:
        searches: whether it finds the camera's place on a tile by itself, or takes it from the first matcher.
        fusion: the weights of the first matcher's score beside its own, heading known and unknown, and the temperatures
            of the two sums.
    """

    searches: bool
    fusion: tuple[float, ...]

    def lay(self, query: Tensor, reference: Tensor, headings: Tensor | None, places: Tensor | None) -> Fit:
        """Lay a query on each candidate; arguments as those of `rerank`."""
        raise NotImplementedError

    def share(self, query: Tensor) -> float:
        """What the weight of the first matcher's score is multiplied by for a query (D,)."""
        return 1.0

    @torch.no_grad()
    def rerank(
        self, query: Tensor, reference: Tensor, scores: Tensor, headings: Tensor | None, places: Tensor | None = None
    ) -> tuple[Tensor, float, Fit]:
        """Judge a first matcher's candidates anew.

        Args:
            query: (D,) descriptor; turned to north when its heading is known.
            reference: (K, D) descriptors of the candidates.
            scores: (K,) of the first matcher.
            headings: (K,) degrees that it found; None when the heading is known.
            places: (K, 2) metres east and north of the tiles' centres from where it found the view taken.

        Returns:
            (K,) fused scores, the temperature of a softmax over them, and how the query lies on each.
        """
        fit = self.lay(query, reference, headings, places)
        weight, temperature = self.fusion[::2] if headings is None else self.fusion[1::2]
        return fit.score + weight * self.share(query) * scores, temperature, fit
