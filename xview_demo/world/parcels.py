"""Cutting land into lots: half-plane clipping that remembers which sides front a street.

A lot has a handful of corners, so its geometry is computed on plain floats: a call into numpy costs more than the work.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeVar

import numpy as np

from . import steady
from .streets import Block

T = TypeVar("T")
Vector = tuple[float, float]  # east, north


@dataclass
class Front:
    """The street side of a lot: a chord, its direction and the way in."""

    start: Vector
    length: float
    along: Vector  # unit
    inward: Vector  # unit
    depth: float  # metres from the chord to the far end

    def deep(self, spot: Sequence[float]) -> float:
        """Metres inward from the chord to a point, whose first two numbers are (east, north)."""
        return (spot[0] - self.start[0]) * self.inward[0] + (spot[1] - self.start[1]) * self.inward[1]

    def spot(self, along: float, inward: float) -> Vector:
        """The point so many metres along the chord and inward from it."""
        (east, north), (ax, ay), (ix, iy) = self.start, self.along, self.inward
        return east + ax * along + ix * inward, north + ay * along + iy * inward


@dataclass
class Lot:
    """A piece of a block, not to be changed; see `Block` for the sides."""

    points: np.ndarray  # (n, 2) counter-clockwise
    street: np.ndarray  # (n,) bool

    @cached_property
    def corners(self) -> list[list[float]]:
        """The points as plain numbers."""
        return self.points.tolist()

    @cached_property
    def area(self) -> float:
        """Square metres."""
        return area_of(self.points)

    @cached_property
    def front(self) -> Front | None:
        """The longest, nearly straight street side; None where a lot fronts no street."""
        return _front(self.corners, self.street.tolist())


def one_of(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Draw one of them, all equally likely."""
    return options[int(rng.integers(len(options)))]


def following(points: np.ndarray) -> np.ndarray:
    """The next point (n, 2) of every point of an outline (n, 2)."""
    return np.concatenate([points[1:], points[:1]])


def area_of(points: np.ndarray) -> float:
    """Signed area, positive counter-clockwise."""
    ahead = following(points)
    return float((points[:, 0] * ahead[:, 1] - ahead[:, 0] * points[:, 1]).sum() / 2)


def clip(lot: Lot, point: Vector, normal: Vector) -> Lot | None:
    """The part of a lot on the side of `point` that `normal` points to."""
    (east, north), (nx, ny) = point, normal
    corners, fronts = lot.corners, lot.street.tolist()
    side = [(x - east) * nx + (y - north) * ny for x, y in corners]
    if min(side) >= -1e-6:
        return lot
    out: list[list[float]] = []
    street: list[bool] = []
    for i, a in enumerate(side):
        j = (i + 1) % len(side)
        b = side[j]
        if a >= 0:
            out.append(corners[i])
            street.append(fronts[i])
        if (a >= 0) != (b >= 0):
            (x, y), (x1, y1), share = corners[i], corners[j], a / (a - b)
            out.append([x + (x1 - x) * share, y + (y1 - y) * share])
            street.append(fronts[i] and b >= 0)
    if len(out) < 3:
        return None
    return Lot(np.array(out), np.array(street))


def halves(lot: Lot, point: Vector, normal: Vector) -> list[Lot]:
    """A lot cut in two at the line through `point` across `normal`; what lies ahead of the line comes first."""
    pieces = clip(lot, point, normal), clip(lot, point, (-normal[0], -normal[1]))
    return [piece for piece in pieces if piece is not None]


def _front(corners: list[list[float]], street: list[bool]) -> Front | None:
    if not any(street):
        return None
    n = len(corners)
    sides = [(x1 - x, y1 - y) for (x, y), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True)]
    length = [math.sqrt(x * x + y * y) for x, y in sides]
    best = max((k for k in range(n) if street[k]), key=length.__getitem__)
    tx, ty = (v / max(length[best], 1e-9) for v in sides[best])

    def straight(k: int) -> bool:
        """Whether side k continues the street side within about 20 degrees."""
        return street[k] and sides[k][0] * tx + sides[k][1] * ty > 0.93 * length[k]

    first, last = best, best
    while first - 1 > best - n and straight((first - 1) % n):
        first -= 1
    while last + 1 < first + n and straight((last + 1) % n):
        last += 1
    (east, north), (x, y) = corners[first % n], corners[(last + 1) % n]
    chord = math.sqrt((x - east) * (x - east) + (y - north) * (y - north))
    if chord < 1e-6:
        return None
    ax, ay = (x - east) / chord, (y - north) / chord
    depth = max((x - east) * -ay + (y - north) * ax for x, y in corners)
    return Front((east, north), chord, (ax, ay), (-ay, ax), depth)


