"""Streets on the ground: carriageways, pavements, paint, lamps, cars, bridges, cameras, and the blocks left over."""

from dataclasses import dataclass

import numpy as np
import shapely

from . import steady
from .draft import ISLAND, RAILWAY, ROAD, TAKEN_OTHER, TAKEN_ROAD, VERGE, WALK, Draft, Pattern
from .materials import MATERIAL_ID
from .roads import Network, Road
from .terrain import blob, curve, offset, ribbon

PAVED = ("highway", "main", "street")


@dataclass
class Block:
    """A piece of land between streets: counter-clockwise outline and, per side, whether it fronts a street."""

    points: np.ndarray  # (n, 2)
    street: np.ndarray  # (n,) bool, side i runs from point i to point i + 1
    area: float  # square metres


class Path:
    """A polyline measured by arc length, for things that stand beside or along a road."""

    def __init__(self, points: np.ndarray) -> None:
        self.points = points
        step = steady.length(np.diff(points, axis=0))
        self.s = np.concatenate([[0.0], np.cumsum(step)])
        self.length = float(self.s[-1])
        self.tangents = np.diff(points, axis=0) / np.maximum(step, 1e-9)[:, None]
        self.normals = np.stack([-self.tangents[:, 1], self.tangents[:, 0]], -1)

    def at(self, s: np.ndarray, side: float | np.ndarray = 0.0) -> np.ndarray:
        """Points (n, 2) at arc length `s`, `side` metres to the left."""
        index = self._segment(s)
        along = np.minimum(np.maximum(s, 0), self.length) - self.s[index]
        shift = self.tangents[index] * along[..., None] + self.normals[index] * np.asarray(side, float)[..., None]
        return self.points[index] + shift

    def tangent(self, s: np.ndarray) -> np.ndarray:
        """Unit directions (n, 2) at arc length `s`."""
        return self.tangents[self._segment(s)]

    def _segment(self, s: np.ndarray) -> np.ndarray:
        """Which stretch between two points arc lengths lie in."""
        return np.minimum(np.maximum(self.s.searchsorted(s, side="right") - 1, 0), len(self.tangents) - 1)

    def heading(self, s: np.ndarray) -> np.ndarray:
        """Headings (n,) in degrees clockwise from north."""
        t = self.tangent(s)
        return np.degrees(steady.atan2(t[..., 0], t[..., 1])) % 360

    def piece(self, start: float, end: float, side: float = 0.0) -> np.ndarray:
        """The stretch between two arc lengths, shifted to the left: (n, 2)."""
        inner = self.s[(self.s > start + 0.3) & (self.s < end - 0.3)]
        return offset(self.at(np.concatenate([[start], inner, [end]])), side)


def _rings(geometry: shapely.Geometry) -> list[list[np.ndarray]]:
    """Outlines with their holes, without the closing point."""
    polygons = [p for p in shapely.get_parts(geometry) if p.geom_type == "Polygon" and p.area > 0.5]
    return [[np.array(ring.coords)[:-1] for ring in (p.exterior, *p.interiors)] for p in polygons]


def _corridor(
    roads: list[Road], extra: list[shapely.Geometry], corner: float, box: shapely.Geometry
) -> shapely.Geometry:
    lines = np.array([shapely.LineString(road.points) for road in roads] or [shapely.LineString()], dtype=object)
    widths = np.array([road.width / 2 for road in roads] or [1.0])
    merged = shapely.union_all(
        np.concatenate([shapely.buffer(lines, widths, quad_segs=4), np.array(extra, dtype=object)])
    )
    if corner > 0:
        merged = merged.buffer(corner, quad_segs=4).buffer(-corner, quad_segs=4)
    return shapely.simplify(merged, 0.06).intersection(box)


