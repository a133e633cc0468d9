"""Re-ranking of aerial tiles by a dense matcher or a verifier: what it changes, and how its score is fused."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xview_demo.evaluation.describing import HEADINGS, Descriptors, describe, describe_each
from xview_demo.evaluation.protocol import VALIDATION, Progress, Protocol, fit_fusion, fit_temperature
from xview_demo.evaluation.retrieval import Searched, search
from xview_demo.recognition.ranking import RERANKED

FITTED = ("weight known", "weight unknown", "known", "unknown")  # what a judge's `fusion` holds


@torch.inference_mode()
def reranked(
    dense: Any, found: Searched, described: Descriptors, heading: str, k: int = RERANKED["aerial"],
    progress: Progress | None = None,
) -> Searched:  # fmt: skip
    """What a search finds once the first `k` tiles of each query were judged anew.

    Args:
        dense: a `BirdEyeCorrelation` or what derives from it, or an `AzimuthVerifier`.
        found: by the first matcher.
        described: the same queries and tiles, by the dense one.
        heading: "known" or "unknown".
        k: tiles that are re-ranked; they keep their places before all others.
        progress: called with (queries done, queries in all).
    """
    scores, headings = found.scores.copy(), None if found.headings is None else found.headings.copy()
    confidence = found.confidence.copy()
    queries = described.north if heading == "known" else described.own
    for n, query in enumerate(queries):
        rows = np.argsort(-found.scores[n], kind="stable")[:k]
        logits, angle = judged(dense, query, described.gallery, found, n, rows)
        mass = np.exp((found.scores[n] - found.scores[n].max()) / found.temperature[n])
        confidence[n] = mass[rows].sum() / mass.sum() * float(logits.double().softmax(0).amax())
        scores[n, rows] = found.scores[n].max() + 1 + (logits - logits.min()).numpy()
        if headings is not None:
            headings[n, rows] = angle.numpy()
        if progress is not None:
            progress(n + 1, len(queries))
    return Searched(scores, headings, confidence, found.temperature)


def judged(
    dense: Any, query: Tensor, gallery: Tensor, found: Searched, n: int, rows: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Logits and headings (K,) of some tiles for query number `n`."""
    first = torch.from_numpy(found.scores[n, rows])
    angles = None if found.headings is None else torch.from_numpy(found.headings[n, rows])
    places = None if dense.searches or found.poses is None else found.poses(n, rows)[1]
    scores, temperature, fit = dense.rerank(query, gallery[torch.from_numpy(rows)].float(), first, angles, places)
    return scores / temperature, fit.heading


@torch.inference_mode()
def calibrate_fusion(dense: Any, matcher: Any, protocol: Protocol | None = None, world: Any = None) -> dict[str, float]:
    """Fit the temperatures of a dense matcher's re-ranking on validation worlds (200 queries, 2,000 tiles).

    The weights of the first matcher's score are left as they are.
    """
    protocol = protocol or Protocol(first_seed=VALIDATION, worlds=20, queries=10, tiles=100, size=700.0)
    first, second = describe(matcher, protocol, None, world), describe(dense, protocol, None, world)
    dense.calibrate_fusion(1.0, 1.0)
    fitted = []
    for heading, most in (("known", len(first.north)), ("unknown", 100)):
        again = _judged_again(dense, search(matcher, first, heading), first, second, heading, most)
        fitted.append(fit_temperature(again.logits, again.truth))
    dense.calibrate_fusion(*fitted)
    return dict(zip(FITTED, dense.fusion, strict=True))


@torch.inference_mode()
def calibrate_verifier(
    verifier: Any, matcher: Any, protocol: Protocol | None = None, world: Any = None
) -> dict[str, float]:
    """Fit the weights of the first matcher's score beside the evidence, and the temperatures of the sums.

    On validation worlds, 200 queries at each field of view that the matcher is calibrated for, 2,000 tiles.
    """
    protocol = protocol or Protocol(first_seed=VALIDATION, worlds=20, queries=10, tiles=100, size=700.0)
    first, second = (describe_each(of, protocol, matcher.fields, None, world) for of in (matcher, verifier))
    verifier.keep(fusion=(0.0, 0.0, 1.0, 1.0))
    fitted = []
    for heading in HEADINGS:
        parts = []
        for fov in matcher.fields:
            found = search(matcher, first[fov], heading)
            again = _judged_again(verifier, found, first[fov], second[fov], heading, protocol.worlds * protocol.queries)
            query = second[fov].north if heading == "known" else second[fov].own
            parts.append((again.logits, again.scores * verifier.share(query[0]), again.truth))
        fitted.append(fit_fusion(*(np.concatenate(part) for part in zip(*parts, strict=True))))
    verifier.keep(fusion=[value for pair in zip(*fitted, strict=True) for value in pair])
    return dict(zip(FITTED, verifier.fusion, strict=True))


@dataclass
class _Again:
    """What a judge says of the candidates of the queries whose right tile is among them."""

    logits: np.ndarray  # (Q, K)
    scores: np.ndarray  # (Q, K) of the first matcher
    truth: np.ndarray  # (Q,) which candidate is right


def _judged_again(
    dense: Any, found: Searched, first: Descriptors, second: Descriptors, heading: str, most: int
) -> _Again:
    """At most `most` queries of a search, judged by another model."""
    queries = second.north if heading == "known" else second.own
    logits, scores, truths = [], [], []
    for n in np.linspace(0, len(queries) - 1, min(most, len(queries))).astype(int):
        rows = np.argsort(-found.scores[n], kind="stable")[: RERANKED["aerial"]]
        hit = np.flatnonzero(rows == first.truth[n])
        if len(hit):
            logits.append(judged(dense, queries[n], second.gallery, found, int(n), rows)[0].numpy())
            scores.append(found.scores[n, rows])
            truths.append(int(hit[0]))
    return _Again(np.stack(logits), np.stack(scores), np.array(truths))
