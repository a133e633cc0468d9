"""`TileReranker`: judges the first aerial tiles of a search by laying the query's bird's-eye view over each.

A global descriptor finds candidates among thousands of tiles; dense geometry, which carries over from generated worlds
to photographs far better, then decides between them. The two scores are added with a weight that validation chose.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xview_demo.errors import ModelError
from xview_demo.gallery import Gallery
from xview_demo.outputs import Overlay
from xview_demo.recognition.kept import Kept
from xview_demo.recognition.ranking import Reordered
from xview_demo.views import AerialView, GroundView

KEPT_BYTES = 500_000_000  # of candidates' descriptors that are kept in memory
BATCH = 16  # tiles at a time


class TileReranker:
    """Re-ranks aerial tiles by a dense matcher.

    Args:
        model: a `Judge`: `BirdEyeCorrelation`, what derives from it, or `AzimuthVerifier`.
        device: where its networks run.
        taken: says (K, 2) metres east and north of some tiles' centres from where the first matcher finds a view taken;
            asked for a model that does not search the place by itself.
    """

    def __init__(
        self,
        model: Any,
        device: str | torch.device = "cpu",
        taken: Callable[[GroundView, Gallery, list[int]], Tensor | None] | None = None,
    ) -> None:
        if not hasattr(model, "rerank"):
            raise ModelError(f"{type(model).__name__} only compares descriptors: name a model that re-ranks tiles.")
        self.model, self.device = model, torch.device(device)
        self.taken = None if model.searches else taken
        self._kept = Kept(KEPT_BYTES)

    @torch.inference_mode()
    def reorder(
        self, view: GroundView, gallery: Gallery, rows: list[int], scores: np.ndarray, headings: np.ndarray
    ) -> Reordered:
        """Order tiles anew.

        Args:
            view: the query; with an unknown heading, those around each candidate's are searched again.
            gallery: of aerial tiles.
            rows: of the gallery, the best first.
            scores: (K,) of the matcher that found them.
            headings: (K,) degrees that it found.

        Raises:
            ModelError: the gallery holds photographs.
        """
        if gallery.kind != "aerial":
            raise ModelError("This model re-ranks aerial tiles, the gallery holds photographs: name one for places.")
        known = view.heading is not None
        strip, mask = (x[None].to(self.device) for x in view.strip(north=known))
        query = self.model.encode_ground(strip, mask)[0].cpu()
        first = torch.from_numpy(scores).float()
        tried = None if known else torch.from_numpy(headings).float()
        places = None if self.taken is None else self.taken(view, gallery, rows)
        found, temperature, fit = self.model.rerank(query, self._described(gallery, rows), first, tried, places)
        order = found.argsort(descending=True, stable=True).tolist()
        fields = [_fields(fit, n, view.heading) for n in order]
        return Reordered([rows[n] for n in order], fields, found[order].double().numpy(), temperature)

    def _described(self, gallery: Gallery, rows: list[int]) -> Tensor:
        """Descriptors (K, D) of tiles."""

        def make(missing: list[int]) -> list[tuple[Tensor, ...]]:
            found: list[tuple[Tensor, ...]] = []
            for start in range(0, len(missing), BATCH):
                views = [gallery.tile(row) for row in missing[start : start + BATCH]]
                tiles = torch.stack([v.tile() for v in views if isinstance(v, AerialView)])
                found += [(one,) for one in self.model.encode_aerial(tiles.to(self.device)).cpu()]
            return found

        return torch.stack([one for (one,) in self._kept.get(gallery, rows, make)])


def _fields(fit: Any, n: int, heading: float | None) -> dict[str, Any]:
    east, north = fit.east_north[n].tolist()
    overlay = Overlay(float(fit.score[n]), (east, north), float(fit.height[n]))
    return {"overlay": overlay, "heading": float(fit.heading[n]) if heading is None else heading}
