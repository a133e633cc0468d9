"""Numbers: retrieval, angles, metres, segmentation, pictures and depth, each with its unit and conventions.

Recalls and rates are percentages (0–100); IoU and SSIM are fractions (0–1); angles are degrees, lengths metres.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

IGNORE = 255  # label that takes no part in segmentation scores
ONE_PERCENT = ("plus_one", "floor")
TIES = ("strict", "half")


def ranks(scores: Any, truth: Any, ties: str = "strict") -> np.ndarray:
    """How many wrong items come before the right one, for each query.

    rank = number of gallery items *strictly* better than the best right one, so hit@K ⇔ rank < K. Items that tie
    with it do not count against it, as in Regmi & Shah; descriptors that are all equal would therefore look
    perfect, and `ties="half"` adds half of the ties for scores that may be so coarse.

    Args:
        scores: (Q, N), higher is better (for distances pass their negative).
        truth: (Q,) index of the right item, or (Q, N) bool where several are right.
        ties: "strict" or "half".

    Returns:
        (Q,) float64, 0 = found first; inf for a query with no right item.

    Raises:
        ValueError: shapes that do not fit, scores that are NaN, an unknown `ties`.
    """
    values = np.asarray(scores)
    if values.ndim != 2 or np.isnan(values).any():
        raise ValueError(f"scores of shape {values.shape} must be (queries, gallery) without NaN")
    if ties not in TIES:
        raise ValueError(f"ties {ties!r} is unknown: use one of {', '.join(TIES)}")
    right = np.asarray(truth)
    if right.dtype != np.bool_:
        if right.shape != (len(values),) or (right < 0).any() or (right >= values.shape[1]).any():
            raise ValueError(f"truth of shape {right.shape} must hold one index below {values.shape[1]} per query")
        right = np.arange(values.shape[1]) == right[:, None]
    elif right.shape != values.shape:
        raise ValueError(f"truth of shape {right.shape} must have the shape of the scores, {values.shape}")
    best = np.where(right, values, -np.inf).max(1, keepdims=True)
    found = ((values > best) & ~right).sum(1).astype(np.float64)
    if ties == "half":
        found += 0.5 * ((values == best) & ~right).sum(1)
    return np.where(right.any(1), found, np.inf)


def k_of_one_percent(gallery: int, convention: str = "plus_one") -> int:
    """The K of recall@1 %: "plus_one" ⌊0.01·N⌋ + 1 (Regmi & Shah; 89 of 8,884) or "floor" max(1, ⌊N/100⌋) (88)."""
    if convention not in ONE_PERCENT:
        raise ValueError(f"convention {convention!r} is unknown: use one of {', '.join(ONE_PERCENT)}")
    return gallery // 100 + 1 if convention == "plus_one" else max(1, gallery // 100)


def recall_at(rank: Any, k: int) -> float:
    """Percentage of queries with rank < k; queries without a right item (rank inf) count as missed."""
    values = np.asarray(rank, dtype=np.float64)
    if values.size == 0:
        raise ValueError("there are no queries to score: give at least one rank")
    return 100.0 * float((values < k).mean())


def recalls(rank: Any, gallery: int, ks: Sequence[int] = (1, 5, 10), convention: str = "plus_one") -> dict[str, float]:
    """`{"r@1": …, "r@5": …, "r@10": …, "r@1%": …, "median_rank": …}`: percentages, and the median rank (1 = best).

    Args:
        rank: (Q,) from `ranks`.
        gallery: N, items in the gallery.
        ks: the K of each recall.
        convention: of "r@1%", see `k_of_one_percent`.
    """
    found = {f"r@{k}": recall_at(rank, k) for k in ks}
    found["r@1%"] = recall_at(rank, k_of_one_percent(gallery, convention))
    found["median_rank"] = float(np.median(rank)) + 1
    return found


def chance_recall(gallery: int, k: int = 1) -> float:
    """Percentage of queries that a blind guess of k different items would hit."""
    return 100.0 * min(k, gallery) / gallery


def bootstrap_interval(
    values: Any,
    statistic: Callable[..., Any] = np.mean,
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic over queries, in the unit of the statistic.

    Args:
        values: (Q,) one value per query; for a recall in percent pass `100 * (rank < k)`.
        statistic: called with `axis=-1`, as `np.mean` and `np.median`.
        level: share of the draws inside the interval.
        draws: resamples.
        seed: of the resampling.

    Raises:
        ValueError: no values.
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    if sample.size == 0:
        raise ValueError("there are no values to resample: give at least one")
    generator = np.random.default_rng(seed)
    block = max(1, 2_000_000 // sample.size)
    found = [
        statistic(sample[generator.integers(0, sample.size, (min(block, draws - start), sample.size))], axis=-1)
        for start in range(0, draws, block)
    ]
    low, high = np.quantile(np.concatenate(found), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def reliability(confidence: Any, right: Any, bins: int = 10) -> dict[str, Any]:
    """Whether stated confidences are kept: the expected calibration error, and what a reliability diagram shows.

    Args:
        confidence: (Q,) in [0, 1], the stated probability of each best answer.
        right: (Q,) bool, whether it was right.
        bins: of equal width.

    Returns:
        `ece` (the mean |confidence − accuracy| over bins, weighted by their queries), and for each bin that holds a
        query its `confidence`, `accuracy` (fractions) and `count`.
    """
    stated, hit = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    if stated.size == 0:
        raise ValueError("there are no queries to judge: give at least one confidence")
    place = np.clip((stated * bins).astype(int), 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    held = count > 0
    mean = np.bincount(place, stated, bins)[held] / count[held]
    accuracy = np.bincount(place, hit, bins)[held] / count[held]
    error = float((np.abs(mean - accuracy) * count[held]).sum() / count.sum())
    return {
        "ece": error, "confidence": mean.tolist(), "accuracy": accuracy.tolist(), "count": count[held].tolist()
    }  # fmt: skip


def abstention(confidence: Any, right: Any, shares: Sequence[int] = (10, 25, 50, 75, 100)) -> dict[str, float]:
    """`{"10": …}`: accuracy in percent of the k % most confident queries, of which there is at least one."""
    order = np.argsort(-np.asarray(confidence, np.float64), kind="stable")
    hit = 100.0 * np.asarray(right, np.float64)[order]
    return {f"{share}": float(hit[: max(1, round(share / 100 * len(hit)))].mean()) for share in shares}


def heading_error(predicted: Any, truth: Any) -> np.ndarray:
    """Degrees between two headings, the short way round: 0–180, any shape."""
    return np.abs((np.asarray(predicted, np.float64) - np.asarray(truth, np.float64) + 180) % 360 - 180)


def metre_errors(metres: Any, within: Sequence[float] = (1, 3, 5, 10)) -> dict[str, float]:
    """`{"mean_m", "median_m", "r@1m", …}`: metres, and the percentage of queries at most that far from the truth."""
    values = np.asarray(metres, dtype=np.float64)
    found = {"mean_m": float(values.mean()), "median_m": float(np.median(values))}
    return found | {f"r@{limit:g}m": 100.0 * float((values <= limit).mean()) for limit in within}


def confusion(predicted: Any, truth: Any, classes: int = 8, ignore: int = IGNORE) -> np.ndarray:
    """Count pixels by (true class, predicted class): int64 (classes, classes). Sum several to score a set.

    Args:
        predicted, truth: integer arrays of one shape.
        classes: number of classes.
        ignore: pixels whose *true* label is this are left out.

    Raises:
        ValueError: different shapes, or a label outside 0 … classes − 1 that is not `ignore`.
    """
    p, t = np.asarray(predicted).ravel().astype(np.int64), np.asarray(truth).ravel().astype(np.int64)
    if p.shape != t.shape:
        raise ValueError(f"prediction {np.shape(predicted)} and truth {np.shape(truth)} differ: resize one of them")
    kept = t != ignore
    p, t = p[kept], t[kept]
    if p.size and (min(p.min(), t.min()) < 0 or max(p.max(), t.max()) >= classes):
        raise ValueError(f"labels up to {max(p.max(), t.max())} do not fit {classes} classes: map or ignore them")
    return np.bincount(t * classes + p, minlength=classes * classes).reshape(classes, classes)


def iou(matrix: np.ndarray) -> np.ndarray:
    """Intersection over union of each class (C,) as a fraction; NaN for a class that never occurs in the truth."""
    hit = np.diag(matrix).astype(np.float64)
    union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
    present = matrix.sum(1) > 0
    return np.where(present, hit / np.maximum(union, 1), np.nan)


def miou(matrix: np.ndarray) -> float:
    """Mean IoU (fraction) over the classes that occur in the truth; NaN when none does."""
    values = iou(matrix)
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


def iou_by_class(matrix: np.ndarray, names: Iterable[str]) -> dict[str, float | None]:
    """`iou` as name → fraction, None for a class that never occurs."""
    return {n: None if math.isnan(v) else float(v) for n, v in zip(names, iou(matrix), strict=True)}


def by_class(matrix: np.ndarray, names: Iterable[str]) -> dict[str, Any]:
    """What a confusion matrix says, beside chance.

    Returns:
        `miou` and `iou` (name → fraction, None for a class that never occurs); `chance`, the mean IoU of always naming
        the commonest class; `chance_iou`, the IoU of each class when labels are drawn at random in their true shares.
    """
    names, counts = list(names), matrix.sum(1)
    commonest = np.outer(counts, np.eye(len(counts), dtype=np.int64)[counts.argmax()])
    shares = counts / max(1, counts.sum())
    random = {n: float(p / (2 - p)) if p else None for n, p in zip(names, shares, strict=True)}
    return {
        "miou": miou(matrix), "iou": iou_by_class(matrix, names), "chance": miou(commonest), "chance_iou": random,
    }  # fmt: skip


def boundary_counts(
    predicted: Any, truth: Any, classes: int = 8, tolerance: int = 2, ignore: int = IGNORE
) -> np.ndarray:
    """Count the boundary pixels of one label map: int64 (classes, 4). Sum several to score a set with `boundary_f`.

    A pixel of a class is on its boundary when one of its four neighbours is of another class (the picture's edge is no
    boundary). The columns: predicted boundary pixels near a true one, predicted ones, true ones near a predicted one,
    true ones; near is at most `tolerance` pixels away.

    Args:
        predicted, truth: integer arrays (H, W).
        classes: number of classes.
        tolerance: pixels.
        ignore: pixels whose true label is this are on no boundary.
    """
    from scipy.ndimage import distance_transform_edt

    p, t = np.asarray(predicted), np.asarray(truth)
    kept = t != ignore
    counts = np.zeros((classes, 4), np.int64)
    for number in range(classes):
        edges = [_edge(labels == number) & kept for labels in (p, t)]
        away = [distance_transform_edt(~edge) if edge.any() else np.full(edge.shape, np.inf) for edge in edges]
        for column, (own, other) in enumerate(((0, 1), (1, 0))):
            near = away[other][edges[own]] <= tolerance
            counts[number, 2 * column : 2 * column + 2] = near.sum(), near.size
    return counts


def _edge(mask: np.ndarray) -> np.ndarray:
    wide = np.pad(mask, 1, mode="edge")
    inner = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return mask & ~inner


def boundary_f(counts: np.ndarray) -> np.ndarray:
    """Boundary F-score (C,) as a fraction, the harmonic mean of precision and recall; NaN where the truth has none."""
    hit_p, all_p, hit_t, all_t = counts.T.astype(np.float64)
    precision, recall = hit_p / np.maximum(all_p, 1), hit_t / np.maximum(all_t, 1)
    score = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return np.where(all_t > 0, score, np.nan)


def psnr(predicted: Any, truth: Any) -> np.ndarray:
    """Peak signal-to-noise ratio in dB of pictures (B, 3, H, W) in [0, 1], one value per picture: (B,).

    Equal pictures give inf.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    a, b = _pictures(predicted, truth)
    value = peak_signal_noise_ratio(a, b, data_range=(0.0, 1.0), reduction="none", dim=(1, 2, 3))
    return value.double().cpu().numpy()


