"""Single lots: detached houses with drive, garden and borders, farms, and lots strung along country roads."""

import math

import numpy as np
import shapely

from . import steady
from .biome import STYLES, Style, pick
from .buildings import Place, barn, church, fits, garage, house, local, patch, shed
from .draft import BASIN, LAND, TAKEN_OTHER, YARD, Draft, Pattern, stroke, turned
from .nature import clear, plant
from .parcels import Front, Lot, Vector, contains, inset, one_of, scatter, surrounds
from .roads import Network, Road
from .streets import Path


def heading_of(direction: Vector) -> float:
    """Degrees clockwise from north."""
    return math.degrees(float(steady.atan2(direction[0], direction[1]))) % 360


def ribbon_lots(draft: Draft, network: Network, rng: np.random.Generator) -> list[Lot]:
    """Lots strung along the country roads, dense in the village, thin outside."""
    c = draft.character
    shapes: list[shapely.Geometry] = []
    lots: list[Lot] = []
    for road in network.roads:
        if road.kind == "track":
            continue
        path = Path(road.points)
        for side in (1, -1):
            s = road.trim[0] + rng.uniform(2, 12)
            while s < path.length - road.trim[1] - 8:
                width, depth = c.lot_width * rng.uniform(0.7, 1.4), c.lot_depth * rng.uniform(0.7, 1.3)
                east, north = (path.at(np.array(s)) - network.centre).tolist()
                near = math.sqrt(east * east + north * north)
                chance = 0.93 if near < c.core else 0.03 if near < 3 * c.core + 150 else 0.012
                if rng.random() < chance and s + width < path.length - road.trim[1]:
                    lots_add(draft, path, road, s, width, depth, side, lots, shapes)
                s += width * (1 if chance > 0.5 else 1.6)
    if not shapes:
        return []
    tree = shapely.STRtree(shapes)
    first, second = tree.query(shapes, predicate="overlaps")
    bad = set()
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        if a < b and a not in bad and b not in bad:
            bad.add(b)
    return [lot for k, lot in enumerate(lots) if k not in bad]


def lots_add(
    draft: Draft, path: Path, road: Road, s: float, width: float, depth: float, side: int, lots: list[Lot],
    shapes: list[shapely.Geometry],
) -> None:  # fmt: skip
    """Append one lot beside a road if its ground is free."""
    t = path.tangent(np.array(s + width / 2))
    n = np.array([-t[1], t[0]]) * side
    a = path.at(np.array(s)) + n * (road.reach + 0.4)
    b = path.at(np.array(s + width)) + n * (road.reach + 0.4)
    points = (
        np.stack([a, b, b + n * depth, a + n * depth]) if side > 0 else np.stack([b, a, a + n * depth, b + n * depth])
    )
    inner = inset(points, 2.5)
    if draft.inside(points, 15) and draft.room(inner):
        lots.append(Lot(points, np.array([True, False, False, False])))
        shapes.append(shapely.Polygon(inset(points, 0.5)))


def home(draft: Draft, lot: Lot, rng: np.random.Generator, styles: list[Style]) -> None:
    """A detached house with its garden."""
    c = draft.character
    front = lot.front
    yard = pick(rng, c.yard)
    draft.area(
        LAND,
        yard,
        lot.points,
        pattern=Pattern(rng.uniform(0, 3.1), 1.6, rng.uniform(0, 9) * (yard == "lawn"), rng.uniform(-9, 9)),
    )
    if front is None or front.length < 9 or front.depth < 15:
        spots = scatter(lot.points, 7.5, rng)
        plant(draft, rng, clear(draft, spots, 1.5), 1.5, 4)
        return
    style = one_of(rng, styles)
    place = None
    for shrink in (1.0, 0.85, 0.7):
        wide = min(front.length - rng.uniform(3, 6), rng.uniform(10, 17) * (1.25 if c.lot_width > 30 else 1)) * shrink
        deep = min(rng.uniform(7.5, 12.5), front.depth * 0.45) * shrink
        if wide < 6:
            break
        setback = min(c.setback * rng.uniform(0.8, 1.3), front.depth * 0.35)
        u = front.length / 2 + rng.uniform(-0.5, 0.5) * max(front.length - wide - 4, 0) * 0.8
        place = (*front.spot(u, setback + deep / 2), *front.along, wide / 2, deep / 2)
        if fits(draft, place, lot.points, 0.7):
            break
        place = None
    if place is None:
        plant(draft, rng, clear(draft, scatter(lot.points, 8, rng), 1.5), 1.5, 4)
        return
    house(draft, rng, style, place, c.storeys, lot.points)
    _drive(draft, lot, front, place, rng, style)
    _garden(draft, lot, front, place, rng)


