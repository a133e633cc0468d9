"""Street networks: grid, organic (Voronoi), radial, country and single-road patterns, as a graph of bent roads."""

from dataclasses import dataclass, field

import numpy as np
import shapely
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import Voronoi

from . import steady
from .biome import Character, pick
from .terrain import Terrain, curve, offset

RURAL = ("country", "single")
RANK = {"highway": 0, "main": 1, "street": 2, "lane": 3, "track": 4}  # where roads meet, the lowest gives its name


@dataclass
class Road:
    """One street segment between two nodes of the network."""

    kind: str  # highway, main, street, lane, track, path
    points: np.ndarray  # (n, 2) metres
    start: int  # node
    end: int
    width: float = 6.0  # carriageway, metres
    pavement: float = 0.0  # each side
    verge: float = 0.0  # grass between kerb and pavement
    lanes: int = 2
    material: str = "asphalt"
    paint: str = "none"  # none, dashed, solid, double, lanes
    edges: bool = False  # edge lines
    trim: list[float] = field(default_factory=lambda: [0.0, 0.0])  # metres taken by the junctions

    @property
    def reach(self) -> float:
        """Half the width from pavement to pavement."""
        return self.width / 2 + self.verge + self.pavement

    @property
    def length(self) -> float:
        """Length in metres."""
        return float(steady.length(np.diff(self.points, axis=0)).sum())


@dataclass
class Network:
    """Nodes and roads of a world."""

    nodes: np.ndarray  # (N, 2)
    roads: list[Road]
    centre: np.ndarray  # (2,) middle of the town
    pattern: str  # grid, organic, radial, country or single
    discs: list[tuple[np.ndarray, float, float]] = field(default_factory=list)  # centre, radius, island radius

    @property
    def rural(self) -> bool:
        """Whether houses are strung along the roads rather than filling blocks."""
        return self.pattern in RURAL

    def degree(self) -> np.ndarray:
        """Number of roads at every node (N,)."""
        ends = [road.start for road in self.roads] + [road.end for road in self.roads]
        return np.bincount(ends, minlength=len(self.nodes))


