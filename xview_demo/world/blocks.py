"""What fills the blocks between the streets: one function per land use."""

import math
from collections.abc import Callable

import numpy as np

from . import steady
from .biome import pick
from .buildings import (
    SOLID,
    Place,
    city_house,
    fits,
    local,
    neighbourhood,
    patch,
    shed,
    tower,
)  # fmt: skip
from .draft import LAND, PLOT, TAKEN_OTHER, TAKEN_WATER, Draft, Pattern
from .estates import carpark, green, industrial, retail, school, slabs, square
from .lots import church_lot, home, homestead, ribbon_lots
from .nature import clear, field, meadow, park, plant, waste, wood
from .parcels import Lot, Vector, area_of, halves, inset, lot_of, one_of, pieces_of, scatter, split, surrounds
from .roads import Network
from .streets import Block

Filler = Callable[[Draft, Lot, np.random.Generator], None]


def fill_blocks(draft: Draft, network: Network, blocks: list[Block], rng: np.random.Generator) -> None:
    """Give every block a use and fill it."""
    c = draft.character
    half = draft.size / 2
    everything = np.array(
        [[-half - 30, -half - 30], [half + 30, -half - 30], [half + 30, half + 30], [-half - 30, half + 30]]
    )
    draft.area(LAND, pick(rng, c.ground), everything)
    _claim_water(draft)
    country = network.rural
    lots = ribbon_lots(draft, network, rng) if country else []
    land = c.edge_uses if country and c.edge_uses else c.uses
    mark = len(draft.areas)
    styles = neighbourhood(rng, c.houses)
    if len(lots) > 12:
        middle = int(np.argmin([steady.length(lot.points.mean(0) - network.centre) for lot in lots]))
        church_lot(draft, lots.pop(middle), rng)
    for lot in lots:
        homestead(draft, lot, rng, styles if rng.random() < 0.7 else neighbourhood(rng, c.houses))
        draft.claim([lot.points], TAKEN_OTHER)
    for area in draft.areas[mark:]:
        area.layer = max(area.layer, PLOT)
    for block in blocks:
        distance = float(steady.length(block.points.mean(0) - network.centre))
        if c.edge_uses and distance > c.core:
            use = pick(rng, c.edge_uses)
        else:
            use = pick(rng, land)
        if (
            use in ("carpark", "square", "school", "park")
            and block.area > 4e4
            or use == "carpark"
            and block.area > 1.4e4
        ):
            use = max(land, key=lambda key: land[key])
        open_land = use in ("field", "wood", "meadow")
        if not open_land and block.area < 350:
            use = "green"
        elif not open_land and not block.street.any():
            use = "meadow"
        if open_land and block.area > 30000:
            for piece in quarters(block, rng):
                FILLERS[pick(rng, land)](draft, piece, rng)
        else:
            FILLERS[use](draft, lot_of(block), rng)


def quarters(block: Block, rng: np.random.Generator) -> list[Lot]:
    """A large rural block in a few pieces, so that fields and woods alternate."""
    todo, out = [lot_of(block)], []
    while todo:
        lot = todo.pop()
        if lot.area < rng.uniform(25000, 90000):
            out.append(lot)
            continue
        middle = lot.points.mean(0)
        at = middle + rng.normal(0, 10, 2)
        todo.extend(halves(lot, at.tolist(), _long_axis(lot.points - middle)))
    return [lot for lot in out if lot.area > 200]


def _long_axis(vectors: np.ndarray) -> Vector:
    """The unit direction along which vectors (n, 2) from their middle spread most."""
    x, y = vectors.T
    turn = 0.5 * steady.atan2(2 * (x * y).sum(), (x * x).sum() - (y * y).sum())
    east, north = steady.bearing(turn).tolist()
    return east, north


def _claim_water(draft: Draft) -> None:
    terrain = draft.terrain
    for outline in [*terrain.rivers, *terrain.lakes, *terrain.seas, *terrain.beaches]:
        draft.claim([outline], TAKEN_WATER)


# Uses of whole blocks


