"""From the scores of a gallery to an answer: probabilities, the best tiles, and those re-ranked."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from xview_demo.errors import GalleryError, ModelError
from xview_demo.gallery import Gallery
from xview_demo.outputs import Localization, Match
from xview_demo.views import GroundView

RERANKED = {"aerial": 50, "ground": 5}  # candidates of a gallery of that kind that are re-ranked


@dataclass(frozen=True)
class Reordered:
    """Candidates after re-ranking."""

    rows: list[int]  # of the gallery, the best first
    fields: list[dict[str, Any]]  # of each one's `Match`: what was found
    scores: np.ndarray | None = None  # of each, where the new judgement is a score
    temperature: float = 1.0  # of the softmax over those scores


class Reranker(Protocol):
    """Puts candidates into a new order."""

    def reorder(
        self, view: GroundView, gallery: Gallery, rows: list[int], scores: np.ndarray, headings: np.ndarray
    ) -> Reordered:
        """Order `rows` of a gallery anew, given their scores and headings (degrees or NaN)."""
        ...


def answer(
    view: GroundView,
    gallery: Gallery,
    scores: np.ndarray,
    headings: np.ndarray,
    temperature: float,
    *,
    top_k: int = 10,
    reranker: Reranker | None = None,
    rerank_k: int = 5,
    rerank_below: float | None = None,
) -> Localization:
    """The best tiles of a query.

    Args:
        view: the query.
        gallery: that was searched.
        scores, headings: (N,) of every tile, higher is better (-inf: not searched), and degrees or NaN.
        temperature: of the softmax that makes probabilities.
        top_k: number of matches.
        reranker: puts the first `rerank_k` into a new order.
        rerank_k: how many.
        rerank_below: only when the best tile's probability is lower; None = always.

    Raises:
        GalleryError: top_k below 1.
        ModelError: rerank_k below 1, or a gallery that is not of photographs.
    """
    if top_k < 1:
        raise GalleryError(f"The {top_k} best tiles cannot be asked for: give top_k of at least 1.")
    if rerank_k < 1:
        raise ModelError(f"The first {rerank_k} cannot be re-ranked: give rerank_k of at least 1.")
    found = scores.astype(np.float64)
    probability = _softmax(found / temperature).astype(np.float32)
    order = np.argsort(-found, kind="stable")[: int(np.isfinite(found).sum())]
    evidence: dict[int, dict[str, Any]] = {}
    if reranker is not None and (rerank_below is None or probability.max() < rerank_below):
        first = order[:rerank_k]
        again = reranker.reorder(view, gallery, first.tolist(), found[first], headings[first])
        evidence = dict(zip(again.rows, again.fields, strict=True))
        if again.scores is not None:
            probability[again.rows] = probability[first].sum() * _softmax(again.scores / again.temperature)
            found[again.rows] = found[first].min() + again.scores - again.scores.min()
        order[:rerank_k] = again.rows
    away = None if view.latlon is None else gallery.distances(view.latlon)
    matches = []
    for rank, row in enumerate(order[:top_k].tolist(), start=1):
        fields = _fields(gallery, row, float(found[row]), float(headings[row]), away)
        matches.append(Match(rank=rank, **fields | evidence.get(row, {})))
    confidence = float(probability[order[0]])
    return Localization(tuple(matches), matches[0].heading, confidence, probability, view.latlon)


def _softmax(logits: np.ndarray) -> np.ndarray:
    weight = np.exp(logits - logits.max())
    return weight / weight.sum()


def _fields(gallery: Gallery, row: int, score: float, heading: float, away: np.ndarray | None) -> dict[str, Any]:
    latlon = gallery.latlons[row]
    known = bool(np.isfinite(latlon).all())
    return {
        "score": score,
        "tile": gallery.names[row],
        "latlon": (float(latlon[0]), float(latlon[1])) if known else None,
        "distance_m": float(away[row]) if away is not None and known else None,
        "heading": None if np.isnan(heading) else heading,
    }
