"""What fills the blocks between the streets: one function per land use."""

import numpy as np
import shapely

from .biome import Character, pick
from .buildings import (
    SOLID, any_style, barn, church, city_house, fits, garage, house, local, neighbourhood, shed, slab, tower, warehouse,
)  # fmt: skip
from .draft import BASIN, LAND, PLOT, TAKEN_OTHER, TAKEN_WATER, YARD, Draft, Pattern, rectangle
from .nature import clear, field, meadow, park, plant, waste, wood
from .parcels import Front, Lot, area_of, contains, front_of, inset, lot_of, scatter, split
from .roads import Network, Road
from .streets import Block, Path
from .terrain import ribbon

Frame = tuple[float, float]


def heading_of(direction: np.ndarray) -> float:
    """Degrees clockwise from north."""
    return float(np.degrees(np.arctan2(direction[0], direction[1])) % 360)


def fill_blocks(draft: Draft, network: Network, blocks: list[Block], rng: np.random.Generator) -> None:
    """Give every block a use and fill it."""
    c = draft.character
    half = draft.size / 2
    everything = np.array([[-half - 30, -half - 30], [half + 30, -half - 30], [half + 30, half + 30], [-half - 30, half + 30]])
    draft.area(LAND, pick(rng, c.ground), everything)
    _claim_water(draft)
    rural = c.networks.get("country", 0) and not any(road.kind == "street" and road.pavement > 1 for road in network.roads)
    lots: list[Lot] = []
    country = "field" in c.uses or (c.edge_uses and len(network.roads) < 60 and rural)
    if country or c.networks == {"country": 1.0}:
        lots = ribbon_lots(draft, network, rng)
    land = c.edge_uses if (country and c.edge_uses) else c.uses
    mark = len(draft.areas)
    styles = neighbourhood(rng, c.houses)
    for lot in lots:
        homestead(draft, lot, rng, styles if rng.random() < 0.7 else neighbourhood(rng, c.houses))
        draft.claim([lot.points], TAKEN_OTHER)
    for area in draft.areas[mark:]:
        area.layer = max(area.layer, PLOT)
    for block in blocks:
        distance = float(np.hypot(*(block.points.mean(0) - network.centre)))
        if c.edge_uses and distance > c.core:
            use = pick(rng, c.edge_uses)
        else:
            use = pick(rng, land)
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
    from .parcels import clip

    todo, out = [lot_of(block)], []
    while todo:
        lot = todo.pop()
        if area_of(lot.points) < rng.uniform(25000, 90000):
            out.append(lot)
            continue
        centred = lot.points - lot.points.mean(0)
        normal = np.linalg.svd(centred, full_matrices=False)[2][0]
        at = lot.points.mean(0) + rng.normal(0, 10, 2)
        todo.extend(piece for piece in (clip(lot, at, normal), clip(lot, at, -normal)) if piece is not None)
    return [lot for lot in out if area_of(lot.points) > 200]


def _claim_water(draft: Draft) -> None:
    terrain = draft.terrain
    for outline in [*terrain.rivers, *terrain.lakes, *terrain.seas, *terrain.beaches]:
        draft.claim([outline], TAKEN_WATER)


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
                near = float(np.hypot(*(path.at(np.array(s)) - network.centre)))
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
    points = np.stack([a, b, b + n * depth, a + n * depth]) if side > 0 else np.stack([b, a, a + n * depth, b + n * depth])
    inner = inset(points, 2.5)
    if draft.inside(points, 15) and draft.room(inner):
        lots.append(Lot(points, np.array([True, False, False, False])))
        shapes.append(shapely.Polygon(inset(points, 0.5)))


# Single lots