def detached(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
    """Houses with gardens on lots."""
    c = draft.character
    styles = neighbourhood(rng, c.houses)
    width, depth = c.lot_width * rng.uniform(0.85, 1.2), c.lot_depth * rng.uniform(0.9, 1.15)
    for piece in split(lot, width, depth, rng):
        if piece.area > 2.6 * width * depth and piece.front is None:
            inner = {"waste": 1.0} if "waste" in c.uses else {"park": 0.4, "wood": 0.35, "meadow": 0.25}
            FILLERS[pick(rng, inner)](draft, piece, rng)
        else:
            home(draft, piece, rng, styles)


def march(
    draft: Draft, lot: Lot, rng: np.random.Generator, unit: tuple[float, float], depth: tuple[float, float],
    setback: float, build: Callable[[Place], None], gap: float = 0.0,
) -> None:  # fmt: skip
    """Closed rows along every street side: call `build(place)` unit by unit where there is room."""
    for a, b, street in zip(lot.corners, lot.corners[1:] + lot.corners[:1], lot.street.tolist(), strict=True):
        east, north = b[0] - a[0], b[1] - a[1]
        length = math.sqrt(east * east + north * north)
        if not street or length < unit[0]:
            continue
        cos, sin = east / length, north / length
        line: Place = (a[0], a[1], cos, sin, 0.0, 0.0)
        deep = rng.uniform(*depth)
        u = 0.0
        while u < length - unit[0] * 0.9:
            wide = min(rng.uniform(*unit), length - u)
            if length - u - wide < unit[0] * 0.8:
                wide = length - u
            wide = min(wide, unit[1] * 1.4)
            own = deep + rng.normal(0, 0.4)
            spot = local(line, u + wide / 2, setback + own / 2)
            place = (*spot, cos, sin, wide / 2, own / 2)
            if fits(draft, place, None, inset=min(1.3, wide / 3)):
                build(place)
                u += wide
                if rng.random() < gap:
                    u += rng.uniform(2, 7)
            else:
                u += 2.0


def terrace(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
    """Row houses around the block, yards with fences behind them."""
    c = draft.character
    style = neighbourhood(rng, c.houses)[0]
    draft.area(LAND, pick(rng, {"lawn": 0.5, "paving": 0.25, "concrete": 0.25}), lot.points)
    width = c.lot_width * rng.uniform(0.9, 1.15)
    setback = c.setback * rng.uniform(0.7, 1.3)
    levels = c.storeys + rng.normal(0, 0.2)
    front = lot.front
    spare = (front.depth if front else 60.0) / 2 - setback - c.lot_depth
    alley = 2.2 if spare > 9 and rng.random() < 0.4 else 0.0
    rear = min(max(spare - alley, 4.0), 26.0)

    def build(place: Place) -> None:
        city_house(draft, rng, style, place, levels, 0.04)
        _yards(draft, rng, place, setback, rear)

    if spare > 30:
        inner = inset(lot.points, setback + c.lot_depth + rear + 1)
        if area_of(inner) > 400 and surrounds(lot.points, inner):
            park(draft, inner, rng)
    march(draft, lot, rng, (width * 0.92, width * 1.08), (c.lot_depth * 0.85, c.lot_depth * 1.1), setback, build, 0.03)


def _yards(draft: Draft, rng: np.random.Generator, place: Place, setback: float, rear: float) -> None:
    """Front and back yard of one row house."""
    c = draft.character
    hl, hw = place[4], place[5]
    ground = pick(rng, {"lawn": 0.5, "paving": 0.2, "concrete": 0.15, "soil": 0.15})
    back = patch(place, -hl, hl, hw, hw + rear)
    draft.area(LAND, ground, back, pattern=Pattern(shift=rng.uniform(-12, 12)))
    fence = back[1:3]
    if draft.free(fence[1:], SOLID):
        draft.strip("fence" if rng.random() < 0.7 else "wall", rng.uniform(1.3, 1.8), 0.2, fence)
    if setback > 1.6:
        garden = patch(place, -hl, hl, -hw - setback, -hw)
        draft.area(LAND, pick(rng, {"lawn": 0.4, "paving": 0.4, "gravel": 0.2}), garden)
        if rng.random() < 0.5:
            edge = patch(place, -hl + 1.6, hl, -hw - setback + 0.4, 0.0)[:2]
            draft.strip("hedge" if rng.random() < c.hedges else "wall", rng.uniform(0.6, 1.2), 0.4, edge)
    if rear > 7 and rng.random() < 0.3:
        spot = local(place, rng.uniform(-0.3, 0.3) * hl, hw + rear - 2.5)
        box = (*spot, *place[2:4], rng.uniform(1.2, 2.8), rng.uniform(1.0, 2.4))
        if fits(draft, box, None):
            shed(draft, rng, box)
    n = int(rng.poisson(c.garden_trees * rear / 12))
    if n:
        u, v = rng.uniform(-0.7, 0.7, n) * hl, hw + rear * rng.uniform(0.3, 1, n)
        spots = np.stack([place[0] + place[2] * u - place[3] * v, place[1] + place[3] * u + place[2] * v], -1)
        plant(draft, rng, clear(draft, spots, 1.5), 1.3, 3.8, shrubs=0.25)


def perimeter(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
    """A city block: closed street fronts of several houses around a courtyard."""
    c = draft.character
    styles = neighbourhood(rng, c.city)
    draft.area(
        LAND,
        pick(rng, {"paving": 0.4, "concrete": 0.35, "lawn": 0.25}),
        lot.points,
        pattern=Pattern(shift=rng.uniform(-25, 5)),
    )
    levels = c.levels * rng.uniform(0.8, 1.2)

    def build(place: Place) -> None:
        city_house(draft, rng, one_of(rng, styles), place, max(2, levels + rng.normal(0, 1.0)), 0.45)

    march(draft, lot, rng, (11, 30), (12, 19), one_of(rng, (0.0, 0.0, 1.5)), build, 0.06)
    court = inset(lot.points, 20)
    if area_of(court) < 120 or not surrounds(lot.points, court):
        return
    packed = rng.random() < 0.6
    side = lot.points[1] - lot.points[0]
    turn = (side / max(steady.length(side), 1e-9)).tolist()
    for spot in scatter(court, rng.uniform(10, 15) if packed else rng.uniform(16, 28), rng, 0.25)[:60].tolist():
        box = (*spot, *turn, rng.uniform(3, 9), rng.uniform(3, 6.5))
        if rng.random() < (0.85 if packed else 0.4) and fits(draft, box, lot.points):
            city_house(draft, rng, one_of(rng, styles), box, rng.uniform(1, max(levels * 0.6, 1.1)), 0.0, rear=False)
    plant(draft, rng, clear(draft, scatter(court, 9, rng), 2.0)[:: int(rng.integers(1, 5))], 2, 4.5)


def towers(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
    """High-rises on podiums, with plazas between."""
    c = draft.character
    draft.area(LAND, "paving" if rng.random() < 0.7 else "concrete", lot.points)
    for piece in pieces_of(lot, rng.uniform(32, 60), rng.uniform(34, 55), rng):
        front = piece.front
        if front is None:
            park(draft, piece.points, rng)
            continue
        for scale in (1.0, 0.85, 0.7, 0.5):
            wide, deep = front.length * scale - 2, min(front.depth, 55) * scale - 2
            place = (*front.spot(front.length / 2, 1 + deep / 2), *front.along, wide / 2, deep / 2)
            if min(wide, deep) > 11 and fits(draft, place, piece.points, -0.5):
                height = c.tower * rng.uniform(0.5, 1.35)
                if rng.random() < 0.25:
                    city_house(
                        draft, rng, one_of(rng, neighbourhood(rng, c.city)), place, c.levels * 1.4, 0.5, rear=False
                    )
                else:
                    tower(draft, rng, one_of(rng, neighbourhood(rng, c.city)), place, height, rng.uniform(5, 16))
                break
    plant(draft, rng, clear(draft, scatter(inset(lot.points, 2), 9, rng), 1.8), 1.5, 3.2)


def _on(points_filler: Callable[[Draft, np.ndarray, np.random.Generator], None]) -> Filler:
    def fill(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
        points_filler(draft, lot.points, rng)

    return fill


FILLERS: dict[str, Filler] = {
    "detached": detached, "terrace": terrace, "perimeter": perimeter, "towers": towers, "slabs": slabs,
    "carpark": carpark, "industrial": industrial, "retail": retail, "square": square, "school": school, "green": green,
    "park": _on(park), "wood": _on(wood), "field": _on(field), "meadow": _on(meadow), "waste": _on(waste),
}  # fmt: skip
