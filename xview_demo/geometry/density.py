"""Positions as probabilities: what a heat map over a tile says, and how surely.

This is our definition of the "discrete probability distribution of the top-ranked regions" of CVSegGuide, whose
procedure was never published: the heat map is normalised to sum 1, the smallest set of cells that holds a mass q is
taken, and its connected parts (cells that touch, corners included) are the regions, ranked by their mass.

Heat maps are (H, W) arrays, north up; positions are (column, row) in pixels, the first pixel's middle at (0.5, 0.5).
"""

from dataclasses import dataclass

import numpy as np

MASSES = (0.5, 0.68, 0.9, 0.95)


@dataclass(frozen=True)
class Part:
    """A connected set of cells."""

    mass: float  # probability inside, 0–1
    share: float  # of all cells, 0–1
    pixel: tuple[float, float]  # (column, row), probability-weighted middle
    cells: np.ndarray  # (H, W) bool


def normalised(heat: np.ndarray) -> np.ndarray:
    """A non-negative map scaled to sum 1 (float64).

    Raises:
        ValueError: negative or no values.
    """
    values = np.asarray(heat, dtype=np.float64)
    total = values.sum()
    if values.ndim != 2 or not np.isfinite(total) or total <= 0 or values.min() < 0:
        raise ValueError(f"A heat map of shape {values.shape} and sum {total:g} is no probability: give values ≥ 0.")
    return values / total


def smallest_set(probability: np.ndarray, mass: float) -> np.ndarray:
    """The fewest cells that together hold at least `mass`: (H, W) bool. Among equal cells the first ones are taken.

    Raises:
        ValueError: the mass is not in (0, 1].
    """
    if not 0 < mass <= 1:
        raise ValueError(f"A mass of {mass:g} is not possible: give more than 0 and at most 1.")
    flat = probability.ravel()
    order = np.argsort(-flat, kind="stable")
    held = np.cumsum(flat[order], dtype=np.float64)
    count = min(int(np.searchsorted(held, mass * held[-1] * (1 - 1e-9))) + 1, len(flat))
    found = np.zeros(flat.shape, dtype=bool)
    found[order[:count]] = True
    return found.reshape(probability.shape)


def parts(probability: np.ndarray, mass: float = 0.9) -> list[Part]:
    """The connected parts of the smallest set that holds `mass`, the most probable first."""
    from scipy.ndimage import label

    numbers, count = label(smallest_set(probability, mass), structure=np.ones((3, 3)))
    found = []
    for number in range(1, count + 1):
        cells = numbers == number
        inside = probability[cells]
        rows, columns = np.nonzero(cells)
        middle = (float(np.average(columns, weights=inside)) + 0.5, float(np.average(rows, weights=inside)) + 0.5)
        found.append(Part(float(inside.sum()), float(cells.mean()), middle, cells))
    return sorted(found, key=lambda part: -part.mass)


def peak(probability: np.ndarray) -> tuple[float, float]:
    """(column, row) of the most probable cell, refined by the middle of the 3 × 3 cells around it."""
    height, width = probability.shape
    row, column = np.unravel_index(int(probability.argmax()), probability.shape)
    top, left = max(0, int(row) - 1), max(0, int(column) - 1)
    near = probability[top : int(row) + 2, left : int(column) + 2]
    rows, columns = np.mgrid[: near.shape[0], : near.shape[1]]
    weight = near / near.sum()
    return left + 0.5 + float((columns * weight).sum()), top + 0.5 + float((rows * weight).sum())


def entropy_bits(probability: np.ndarray) -> float:
    """Shannon entropy in bits: 0 for one certain cell, log2 of the number of cells when all are equal."""
    known = probability[probability > 0]
    return float(-(known * np.log2(known)).sum()) + 0.0


def expected_distance(probability: np.ndarray, pixel: tuple[float, float]) -> float:
    """Mean distance in pixels of the position to `pixel` (column, row) if the probabilities are right."""
    rows, columns = np.mgrid[: probability.shape[0], : probability.shape[1]]
    away = np.hypot(columns + 0.5 - pixel[0], rows + 0.5 - pixel[1])
    return float((away * probability).sum())


def holds(cells: np.ndarray, pixel: tuple[float, float]) -> bool:
    """Whether a set of cells holds a position; one outside the map is in no set."""
    column, row = int(np.floor(pixel[0])), int(np.floor(pixel[1]))
    inside = 0 <= row < cells.shape[0] and 0 <= column < cells.shape[1]
    return inside and bool(cells[row, column])
