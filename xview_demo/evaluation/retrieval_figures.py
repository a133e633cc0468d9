"""Retrieval, to look at: recall@K, reliability and abstention, matches, the worst queries, the descriptors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from xview_demo import metrics, viz
from xview_demo.evaluation.describing import Descriptors
from xview_demo.evaluation.retrieval import Searched

TOP, ROWS = 5, 8  # tiles beside each query, queries on a sheet
RIGHT, WRONG = (22, 163, 74), (220, 38, 38)
MOST = 1500  # descriptors in the scatter


def write_figures(folder: Path, searched: Searched, found: Descriptors, result: dict[str, Any]) -> list[Path]:
    """Write five pictures into a folder.

    `recall.png` (recall@K), `confidence.png` (reliability and abstention), `matches.png` (some queries with their best
    five tiles, right ones boxed green, and their distance), `worst.png` (the queries whose tile ranks last, with it),
    `descriptors.png` (both views' descriptors in the plane of their two largest components).

    Args:
        folder: is made.
        searched: scores.
        found: descriptors with their small pictures.
        result: of `recalled`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rank = metrics.ranks(searched.scores, found.right)
    order = np.argsort(-rank, kind="stable")
    some = np.linspace(0, len(rank) - 1, min(ROWS, len(rank))).astype(int)
    steps = [k for k in (1, 2, 3, 5, 10, 20, 50, 100) if k <= searched.scores.shape[1]]
    curve = {f"heading {result['heading']}": {k: metrics.recall_at(rank, k) for k in steps}}
    drawn = {
        "recall": viz.recall_curve(curve, searched.scores.shape[1]),
        "confidence": viz.reliability_chart(result["reliability"], result["abstention"]),
        "matches": _sheet(some, searched, found, rank),
        "worst": _sheet(order[: len(some)], searched, found, rank),
        "descriptors": viz.scatter(_plane(found)),
    }
    return [viz.save(picture, folder / f"{name}.png") for name, picture in drawn.items()]


def _sheet(queries: Sequence[int] | np.ndarray, searched: Searched, found: Descriptors, rank: np.ndarray) -> np.ndarray:
    """Each query with its best tiles; where none of them is right, its own tile comes last."""
    assert found.strips is not None and found.tiles is not None
    rows = []
    for query in queries:
        best = np.argsort(-searched.scores[query], kind="stable")[:TOP].tolist()
        cells = [viz.captioned(_array(found.strips[query]), f"its tile ranks {int(rank[query]) + 1}")]
        cells += [_cell(found, int(query), tile, str(n)) for n, tile in enumerate(best, 1)]
        cells.append(_cell(found, int(query), int(found.truth[query]), "its tile"))
        rows.append(viz.beside(cells, gap=6))
    return viz.stack(rows, gap=8)


def _cell(found: Descriptors, query: int, tile: int, name: str) -> np.ndarray:
    assert found.tiles is not None
    away = np.nan if found.away is None else float(found.away[query, tile])
    text = f"{name}: {viz.metres_text(away)}" if np.isfinite(away) else name + (": elsewhere" if np.isinf(away) else "")
    picture = viz.boxed(_array(found.tiles[tile]), RIGHT if found.right[query, tile] else WRONG, 3)
    return viz.captioned(picture, text)


def _array(picture: Tensor) -> np.ndarray:
    return viz.resize(picture.permute(1, 2, 0).numpy(), 128, 128 * picture.shape[-1] // picture.shape[-2])


def _plane(found: Descriptors) -> dict[str, np.ndarray]:
    """Both views' descriptors (n, 2) in the plane of their two principal components."""
    queries = found.north if len(found.north) else found.own[:, : found.gallery.shape[1]]
    pick = np.linspace(0, len(queries) - 1, min(MOST, len(queries))).astype(int)
    street = queries[pick].numpy().astype(np.float64)
    aerial = found.gallery[found.truth[pick]].numpy().astype(np.float64)
    both = np.concatenate((street, aerial))
    both = both - both.mean(0)
    axes = np.linalg.svd(both, full_matrices=False)[2][:2] if both.shape[1] < 4096 else _two_axes(both)
    flat = both @ axes.T
    return {"street": flat[: len(street)], "aerial": flat[len(street) :]}


def _two_axes(points: np.ndarray) -> np.ndarray:
    """Principal axes (2, D) of few long vectors, by way of their products with one another."""
    values, vectors = np.linalg.eigh(points @ points.T)
    return (points.T @ vectors[:, -2:] / np.sqrt(np.maximum(values[-2:], 1e-12))).T[::-1]