def lay_streets(draft: Draft, network: Network, rng: np.random.Generator) -> list[Block]:
    """Draw the streets and return the blocks between them."""
    c, size = draft.character, draft.size
    box = shapely.box(*([-size / 2 - 20] * 2), *([size / 2 + 20] * 2))
    paved = [road for road in network.roads if road.kind in PAVED]
    town = [road for road in paved if road.pavement + road.verge > 0]
    rural = [road for road in network.roads if road.pavement + road.verge == 0]
    discs = [shapely.Point(p).buffer(r, quad_segs=10) for p, r, _ in network.discs]
    street = _corridor(town, discs, c.corner, box)
    verge = max((road.verge for road in paved), default=0.0)
    walk_width = max((road.pavement for road in paved), default=0.0)
    walk = street.buffer(verge + walk_width, quad_segs=4).intersection(box) if verge + walk_width > 0 else street
    if walk_width:
        for rings in _rings(walk):
            draft.area(WALK, "paving", *rings)
    if verge:
        for rings in _rings(street.buffer(verge, quad_segs=4)):
            draft.area(VERGE, "lawn" if rng.random() < 0.8 else "dry_grass", *rings)
    everything = [walk]
    for material in sorted({road.material for road in rural}):
        corridor = _corridor([road for road in rural if road.material == material], [], 4.0, box)
        everything.append(corridor)
        for rings in _rings(corridor):
            draft.area(ROAD, material, *rings)
    base = "asphalt" if rng.random() < 0.6 else max(c.asphalt, key=lambda k: c.asphalt[k])
    for rings in _rings(street):
        draft.area(ROAD, base, *rings)
        for ring in rings:
            draft.line("shade", 0.3, np.concatenate([ring, ring[:1]]), 30 if walk_width else -14)
    _resurface(draft, town, base, rng)
    _islands(draft, network, rng)
    taken = shapely.union_all(everything)
    everything.extend(_railway(draft, rng))
    everything.extend(_extensions(network))
    for rings in _rings(taken):
        draft.claim(rings, TAKEN_ROAD)
    for kind in (draft.terrain.rivers, draft.terrain.lakes, draft.terrain.seas):
        for outline in kind:
            everything.append(shapely.Polygon(outline).buffer(3.0 + 5 * float(rng.random())))
    everything.extend(shapely.Polygon(outline).buffer(1.0) for outline in draft.terrain.beaches)
    return _blocks(box.difference(shapely.union_all(everything).buffer(0.02)), taken)


def _extensions(network: Network) -> list[shapely.Geometry]:
    """Thin cuts from every dead end on to the next street, so that no block wraps around a dead end."""
    degree = network.degree()
    lines = shapely.union_all([shapely.LineString(road.points) for road in network.roads])
    cuts = []
    for road in network.roads:
        for node, here, before in ((road.start, 0, 1), (road.end, -1, -2)):
            if degree[node] != 1:
                continue
            way = road.points[here] - road.points[before]
            way = way / max(float(steady.length(way)), 1e-9)
            start = road.points[here] + way * 0.5
            hit = shapely.LineString([start, start + way * 240]).intersection(lines)
            spots = shapely.get_coordinates(hit)
            if len(spots):
                nearest = spots[np.argmin(((spots - start) ** 2).sum(1))]
                cuts.append(shapely.LineString([start, nearest]).buffer(0.04))
    return cuts


def _railway(draft: Draft, rng: np.random.Generator) -> list[shapely.Geometry]:
    """Now and then a double-track line across the world, under the streets, with fences."""
    if rng.random() >= draft.character.rail or draft.terrain.rivers or draft.terrain.lakes:
        return []
    angle, far = rng.uniform(0, 2 * np.pi), draft.size * 0.8
    way = steady.bearing(angle)
    middle = np.array([-way[1], way[0]]) * rng.uniform(-0.35, 0.35) * draft.size
    line = curve(rng, middle - way * far, middle + way * far, 0.02)
    bed = ribbon(line, 11.0)
    draft.area(RAILWAY, "meadow", ribbon(line, 15.0))
    draft.area(RAILWAY, "gravel", bed, pattern=Pattern(shift=-22))
    for side in (-2.0, 2.0):
        draft.area(RAILWAY, "rail", ribbon(offset(line, side), 2.4))
        for rail in (-0.72, 0.72):
            draft.line("shade", 0.2, offset(line, side + rail), 45)
    for side in (-7.3, 7.3):
        draft.strip("fence", 1.6, 0.2, offset(line, side))
    draft.claim([ribbon(line, 15.0)], TAKEN_ROAD)
    return [shapely.Polygon(ribbon(line, 15.5)).buffer(0)]


