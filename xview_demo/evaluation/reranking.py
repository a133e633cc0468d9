"""Re-ranking of aerial tiles by a dense matcher: what it changes, and the temperature of its confidence."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from xview_demo.evaluation.describing import Descriptors, describe
from xview_demo.evaluation.protocol import VALIDATION, Progress, Protocol, fit_temperature
from xview_demo.evaluation.retrieval import Searched, search
from xview_demo.recognition.ranking import RERANKED


@torch.inference_mode()
def reranked(
    dense: Any, found: Searched, described: Descriptors, heading: str, k: int = RERANKED["aerial"],
    progress: Progress | None = None,
) -> Searched:  # fmt: skip
    """What a search finds once the first `k` tiles of each query were judged anew.

    Args:
        dense: a `BirdEyeCorrelation` or what derives from it.
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
    places = None if found.poses is None else found.poses(n, rows)[1]
    scores, temperature, fit = dense.rerank(query, gallery[torch.from_numpy(rows)].float(), first, angles, places)
    return scores / temperature, fit.heading


@torch.inference_mode()
def calibrate_fusion(dense: Any, matcher: Any, protocol: Protocol | None = None, world: Any = None) -> dict[str, float]:
    """Fit the temperatures of a dense matcher's re-ranking on validation worlds (100 queries, 1,000 tiles).

    The weights of the first matcher's score are left as they are.
    """
    protocol = protocol or Protocol(first_seed=VALIDATION, worlds=20, queries=5, tiles=50, size=700.0)
    first, second = describe(matcher, protocol, None, world), describe(dense, protocol, None, world)
    dense.calibrate_fusion(1.0, 1.0)
    fitted = []
    for heading, most in (("known", len(first.north)), ("unknown", 50)):
        found = search(matcher, first, heading)
        queries = second.north if heading == "known" else second.own
        logits, truths = [], []
        for n in np.linspace(0, len(queries) - 1, min(most, len(queries))).astype(int):
            rows = np.argsort(-found.scores[n], kind="stable")[: RERANKED["aerial"]]
            hit = np.flatnonzero(rows == first.truth[n])
            if len(hit):
                logits.append(judged(dense, queries[n], second.gallery, found, int(n), rows)[0].numpy())
                truths.append(int(hit[0]))
        fitted.append(fit_temperature(np.stack(logits), np.array(truths)))
    dense.calibrate_fusion(*fitted)
    return dict(zip(("weight known", "weight unknown", "known", "unknown"), dense.fusion, strict=True))
