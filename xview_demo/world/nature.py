"""Land without houses: fields, woods, meadows, parks, hedgerows, and the water of the world."""

import numpy as np

from . import steady
from .biome import pick
from .draft import BEACH, LAND, TAKEN_WATER, WATER, YARD, Draft, Pattern
from .materials import MATERIAL_ID
from .parcels import Lot, contains, following, halves, inset, one_of, scatter, surrounds
from .terrain import blob, curve, ribbon

BROADLEAF, CONIFER, PALM, SHRUB = (MATERIAL_ID[k] for k in ("broadleaf", "conifer", "palm", "shrub"))
# Radius of a palm, of a shrub; height over radius of a conifer, of a broadleaf tree; height of a palm; height over
# radius of a shrub
_RANGES = np.array([(1.6, 2.6), (0.5, 1.3), (4, 6.2), (2.0, 2.9), (5, 13), (1.0, 1.7)])
_LOWEST, _SPAN = _RANGES[:, :1], _RANGES[:, 1:] - _RANGES[:, :1]
AROUND = np.concatenate([np.zeros((1, 2)), steady.bearing(np.arange(8) * np.pi / 4)])  # here, and eight directions
CROPS = {"crop_green": 0.3, "crop_yellow": 0.2, "crop_young": 0.16, "stubble": 0.1, "ploughed": 0.12, "meadow": 0.12}


def plant(
    draft: Draft, rng: np.random.Generator, spots: np.ndarray, low: float = 1.8, high: float = 4.2, *,
    conifers: float | None = None, shrubs: float = 0.0, solid: bool = True,
) -> None:  # fmt: skip
    """Plant mixed trees where nothing stands; crown radii between `low` and `high` metres."""
    c = draft.character
    if not len(spots):
        return
    row, col = draft.cell(spots)
    spots = spots[draft.taken[row, col] == 0] if solid else spots
    n = len(spots)
    if not n:
        return
    draws = rng.random((3, n))
    kind = np.where(draws[0] < (c.conifers if conifers is None else conifers), CONIFER, BROADLEAF)
    kind[draws[1] < c.palms] = PALM
    kind[draws[2] < shrubs] = SHRUB
    conifer, palm, shrub = kind == CONIFER, kind == PALM, kind == SHRUB
    radius = (low + (high - low) * rng.beta(1.6, 2.0, n)) * c.tree_size
    sizes = _LOWEST + _SPAN * rng.random((6, n))
    palm_radius, shrub_radius, conifer_slender, slender, palm_height, shrub_slender = sizes
    radius = np.where(conifer, radius * 0.72, np.where(palm, palm_radius, radius))
    radius = np.where(shrub, shrub_radius, radius)
    height = np.where(palm, palm_height, radius * np.where(conifer, conifer_slender, slender) + 1.2)
    height = np.where(shrub, radius * shrub_slender, height)
    draft.plant(spots, radius, height, kind)


def clear(draft: Draft, spots: np.ndarray, reach: float) -> np.ndarray:
    """The spots with nothing taken within `reach` metres (tested in eight directions)."""
    if not len(spots):
        return spots
    row, col = draft.cell(spots[:, None] + AROUND * reach)
    return spots[(draft.taken[row, col] == 0).all(1)]


def wood(draft: Draft, points: np.ndarray, rng: np.random.Generator, spacing: float | None = None) -> None:
    """A closed wood with a ragged edge and clearings."""
    draft.area(LAND, "meadow" if rng.random() < 0.85 else "soil", points, pattern=Pattern(shift=-34))
    spacing = spacing or float(rng.uniform(4.6, 6.6))
    spots = scatter(points, spacing, rng)
    wave = steady.sin(spots[:, 0] / 37 + rng.uniform(0, 6)) + steady.sin(spots[:, 1] / 29 + rng.uniform(0, 6))
    density = np.minimum(np.maximum(rng.uniform(0.9, 1.4) + 0.35 * wave, 0.1), 1)
    spots = clear(draft, spots[rng.random(len(spots)) < density], 2.2)
    conifers = min(max(draft.character.conifers + rng.normal(0, 0.25), 0), 1)
    plant(draft, rng, spots, spacing * 0.5, spacing * 0.98, conifers=conifers, shrubs=0.05)


