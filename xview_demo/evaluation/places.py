"""Place recognition: recall within 25 m before and after re-ranking, as the field measures it.

R@N is the share of queries with at least one photograph of the gallery taken within 25 m among the first N by L2
distance. The field counts queries without any such photograph as missed; both ways are reported.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xview_demo import metrics, zoo
from xview_demo.data.places import RADIUS, PlaceIndex, read_places
from xview_demo.errors import XViewError
from xview_demo.evaluation.protocol import Progress
from xview_demo.files import cache_root
from xview_demo.gallery import Gallery
from xview_demo.recognition import PlaceRecognizer
from xview_demo.views import GroundView
from xview_demo.world.places import PlaceWorlds, write_places

KS = (1, 5, 10, 20)
BATCH = 8


@dataclass(frozen=True, eq=False)
class Found:
    """What retrieval says about the queries of a folder."""

    gallery: Gallery
    scores: np.ndarray  # (Q, N)
    ranking: np.ndarray  # (Q, K) rows of the gallery, the best first
    seconds: float  # a query, its encoding and the search


def recognizer_of(model: Any, device: str | torch.device = "cpu") -> PlaceRecognizer:
    """A recognizer of a model's name, folder or repository, or of the model itself."""
    if isinstance(model, PlaceRecognizer):
        return model
    if isinstance(model, str | os.PathLike):
        return PlaceRecognizer(zoo.load(model, task="places"), Path(model).name, device)
    return PlaceRecognizer(model, type(model).__name__, device)


def retrieve(recognizer: PlaceRecognizer, index: PlaceIndex, progress: Progress | None = None) -> Found:
    """Encode a folder's gallery, then its queries one after the other, and search."""
    folder = Path(os.path.commonpath([str(file.parent) for file in index.gallery]))
    encoder: Any = recognizer  # photographs need no `embed_aerial`
    gallery = Gallery.build(folder, encoder, kind="ground", batch=BATCH, progress=progress)
    start = time.monotonic()
    described = np.concatenate([recognizer.embed_ground(GroundView.open(file)) for file in index.queries])
    scores, _ = gallery.scores(described, recognizer)
    ranking = np.argsort(-scores, axis=1, kind="stable")[:, : max(KS)]
    return Found(gallery, scores, ranking, (time.monotonic() - start) / len(index.queries))


def rerank_all(
    recognizer: PlaceRecognizer, index: PlaceIndex, found: Found, k: int, progress: Progress | None = None
) -> tuple[np.ndarray, float]:
    """The ranking (Q, K) with the first k of each query in their new order, and seconds a query."""
    ranking, start = found.ranking.copy(), time.monotonic()
    for number, file in enumerate(index.queries):
        first, _ = recognizer.rerank(GroundView.open(file), found.gallery, ranking[number, :k].tolist())
        ranking[number, :k] = first
        if progress is not None:
            progress(number + 1, len(index.queries))
    return ranking, (time.monotonic() - start) / len(index.queries)


def first_hits(ranking: np.ndarray, positives: Sequence[np.ndarray]) -> np.ndarray:
    """(Q,) place (0 = first) of the first right photograph of each query in a ranking (Q, K); inf where none is."""
    right = np.array([np.isin(row, near) for row, near in zip(ranking, positives, strict=True)])
    return np.where(right.any(1), right.argmax(1), np.inf)


def place_recalls(hits: np.ndarray) -> dict[str, float]:
    """`{"r@1": …, "r@5": …, "r@10": …, "r@20": …}` in percent of first hits (Q,)."""
    return {f"r@{k}": metrics.recall_at(hits, k) for k in KS}