class Warp:
    """A smooth displacement of the plane that bends a street pattern without tearing it."""

    def __init__(self, rng: np.random.Generator, amplitude: float) -> None:
        angle = rng.uniform(0, 2 * np.pi, (2, 4))
        wave = rng.uniform(260, 700, (2, 4))
        self.k = 2 * np.pi / wave[..., None] * steady.bearing(angle)  # (axis, wave, 2)
        self.phase = rng.uniform(0, 2 * np.pi, (2, 4))
        self.amplitude = amplitude / 2

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Moved points (n, 2)."""
        east, north = points[:, :1, None], points[:, 1:, None]
        shift = steady.sin(east * self.k[..., 0] + north * self.k[..., 1] + self.phase).sum(-1)
        return points + self.amplitude * shift


Edges = list[tuple[int, int, str]]


def _sample(a: np.ndarray, b: np.ndarray, step: float = 9.0) -> np.ndarray:
    n = max(int(np.ceil(steady.length(b - a) / step)), 1)
    return a + np.linspace(0, 1, n + 1)[:, None] * (b - a)


def _cuts(rng: np.random.Generator, far: float, spacing: float) -> np.ndarray:
    steps = spacing * rng.uniform(0.72, 1.35, int(2 * far / spacing) + 8)
    line = np.cumsum(steps) - far - rng.uniform(0, spacing)
    return line[line < far]


def grid(rng: np.random.Generator, c: Character, far: float) -> tuple[np.ndarray, Edges]:
    """A jittered street grid turned by a random angle: nodes (N, 2) and edges (i, j, kind)."""
    reach = far * 1.42  # the corners of a square at any angle
    xs, ys = _cuts(rng, reach, c.spacing * c.aspect), _cuts(rng, reach, c.spacing)
    turn = rng.uniform(0, np.pi / 2)
    along = steady.bearing(turn)
    across = np.array([-along[1], along[0]])
    gx, gy = np.meshgrid(xs, ys, indexing="ij")
    nodes = np.stack([gx.ravel(), gy.ravel()], -1) + rng.normal(0, 0.012 * c.spacing, (gx.size, 2))
    main_x, main_y = rng.random(len(xs)) < c.main_share, rng.random(len(ys)) < c.main_share
    main_x[len(xs) // 2] = True
    offset_rows = rng.random() < 0.3
    edges: Edges = []
    for i in range(len(xs)):
        for j in range(len(ys)):
            here = i * len(ys) + j
            missing = rng.random(2) < c.drop
            if i + 1 < len(xs) and (main_y[j] or not missing[0]):
                edges.append((here, here + len(ys), "main" if main_y[j] else "street"))
            staggered = offset_rows and not main_x[i] and (i + j) % 7 == 0
            if j + 1 < len(ys) and (main_x[i] or not (missing[1] or staggered)):
                edges.append((here, here + 1, "main" if main_x[i] else "street"))
    return nodes[:, :1] * along + nodes[:, 1:] * across, edges


def organic(rng: np.random.Generator, c: Character, far: float) -> tuple[np.ndarray, Edges]:
    """A grown-looking network: the cells of a relaxed Voronoi diagram, with a few through routes."""
    spacing = c.spacing * np.sqrt(c.aspect) * 0.84
    lattice = np.arange(-far - spacing, far + spacing, spacing)
    seeds = np.stack(np.meshgrid(lattice, lattice), -1).reshape(-1, 2)
    seeds = seeds + rng.uniform(-0.46, 0.46, seeds.shape) * spacing
    diagram = Voronoi(seeds)
    vertices = diagram.vertices
    ridges = [(a, b) for a, b in diagram.ridge_vertices if a >= 0 and b >= 0]
    inside = (np.abs(vertices) < far * 1.15).all(1)
    parent = np.arange(len(vertices))
    short = spacing * 0.34
    for a, b in ridges:  # short sides become one junction
        if inside[a] and inside[b] and steady.length(vertices[a] - vertices[b]) < short:
            parent[parent == parent[b]] = parent[a]
    pairs = {tuple(sorted((int(parent[a]), int(parent[b])))) for a, b in ridges if inside[a] and inside[b]}
    ordered = sorted(p for p in pairs if p[0] != p[1])
    used = sorted({n for p in ordered for n in p})
    index = {n: k for k, n in enumerate(used)}
    nodes = np.array([vertices[parent == n].mean(0) for n in used])
    edges = [(index[a], index[b]) for a, b in ordered]
    main = _through_routes(rng, nodes, edges, 2 + int(rng.random() * 4 * c.main_share + 0.5))
    keep = rng.random(len(edges)) >= 0.7 * c.drop
    return nodes, [(a, b, "main" if m else "street") for (a, b), m, k in zip(edges, main, keep, strict=True) if m or k]


def _through_routes(
    rng: np.random.Generator, nodes: np.ndarray, edges: list[tuple[int, int]], count: int
) -> np.ndarray:
    pairs = np.array(edges)
    cost = steady.power(steady.length(nodes[pairs[:, 0]] - nodes[pairs[:, 1]]), 0.9)
    n = len(nodes)
    graph = coo_matrix((cost, (pairs[:, 0], pairs[:, 1])), (n, n)).tocsr()
    lookup = {tuple(sorted(p)): k for k, p in enumerate(edges)}
    main = np.zeros(len(edges), bool)
    turn = rng.uniform(0, np.pi)
    for k in range(count):
        angle = turn + np.pi * k / count
        direction = steady.bearing(angle)
        shift = np.array([-direction[1], direction[0]]) * rng.uniform(-0.3, 0.3) * np.abs(nodes).max()
        ends = [int(np.argmin(((nodes - shift - s * direction * np.abs(nodes).max()) ** 2).sum(1))) for s in (-1, 1)]
        _, before = dijkstra(graph, directed=False, indices=ends[0], return_predecessors=True)
        here = ends[1]
        while before[here] >= 0:
            main[lookup[tuple(sorted((here, int(before[here]))))]] = True
            here = int(before[here])
    return main


def radial(rng: np.random.Generator, c: Character, far: float) -> tuple[np.ndarray, Edges]:
    """Rings and spokes around a centre, the spokes doubling with distance; nodes in polar order."""
    radii = np.cumsum(c.spacing * rng.uniform(0.85, 1.2, int(1.5 * far / c.spacing) + 2))
    count = int(rng.integers(5, 8))
    nodes, edges = [np.zeros(2)], []
    turn = rng.uniform(0, 6.28)
    previous: list[int] = []
    for radius in radii:
        double = bool(previous) and 2 * np.pi * radius / count > 2.1 * c.spacing * c.aspect
        count = count * 2 if double else count
        ring = []
        for k in range(count):
            angle = turn + 2 * np.pi * k / count + rng.normal(0, 0.02)
            ring.append(len(nodes))
            nodes.append(radius * steady.bearing(angle))
        for k in range(count):
            if rng.random() >= c.drop:
                edges.append((ring[k], ring[(k + 1) % count], "ring"))
            if not previous:
                edges.append((0, ring[k], "main"))
            elif not double:
                edges.append((previous[k], ring[k], "main" if k % 2 == 0 else "street"))
            elif k % 2 == 0:
                edges.append((previous[k // 2], ring[k], "main" if k % 4 == 0 else "street"))
        previous = ring
        if radius > far * 1.42:
            break
    return np.array(nodes), edges


def _polar(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    ra, rb = steady.length(a), steady.length(b)
    ta = steady.atan2(a[1], a[0])
    tb = ta + (steady.atan2(b[1], b[0]) - ta + np.pi) % (2 * np.pi) - np.pi
    t = np.linspace(0, 1, max(int(abs(tb - ta) * ra / 9), 1) + 1)
    r, angle = ra + t * (rb - ra), ta + t * (tb - ta)
    return r[:, None] * steady.bearing(angle)


def country(
    rng: np.random.Generator, c: Character, far: float, alone: bool = False
) -> tuple[np.ndarray, list[Road], np.ndarray]:
    """Winding through roads, lanes that branch off and tracks: nodes, roads and the village centre.

    With `alone` there is one through road and nothing else.
    """
    lines: list[tuple[str, np.ndarray]] = []
    centre = rng.uniform(-0.25, 0.25, 2) * far
    angle = rng.uniform(0, 2 * np.pi)
    wiggle = rng.uniform(0.01, 0.05)

    def through(direction: float, bend: float, via: np.ndarray) -> np.ndarray:
        bearing = steady.bearing(direction)
        other = direction + np.pi + rng.normal(0, 0.35)
        back = steady.bearing(other)
        one, two = curve(rng, via + bearing * far * 1.6, via, bend), curve(rng, via, via + back * far * 1.6, bend)
        line = np.concatenate([one, two[1:]])
        for _ in range(3):
            line[1:-1] = (line[:-2] + 2 * line[1:-1] + line[2:]) / 4
        return line

    lines.append(("main", through(angle, wiggle, centre)))
    if alone:
        return *_noded(lines), centre
    if rng.random() < 0.65:
        lines.append(("street", through(angle + rng.uniform(0.9, 2.2), wiggle, centre)))
    dense = float(np.clip(c.core / 250, 0.2, 1.6))
    for k in range(2 + rng.poisson(4.5 * dense + 2)):
        kind = "lane" if k < 2 or rng.random() < 0.55 * dense else "track"
        parent = lines[int(rng.integers(min(len(lines), 4)))][1]
        spread = c.core * 1.1 if kind == "lane" and k < 2 + 4 * dense else far
        near = np.flatnonzero(steady.length(parent - centre) < max(spread, 150))
        if not len(near):
            continue
        at = int(near[rng.integers(len(near))])
        tangent = parent[min(at + 1, len(parent) - 1)] - parent[max(at - 1, 0)]
        bearing = steady.atan2(tangent[1], tangent[0]) + rng.choice([-1, 1]) * rng.uniform(1.0, 2.0)
        reach = rng.uniform(90, 260) if rng.random() < 0.45 * min(dense, 1) else far * 2.2
        end = parent[at] + reach * steady.bearing(bearing)
        lines.append((kind, curve(rng, parent[at], end, rng.uniform(0.01, 0.06))))
    return *_noded(lines), centre


def _noded(lines: list[tuple[str, np.ndarray]]) -> tuple[np.ndarray, list[Road]]:
    geometry = [shapely.LineString(line) for _, line in lines]
    pieces = [p for p in shapely.get_parts(shapely.line_merge(shapely.node(shapely.MultiLineString(geometry))))]
    tree = shapely.STRtree(geometry)
    nodes: list[np.ndarray] = []
    roads: list[Road] = []

    def node(point: np.ndarray) -> int:
        if nodes:
            gap = steady.length(np.array(nodes) - point)
            if gap.min() < 9:
                return int(gap.argmin())
        nodes.append(point)
        return len(nodes) - 1

    for piece in pieces:
        points = np.array(piece.coords)
        near = tree.query(piece.interpolate(0.5, normalized=True), predicate="dwithin", distance=0.5)
        kind = min([lines[k][0] for k in near] or ["lane"], key=lambda k: RANK[k])
        if piece.length < 14 and kind != "highway":  # a stub; without it a highway would have a gap
            continue
        a, b = node(points[0]), node(points[-1])
        if a != b:
            points = np.concatenate([[nodes[a]], points[1:-1], [nodes[b]]])
            roads.append(Road(kind, points, a, b))
    return np.array(nodes), roads


def _promenade(roads: list[Road], terrain: Terrain) -> tuple[np.ndarray, list[Road]]:
    """End the streets of a coast town at a road that follows the beach."""
    beach, sea = terrain.beaches[0], terrain.seas[0]
    inland = beach[len(beach) // 2 :][::-1]
    shore = offset(inland, -13.0)
    for _ in range(8):
        shore[1:-1] = (shore[:-2] + 2 * shore[1:-1] + shore[2:]) / 4
    seaside = shapely.Polygon(np.concatenate([shore, sea[-2:]])).buffer(0)
    lines = [("main", shore)]
    for road in roads:
        rest = shapely.LineString(road.points).difference(seaside.buffer(-1.0))
        for part in shapely.get_parts(rest):
            if part.length > 16:
                lines.append((road.kind, np.array(part.coords)))
    return _noded(lines)


def _cut_through(rng: np.random.Generator, roads: list[Road], far: float) -> tuple[np.ndarray, list[Road]]:
    """A highway across a town; it meets the streets that it crosses and takes the place of those it runs along."""
    angle = rng.uniform(0, 2 * np.pi)
    way = steady.bearing(angle)
    middle = np.array([-way[1], way[0]]) * rng.uniform(-0.3, 0.3) * far
    line = curve(rng, middle - way * far * 1.6, middle + way * far * 1.6, 0.015)
    beside = shapely.LineString(line).buffer(26.0)
    lines = [("highway", line)]
    for road in roads:
        street = shapely.LineString(road.points)
        if street.intersection(beside).length < 75.0:
            lines.append((road.kind, road.points))
            continue
        for part in shapely.get_parts(street.difference(beside)):
            if part.length > 16:
                lines.append((road.kind, np.array(part.coords)))
    return _noded(lines)


def _dress(rng: np.random.Generator, c: Character, road: Road, width: dict[str, float], rural: bool) -> None:
    road.width = width[road.kind]
    road.material = pick(rng, c.asphalt)
    if road.kind in ("main", "street") and not rural:
        road.pavement = c.pavement if c.pavement > 0.9 else 0.0
        road.verge = c.verge if c.verge > 0.7 else 0.0
    if road.kind in ("lane",) and road.material != "worn_asphalt":
        road.material = "worn_asphalt" if rng.random() < 0.7 else "gravel"
    if road.kind == "track":
        road.material = "dirt_track" if rng.random() < 0.65 else "gravel"
    if road.kind == "main":
        road.lanes = 4 if road.width > 13.5 else 2
        road.paint = "lanes" if road.lanes == 4 else ("double" if rng.random() < 0.3 else "dashed")
        road.edges = rural or rng.random() < 0.4
    if road.kind == "street" and rng.random() < c.marked:
        road.paint = "dashed" if rng.random() < 0.75 else "solid"
        road.edges = rural and rng.random() < 0.6
    if road.kind == "highway":
        road.lanes, road.paint, road.edges = 4, "lanes", True


def _wet(road: Road, terrain: Terrain) -> bool:
    """Whether a road must go: it would run along or far into the water."""
    wet = terrain.distance.at(road.points) < road.reach + 3
    if not wet.any():
        return False
    inside = (terrain.distance.at(road.points) < 0) & (np.abs(road.points) < terrain.distance.half).all(1)
    if terrain.seas or not terrain.river_width or not inside.any():
        return bool(terrain.seas and (terrain.distance.at(road.points) < 4).any()) or bool(inside.any())
    step = road.length / max(len(road.points) - 1, 1)
    lake = any(shapely.LineString(road.points).distance(shapely.Polygon(lake)) < 6 for lake in terrain.lakes)
    return lake or wet.sum() * step > 2.4 * terrain.river_width + 26 or bool(wet[0] or wet[-1])


def build_network(rng: np.random.Generator, c: Character, terrain: Terrain, size: float) -> Network:
    """The dressed street network of a world, kept out of lakes and the sea."""
    far = size / 2 + 70
    pattern = pick(rng, c.networks)
    centre = rng.uniform(-0.15, 0.15, 2) * size
    warp = Warp(rng, c.warp if pattern not in RURAL else 0.0)
    if pattern in RURAL:
        nodes, roads, centre = country(rng, c, far, alone=pattern == "single")
        for _ in range(12):
            if pattern != "single" or not any(_wet(road, terrain) for road in roads):
                break
            nodes, roads, centre = country(rng, c, far, alone=True)
    else:
        nodes, edges = {"grid": grid, "organic": organic, "radial": radial}[pattern](rng, c, far)
        polar = pattern == "radial"
        roads = []
        for a, b, kind in edges:
            line = _polar(nodes[a], nodes[b]) if polar and kind == "ring" else _sample(nodes[a], nodes[b])
            name = "street" if kind == "ring" else kind
            roads.append(Road(name, warp(line + (centre if polar else 0)), a, b))
        nodes = warp(nodes + (centre if polar else 0))
        if rng.random() < c.highway:
            nodes, roads = _cut_through(rng, roads, far)
        if terrain.seas:
            nodes, roads = _promenade(roads, terrain)
    near = size / 2 + 45
    roads = [road for road in roads if (np.abs(road.points) < near).all(1).any() and not _wet(road, terrain)]
    if pattern in RURAL and rng.random() < c.highway:
        for road in roads:
            road.kind = "highway" if road.kind == "main" else road.kind
    width = {
        "main": c.main_width if pattern not in RURAL else rng.uniform(6.0, 8.0),
        "street": c.street_width, "lane": c.lane_width, "track": rng.uniform(2.4, 3.4), "path": 2.0,
        "highway": rng.uniform(16, 22),
    }  # fmt: skip
    for road in roads:
        middle = road.points[len(road.points) // 2]
        outside = bool(steady.length(middle - centre) > c.core) and (pattern in RURAL or c.edge_uses is not None)
        if outside and road.kind == "street":
            road.kind = "lane"
        _dress(rng, c, road, width, outside)
    network = Network(nodes, roads, np.asarray(centre), pattern)
    _junctions(rng, c, network)
    return network


def _junctions(rng: np.random.Generator, c: Character, network: Network) -> None:
    """Roundabouts, turning circles, and how much of each road its junctions take."""
    meeting: dict[int, list[tuple[Road, int]]] = {}
    for road in network.roads:
        meeting.setdefault(road.start, []).append((road, 0))
        meeting.setdefault(road.end, []).append((road, 1))
    for node, ends in meeting.items():
        point = network.nodes[node]
        widest = max(road.width for road, _ in ends)
        if len(ends) == 1:
            road, side = ends[0]
            if road.kind == "street" and rng.random() < 0.8:
                radius = max(road.width / 2 + 1, rng.uniform(6, 9.5))
                network.discs.append((point, radius, 0.0))
                road.trim[side] = radius
            continue
        if len(ends) == 2 and abs(ends[0][0].width - ends[1][0].width) < 1.5:
            continue
        mains = sum(road.kind == "main" for road, _ in ends)
        if len(ends) >= 3 and mains >= 2 and widest < 16 and rng.random() < c.roundabout:
            island = rng.uniform(3.5, 11)
            radius = island + max(widest * 0.75, 6.5)
            network.discs.append((point, radius, island))
            for road, side in ends:
                road.trim[side] = radius + 2
            continue
        for road, side in ends:
            others = max(other.width for other, _ in ends if other is not road)
            road.trim[side] = others / 2 + c.corner * 0.75