def field_edges(draft: Draft, points: np.ndarray, rng: np.random.Generator) -> None:
    """A hedgerow with trees, a fence, or nothing along each side of a field."""
    c = draft.character
    edge = inset(points, 1.2)
    for a, b in zip(edge, following(edge), strict=True):
        long = float(steady.length(b - a))
        if long < 25:
            continue
        along = np.linspace(0, 1, max(int(long / 4), 2))
        row, col = draft.cell(a + along[:, None] * (b - a))
        free = np.flatnonzero(draft.taken[row, col] == 0)
        if len(free) < 3:
            continue
        run = max(np.split(free, np.flatnonzero(np.diff(free) > 1) + 1), key=len)
        a, b = a + along[run[0]] * (b - a), a + along[run[-1]] * (b - a)
        if rng.random() < c.hedges * 0.8:
            draft.strip("hedge", rng.uniform(1.2, 2.6), rng.uniform(1.2, 2.4), np.stack([a, b]))
            n = rng.poisson(long / rng.uniform(12, 60))
            spots = a + rng.random((n, 1)) * (b - a) + rng.normal(0, 0.6, (n, 2))
            plant(draft, rng, clear(draft, spots, 2.5), 2, 5, conifers=0.05, shrubs=0.2)
        elif rng.random() < 0.25:
            draft.strip("fence", 1.2, 0.2, np.stack([a, b]))


def field(draft: Draft, points: np.ndarray, rng: np.random.Generator) -> None:
    """Farmland: cut into strips and blocks, each with a crop, a direction of rows and tractor lanes."""
    largest = one_of(rng, (9000, 18000, 35000)) * rng.uniform(0.7, 1.4)
    todo = [Lot(points, np.zeros(len(points), bool))]
    while todo:
        lot = todo.pop()
        size = lot.area
        if size < 40:
            continue
        d = following(lot.points) - lot.points
        main = int(np.argmax(steady.length(d)))
        along = d[main] / max(steady.length(d[main]), 1e-9)
        across = np.array([-along[1], along[0]])
        u, v = steady.dot(lot.points, along), steady.dot(lot.points, across)
        if size > largest or max(np.ptp(u), np.ptp(v)) > 420:
            normal = along if np.ptp(u) > np.ptp(v) * rng.uniform(0.7, 1.2) else across
            w = steady.dot(lot.points, normal)
            at = normal * (w.min() + np.ptp(w) * rng.uniform(0.35, 0.65))
            turn = rng.normal(0, 0.05)
            normal = np.array([normal[0] - turn * normal[1], normal[1] + turn * normal[0]])
            todo.extend(halves(lot, at.tolist(), normal.tolist()))
            continue
        _crop(draft, lot.points, along, across, rng)


def _crop(draft: Draft, points: np.ndarray, along: np.ndarray, across: np.ndarray, rng: np.random.Generator) -> None:
    crop = pick(rng, CROPS)
    normal = across if rng.random() < 0.85 else along
    angle = float(steady.atan2(normal[1], normal[0]))
    strength, spacing = rng.uniform(6, 24), one_of(rng, (1.6, 2.2, 3.0, 4.5))
    tram = one_of(rng, (0.0, 12.0, 18.0, 24.0)) if crop.startswith("crop") or crop == "stubble" else 0.0
    shift = rng.uniform(-14, 14)
    if crop == "meadow":
        strength, spacing = rng.uniform(0, 7), 8.0
    if rng.random() < 0.06 and crop != "meadow":  # orchard or vineyard
        draft.area(LAND, "meadow", points, pattern=Pattern(angle, 5.0, 8.0))
        u = np.arange(-400, 400, rng.uniform(4.5, 7))
        middle = points.mean(0)
        spots = (middle + u[:, None, None] * along + u[None, :, None] * across).reshape(-1, 2)
        spots = spots[contains(inset(points, 3), spots)]
        plant(draft, rng, clear(draft, spots, 1.5), 1.2, 2.2, conifers=0.0)
    else:
        pattern = Pattern(angle, float(spacing), float(strength), float(shift), tram)
        draft.area(LAND, crop, points, pattern=pattern)
    field_edges(draft, points, rng)