def home(draft: Draft, lot: Lot, rng: np.random.Generator, styles: list) -> None:
    """A detached house with its garden."""
    c = draft.character
    front = front_of(lot)
    yard = pick(rng, c.yard)
    draft.area(LAND, yard, lot.points, pattern=Pattern(rng.uniform(0, 3.1), 1.6, rng.uniform(0, 9) * (yard == "lawn"), rng.uniform(-9, 9)))
    if front is None or front.length < 9 or front.depth < 15:
        spots = scatter(lot.points, 7.5, rng)
        plant(draft, rng, clear(draft, spots, 1.5), 1.5, 4)
        return
    style = any_style(rng, styles)
    place = None
    for shrink in (1.0, 0.85, 0.7):
        wide = min(front.length - rng.uniform(3, 6), rng.uniform(10, 17) * (1.25 if c.lot_width > 30 else 1)) * shrink
        deep = min(rng.uniform(7.5, 12.5), front.depth * 0.45) * shrink
        if wide < 6:
            break
        setback = min(c.setback * rng.uniform(0.8, 1.3), front.depth * 0.35)
        u = front.length / 2 + rng.uniform(-0.5, 0.5) * max(front.length - wide - 4, 0) * 0.8
        spot = front.start + front.along * u + front.inward * (setback + deep / 2)
        place = (spot[0], spot[1], front.along[0], front.along[1], wide / 2, deep / 2)
        if fits(draft, place, lot.points, 0.7):
            break
        place = None
    if place is None:
        plant(draft, rng, clear(draft, scatter(lot.points, 8, rng), 1.5), 1.5, 4)
        return
    house(draft, rng, style, place, c.storeys, lot.points)
    _drive(draft, lot, front, place, rng, style)
    _garden(draft, lot, front, place, rng)


def _drive(draft: Draft, lot: Lot, front: Front, place: tuple, rng: np.random.Generator, style) -> None:
    """Driveway with a garage beside the house where there is room, and the path to the door."""
    half_length, half_width = place[4], place[5]
    kind = pick(rng, {"concrete": 0.35, "asphalt": 0.2, "paving": 0.25, "gravel": 0.2})
    side = rng.choice([-1, 1])
    wide = rng.uniform(2.7, 5.2)
    back = float(rng.choice([-half_width, 0.0, half_width * 1.6]))
    for k in (side, -side):
        u = k * (half_length + wide / 2 + 0.2)
        spot = local(place, u, back + 2.8)
        box = (spot[0], spot[1], place[2], place[3], wide / 2, 2.8)
        if fits(draft, box, lot.points, 0.2, 0.9):
            if rng.random() < 0.75:
                garage(draft, rng, style, box)
            break
    else:
        u, back = side * half_length * 0.55, -half_width
        wide = 3.0
    setback = float((np.array(place[:2]) - front.start) @ front.inward) - half_width
    gate = setback + 1.2
    corners = np.stack([local(place, u + s * wide / 2, v) for s, v in ((-1, back), (1, back), (1, -half_width - gate), (-1, -half_width - gate))])
    draft.area(YARD, kind, corners)
    draft.claim([corners], TAKEN_OTHER)
    if rng.random() < 0.55:
        spot = local(place, u + rng.normal(0, 0.2), min(back, -half_width) - 3.2)
        if -half_width - 3.2 + gate > 5:
            draft.parked.append((*spot, heading_of(front.inward) + 180 * rng.integers(2), 0.0))
    door = -u / abs(u) * rng.uniform(0, 0.5) * half_length
    walk = np.stack([local(place, door, -half_width), local(place, door, -half_width - gate)])
    draft.area(YARD, "paving", ribbon(walk, 1.2))


def _garden(draft: Draft, lot: Lot, front: Front, place: tuple, rng: np.random.Generator) -> None:
    c = draft.character
    half_length, half_width = place[4], place[5]
    rear = front.depth - float((np.array(place[:2]) - front.start) @ front.inward) - half_width
    if rng.random() < 0.5 and rear > 6:
        patio = local(place, rng.uniform(-0.4, 0.4) * half_length, half_width + 1.8)
        draft.area(YARD, "paving", rectangle(*patio, place[2], place[3], rng.uniform(2, 4), 1.9))
    if rng.random() < c.pools and rear > 10:
        spot = local(place, rng.uniform(-0.4, 0.4) * half_length, half_width + rng.uniform(5.5, rear - 4))
        pool = rectangle(*spot, place[2], place[3], rng.uniform(2.5, 4.5), rng.uniform(1.7, 2.3))
        if contains(lot.points, pool).all() and draft.room(pool):
            draft.area(YARD, "paving", rectangle(*spot, place[2], place[3], 5.4, 3.2))
            draft.area(BASIN, "pool", pool)
            draft.claim([pool], TAKEN_OTHER)
    if rng.random() < 0.4 and rear > 9:
        spot = local(place, rng.choice([-1, 1]) * (front.length / 2 - 2.5), half_width + rear - 2.4)
        box = (spot[0], spot[1], place[2], place[3], rng.uniform(1, 1.9), rng.uniform(0.9, 1.5))
        if fits(draft, box, lot.points, 0.2):
            shed(draft, rng, box)
    borders(draft, lot, front, rng)
    n = rng.poisson(c.garden_trees * min(area_of(lot.points) / 600, 2.5))
    lo, hi = lot.points.min(0), lot.points.max(0)
    spots = rng.uniform(lo, hi, (n * 2 + 2, 2))
    spots = clear(draft, spots[contains(inset(lot.points, 1.2), spots)], 2.2)[: n + 1]
    plant(draft, rng, spots, 1.4, 4.6)
    bushes = rng.uniform(lo, hi, (int(rng.poisson(3)), 2))
    plant(draft, rng, clear(draft, bushes[contains(lot.points, bushes)], 1.0), shrubs=1.0)