def _blocks(land: shapely.Geometry, taken: shapely.Geometry) -> list[Block]:
    fronts = taken.buffer(0.4)
    shapely.prepare(fronts)
    blocks = []
    for part in shapely.get_parts(land):
        part = shapely.simplify(part, 0.7)
        if part.area < 60 or part.geom_type != "Polygon":
            continue
        points = np.array(shapely.orient_polygons(part).exterior.coords)[:-1]
        middle = (points + np.roll(points, -1, 0)) / 2
        street = shapely.dwithin(fronts, shapely.points(middle), 0.9)
        blocks.append(Block(points, np.asarray(street), float(part.area)))
    return blocks


def _resurface(draft: Draft, roads: list[Road], base: str, rng: np.random.Generator) -> None:
    """Stretches of another surface, patches and wheel tracks."""
    for road in roads:
        path = Path(road.points)
        start, end = road.trim[0], path.length - road.trim[1]
        if end - start < 12:
            continue
        if road.material != base:
            left, right = (path.piece(start, end, s * (road.width / 2 - 0.1)) for s in (1, -1))
            draft.area(ROAD, road.material, np.concatenate([left, right[::-1]]))
        for lane in (-1, 1):
            for wheel in (-0.85, 0.85):
                if road.lanes == 2:
                    draft.line("shade", 0.6, path.piece(start, end, lane * road.width / 4 + wheel), -7)
        for _ in range(rng.poisson((end - start) / 90)):
            s, long, wide = rng.uniform(start, end), rng.uniform(1.5, 9), rng.uniform(0.8, 3)
            side = rng.uniform(-0.5, 0.5) * max(road.width - wide, 0.2)
            patch = np.concatenate(
                [path.at(np.array([s, s + long]), side), path.at(np.array([s + long, s]), side + wide)]
            )
            draft.area(
                ROAD,
                "asphalt" if rng.random() < 0.7 else "worn_asphalt",
                patch,
                pattern=Pattern(shift=rng.uniform(-16, 12)),
            )


def _islands(draft: Draft, network: Network, rng: np.random.Generator) -> None:
    for point, radius, island in network.discs:
        if island <= 0:
            continue
        ring = blob(rng, point, island, 0.0, 40)
        draft.area(ISLAND, "paving", ring)
        draft.area(ISLAND, "lawn" if rng.random() < 0.7 else "gravel", blob(rng, point, island - 0.8, 0.0, 40))
        if island > 5:
            n = int(rng.integers(1, 5))
            spots = point + rng.uniform(-0.5, 0.5, (n, 2)) * (island - 2)
            kind = MATERIAL_ID["broadleaf" if rng.random() < 0.6 else "shrub"]
            draft.plant(spots, rng.uniform(1.2, 2.6, n), rng.uniform(3, 7, n), kind)
        draft.line("white", 0.15, blob(rng, point, radius - 0.5, 0.0, 60)[: int(rng.integers(40, 61))])


def dashes(path: Path, start: float, end: float, side: float, on: float, off: float) -> np.ndarray:
    """Short strokes along a road: (n, 2, 2)."""
    s = np.arange(start, end - on, on + off)
    return np.stack([path.at(s, side), path.at(s + on, side)], 1) if len(s) else np.zeros((0, 2, 2))


def paint_streets(draft: Draft, network: Network, rng: np.random.Generator) -> None:
    """Lane lines, crossings, stop lines and arrows."""
    c = draft.character
    degree = network.degree()
    centre = "yellow" if c.yellow else "white"
    ladder = rng.random() < 0.7
    for road in network.roads:
        path = Path(road.points)
        if road.kind not in PAVED or path.length - sum(road.trim) < 14:
            continue
        gaps = list(road.trim)
        for side, node in ((0, road.start), (1, road.end)):
            if degree[node] >= 3 and road.trim[side] > 0:
                gaps[side] += _approach(draft, road, path, side, ladder, rng)
        start, end = gaps[0], path.length - gaps[1]
        on, off = (3.0, 9.0) if c.yellow else ((2.0, 4.0) if road.width < 9 else (4.0, 6.0))
        if road.paint == "dashed":
            draft.line(centre, 0.13, dashes(path, start, end, 0.0, on, off))
        elif road.paint == "solid":
            draft.line(centre, 0.13, path.piece(start, end))
        elif road.paint in ("double", "lanes"):
            draft.line(centre, 0.13, path.piece(start, end, 0.16))
            draft.line(centre, 0.13, path.piece(start, end, -0.16))
        if road.paint == "lanes":
            for across in (-0.25, 0.25):
                draft.line("white", 0.12, dashes(path, start, end, across * road.width, 3.0, 6.0))
        if road.kind == "highway":
            draft.strip("wall", 0.85, 0.3, path.piece(start, end))
        if road.edges:
            for side in (-1, 1):
                draft.line(
                    "white", 0.13, path.piece(road.trim[0], path.length - road.trim[1], side * (road.width / 2 - 0.35))
                )