def _drive(draft: Draft, lot: Lot, front: Front, place: Place, rng: np.random.Generator, style: Style) -> None:
    """Driveway with a garage beside the house where there is room, and the path to the door."""
    half_length, half_width = place[4], place[5]
    kind = pick(rng, {"concrete": 0.35, "asphalt": 0.2, "paving": 0.25, "gravel": 0.2})
    side = one_of(rng, (-1, 1))
    wide = rng.uniform(2.7, 5.2)
    back = one_of(rng, (-half_width, 0.0, half_width * 1.6))
    for k in (side, -side):
        u = k * (half_length + wide / 2 + 0.2)
        box = (*local(place, u, back + 2.8), *place[2:4], wide / 2, 2.8)
        if fits(draft, box, lot.points, 0.2, 0.9):
            if rng.random() < 0.75:
                garage(draft, rng, style, box)
            break
    else:
        u, back = side * half_length * 0.55, -half_width
        wide = 3.0
    setback = front.deep(place) - half_width
    gate = setback + 1.2
    corners = patch(place, u - wide / 2, u + wide / 2, back, -half_width - gate)
    draft.area(YARD, kind, corners)
    draft.claim([corners], TAKEN_OTHER)
    if rng.random() < 0.55:
        spot = local(place, u + rng.normal(0, 0.2), min(back, -half_width) - 3.2)
        if -half_width - 3.2 + gate > 5:
            draft.parked.append((*spot, heading_of(front.inward) + 180 * rng.integers(2), 0.0))
    door = -u / abs(u) * rng.uniform(0, 0.5) * half_length
    walk = stroke(local(place, door, -half_width), local(place, door, -half_width - gate), 1.2)
    draft.area(YARD, "paving", walk)


def _garden(draft: Draft, lot: Lot, front: Front, place: Place, rng: np.random.Generator) -> None:
    c = draft.character
    half_length, half_width = place[4], place[5]
    rear = front.depth - front.deep(place) - half_width
    if rng.random() < 0.5 and rear > 6:
        patio = local(place, rng.uniform(-0.4, 0.4) * half_length, half_width + 1.8)
        draft.area(YARD, "paving", turned(patio, place[2:4], rng.uniform(2, 4), 1.9))
    if rng.random() < c.pools and rear > 10:
        spot = local(place, rng.uniform(-0.4, 0.4) * half_length, half_width + rng.uniform(5.5, rear - 4))
        pool = turned(spot, place[2:4], rng.uniform(2.5, 4.5), rng.uniform(1.7, 2.3))
        if surrounds(lot.points, pool) and draft.room(pool):
            draft.area(YARD, "paving", turned(spot, place[2:4], 5.4, 3.2))
            draft.area(BASIN, "pool", pool)
            draft.claim([pool], TAKEN_OTHER)
    if rng.random() < 0.4 and rear > 9:
        spot = local(place, one_of(rng, (-1, 1)) * (front.length / 2 - 2.5), half_width + rear - 2.4)
        box = (*spot, *place[2:4], rng.uniform(1, 1.9), rng.uniform(0.9, 1.5))
        if fits(draft, box, lot.points, 0.2):
            shed(draft, rng, box)
    borders(draft, lot, front, rng)
    n = rng.poisson(c.garden_trees * min(lot.area / 600, 2.5))
    lo = lot.points.min(0)
    span = lot.points.max(0) - lo
    spots = lo + span * rng.random((n * 2 + 2, 2))
    spots = clear(draft, spots[contains(inset(lot.points, 1.2), spots)], 2.2)[: n + 1]
    plant(draft, rng, spots, 1.6, 5.2)
    bushes = lo + span * rng.random((int(rng.poisson(3)), 2))
    plant(draft, rng, clear(draft, bushes[contains(lot.points, bushes)], 1.0), shrubs=1.0)


