"""Building types: boxes with roofs put together to houses, terraces, city blocks, towers and sheds."""

import numpy as np

from .biome import STYLES, Style, Weights, pick
from .draft import TAKEN_BUILDING, TAKEN_ROAD, TAKEN_WATER, Draft, Look, look_of, rectangle
from .parcels import Vector, one_of, surrounds

Place = tuple[float, float, float, float, float, float]  # east, north, cos, sin, half length, half width
SOLID = TAKEN_ROAD | TAKEN_WATER | TAKEN_BUILDING


def neighbourhood(rng: np.random.Generator, weights: Weights) -> list[Style]:
    """The styles of one quarter: mostly one, with a few strangers."""
    first = STYLES[pick(rng, weights)]
    return [first] * 4 + [STYLES[pick(rng, weights)]]


def local(place: Place, u: float, v: float) -> Vector:
    """The point at (u, v) of a building's own frame."""
    east, north, cos, sin, _, _ = place
    return east + cos * u - sin * v, north + sin * u + cos * v


def patch(place: Place, u0: float, u1: float, v0: float, v1: float) -> np.ndarray:
    """The rectangle (4, 2) between two values of u and of v in a building's own frame."""
    return np.array([local(place, u, v) for u, v in ((u0, v0), (u1, v0), (u1, v1), (u0, v1))])


def fits(draft: Draft, place: Place, outline: np.ndarray | None, margin: float = 0.6, inset: float = 0.4) -> bool:
    """Whether a building stands on free land, inside the world's margin and inside its lot."""
    corners = rectangle(*place)
    if not draft.inside(corners, 18) or not draft.room(corners, SOLID, inset):
        return False
    if outline is None:
        return True
    wide = rectangle(*place[:4], place[4] + margin, place[5] + margin)
    return surrounds(outline, wide)


def house(
    draft: Draft, rng: np.random.Generator, style: Style, place: Place, levels: float, outline: np.ndarray
) -> None:
    """A detached house facing −v: main body, perhaps one wing or two around a court, and a chimney."""
    look = look_of(rng, style)
    east, north, cos, sin, hl, hw = place
    storeys = max(1, int(levels + rng.random()))
    height = storeys * float(look["storey"]) + (0.4 if storeys > 1 else 0.6)
    roof = int(look["roof_type"])
    rise = float(look["pitch"]) * min(hl, hw)
    eave = draft.building(rng, look, place, height, roof=roof, rise=rise)
    shape = rng.random()
    courtly = style in (STYLES["mediterranean"], STYLES["adobe"]) or hl > 7
    if shape < (0.3 if courtly else 0.08) and _court(draft, rng, look, place, height, roof, outline):
        pass
    elif shape < 0.5:  # an L
        wing_half = min(hl, hw) * rng.uniform(0.5, 0.72)
        u = (hl - wing_half) * one_of(rng, (-1, 1))
        out = rng.uniform(1.2, 4.5)
        side = -1 if rng.random() < 0.6 else 1
        centre = local(place, u, side * (hw + out) / 2)
        wing = (*centre, -sin, cos, (hw + out) / 2, wing_half)
        corners = rectangle(*wing)
        if surrounds(outline, corners) and draft.room(corners, TAKEN_ROAD | TAKEN_WATER):
            low = height if rng.random() < 0.6 or storeys == 1 else height - float(look["storey"])
            draft.building(rng, look, wing, low, roof=min(roof, 1), rise=float(look["pitch"]) * wing_half)
    if roof and rng.random() < 0.55:
        u, v = rng.uniform(-0.7, 0.7) * hl, rng.uniform(-0.3, 0.3) * hw
        spot = local(place, u, v)
        chimney = {**look, "roof": [0.25, 0.23, 0.22], "wall": [0.42, 0.26, 0.2]}
        draft.building(rng, chimney, (*spot, cos, sin, 0.45, 0.45), rise + 0.9, lift=eave,
                       roof_material="roof_equipment", claim=False)  # fmt: skip


def wings(place: Place, side: int, out: float, half: float, ends: tuple[int, ...] = (-1, 1)) -> list[Place]:
    """Boxes across a body's `ends`, `half` metres wide to either side, that reach `out` beyond its side `side`·v."""
    _, _, cos, sin, hl, hw = place
    centres = [local(place, end * (hl - half), side * (hw + out) / 2) for end in ends]
    return [(*centre, -sin, cos, (hw + out) / 2, half) for centre in centres]