def _approach(draft: Draft, road: Road, path: Path, side: int, ladder: bool, rng: np.random.Generator) -> float:
    """Crossing, stop line and arrow at one end of a road; returns the metres they take."""
    c = draft.character

    def at(s: np.ndarray | float, across: float) -> np.ndarray:
        s = road.trim[side] + np.asarray(s, float)
        return path.at(s if side == 0 else path.length - s, across if side == 0 else -across)

    taken = 0.6
    if rng.random() < c.zebra and road.kind != "highway":
        long = rng.uniform(2.4, 3.6)
        if ladder:
            for across in np.arange(-road.width / 2 + 0.6, road.width / 2 - 0.3, 1.0):
                draft.line("white", 0.5, at(np.array([0.8, 0.8 + long]), across))
        else:
            for s in (0.8, 0.8 + long):
                draft.line("white", 0.3, np.stack([at(s, -road.width / 2 + 0.3), at(s, road.width / 2 - 0.3)]))
        taken = 2.2 + long
    elif road.paint == "none" and rng.random() < 0.5:
        return taken
    keep = 1.0 if c.left else -1.0  # the side of approaching traffic, seen along the road away from the junction
    keep = -keep  # looking out of the junction, oncoming traffic is on the other side
    draft.line("white", 0.35, np.stack([at(taken, keep * 0.3), at(taken, keep * (road.width / 2 - 0.3))]))
    if road.kind == "main" and rng.random() < 0.5:
        lanes = (0.25,) if road.lanes == 2 else (0.125, 0.375)
        for lane in lanes:
            across = keep * lane * road.width
            tip, tail = taken + 5.0, taken + 9.0
            draft.line("white", 0.2, np.stack([at(tip, across), at(tail, across)]))
            for head in (-0.45, 0.45):
                draft.line("white", 0.25, np.stack([at(tip, across), at(tip + 1.3, across + head)]))
    return taken


def furnish_streets(draft: Draft, network: Network, rng: np.random.Generator) -> None:
    """Lamps, signs, street trees, parked and moving cars, railings of bridges."""
    c = draft.character
    kinds = np.array([MATERIAL_ID[k] for k in ("broadleaf", "conifer", "palm")])
    species = rng.random() < c.palms
    size = rng.uniform(0.8, 1.6)
    for road in network.roads:
        path = Path(road.points)
        start, end = road.trim[0] + 3, path.length - road.trim[1] - 3
        _bridge(draft, road, path)
        if end - start < 8:
            continue
        if road.kind in PAVED:
            _lamps(draft, road, path, start, end, rng)
            if road.verge > 1.2 or road.pavement > 1.9:
                side = road.width / 2 + (road.verge / 2 if road.verge > 1.2 else 0.8)
                s = np.arange(start + 3, end - 3, rng.uniform(7, 12))
                s = s[rng.random(len(s)) < c.street_trees * rng.choice([0.2, 1.0, 1.6])]
                spots = np.concatenate([path.at(s, side), path.at(s, -side)])
                spots = spots[rng.random(len(spots)) < 0.85]
                radius = rng.uniform(1.4, 4.2, len(spots)) * size
                draft.plant(spots, radius, radius * rng.uniform(1.9, 2.6, len(spots)) + 1.5, kinds[2 if species else 0])
        _cars(draft, road, path, start, end, rng)


def _lamps(draft: Draft, road: Road, path: Path, start: float, end: float, rng: np.random.Generator) -> None:
    c = draft.character
    s = np.arange(start + 1, end, c.lamps)
    if len(s) and road.verge + road.pavement > 0.9:
        sides = np.where(np.arange(len(s)) % 2 == 0, 1, -1) * (road.width / 2 + 0.45)
        draft.post(path.at(s, sides), 6.0 + 3.0 * (road.kind == "main"))
    if rng.random() < 0.5 and road.reach < 30:
        side = road.width / 2 + 0.5
        draft.post(path.at(np.array([start - 1.5]), side if c.left else -side), rng.uniform(2.2, 3.2), "sign")