def borders(draft: Draft, lot: Lot, front: Front, rng: np.random.Generator) -> None:
    """Fence, wall or hedge along the sides of a lot; low ones, with a gap, in front."""
    c = draft.character
    if rng.random() < c.open_lots:
        return
    dry = c.palms > 0.2 or c.hedges < 0.06
    for i in range(len(lot.points)):
        a, b = lot.points[i], lot.points[(i + 1) % len(lot.points)]
        if np.hypot(*(b - a)) < 3:
            continue
        if lot.street[i]:
            if rng.random() < 0.4:
                mid = a + (b - a) * rng.uniform(0.35, 0.65)
                a, b = (a, mid) if rng.random() < 0.5 else (mid, b)
                kind = "wall" if dry or rng.random() < 0.3 else ("hedge" if rng.random() < c.hedges else "fence")
                lift = front.inward * 0.5
                draft.strip(kind, rng.uniform(0.7, 1.3), 0.9 if kind == "hedge" else 0.25, np.stack([a, b]) + lift)
            continue
        behind = [(p - front.start) @ front.inward for p in (a, b)]
        if max(behind) < 3:
            continue
        if min(behind) < 4:
            t = (4 - min(behind)) / max(max(behind) - min(behind), 1e-6)
            a, b = (a + (b - a) * t, b) if behind[0] < behind[1] else (a, b + (a - b) * t)
        if rng.random() < c.hedges * 0.7:
            draft.strip("hedge", rng.uniform(1.2, 2.2), rng.uniform(0.7, 1.3), np.stack([a, b]))
        elif rng.random() < 0.75:
            draft.strip("wall" if dry else "fence", rng.uniform(1.1, 1.9), 0.2, np.stack([a, b]))


# Uses of whole blocks