def _court(
    draft: Draft, rng: np.random.Generator, look: Look, place: Place, height: float, roof: int, outline: np.ndarray
) -> bool:
    """Two wings that make a house a U around a court of 3 m or more; False where there is no room for them."""
    half = min(place[4] * rng.uniform(0.27, 0.36), 3.2)
    out = rng.uniform(2.5, 6.5)
    if place[4] - 2 * half < 1.5:
        return False
    for side in (1, -1) if rng.random() < 0.7 else (-1, 1):
        boxes = wings(place, side, out, half)
        corners = [rectangle(*box) for box in boxes]
        if all(surrounds(outline, c) and draft.room(c, TAKEN_ROAD | TAKEN_WATER) for c in corners):
            for box in boxes:
                draft.building(rng, look, box, height, roof=min(roof, 1), rise=float(look["pitch"]) * half)
            return True
    return False


def garage(draft: Draft, rng: np.random.Generator, style: Style, place: Place) -> None:
    """A small box with a door towards −v."""
    look = look_of(rng, style)
    roof = 0 if style.roof_types == (0,) or rng.random() < 0.3 else 1
    draft.building(
        rng, look, place, rng.uniform(2.4, 2.9), roof=roof, rise=0.5 * place[5] if roof else 0, ground_floor=2
    )


def shed(draft: Draft, rng: np.random.Generator, place: Place) -> None:
    """A garden shed or a small outhouse."""
    draft.building(rng, look_of(rng, STYLES["timber"]), place, rng.uniform(1.9, 2.5), roof=1, rise=0.6)


def equipment(draft: Draft, rng: np.random.Generator, place: Place, eave: float, count: int) -> None:
    """Boxes on a flat roof: lift heads, coolers, skylights."""
    look = look_of(rng, STYLES["panel"])
    for _ in range(count):
        hl, hw = rng.uniform(0.8, 3.2), rng.uniform(0.8, 2.0)
        if hl > place[4] * 0.7 or hw > place[5] * 0.7:
            continue
        spot = local(place, rng.uniform(-0.8, 0.8) * (place[4] - hl), rng.uniform(-0.8, 0.8) * (place[5] - hw))
        tone = float(rng.uniform(0.3, 0.8))
        draft.building(
            rng, {**look, "roof": [tone, tone, tone], "wall": [tone * 0.8] * 3, "window": [0.05, 0.05, 0.5]},
            (*spot, *place[2:4], hl, hw), rng.uniform(0.6, 3.0), lift=eave,
            roof_material="roof_equipment", claim=False,
        )  # fmt: skip


def city_house(
    draft: Draft, rng: np.random.Generator, style: Style, place: Place, levels: float, shops: float, rear: bool = True
) -> None:
    """One house of a closed row, its street front towards −v; flat roofs carry equipment, some have a rear wing."""
    look = look_of(rng, style)
    storeys = max(1, int(levels + rng.random()))
    shop = rng.random() < shops
    height = storeys * float(look["storey"]) + (0.8 if shop else 0.3) + rng.uniform(0, 0.5)
    roof = int(look["roof_type"])
    if roof == 2 and place[4] < place[5]:
        roof = 1
    steep = float(look["pitch"]) * place[5]
    if roof and place[4] < place[5]:  # the ridge runs along the street all the same
        roof = 0 if rng.random() < 0.5 else 1
    along = place
    eave = draft.building(rng, look, along, height, roof=roof, rise=min(steep, 5.5), ground_floor=1 if shop else 0)
    if not roof:
        equipment(draft, rng, place, eave, int(rng.poisson(place[4] * place[5] / 45)))
    if rear and rng.random() < 0.45:
        hl, hw = place[4] * rng.uniform(0.35, 0.6), rng.uniform(1.5, 3.5)
        spot = local(place, (place[4] - hl) * one_of(rng, (-1, 1)), place[5] + hw)
        wing = (*spot, *place[2:4], hl, hw)
        if fits(draft, wing, None, inset=1.2):
            draft.building(rng, look, wing, height * rng.uniform(0.4, 0.95))


def tower(draft: Draft, rng: np.random.Generator, style: Style, place: Place, height: float, podium: float) -> None:
    """A high-rise on a podium, stepped now and then, with roof equipment."""
    look = look_of(rng, style)
    base = look_of(rng, STYLES["city_stone"]) if rng.random() < 0.5 else look
    eave = draft.building(rng, base, place, podium, ground_floor=1)
    equipment(draft, rng, place, eave, int(rng.integers(0, 4)))
    hl, hw = place[4] * rng.uniform(0.5, 0.85), place[5] * rng.uniform(0.5, 0.85)
    spot = local(place, rng.uniform(-1, 1) * (place[4] - hl) * 0.8, rng.uniform(-1, 1) * (place[5] - hw) * 0.8)
    shaft = (*spot, *place[2:4], hl, hw)
    top = draft.building(rng, look, shaft, height - podium, lift=eave, claim=False)
    if rng.random() < 0.4:
        upper = (*shaft[:4], hl * rng.uniform(0.5, 0.85), hw * rng.uniform(0.5, 0.85))
        top = draft.building(rng, look, upper, height * rng.uniform(0.1, 0.35), lift=top, claim=False)
        shaft = upper
    equipment(draft, rng, shaft, top, int(rng.integers(2, 6)))