def evaluate_places(
    models: Sequence[Any],
    root: str | os.PathLike[str] | None = None,
    *,
    split: str = "test",
    rerank_k: int = 5,
    radius: float = RADIUS,
    worlds: PlaceWorlds | None = None,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Recall of each model on a place-recognition folder, before and after re-ranking the first `rerank_k`.

    Args:
        models: names, folders, repositories or models of the task "places".
        root: the folder (see `data.places.read_places`); None = generated worlds, written to the cache once.
        split: "train", "validation" or "test".
        rerank_k: candidates that are re-ranked; R@N for N ≥ rerank_k cannot change.
        radius: metres up to which a photograph is right.
        worlds: what the generated worlds hold.
        device: where the models run.
        progress: called with (done, all) of the present step.

    Raises:
        XViewError: no model, no such folder, or no query with a right photograph.
    """
    if not models or rerank_k < 1:
        raise XViewError("There is nothing to evaluate: name at least one model and re-rank at least 1 candidate.")
    worlds = worlds or PlaceWorlds()
    seeds = None if root is not None else worlds.seeds("val" if split == "validation" else split)
    if root is None:
        root = write_places(cache_root() / f"places-{worlds.fingerprint}", worlds, progress)
    index = read_places(root, split)
    positives = index.positives(radius)
    answerable = np.array([len(near) > 0 for near in positives])
    if not answerable.any():
        raise XViewError(f"No query in {root} ({split}) has a photograph within {radius:g} m: check the UTM names.")
    combinations = {}
    for model in models:
        recognizer = recognizer_of(model, device)
        combinations[recognizer.name] = _measured(recognizer, index, positives, answerable, rerank_k, progress)
    return {
        "n": len(index.queries),
        "queries_without_positives": int((~answerable).sum()),
        "gallery": len(index.gallery),
        "radius_m": radius,
        "split": split,
        "seeds": None if seeds is None else [seeds[0], seeds[-1]],
        "model": [*combinations],
        "chance": float(100 * np.mean([len(near) for near in positives]) / len(index.gallery)),
        "rerank_k": rerank_k,
        "unchanged": [f"r@{k}" for k in KS if k >= rerank_k],
        "note": f"Re-ranking reorders the first {rerank_k}: R@N with N ≥ {rerank_k} is the same by construction.",
        "combinations": combinations,
    }


def _measured(
    recognizer: PlaceRecognizer,
    index: PlaceIndex,
    positives: Sequence[np.ndarray],
    answerable: np.ndarray,
    rerank_k: int,
    progress: Progress | None,
) -> dict[str, Any]:
    found = retrieve(recognizer, index, progress)
    ranking, seconds = rerank_all(recognizer, index, found, rerank_k, progress)
    hits = {"baseline": first_hits(found.ranking, positives), "reranked": first_hits(ranking, positives)}
    return {
        **{name: place_recalls(values) for name, values in hits.items()},
        "without_unanswerable": {name: place_recalls(values[answerable]) for name, values in hits.items()},
        "interval": {name: list(metrics.bootstrap_interval(100.0 * (v < 1))) for name, v in hits.items()},
        "seconds_per_query": {"baseline": found.seconds, "reranked": found.seconds + seconds},
    }


def calibrate_places(model: Any, root: str | os.PathLike[str], split: str = "validation") -> float:
    """Fit and set the temperature under which the softmax gives the right photographs the highest likelihood."""
    from scipy.optimize import minimize_scalar

    index = read_places(root, split)
    positives = index.positives()
    scores = torch.from_numpy(retrieve(PlaceRecognizer(model), index).scores).double()
    right = torch.zeros(scores.shape, dtype=torch.bool)
    for query, near in enumerate(positives):
        right[query, torch.from_numpy(near)] = True
    kept = right.any(1)

    def loss(log_temperature: float) -> float:
        shares = (scores[kept] / np.exp(log_temperature)).log_softmax(1)
        return float(-shares.masked_fill(~right[kept], -torch.inf).logsumexp(1).mean())

    fitted = minimize_scalar(loss, bounds=(np.log(1e-4), np.log(1.0)), method="bounded")
    model.calibrate(float(np.exp(fitted.x)))
    return float(model.temperature)