def detached(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
    """Houses with gardens on lots."""
    c = draft.character
    styles = neighbourhood(rng, c.houses)
    width, depth = c.lot_width * rng.uniform(0.85, 1.2), c.lot_depth * rng.uniform(0.9, 1.15)
    for piece in split(lot, width, depth, rng):
        if area_of(piece.points) > 2.6 * width * depth and front_of(piece) is None:
            park(draft, piece.points, rng)
        else:
            home(draft, piece, rng, styles)


def march(
    draft: Draft, lot: Lot, rng: np.random.Generator, unit: tuple[float, float], depth: tuple[float, float], setback: float,
    build, gap: float = 0.0,
) -> None:  # fmt: skip
    """Closed rows along every street side: call `build(place)` unit by unit where there is room."""
    n = len(lot.points)
    for i in range(n):
        if not lot.street[i]:
            continue
        a, b = lot.points[i], lot.points[(i + 1) % n]
        length = float(np.hypot(*(b - a)))
        if length < unit[0]:
            continue
        t = (b - a) / length
        inward = np.array([-t[1], t[0]])
        deep = rng.uniform(*depth)
        u = 0.0
        while u < length - unit[0] * 0.9:
            wide = min(rng.uniform(*unit), length - u)
            if length - u - wide < unit[0] * 0.8:
                wide = length - u
            wide = min(wide, unit[1] * 1.4)
            own = deep + rng.normal(0, 0.4)
            spot = a + t * (u + wide / 2) + inward * (setback + own / 2)
            place = (spot[0], spot[1], t[0], t[1], wide / 2, own / 2)
            if fits(draft, place, None, inset=min(1.3, wide / 3)):
                build(place)
                u += wide
                if rng.random() < gap:
                    u += rng.uniform(2, 7)
            else:
                u += 2.0


def homestead(draft: Draft, lot: Lot, rng: np.random.Generator, styles: list) -> None:
    """A house on a country lot; on a large lot a farm with barns around a yard."""
    home(draft, lot, rng, styles)
    front = front_of(lot)
    if front is None or front.length < 32 or rng.random() < 0.25:
        return
    yard_at = front.start + front.along * front.length * 0.5 + front.inward * front.depth * 0.66
    yard = rectangle(*yard_at, *front.along, front.length * 0.38, front.depth * 0.24)
    draft.area(YARD, pick(rng, {"gravel": 0.4, "concrete": 0.35, "dirt_track": 0.25}), yard)
    for _ in range(6):
        u, v = rng.uniform(-0.36, 0.36) * front.length, rng.uniform(-0.26, 0.26) * front.depth
        spot = yard_at + front.along * u + front.inward * v
        axis = front.along if rng.random() < 0.6 else front.inward
        place = (spot[0], spot[1], axis[0], axis[1], rng.uniform(6, 17), rng.uniform(4, 8))
        if fits(draft, place, lot.points, 0.5):
            barn(draft, rng, place)


def terrace(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
    """Row houses around the block, yards with fences behind them."""
    c = draft.character
    style = neighbourhood(rng, c.houses)[0]
    draft.area(LAND, pick(rng, {"lawn": 0.5, "paving": 0.25, "concrete": 0.25}), lot.points)
    width = c.lot_width * rng.uniform(0.9, 1.15)
    setback = c.setback * rng.uniform(0.7, 1.3)
    levels = c.storeys + rng.normal(0, 0.2)
    front = front_of(lot)
    spare = (front.depth if front else 60.0) / 2 - setback - c.lot_depth
    alley = 2.2 if spare > 9 and rng.random() < 0.4 else 0.0
    rear = float(np.clip(spare - alley, 4, 26))

    def build(place: tuple) -> None:
        chosen = style
        city_house(draft, rng, chosen, place, levels, 0.04)
        mat = pick(rng, {"lawn": 0.5, "paving": 0.2, "concrete": 0.15, "soil": 0.15})
        corners = np.stack([local(place, s * place[4], v) for s, v in ((-1, place[5]), (1, place[5]), (1, place[5] + rear), (-1, place[5] + rear))])
        draft.area(LAND, mat, corners, pattern=Pattern(shift=rng.uniform(-12, 12)))
        fence = np.stack([local(place, place[4], place[5]), local(place, place[4], place[5] + rear)])
        if draft.free(fence[1:], SOLID):
            draft.strip("fence" if rng.random() < 0.7 else "wall", rng.uniform(1.3, 1.8), 0.2, fence)
        if setback > 1.6:
            front = np.stack([local(place, s * place[4], v) for s, v in ((-1, -place[5]), (1, -place[5]), (1, -place[5] - setback), (-1, -place[5] - setback))])
            draft.area(LAND, pick(rng, {"lawn": 0.4, "paving": 0.4, "gravel": 0.2}), front)
            if rng.random() < 0.5:
                edge = np.stack([local(place, -place[4] + 1.6, -place[5] - setback + 0.4), local(place, place[4], -place[5] - setback + 0.4)])
                draft.strip("hedge" if rng.random() < c.hedges else "wall", rng.uniform(0.6, 1.2), 0.4, edge)
        if rear > 7 and rng.random() < 0.3:
            box_at = local(place, rng.uniform(-0.3, 0.3) * place[4], place[5] + rear - 2.5)
            box = (box_at[0], box_at[1], place[2], place[3], rng.uniform(1.2, 2.8), rng.uniform(1.0, 2.4))
            if fits(draft, box, None):
                (garage if alley and box[5] > 1.6 else shed_of)(draft, rng, style, box)
        n = int(rng.poisson(c.garden_trees * rear / 12))
        spots = np.array([local(place, rng.uniform(-1, 1) * place[4] * 0.7, place[5] + rear * rng.uniform(0.3, 1)) for _ in range(n)])
        plant(draft, rng, clear(draft, spots.reshape(-1, 2), 1.5), 1.3, 3.8, shrubs=0.25)

    march(draft, lot, rng, (width * 0.92, width * 1.08), (c.lot_depth * 0.85, c.lot_depth * 1.1), setback, build, 0.03)


def shed_of(draft: Draft, rng: np.random.Generator, style, place: tuple) -> None:
    """A shed, whatever the style of its house."""
    shed(draft, rng, place)


def perimeter(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
    """A city block: closed street fronts of several houses around a courtyard."""
    c = draft.character
    styles = neighbourhood(rng, c.city)
    draft.area(LAND, pick(rng, {"paving": 0.4, "concrete": 0.35, "lawn": 0.25}), lot.points, pattern=Pattern(shift=rng.uniform(-25, 5)))
    levels = c.levels * rng.uniform(0.8, 1.2)

    def build(place: tuple) -> None:
        city_house(draft, rng, any_style(rng, styles), place, max(2, levels + rng.normal(0, 1.0)), 0.45)

    march(draft, lot, rng, (11, 30), (12, 19), rng.choice([0.0, 0.0, 1.5]), build, 0.06)
    court = inset(lot.points, 20)
    if area_of(court) < 120 or not contains(lot.points, court).all():
        return
    packed = rng.random() < 0.6
    for spot in scatter(court, rng.uniform(10, 15) if packed else rng.uniform(16, 28), rng, 0.25)[:60]:
        turn = lot.points[1] - lot.points[0]
        turn = turn / max(np.hypot(*turn), 1e-9)
        box = (spot[0], spot[1], turn[0], turn[1], rng.uniform(3, 9), rng.uniform(3, 6.5))
        if rng.random() < (0.85 if packed else 0.4) and fits(draft, box, lot.points):
            city_house(draft, rng, any_style(rng, styles), box, rng.uniform(1, max(levels * 0.6, 1.1)), 0.0, rear=False)
    plant(draft, rng, clear(draft, scatter(court, 9, rng), 2.0)[:: int(rng.integers(1, 5))], 2, 4.5)


def towers(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
    """High-rises on podiums, with plazas between."""
    c = draft.character
    draft.area(LAND, "paving" if rng.random() < 0.7 else "concrete", lot.points)
    for piece in split(lot, rng.uniform(32, 60), rng.uniform(34, 55), rng):
        front = front_of(piece)
        if front is None:
            park(draft, piece.points, rng)
            continue
        for scale in (1.0, 0.85, 0.7, 0.5):
            wide, deep = front.length * scale - 2, min(front.depth, 55) * scale - 2
            spot = front.start + front.along * front.length / 2 + front.inward * (1 + deep / 2)
            place = (spot[0], spot[1], front.along[0], front.along[1], wide / 2, deep / 2)
            if min(wide, deep) > 11 and fits(draft, place, piece.points, -0.5):
                height = c.tower * rng.uniform(0.5, 1.35)
                if rng.random() < 0.25:
                    city_house(draft, rng, any_style(rng, neighbourhood(rng, c.city)), place, c.levels * 1.4, 0.5, rear=False)
                else:
                    tower(draft, rng, any_style(rng, neighbourhood(rng, c.city)), place, height, rng.uniform(5, 16))
                break
    plant(draft, rng, clear(draft, scatter(inset(lot.points, 2), 9, rng), 1.8), 1.5, 3.2)


def slabs(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
    """Blocks of flats standing in green, with car parks."""
    c = draft.character
    draft.area(LAND, "lawn", lot.points, pattern=Pattern(rng.uniform(0, 3), 3.0, 4.0))
    styles = neighbourhood(rng, {"panel": 1.0, "city_plaster": 0.4, "city_brick": 0.4, "modern": 0.4})
    front = front_of(lot)
    if front is None:
        return
    turn = rng.random() < 0.5
    along = front.inward if turn else front.along
    long = rng.uniform(16, 32)
    for k, spot in enumerate(scatter(inset(lot.points, 8), rng.uniform(34, 46), rng, 0.1)):
        place = (spot[0], spot[1], along[0], along[1], long, rng.uniform(5.5, 7.5))
        if fits(draft, place, lot.points, 2.5):
            slab(draft, rng, any_style(rng, styles), place, max(c.levels, 3) * rng.uniform(0.8, 1.4))
        elif k % 2 == 0:
            small = rectangle(*spot, *along, 14.0, 9.0)
            if draft.room(small) and contains(lot.points, small).all():
                bays(draft, small, rng)
    plant(draft, rng, clear(draft, scatter(inset(lot.points, 2), 11, rng, 0.8), 2.2), 2, 5)


def bays(draft: Draft, corners: np.ndarray, rng: np.random.Generator, full: float | None = None) -> None:
    """A rectangular car park (4, 2): rows of painted bays with cars."""
    c = draft.character
    full = float(rng.uniform(0.15, 0.85)) if full is None else full
    draft.area(YARD, "asphalt" if rng.random() < 0.7 else "worn_asphalt", corners)
    draft.claim([corners], TAKEN_OTHER)
    a, u, v = corners[0], corners[1] - corners[0], corners[3] - corners[0]
    lu, lv = float(np.hypot(*u)), float(np.hypot(*v))
    u, v = u / lu, v / lv
    heading = heading_of(v)
    strokes, y = [], 0.3
    while y + 5 < lv:
        n = int((lu - 1.5) / 2.55)
        x = 0.75 + np.arange(n + 1) * 2.55
        foot = a + x[:, None] * u + y * v
        strokes.append(np.stack([foot, foot + 4.8 * v], 1))
        for k in np.flatnonzero(rng.random(n) < full):
            spot = a + (x[k] + 1.27) * u + (y + 2.4 + rng.normal(0, 0.15)) * v
            draft.parked.append((*spot, heading + 180 * int(rng.integers(2)) + rng.normal(0, 1.5), 0.0))
        y += 4.9 if len(strokes) % 2 == 0 else 11.2
    if strokes:
        draft.line("yellow" if c.yellow and rng.random() < 0.3 else "white", 0.11, np.concatenate(strokes))


def carpark(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
    """A block that is a car park with some trees."""
    draft.area(LAND, "asphalt" if rng.random() < 0.6 else "worn_asphalt", lot.points)
    full = float(rng.uniform(0.1, 0.9))
    for piece in split(lot, rng.uniform(60, 90), rng.uniform(36, 62), rng):
        front = front_of(piece)
        if front is None:
            park(draft, piece.points, rng)
            continue
        for scale in (0.96, 0.88, 0.76, 0.6, 0.45):
            wide, deep = front.length * scale, min(front.depth, 90) * scale
            spot = front.start + front.along * front.length / 2 + front.inward * (1.5 + deep / 2)
            corners = rectangle(*spot, *front.along, wide / 2, deep / 2)
            if contains(piece.points, corners).all() and draft.room(corners):
                bays(draft, corners, rng, full)
                break
        plant(draft, rng, clear(draft, scatter(inset(piece.points, 1.5), 14, rng), 1.2)[:12], 1.3, 3)


def industrial(draft: Draft, lot: Lot, rng: np.random.Generator, retail: bool = False) -> None:
    """Halls on paved yards, with car parks, lorries and stacked boxes."""
    c = draft.character
    styles = neighbourhood(rng, {"shed": 1.0})
    for piece in split(lot, rng.uniform(55, 110), rng.uniform(60, 95), rng):
        yard = pick(rng, {"concrete": 0.4, "worn_asphalt": 0.3, "asphalt": 0.2, "gravel": 0.1})
        draft.area(LAND, pick(rng, c.ground), piece.points)
        draft.area(YARD, yard, inset(piece.points, rng.uniform(1.5, 5)))
        front = front_of(piece)
        if front is None:
            continue
        court = rng.uniform(22, 34) if retail else rng.uniform(9, 22)
        for scale in (1.0, 0.8, 0.6, 0.4):
            wide, deep = (front.length - 14) * scale, (front.depth - court - 8) * scale
            spot = front.start + front.along * front.length / 2 + front.inward * (court + deep / 2)
            place = (spot[0], spot[1], front.along[0], front.along[1], wide / 2, deep / 2)
            if min(wide, deep) > 10 and fits(draft, place, piece.points, 2.0):
                warehouse(draft, rng, any_style(rng, styles), place, rng.uniform(5, 13))
                break
        spot = front.start + front.along * front.length / 2 + front.inward * (court / 2 + 1)
        corners = rectangle(*spot, *front.along, front.length * rng.uniform(0.25, 0.42), max(court / 2 - 3, 5.5))
        if contains(piece.points, corners).all() and draft.room(corners, SOLID):
            bays(draft, corners, rng)
        for k in range(int(rng.poisson(1.5))):
            spot = front.start + front.along * rng.uniform(8, max(front.length - 8, 9)) + front.inward * (front.depth - rng.uniform(5, 9))
            box = (spot[0], spot[1], front.along[0], front.along[1], 6.0, 1.25)
            if fits(draft, box, piece.points):
                draft.parked.append((*spot, heading_of(front.along), 1.0))
        if rng.random() < 0.6:
            edge = inset(piece.points, 0.8)
            draft.strip("fence", 2.0, 0.15, np.concatenate([edge, edge[:1]])[int(rng.integers(1, 3)) :])
        plant(draft, rng, clear(draft, scatter(piece.points, 16, rng, 0.9), 2.5)[:8], 1.5, 3.5)


def retail(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
    """Large shops behind car parks."""
    industrial(draft, lot, rng, True)


def square(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
    """A paved square, perhaps with a church."""
    draft.area(LAND, "paving", lot.points, pattern=Pattern(rng.uniform(0, 3), 2.5, 7.0))
    middle = lot.points.mean(0)
    front = front_of(lot)
    if front is not None and rng.random() < 0.5:
        place = (middle[0], middle[1], front.along[0], front.along[1], 14.0, 6.5)
        if fits(draft, place, lot.points, 4):
            church(draft, rng, any_style(rng, neighbourhood(rng, {"stone": 1.0, "plaster_tile": 1.0})), place)
    plant(draft, rng, clear(draft, scatter(inset(lot.points, 3), 8, rng, 0.1), 2.0), 2, 3.5)


def school(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
    """A flat building with wings, a yard and a sports pitch."""
    draft.area(LAND, "lawn", lot.points)
    front = front_of(lot)
    if front is None:
        return
    place = None
    for scale in (1.0, 0.7, 0.5):
        spot = front.start + front.along * front.length * 0.5 + front.inward * 16
        candidate = (spot[0], spot[1], front.along[0], front.along[1], min(front.length * 0.4, 32) * scale, 7.0)
        if fits(draft, candidate, lot.points, 2):
            place = candidate
            slab(draft, rng, any_style(rng, neighbourhood(rng, {"panel": 1, "modern": 1, "city_brick": 1})), place, 2.2)
            break
    pitch_at = front.start + front.along * front.length / 2 + front.inward * (front.depth * 0.65)
    for scale in (1.0, 0.75, 0.5):
        pitch = rectangle(*pitch_at, *front.along, 40 * scale, 25 * scale)
        if contains(lot.points, pitch).all() and draft.room(pitch):
            angle = float(np.arctan2(front.along[1], front.along[0]))
            draft.area(YARD, "lawn", pitch, pattern=Pattern(angle, 11.0, 12.0))
            ring = inset(pitch, 2)
            draft.line("white", 0.12, np.concatenate([ring, ring[:1]]))
            draft.line("white", 0.12, np.stack([(ring[0] + ring[1]) / 2, (ring[2] + ring[3]) / 2]))
            draft.claim([pitch], TAKEN_OTHER)
            break
    plant(draft, rng, clear(draft, scatter(lot.points, 13, rng, 0.9), 2.5), 2, 4.5)


def green(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
    """A small leftover: grass or paving with a few trees."""
    c = draft.character
    draft.area(LAND, pick(rng, c.ground), lot.points)
    plant(draft, rng, clear(draft, scatter(lot.points, 9, rng), 1.5), 1.5, 4)


def _on(points_filler):
    def fill(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
        points_filler(draft, lot.points, rng)

    return fill


FILLERS = {
    "detached": detached, "terrace": terrace, "perimeter": perimeter, "towers": towers, "slabs": slabs,
    "carpark": carpark, "industrial": industrial, "retail": retail, "square": square, "school": school, "green": green,
    "park": _on(park), "wood": _on(wood), "field": _on(field), "meadow": _on(meadow), "waste": _on(waste),
}  # fmt: skip
assert Character