def slab(
    draft: Draft, rng: np.random.Generator, style: Style, place: Place, levels: float, outline: np.ndarray,
    sides: tuple[int, ...] = (1, -1),
) -> None:  # fmt: skip
    """A free-standing block of flats: a bar, or with wings towards one of the `sides` of v an L or a U."""
    look = look_of(rng, style)
    storeys = max(3, int(levels + rng.random()))
    height = storeys * float(look["storey"]) + 0.6
    boxes = _block_wings(draft, rng, place, outline, sides)
    eave = draft.building(rng, look, place, height)
    for box in boxes:
        draft.building(rng, look, box, height)
    equipment(draft, rng, place, eave, int(rng.integers(2, 6)))


def _block_wings(
    draft: Draft, rng: np.random.Generator, place: Place, outline: np.ndarray, sides: tuple[int, ...]
) -> list[Place]:
    """Two wings, one or none of a block that is not built yet: what was drawn, or less where there is no room."""
    shape, out, first = rng.random(), rng.uniform(8, 18), int(rng.integers(2))
    half, hw = place[5] * rng.uniform(0.8, 1.0), place[5]
    if shape > 0.7 or place[4] < 2.6 * half:
        return []
    both, one = (-1, 1), ((-1,), (1,))[first]
    for ends in (both, one, (-one[0],)) if shape < 0.4 else (one, (-one[0],)):
        for side in sides:
            beyond = [(*local(place, end * (place[4] - half), side * (hw + out / 2)), *place[2:4], half, out / 2)
                      for end in ends]  # fmt: skip
            if all(fits(draft, box, outline, 2.0) and draft.room(rectangle(*box)) for box in beyond):
                return wings(place, side, out, half, ends)
    return []


def warehouse(draft: Draft, rng: np.random.Generator, style: Style, place: Place, height: float) -> None:
    """A hall, sometimes with an office at its front and skylights."""
    look = look_of(rng, style)
    roof = int(look["roof_type"])
    rise = min(max(look["pitch"] * min(place[4], place[5]), 0.5), 3.5)
    eave = draft.building(rng, look, place, height, roof=roof, rise=rise, ground_floor=2,
                          roof_material="roof_metal" if rng.random() < 0.7 else "roof_flat")  # fmt: skip
    if roof == 0:
        equipment(draft, rng, place, eave, int(rng.poisson(place[4] * place[5] / 180)))
    if rng.random() < 0.6:
        hl, hw = place[4] * rng.uniform(0.15, 0.4), rng.uniform(3, 6)
        spot = local(place, (place[4] - hl) * one_of(rng, (-1, 1)), -place[5] - hw)
        office = (*spot, *place[2:4], hl, hw)
        if fits(draft, office, None):
            draft.building(rng, look_of(rng, STYLES["modern"]), office, rng.uniform(3.5, 8))


def barn(draft: Draft, rng: np.random.Generator, place: Place) -> None:
    """A barn or a machine hall, now and then with a silo."""
    look = look_of(rng, STYLES["barn"])
    draft.building(
        rng,
        look,
        place,
        rng.uniform(3.2, 6),
        roof=1,
        rise=float(look["pitch"]) * min(place[4], place[5]),
        ground_floor=2,
    )
    if rng.random() < 0.3:
        spot = local(place, place[4] + 3, rng.uniform(-1, 1) * place[5] * 0.5)
        silo = (*spot, *place[2:4], 1.8, 1.8)
        if fits(draft, silo, None):
            draft.building(rng, look_of(rng, STYLES["shed"]), silo, rng.uniform(7, 14), roof=2, rise=1.4)


def church(draft: Draft, rng: np.random.Generator, style: Style, place: Place) -> None:
    """Nave and steeple."""
    look = {**look_of(rng, style), "window": [0.3, 0.6, 0.25], "storey": 7.0, "bay": 4.0}
    east, north, cos, sin, hl, hw = place
    eave = draft.building(rng, look, place, 7.5, roof=1, rise=hw * 1.1)
    half = hw * 0.55
    spot = local(place, -hl - half * 0.7, 0)
    draft.building(rng, look, (*spot, cos, sin, half, half), rng.uniform(14, 22), roof=2, rise=rng.uniform(5, 14))
    assert eave > 0
