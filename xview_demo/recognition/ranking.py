"""From the scores of a gallery to an answer: probabilities, the best tiles, and those re-ranked."""

from typing import Any

import numpy as np

from xview_demo.errors import ModelError
from xview_demo.gallery import Gallery
from xview_demo.geometry.regions import Region
from xview_demo.outputs import Localization, Match, Warp
from xview_demo.recognition.recognizer import PlaceRecognizer
from xview_demo.views import GroundView


def answer(
    view: GroundView,
    gallery: Gallery,
    scores: np.ndarray,
    headings: np.ndarray,
    temperature: float,
    *,
    top_k: int = 10,
    region: Region | None = None,
    reranker: PlaceRecognizer | None = None,
    rerank_k: int = 5,
    rerank_below: float | None = None,
) -> Localization:
    """The best tiles of a query.

    Args:
        view: the query.
        gallery: that was searched.
        scores, headings: (N,) of every tile, higher is better, and degrees or NaN.
        temperature: of the softmax that makes probabilities.
        top_k: number of matches.
        region: search only there.
        reranker: puts the first `rerank_k` into a new order.
        rerank_k: how many.
        rerank_below: only when the best tile's probability is lower; None = always.

    Raises:
        GalleryError: the region holds no tile.
        ModelError: rerank_k below 1, or a gallery that is not of photographs.
    """
    if rerank_k < 1:
        raise ModelError(f"The first {rerank_k} cannot be re-ranked: give rerank_k of at least 1.")
    found = scores.astype(np.float64)
    if region is not None:
        found = np.where(gallery.mask(region), found, -np.inf)
    weight = np.exp((found - found.max()) / temperature)
    probability = (weight / weight.sum()).astype(np.float32)
    order = np.argsort(-found, kind="stable")[: int(np.isfinite(found).sum())]
    warps: dict[int, Warp] = {}
    if reranker is not None and (rerank_below is None or probability.max() < rerank_below):
        first, seen = reranker.rerank(view, gallery, order[:rerank_k].tolist())
        order[:rerank_k] = first
        warps = dict(zip(first, seen, strict=True))
    away = None if view.latlon is None else gallery.distances(view.latlon)
    matches = []
    for rank, row in enumerate(order[: max(1, top_k)].tolist(), start=1):
        fields = _fields(gallery, row, float(found[row]), float(headings[row]), away)
        matches.append(Match(rank=rank, warp=warps.get(row), **fields))
    confidence = float(probability[order[0]])
    return Localization(tuple(matches), matches[0].heading, confidence, probability, view.latlon)


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