def meadow(draft: Draft, points: np.ndarray, rng: np.random.Generator) -> None:
    """Rough grass with single trees and bushes."""
    draft.area(
        LAND, "meadow" if rng.random() < 0.75 else "dry_grass", points, pattern=Pattern(shift=rng.uniform(-8, 8))
    )
    spots = scatter(points, rng.uniform(14, 40), rng, 0.9)
    plant(draft, rng, clear(draft, spots, 2.5), 1.5, 5, shrubs=0.4)


def park(draft: Draft, points: np.ndarray, rng: np.random.Generator) -> None:
    """Lawn, winding paths, groups of trees, a pond, benches of shrubs."""
    draft.area(LAND, "lawn", points, pattern=Pattern(rng.uniform(0, 3.14), 4.0, rng.uniform(0, 8)))
    lo, hi = points.min(0), points.max(0)
    middle, reach = (lo + hi) / 2, float(steady.length(hi - lo) / 2)
    for k in range(int(rng.integers(2, 4))):
        angle = rng.uniform(0, np.pi) + k
        way = steady.bearing(angle) * reach
        path = curve(rng, middle - way, middle + way, 0.05, 6.0)
        path = path[contains(points, path)]
        if len(path) > 3:
            draft.area(YARD, "paving" if rng.random() < 0.5 else "gravel", ribbon(path, 2.2))
            east, north = (path[1:] - path[:-1]).T
            headings = np.degrees(steady.atan2(east, north))
            draft.viewpoints.append(np.column_stack([path[:-1], headings % 360])[::3])
            draft.claim([ribbon(path, 2.6)], 8)
    if rng.random() < 0.4 and reach > 45:
        spot = middle + rng.uniform(-0.3, 0.3, 2) * (hi - lo)
        pond = blob(rng, spot, reach * rng.uniform(0.1, 0.25), 0.7)
        if surrounds(points, pond) and draft.free(pond):
            draft.area(WATER, "river", pond)
            draft.claim([pond], TAKEN_WATER)
    spots = scatter(points, rng.uniform(8, 15), rng, 0.9)
    wave = steady.sin(spots[:, 0] / 19 + rng.uniform(0, 6)) + steady.sin(spots[:, 1] / 23 + rng.uniform(0, 6))
    spots = spots[wave > rng.uniform(-1.2, 0.4)]
    plant(draft, rng, clear(draft, spots, 2.0), 2.2, 5.2, shrubs=0.12)


def waste(draft: Draft, points: np.ndarray, rng: np.random.Generator) -> None:
    """Bare land: sand, scrub, rock; gravel and weeds in wetter places."""
    c = draft.character
    draft.area(LAND, pick(rng, c.ground), points, pattern=Pattern(shift=rng.uniform(-10, 10)))
    for spot in scatter(points, 30, rng)[:12]:
        patch = blob(rng, spot, rng.uniform(2, 8), 0.4, 16)
        if surrounds(points, patch):
            draft.area(LAND, one_of(rng, ("rock", "dry_grass", "soil")), patch)
    spots = scatter(points, rng.uniform(5, 11), rng, 0.9)
    plant(draft, rng, clear(draft, spots, 1.2), 1.0, 3.0, shrubs=0.85)


def finish_nature(draft: Draft, rng: np.random.Generator) -> None:
    """Draw the river, lakes, sea and beaches over the land, and plant the banks."""
    terrain = draft.terrain
    for outline in terrain.beaches:
        draft.area(BEACH, "sand", outline)
        spots = outline[rng.integers(len(outline), size=60)] + rng.normal(0, 12, (60, 2))
        plant(draft, rng, clear(draft, spots, 2), 1, 2.4, shrubs=0.5)
    for outline in [*terrain.rivers, *terrain.lakes]:
        draft.area(WATER, "river", outline)
        spots = inset(outline, -rng.uniform(3, 6)) + rng.normal(0, 1.5, outline.shape)
        spots = spots[rng.random(len(spots)) < rng.uniform(0.1, 0.7)]
        plant(draft, rng, clear(draft, spots, 2.0), 1.5, 4.5, shrubs=0.3)
    for outline in terrain.seas:
        draft.area(WATER, "sea", outline)
