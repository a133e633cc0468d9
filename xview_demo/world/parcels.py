"""Cutting land into lots: half-plane clipping that remembers which sides front a street."""

from dataclasses import dataclass

import numpy as np

from . import steady
from .streets import Block


@dataclass
class Lot:
    """A piece of a block; see `Block` for the sides."""

    points: np.ndarray  # (n, 2) counter-clockwise
    street: np.ndarray  # (n,) bool


def area_of(points: np.ndarray) -> float:
    """Signed area, positive counter-clockwise."""
    x, y = points[:, 0], points[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def clip(lot: Lot, point: np.ndarray, normal: np.ndarray) -> Lot | None:
    """The part of a lot on the side of `point` that `normal` points to."""
    side = steady.dot(lot.points - point, normal)
    n = len(side)
    if (side >= -1e-6).all():
        return lot
    out: list[np.ndarray] = []
    street: list[bool] = []
    for i in range(n):
        j = (i + 1) % n
        a, b = side[i], side[j]
        if a >= 0:
            out.append(lot.points[i])
            street.append(bool(lot.street[i]))
        if (a >= 0) != (b >= 0):
            out.append(lot.points[i] + (lot.points[j] - lot.points[i]) * (a / (a - b)))
            street.append(bool(lot.street[i]) if b >= 0 else False)
    if len(out) < 3:
        return None
    return Lot(np.array(out), np.array(street))


@dataclass
class Front:
    """The street side of a lot: a chord, its direction and the way in."""

    start: np.ndarray  # (2,)
    length: float
    along: np.ndarray  # (2,) unit
    inward: np.ndarray  # (2,) unit
    depth: float  # metres from the chord to the far end


def front_of(lot: Lot) -> Front | None:
    """The longest, nearly straight street side; None where a lot fronts no street."""
    if not lot.street.any():
        return None
    n = len(lot.points)
    d = np.roll(lot.points, -1, 0) - lot.points
    length = steady.length(d)
    best = int(np.argmax(np.where(lot.street, length, -1)))
    t = d[best] / max(length[best], 1e-9)
    first, last = best, best
    while (
        lot.street[(first - 1) % n]
        and first - 1 > best - n
        and steady.dot(d[(first - 1) % n], t) > 0.93 * length[(first - 1) % n]
    ):
        first -= 1
    while (
        lot.street[(last + 1) % n]
        and last + 1 < first + n
        and steady.dot(d[(last + 1) % n], t) > 0.93 * length[(last + 1) % n]
    ):
        last += 1
    a, b = lot.points[first % n], lot.points[(last + 1) % n]
    chord = float(steady.length(b - a))
    if chord < 1e-6:
        return None
    along = (b - a) / chord
    inward = np.array([-along[1], along[0]])
    return Front(a, chord, along, inward, float(steady.dot(lot.points - a, inward).max()))


def split(lot: Lot, width: float, depth: float, rng: np.random.Generator, level: int = 0) -> list[Lot]:
    """Cut a block into lots of about `width` along the street and `depth` from it."""
    front = front_of(lot)
    if front is None or level > 12:
        return [lot]
    across = steady.dot(lot.points - front.start, front.along)
    deep = steady.dot(lot.points - front.start, front.inward)
    wide, far = float(across.max() - across.min()), float(deep.max() - min(deep.min(), 0))
    middle = (lot.points + np.roll(lot.points, -1, 0)) / 2
    behind = lot.street & (steady.dot(middle - front.start, front.inward) > 0.6 * far)
    if far > 1.6 * depth:
        at = far / 2 if behind.any() and far < 3.0 * depth else depth * rng.uniform(0.95, 1.1)
        point, normal = front.start + front.inward * at, front.inward
    elif wide > 1.45 * width:
        k = max(int(round(wide / width)), 2)
        at = across.min() + wide * ((k // 2) / k + rng.normal(0, 0.05) / k)
        point, normal = front.start + front.along * at, front.along
    else:
        return [lot]
    out: list[Lot] = []
    for piece in (clip(lot, point, normal), clip(lot, point, -normal)):
        if piece is not None and area_of(piece.points) > 12:
            out.extend(split(piece, width, depth, rng, level + 1))
    return out


def fronted(lot: Lot) -> Lot:
    """The same lot, its longest side taken for a front where it has none (a yard behind other lots)."""
    if lot.street.any():
        return lot
    length = steady.length(np.roll(lot.points, -1, 0) - lot.points)
    return Lot(lot.points, np.arange(len(length)) == int(length.argmax()))


def pieces_of(lot: Lot, width: float, depth: float, rng: np.random.Generator) -> list[Lot]:
    """`split`, and what lies behind the first row split again, so that no large piece stays without a front."""
    out: list[Lot] = []
    for piece in split(lot, width, depth, rng):
        if piece.street.any() or area_of(piece.points) < 0.5 * width * depth:
            out.append(piece)
        else:
            out.extend(fronted(part) for part in split(fronted(piece), width, depth, rng))
    return out


def lot_of(block: Block) -> Lot:
    """The whole block as one lot."""
    return Lot(block.points, block.street)


def inset(points: np.ndarray, distance: float) -> np.ndarray:
    """A convex-ish outline moved inward by `distance` metres (mitred, limited)."""
    d = np.roll(points, -1, 0) - points
    d = d / np.maximum(steady.length(d), 1e-9)[:, None]
    normal = np.stack([-d[:, 1], d[:, 0]], -1)
    joint = normal + np.roll(normal, 1, 0)
    joint /= np.maximum((joint**2).sum(-1, keepdims=True) / 2, 0.5)
    return points + joint * distance


def contains(points: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Whether each query (m, 2) lies inside an outline (n, 2), even-odd."""
    a, b = points, np.roll(points, -1, 0)
    x, y = queries[:, :1], queries[:, 1:]
    cross = (a[:, 1] > y) != (b[:, 1] > y)
    run = (b[:, 0] - a[:, 0]) * (y - a[:, 1]) / np.where(b[:, 1] == a[:, 1], 1e-9, b[:, 1] - a[:, 1]) + a[:, 0]
    return (cross & (x < run)).sum(1) % 2 == 1


def scatter(points: np.ndarray, spacing: float, rng: np.random.Generator, jitter: float = 0.42) -> np.ndarray:
    """Jittered lattice points (m, 2) inside an outline."""
    lo, hi = points.min(0), points.max(0)
    nx, ny = (np.maximum((hi - lo) / spacing, 1).astype(int) + 1).tolist()
    lattice = np.stack(np.meshgrid(np.arange(nx), np.arange(ny)), -1).reshape(-1, 2).astype(float)
    lattice[:, 0] += 0.5 * (lattice[:, 1] % 2)
    spots = lo + (lattice + rng.uniform(-jitter, jitter, lattice.shape)) * spacing
    return spots[contains(points, spots)]