def _cars(draft: Draft, road: Road, path: Path, start: float, end: float, rng: np.random.Generator) -> None:
    c = draft.character
    direction = 1.0 if c.left else -1.0  # traffic along the road keeps to this side (left positive)
    if road.width >= 6.4 and road.lanes == 2 and road.kind == "street":
        for side in (direction, -direction):
            s = np.arange(start + 4, end - 4, 6.3)
            s = s[rng.random(len(s)) < c.parked * rng.choice([0.4, 1.0, 1.4])] if len(s) else s
            heading = path.heading(s) + (0 if side == direction else 180)
            for (east, north), angle in zip(path.at(s, side * (road.width / 2 - 1.05)), heading, strict=True):
                draft.parked.append((east, north, angle + rng.normal(0, 1.0), 0.0))
    density = c.traffic * {"main": 1.0, "highway": 2.0, "street": 0.3, "lane": 0.1}.get(road.kind, 0.0)
    for moment in (0, 1):
        for _ in range(rng.poisson(density * max(end - start, 0) / 100)):
            at = float(rng.uniform(start, end))
            along = rng.random() < 0.5
            part = 0.25 if road.lanes == 2 else float(rng.choice([0.125, 0.375]))
            offside = (direction if along else -direction) * part * road.width
            angle = float(path.heading(np.array(at))) + (0.0 if along else 180.0)
            lorry = float(rng.random() < 0.08)
            east, north = (float(v) for v in path.at(np.array(at), offside))
            draft.moving.append((east, north, angle, lorry, float(moment)))


def _bridge(draft: Draft, road: Road, path: Path) -> None:
    if not draft.terrain.rivers:
        return
    s = np.arange(0, path.length, 2.0)
    wet = (draft.terrain.distance.at(path.at(s)) < 2.0) & (np.abs(path.at(s)) < draft.size / 2).all(1)
    if wet.any():
        start, end = max(s[wet].min() - 4, 0.0), min(s[wet].max() + 4, path.length)
        for side in (-1, 1):
            draft.strip("wall", 1.05, 0.35, path.piece(start, end, side * (road.reach - 0.3)))


def find_viewpoints(draft: Draft, network: Network, rng: np.random.Generator) -> None:
    """Camera positions, one per about 8 m: along every road, in a lane or on the pavement, and on foot along shores."""
    c = draft.character
    for road in network.roads:
        path = Path(road.points)
        s = np.arange(rng.uniform(0, 6), path.length, 7.5)
        if not len(s):
            continue
        along = rng.random(len(s)) < 0.5
        direction = np.where(along == c.left, 1.0, -1.0)
        lane = 0.25 if road.lanes == 2 else 0.125
        if road.width < 4.5:
            lane = 0.0
        side = direction * lane * road.width
        if road.pavement > 1.2:
            on_foot = rng.random(len(s)) < 0.22
            side = np.where(on_foot, direction * (road.reach - 0.5 * road.pavement), side)
        heading = path.heading(s) + np.where(along, 0, 180)
        draft.viewpoints.append(np.column_stack([path.at(s, side), heading % 360]))
    terrain = draft.terrain
    for outline in [*terrain.rivers, *terrain.lakes, *terrain.seas]:
        away = rng.uniform(5, 12) if terrain.seas else rng.uniform(2.5, 7)
        path = Path(np.array(shapely.Polygon(outline).buffer(away).exterior.coords))
        s = np.arange(rng.uniform(0, 6), path.length, 7.5)
        points = path.at(s)
        dry = (np.abs(points) < draft.size / 2).all(1) & (terrain.distance.at(points) > 1.5)
        draft.viewpoints.append(np.column_stack([points, path.heading(s)])[dry])


def claim_posts(draft: Draft) -> None:
    """Keep the later planting off the posts."""
    for east, north, _, _ in draft.posts:
        row, col = draft.cell(np.array([east, north]))
        draft.taken[row, col] |= TAKEN_OTHER