def ssim(predicted: Any, truth: Any) -> np.ndarray:
    """Structural similarity (Gaussian window, σ 1.5, 11×11) of pictures (B, 3, H, W) in [0, 1]: (B,), at most 1."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    a, b = _pictures(predicted, truth)
    value = structural_similarity_index_measure(a, b, data_range=(0.0, 1.0), reduction="none")
    return np.atleast_1d(value.double().cpu().numpy())  # type: ignore[union-attr]


def abs_rel(predicted: Any, truth: Any, limit: float = 60.0) -> float:
    """Mean of |predicted − truth| / truth over pixels whose true depth is finite, positive and at most `limit` m."""
    p, t = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    valid = np.isfinite(t) & (t > 0) & (t <= limit)
    if not valid.any():
        return math.nan
    return float((np.abs(np.minimum(p[valid], 1e6) - t[valid]) / t[valid]).mean())


def _pictures(predicted: Any, truth: Any) -> tuple[Any, Any]:
    import torch

    a, b = (torch.as_tensor(x).detach().float() for x in (predicted, truth))
    a, b = (x[None] if x.dim() == 3 else x for x in (a, b))
    if a.shape != b.shape or a.dim() != 4:
        raise ValueError(f"pictures of shape {tuple(a.shape)} and {tuple(b.shape)} differ: resize one of them")
    return a, b.to(a.device)