def split(lot: Lot, width: float, depth: float, rng: np.random.Generator, level: int = 0) -> list[Lot]:
    """Cut a block into lots of about `width` along the street and `depth` from it."""
    front = lot.front
    if front is None or level > 12:
        return [lot]
    (east, north), (ax, ay) = front.start, front.along
    across = [(x - east) * ax + (y - north) * ay for x, y in lot.corners]
    near = min(across)
    wide = max(across) - near
    far = front.depth - min(0.0, *map(front.deep, lot.corners))
    if far > 1.6 * depth:
        at = far / 2 if far < 3.0 * depth and _street_behind(lot, front, far) else depth * rng.uniform(0.95, 1.1)
        point, normal = front.spot(0.0, at), front.inward
    elif wide > 1.45 * width:
        k = max(int(round(wide / width)), 2)
        at = near + wide * ((k // 2) / k + rng.normal(0, 0.05) / k)
        point, normal = front.spot(at, 0.0), front.along
    else:
        return [lot]
    out: list[Lot] = []
    for piece in halves(lot, point, normal):
        if piece.area > 12:
            out.extend(split(piece, width, depth, rng, level + 1))
    return out


def _street_behind(lot: Lot, front: Front, far: float) -> bool:
    """Whether a street also passes behind the lot, which is `far` metres deep."""
    middle = ((lot.points + following(lot.points)) / 2)[lot.street]
    return any(front.deep(spot) > 0.6 * far for spot in middle.tolist())


def fronted(lot: Lot) -> Lot:
    """The same lot, its longest side taken for a front where it has none (a yard behind other lots)."""
    if lot.street.any():
        return lot
    length = steady.length(following(lot.points) - lot.points)
    return Lot(lot.points, np.arange(len(length)) == int(length.argmax()))


def pieces_of(lot: Lot, width: float, depth: float, rng: np.random.Generator) -> list[Lot]:
    """`split`, and what lies behind the first row split again, so that no large piece stays without a front."""
    out: list[Lot] = []
    for piece in split(lot, width, depth, rng):
        if piece.street.any() or piece.area < 0.5 * width * depth:
            out.append(piece)
        else:
            out.extend(fronted(part) for part in split(fronted(piece), width, depth, rng))
    return out


def lot_of(block: Block) -> Lot:
    """The whole block as one lot."""
    return Lot(block.points, block.street)


def inset(points: np.ndarray, distance: float) -> np.ndarray:
    """A convex-ish outline moved inward by `distance` metres (mitred, limited)."""
    d = following(points) - points
    d = d / np.maximum(steady.length(d), 1e-9)[:, None]
    joint = np.empty_like(d)
    joint[:, 0], joint[:, 1] = -d[:, 1], d[:, 0]
    joint = joint + np.concatenate([joint[-1:], joint[:-1]])
    joint /= np.maximum((joint[:, :1] * joint[:, :1] + joint[:, 1:] * joint[:, 1:]) / 2, 0.5)
    return points + joint * distance


def contains(points: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Whether each query (m, 2) lies inside an outline (n, 2), even-odd."""
    ax, ay = points.T
    bx, by = following(points).T
    rise = by - ay
    rise[rise == 0] = 1e-9  # a level side is never crossed
    x, y = queries[:, :1], queries[:, 1:]
    crossed = (ay > y) != (by > y)
    return np.logical_xor.reduce(crossed & (x < (bx - ax) * (y - ay) / rise + ax), axis=1)


def surrounds(points: np.ndarray, queries: np.ndarray) -> bool:
    """Whether all queries (m, 2) lie inside an outline (n, 2); the quick way to ask for the corners of a box."""
    outline = points.tolist()
    sides = [(a, b) for a, b in zip(outline, outline[1:] + outline[:1], strict=True) if a[1] != b[1]]
    for x, y in queries.tolist():
        inside = False
        for (ax, ay), (bx, by) in sides:
            if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
                inside = not inside
        if not inside:
            return False
    return True


@lru_cache(maxsize=4096)
def _brick(nx: int, ny: int) -> np.ndarray:
    """Points (ny · nx, 2) of a lattice of unit cells, every other row shifted by half a cell; row by row."""
    lattice = np.stack(np.meshgrid(np.arange(nx), np.arange(ny)), -1).reshape(-1, 2).astype(float)
    lattice[:, 0] += 0.5 * (lattice[:, 1] % 2)
    return lattice


def scatter(points: np.ndarray, spacing: float, rng: np.random.Generator, jitter: float = 0.42) -> np.ndarray:
    """Jittered lattice points (m, 2) inside an outline."""
    lo, hi = points.min(0), points.max(0)
    nx, ny = (int(max(span / spacing, 1)) + 1 for span in (hi - lo).tolist())
    lattice = _brick(nx, ny)
    spots = lo + (lattice + rng.uniform(-jitter, jitter, lattice.shape)) * spacing
    return spots[contains(points, spots)]
