"""Large single uses: flats in green, car parks, halls, shops, squares, schools."""

import numpy as np

from . import steady
from .biome import pick
from .buildings import SOLID, church, fits, neighbourhood, slab, warehouse
from .draft import LAND, TAKEN_OTHER, YARD, Draft, Pattern, turned
from .lots import heading_of
from .nature import clear, park, plant
from .parcels import Lot, inset, one_of, pieces_of, scatter, surrounds


def slabs(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
    """Blocks of flats standing in green, with car parks."""
    c = draft.character
    draft.area(LAND, "lawn", lot.points, pattern=Pattern(rng.uniform(0, 3), 3.0, 4.0))
    styles = neighbourhood(rng, {"panel": 1.0, "city_plaster": 0.4, "city_brick": 0.4, "modern": 0.4})
    front = lot.front
    if front is None:
        return
    turn = rng.random() < 0.5
    along = front.inward if turn else front.along
    long = rng.uniform(16, 32)
    for k, spot in enumerate(scatter(inset(lot.points, 8), rng.uniform(34, 46), rng, 0.1).tolist()):
        place = (*spot, *along, long, rng.uniform(5.5, 7.5))
        if fits(draft, place, lot.points, 2.5):
            slab(draft, rng, one_of(rng, styles), place, max(c.levels, 3) * rng.uniform(0.8, 1.4), lot.points)
        elif k % 2 == 0:
            small = turned(spot, along, 14.0, 9.0)
            if surrounds(lot.points, small) and draft.room(small):
                bays(draft, small, rng)
    plant(draft, rng, clear(draft, scatter(inset(lot.points, 2), 11, rng, 0.8), 2.2), 2, 5)


def bays(draft: Draft, corners: np.ndarray, rng: np.random.Generator, full: float | None = None) -> None:
    """A rectangular car park (4, 2): rows of painted bays with cars."""
    c = draft.character
    full = float(rng.uniform(0.15, 0.85)) if full is None else full
    draft.area(YARD, "asphalt" if rng.random() < 0.7 else "worn_asphalt", corners)
    draft.claim([corners], TAKEN_OTHER)
    a, u, v = corners[0], corners[1] - corners[0], corners[3] - corners[0]
    lu, lv = float(steady.length(u)), float(steady.length(v))
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
        draft.line("yellow" if c.yellow and rng.random() < 0.3 else "white", 0.14, np.concatenate(strokes))


def carpark(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
    """A block that is a car park with some trees."""
    draft.area(LAND, "asphalt" if rng.random() < 0.6 else "worn_asphalt", lot.points)
    full = float(rng.uniform(0.1, 0.9))
    for piece in pieces_of(lot, rng.uniform(60, 90), rng.uniform(36, 62), rng):
        front = piece.front
        if front is None:
            park(draft, piece.points, rng)
            continue
        for scale in (0.96, 0.88, 0.76, 0.6, 0.45):
            wide, deep = front.length * scale, min(front.depth, 90) * scale
            spot = front.spot(front.length / 2, 1.5 + deep / 2)
            corners = turned(spot, front.along, wide / 2, deep / 2)
            if surrounds(piece.points, corners) and draft.room(corners):
                bays(draft, corners, rng, full)
                break
        plant(draft, rng, clear(draft, scatter(inset(piece.points, 1.5), 14, rng), 1.2)[:12], 1.3, 3)


def industrial(draft: Draft, lot: Lot, rng: np.random.Generator, retail: bool = False) -> None:
    """Halls on paved yards, with car parks, lorries and stacked boxes."""
    c = draft.character
    styles = neighbourhood(rng, {"shed": 1.0})
    for piece in pieces_of(lot, rng.uniform(55, 110), rng.uniform(60, 95), rng):
        yard = pick(rng, {"concrete": 0.4, "worn_asphalt": 0.3, "asphalt": 0.2, "gravel": 0.1})
        draft.area(LAND, pick(rng, c.ground), piece.points)
        draft.area(YARD, yard, inset(piece.points, rng.uniform(1.5, 5)))
        front = piece.front
        if front is None:
            continue
        court = rng.uniform(22, 34) if retail else rng.uniform(9, 22)
        for scale in (1.0, 0.8, 0.6, 0.4):
            wide, deep = (front.length - 14) * scale, (front.depth - court - 8) * scale
            spot = front.spot(front.length / 2, court + deep / 2)
            place = (*spot, *front.along, wide / 2, deep / 2)
            if min(wide, deep) > 10 and fits(draft, place, piece.points, 2.0):
                warehouse(draft, rng, one_of(rng, styles), place, rng.uniform(5, 13))
                break
        spot = front.spot(front.length / 2, court / 2 + 1)
        corners = turned(spot, front.along, front.length * rng.uniform(0.25, 0.42), max(court / 2 - 3, 5.5))
        if surrounds(piece.points, corners) and draft.room(corners, SOLID):
            bays(draft, corners, rng)
        for _ in range(int(rng.poisson(1.5))):
            spot = front.spot(rng.uniform(8, max(front.length - 8, 9)), front.depth - rng.uniform(5, 9))
            box = (*spot, *front.along, 6.0, 1.25)
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
    middle = lot.points.mean(0).tolist()
    front = lot.front
    if front is not None and rng.random() < 0.5:
        place = (*middle, *front.along, 14.0, 6.5)
        if fits(draft, place, lot.points, 4):
            church(draft, rng, one_of(rng, neighbourhood(rng, {"stone": 1.0, "plaster_tile": 1.0})), place)
    plant(draft, rng, clear(draft, scatter(inset(lot.points, 3), 8, rng, 0.1), 2.0), 2, 3.5)


def school(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
    """A flat building, with wings now and then, a yard, parking and a sports pitch."""
    front = lot.front
    places = []
    if front is None:
        park(draft, lot.points, rng)
        return
    for scale in (1.0, 0.7, 0.5):
        for inward in (16, 22, 11):
            spot = front.spot(front.length * 0.5, inward)
            half = min(front.length * 0.4, 32) * scale
            places.append((*spot, *front.along, half, 7.0))
    place = next((place for place in places if fits(draft, place, lot.points, 2)), None)
    if place is None:
        park(draft, lot.points, rng)
        return
    draft.area(LAND, "lawn", lot.points)
    style = one_of(rng, neighbourhood(rng, {"panel": 1, "modern": 1, "city_brick": 1}))
    slab(draft, rng, style, place, 2.2, lot.points, (1,))
    (east, north), (x, y) = place[:2], front.inward
    for scale in (1.0, 0.5, 0.3):  # wings leave less room
        yard = turned((east + x * 13, north + y * 13), front.along, place[4] * scale, 5.0)
        if surrounds(lot.points, yard) and draft.room(yard):
            draft.area(YARD, "asphalt" if rng.random() < 0.5 else "paving", yard)
            draft.claim([yard], TAKEN_OTHER)
            break
    pitch_at = front.spot(front.length / 2, front.depth * 0.68)
    for scale in (1.0, 0.75, 0.5, 0.35):
        pitch = turned(pitch_at, front.along, 40 * scale, 25 * scale)
        if surrounds(lot.points, pitch) and draft.room(pitch):
            angle = float(steady.atan2(front.along[1], front.along[0]))
            draft.area(YARD, "lawn", pitch, pattern=Pattern(angle, 11.0, 12.0))
            ring = inset(pitch, 2)
            draft.line("white", 0.12, np.concatenate([ring, ring[:1]]))
            draft.line("white", 0.12, np.stack([(ring[0] + ring[1]) / 2, (ring[2] + ring[3]) / 2]))
            draft.claim([pitch], TAKEN_OTHER)
            break
    plant(draft, rng, clear(draft, scatter(lot.points, 11, rng, 0.9), 2.5), 2, 5)


def green(draft: Draft, lot: Lot, rng: np.random.Generator) -> None:
    """A small leftover: grass or paving with a few trees."""
    c = draft.character
    draft.area(LAND, pick(rng, c.ground), lot.points)
    plant(draft, rng, clear(draft, scatter(lot.points, 9, rng), 1.5), 1.5, 4)
