"""What a matcher says of every pair of query and tile, and how good that is: recalls, ranks, errors, confidence."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xview_demo import metrics
from xview_demo.errors import XViewError
from xview_demo.evaluation.describing import HEADINGS, Descriptors
from xview_demo.gallery import SHORTLIST


@dataclass
class Searched:
    """What a matcher says of every pair."""

    scores: np.ndarray  # (Q, N)
    headings: np.ndarray | None  # (Q, N) degrees; None where they were known
    confidence: np.ndarray  # (Q,) probability of the best tile
    temperature: np.ndarray  # (Q,) under which the softmax of the scores gave it
    listed: np.ndarray | None = None  # (Q,) bool, whether a large gallery's first stage would keep the query's tile
    poses: Callable[[int, np.ndarray], tuple[Tensor, Tensor]] | None = None  # of query n on some tiles, if it says them


def search(matcher: Any, found: Descriptors, heading: str) -> Searched:
    """Compare encoded queries with the gallery; `heading` is "known" or "unknown"."""
    if heading not in HEADINGS:
        raise XViewError(f"heading is {heading!r}: use known or unknown.")
    known = heading == "known"
    if known and np.isnan(found.headings).any():
        raise XViewError("Some queries have no known heading: search it (--heading unknown).")
    scores, headings = (
        (matcher.aligned(found.north, found.gallery), None) if known else matcher.score(found.own, found.gallery)
    )
    temperature = matcher.temperature(found.north if known else found.own, known)
    best = (scores.double() / temperature[:, None]).softmax(1).amax(1)
    listed = None if known else shortlisted(matcher, found)
    angles = None if headings is None else headings.numpy()
    return Searched(scores.numpy(), angles, best.numpy(), temperature.numpy(), listed, _poses(matcher, found, known))


def _poses(matcher: Any, found: Descriptors, known: bool) -> Callable[[int, np.ndarray], tuple[Tensor, Tensor]] | None:
    if not hasattr(matcher, "poses"):
        return None
    queries = found.north if known else found.own
    return lambda n, rows: matcher.poses(queries[n], found.gallery[torch.from_numpy(rows)], known)


def shortlisted(matcher: Any, found: Descriptors) -> np.ndarray | None:
    """Which queries' tiles the first stage of a large gallery keeps: (Q,) bool; None without such a stage."""
    invariants: Callable[[Tensor], Any] = getattr(matcher, "invariants", lambda _: None)
    query = invariants(found.own)
    if query is None:
        return None
    alike = (query @ invariants(found.gallery).T).numpy()
    return metrics.ranks(alike, found.truth) < SHORTLIST * alike.shape[1]


def match(matcher: Any, found: Descriptors, heading: str) -> dict[str, Any]:
    """Recalls, ranks and heading errors of encoded queries; `heading` is "known" or "unknown"."""
    return recalled(search(matcher, found, heading), found)


def recalled(searched: Searched, found: Descriptors) -> dict[str, Any]:
    """Recalls, ranks, errors in degrees and metres, and how far the confidence can be trusted."""
    scores, headings = searched.scores, searched.headings
    rank = metrics.ranks(scores, found.right)
    n, heading = scores.shape[1], "known" if headings is None else "unknown"
    result: dict[str, Any] = {"n": len(rank), "gallery": n, "heading": heading, **metrics.recalls(rank, n)}
    result["heading_error_deg"] = None
    queries, best = np.arange(len(rank)), scores.argmax(1)
    if headings is not None and np.isfinite(found.headings).all():
        error = metrics.heading_error(headings[queries, best], found.headings)
        result["heading_error_deg"] = float(np.median(error))
        at_truth = metrics.heading_error(headings[queries, found.truth], found.headings)
        result["heading_error_true_tile_deg"] = float(np.median(at_truth))
    if found.away is not None:
        metres = float(np.median(found.away[queries, best]))
        result["metre_error"] = metres if np.isfinite(metres) else None  # none: half of them end in another world
    result["chance"] = metrics.chance_recall(n)
    result["interval"] = list(metrics.bootstrap_interval(100.0 * (rank < 1)))
    if found.covers is not None:  # VIGOR's hit rate (Zhu et al., CVPR 2021): the best tile shows the camera's place
        result["hit_rate"] = 100.0 * float(found.covers[queries, best].mean())
    hit = found.right[queries, best]
    if searched.listed is not None:
        result["listed"] = 100.0 * float(searched.listed.mean())
        result["listed_of_right"] = 100.0 * float(searched.listed[hit].mean()) if hit.any() else None
    result["reliability"] = metrics.reliability(searched.confidence, hit)
    result["abstention"] = metrics.abstention(searched.confidence, hit)
    return result
