"""`PlaceRecognizer`: a model of the task "places" at work on views and galleries.

It encodes photographs for a gallery of kind "ground", scores a query against it by L2 distance, and re-ranks the first
candidates by warping each with the query to the region they share. Always in single precision.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xview_demo.devices import device_of
from xview_demo.errors import ModelError
from xview_demo.gallery import Gallery
from xview_demo.geometry import resize
from xview_demo.models.hub import digest
from xview_demo.outputs import Warp
from xview_demo.recognition.kept import Kept
from xview_demo.recognition.ranking import Reordered
from xview_demo.views import GroundView

KEPT_BYTES = 1_000_000_000  # of candidates' pictures and local features that are kept in memory
BATCH = 8  # photographs at a time


class PlaceRecognizer:
    """Retrieval and re-ranking of photographs by one model.

    Args:
        model: a `GeoWarp`.
        name: of the model, for people and the fingerprint.
        device: where it runs.
    """

    def __init__(self, model: Any, name: str = "places", device: str | torch.device = "cpu") -> None:
        self.name, self.device = name, device_of(device)
        self.model = model.to(self.device).eval()
        self._kept = Kept(KEPT_BYTES)

    @cached_property
    def fingerprint(self) -> str:
        """Name and hash of the weights: changes whenever the descriptors would."""
        return f"{Path(self.name).name}:{digest(self.model)}"

    def frame(self, view: GroundView) -> Tensor:
        """The picture of a view at the model's size (3, H, W)."""
        return resize(view.image, *self.model.size)

    @torch.inference_mode()
    def embed_ground(self, views: Sequence[GroundView] | GroundView) -> np.ndarray:
        """Descriptors (N, D) float32, compared by their L2 distance; GeM's are not of unit length."""
        views = [views] if isinstance(views, GroundView) else list(views)
        if not views:
            raise ModelError("There are no views to embed: give at least one.")
        parts = [
            self.model.encode(torch.stack([self.frame(v) for v in views[n : n + BATCH]]).to(self.device))[0]
            for n in range(0, len(views), BATCH)
        ]
        return torch.cat(parts).float().cpu().numpy()

    def score(self, query: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """1 − ‖q − r‖² / 2 of queries (Q, D) and references (N, D): (Q, N), the cosine for unit-length descriptors.

        Returns:
            The scores, and NaN for the headings, which photographs do not tell.
        """
        q, r = query.float(), reference.float()
        squared = q.square().sum(1)[:, None] + r.square().sum(1) - 2 * (q @ r.T)
        scores = 1 - squared.clamp_min(0) / 2
        return scores, torch.full_like(scores, float("nan"))

    @property
    def temperature(self) -> float:
        """Of the softmax that turns scores into probabilities, fitted on validation worlds."""
        return float(self.model.temperature)

    def query(self, view: GroundView) -> tuple[Tensor, "PlaceRecognizer", float]:
        """Descriptor of a view (1, D), what compares it, and the temperature of the comparison."""
        return torch.from_numpy(self.embed_ground(view)), self, self.temperature

    @torch.inference_mode()
    def rerank(self, view: GroundView, gallery: Gallery, candidates: Sequence[int]) -> tuple[list[int], list[Warp]]:
        """Order candidates anew by how well they match the query where both show the same.

        Args:
            view: the query.
            gallery: of kind "ground".
            candidates: rows of the gallery, the best first; equal similarities keep this order.

        Returns:
            The same rows in their new order, and what each was found to share with the query.

        Raises:
            ModelError: the gallery holds no photographs.
        """
        if gallery.kind != "ground":
            raise ModelError("Only photographs are re-ranked: give a gallery built with kind='ground', or no rerank.")
        image = self.frame(view)[None].to(self.device)
        local = self.model.local(image)
        found: list[Warp] = []
        for start in range(0, len(candidates), BATCH):
            rows = list(candidates[start : start + BATCH])
            images, locals_ = self._pictures(gallery, rows)
            n = len(rows)
            seen = self.model.compare(image.expand(n, -1, -1, -1), local.expand(n, -1, -1, -1), images, locals_)
            found += [
                Warp(float(s) / 225, int(a), _points(p), _points(q))
                for s, a, p, q in zip(seen.similarity, seen.agreeing, seen.corners_a, seen.corners_b, strict=True)
            ]
        order = np.argsort([-w.similarity for w in found], kind="stable")
        return [int(candidates[i]) for i in order], [found[i] for i in order]

    def reorder(
        self, view: GroundView, gallery: Gallery, rows: list[int], scores: np.ndarray, headings: np.ndarray
    ) -> Reordered:
        """`rerank` for `ranking.answer`."""
        order, warps = self.rerank(view, gallery, rows)
        return Reordered(order, [{"warp": warp} for warp in warps])

    def _pictures(self, gallery: Gallery, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Pictures (n, 3, H, W) and local features (n, C, 15, 15) of candidates."""

        def make(missing: list[int]) -> list[tuple[Tensor, ...]]:
            images = torch.stack([self.frame(gallery.tile(row)) for row in missing]).to(self.device)  # type: ignore[arg-type]
            return list(zip(images, self.model.local(images), strict=True))

        images, features = zip(*self._kept.get(gallery, rows, make), strict=True)
        return torch.stack(images), torch.stack(features)


def _points(corners: Tensor) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in corners.tolist())
