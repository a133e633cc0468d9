"""Retrieval: a thousand queries against ten thousand tiles, headings, and the temperature of the confidence."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xview_demo import metrics
from xview_demo.composed import Composed, composed
from xview_demo.errors import XViewError
from xview_demo.evaluation.protocol import VALIDATION, Progress, Protocol, fit_temperature, model_of, places
from xview_demo.geometry import roll_columns


@dataclass
class Descriptors:
    """Descriptors of a protocol: of the queries both ways, and of the gallery."""

    north: Tensor  # (Q, D) queries turned to north
    own: Tensor  # (Q, D) queries as the camera stood; (Q, turns·D) of matchers that are given several headings
    gallery: Tensor  # (N, D)
    headings: np.ndarray  # (Q,) degrees
    right: np.ndarray  # (Q, N) bool

    @property
    def truth(self) -> np.ndarray:
        """(Q,) index of each query's own tile: the first right one."""
        return self.right.argmax(1)


@torch.inference_mode()
def describe(matcher: Any, protocol: Protocol, progress: Progress | None = None, world: Any = None) -> Descriptors:
    """Encode the queries and tiles of a protocol; a matcher (or `Composed`) that needs more of a query gets it made."""
    encoder = matcher if isinstance(matcher, Composed) else composed(matcher)
    north, own, gallery, headings, rights = [], [], [], [], []
    for place in places(protocol, progress, world):
        heading = place.ground.headings
        own.append(encoder.encode_turned(place.ground.colour))
        north.append(encoder.encode_ground(roll_columns(place.ground.colour, -heading)))
        gallery.append(torch.cat([encoder.encode_aerial(part) for part in place.aerial.split(32)]))
        headings.append(heading.numpy())
        rights.append(place.right)
    sizes = np.cumsum([0, *(len(g) for g in gallery)])
    starts = np.cumsum([0, *(len(o) for o in own)])
    right = np.zeros((starts[-1], sizes[-1]), bool)
    for n, part in enumerate(rights):
        right[starts[n] : starts[n + 1], sizes[n] : sizes[n + 1]] = part
    return Descriptors(torch.cat(north), torch.cat(own), torch.cat(gallery), np.concatenate(headings), right)


@dataclass
class Searched:
    """What a matcher says of every pair."""

    scores: np.ndarray  # (Q, N)
    headings: np.ndarray | None  # (Q, N) degrees; None where they were known


def search(matcher: Any, found: Descriptors, heading: str) -> Searched:
    """Compare encoded queries with the gallery; `heading` is "known" or "unknown"."""
    if heading not in ("known", "unknown"):
        raise XViewError(f"heading is {heading!r}: use known or unknown.")
    if heading == "known":
        return Searched(matcher.aligned(found.north, found.gallery).numpy(), None)
    return Searched(*(x.numpy() for x in matcher.score(found.own, found.gallery)))


def match(matcher: Any, found: Descriptors, heading: str) -> dict[str, Any]:
    """Recalls, ranks and heading errors of encoded queries; `heading` is "known" or "unknown"."""
    return recalled(search(matcher, found, heading), found)


def recalled(searched: Searched, found: Descriptors) -> dict[str, Any]:
    """Recalls, ranks and heading errors of a search."""
    scores, headings = searched.scores, searched.headings
    rank = metrics.ranks(scores, found.right)
    n, heading = scores.shape[1], "known" if headings is None else "unknown"
    result: dict[str, Any] = {"n": len(rank), "gallery": n, "heading": heading, **metrics.recalls(rank, n)}
    result["heading_error_deg"] = None
    if headings is not None:
        queries = np.arange(len(rank))
        best = headings[queries, scores.argmax(1)]
        result["heading_error_deg"] = float(np.median(metrics.heading_error(best, found.headings)))
        at_truth = metrics.heading_error(headings[queries, found.truth], found.headings)
        result["heading_error_true_tile_deg"] = float(np.median(at_truth))
    result["chance"] = metrics.chance_recall(n)
    result["interval"] = list(metrics.bootstrap_interval(100.0 * (rank < 1)))
    return result


def evaluate_matching(
    model: Any = "azimuth-world",
    *,
    heading: str = "known",
    queries: int | None = None,
    gallery: int | None = None,
    rerank: Any = None,
    protocol: Protocol | None = None,
    progress: Progress | None = None,
    world: Any = None,
) -> dict[str, Any]:
    """1,000 queries against 10,000 tiles of forty test worlds.

    Args:
        model: name, folder or repository, or the matcher itself.
        heading: "known" (the query is turned to north) or "unknown" (searched).
        queries, gallery: smaller numbers, for a quick look.
        rerank: a dense matcher that judges the first 50 tiles anew.
        protocol: other worlds.
        progress: called with (worlds done, worlds in all).
        world: stand-in for `World`.
    """
    matcher, name = model_of(model, "matching")
    protocol = (protocol or Protocol()).scaled(queries, gallery)
    found = describe(matcher, protocol, progress, world)
    result = {"model": name, "seeds": protocol.seeds, **match(matcher, found, heading)}
    if rerank is None:
        return result
    from xview_demo.evaluation import reranking

    dense, result["rerank"] = model_of(rerank, "matching")
    again = reranking.rerank(dense, search(matcher, found, heading), describe(dense, protocol, None, world), heading)
    return result | recalled(again, found)


def calibrate(matcher: Any, protocol: Protocol | None = None, world: Any = None) -> dict[str, float]:
    """Fit the matcher's two temperatures on validation worlds (500 queries, 2,000 tiles)."""
    protocol = protocol or Protocol(first_seed=VALIDATION, worlds=20, queries=25, tiles=100, size=700.0)
    found = describe(matcher, protocol, None, world)
    known = fit_temperature(matcher.aligned(found.north, found.gallery).numpy(), found.truth)
    unknown = fit_temperature(matcher.score(found.own, found.gallery)[0].numpy(), found.truth)
    matcher.calibrate(known, unknown)
    return {"known": known, "unknown": unknown}