def borders(draft: Draft, lot: Lot, front: Front, rng: np.random.Generator) -> None:
    """Fence, wall or hedge along the sides of a lot; low ones, with a gap, in front."""
    c = draft.character
    if rng.random() < c.open_lots:
        return
    dry = c.palms > 0.2 or c.hedges < 0.06
    for a, b, street in zip(lot.corners, lot.corners[1:] + lot.corners[:1], lot.street.tolist(), strict=True):
        x, y = b[0] - a[0], b[1] - a[1]
        if math.sqrt(x * x + y * y) < 3:
            continue
        if street:
            if rng.random() < 0.4:
                mid = _between(a, b, rng.uniform(0.35, 0.65))
                a, b = (a, mid) if rng.random() < 0.5 else (mid, b)
                kind = "wall" if dry or rng.random() < 0.3 else ("hedge" if rng.random() < c.hedges else "fence")
                (x, y), height = front.inward, rng.uniform(0.7, 1.3)
                points = np.array([[a[0] + x * 0.5, a[1] + y * 0.5], [b[0] + x * 0.5, b[1] + y * 0.5]])
                draft.strip(kind, height, 0.9 if kind == "hedge" else 0.25, points)
            continue
        behind = front.deep(a), front.deep(b)
        if max(behind) < 3:
            continue
        if min(behind) < 4:
            share = (4 - min(behind)) / max(max(behind) - min(behind), 1e-6)
            a, b = (_between(a, b, share), b) if behind[0] < behind[1] else (a, _between(b, a, share))
        if rng.random() < c.hedges * 0.7:
            draft.strip("hedge", rng.uniform(1.2, 2.2), rng.uniform(0.7, 1.3), np.array([a, b]))
        elif rng.random() < 0.75:
            draft.strip("wall" if dry else "fence", rng.uniform(1.1, 1.9), 0.2, np.array([a, b]))


def _between(a: list[float], b: list[float], share: float) -> list[float]:
    """The point that lies a share of the way from a to b."""
    return [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share]


def homestead(draft: Draft, lot: Lot, rng: np.random.Generator, styles: list[Style]) -> None:
    """A house on a country lot; on a large lot a farm with barns around a yard."""
    home(draft, lot, rng, styles)
    front = lot.front
    if front is None or front.length < 32 or rng.random() < 0.25:
        return
    middle, deep = front.length * 0.5, front.depth * 0.66
    yard_at = front.spot(middle, deep)
    yard = turned(yard_at, front.along, front.length * 0.38, front.depth * 0.24)
    draft.area(YARD, pick(rng, {"gravel": 0.4, "concrete": 0.35, "dirt_track": 0.25}), yard)
    for _ in range(6):
        u, v = rng.uniform(-0.36, 0.36) * front.length, rng.uniform(-0.26, 0.26) * front.depth
        axis = front.along if rng.random() < 0.6 else front.inward
        place = (*front.spot(middle + u, deep + v), *axis, rng.uniform(6, 17), rng.uniform(4, 8))
        if fits(draft, place, lot.points, 0.5):
            barn(draft, rng, place)


def church_lot(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
    """The village church in its walled yard, under old trees."""
    draft.area(LAND, "lawn", lot.points)
    middle, front = tuple(lot.points.mean(0).tolist()), lot.front
    if front is not None:
        place = (*middle, *front.along, 8.0, min(4.5, front.depth / 5))
        if fits(draft, place, lot.points, 0.5):
            church(draft, rng, STYLES["stone" if rng.random() < 0.6 else "plaster_tile"], place)
            gate = tuple(m - way * front.depth / 2 for m, way in zip(middle, front.inward, strict=True))
            draft.area(YARD, "gravel", stroke(gate, middle, 2.0))
    edge = inset(lot.points, 0.6)
    draft.strip("wall", 1.1, 0.4, np.concatenate([edge[1:], edge[:1]]))
    plant(draft, rng, clear(draft, scatter(inset(lot.points, 2.5), 9, rng), 2.5), 2.5, 5)
    draft.claim([lot.points], TAKEN_OTHER)
