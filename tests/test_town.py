"""Truths of the town plan and its rasters."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import pytest
import shapely

from xview_demo.errors import XViewError
from xview_demo.world import town
from xview_demo.world.biome import BIOMES, STYLES
from xview_demo.world.buildings import slab
from xview_demo.world.draft import ISLAND, ROAD, TAKEN_ROAD, WATER, Draft, rectangle, rectangles
from xview_demo.world.materials import BUILDING, MATERIAL_ID, MATERIALS, B
from xview_demo.world.roads import Network, build_network
from xview_demo.world.surface import NOTHING, Raster, Surface, build_surface
from xview_demo.world.town import Plan, build_plan
from xview_demo.world.vehicles import VEHICLE, V, car_tops, vehicle_table

SIZE, RESOLUTION = 300.0, 0.5
LABELS = np.array([material.label for material in MATERIALS])
RASTERS = (
    "ground", "height", "canopy", "canopy_base", "material", "cover", "canopy_material", "instance", "crown",
    "marking", "marking_yellow", "pattern",
)  # fmt: skip


@pytest.fixture(scope="module")
def worlds() -> dict[str, tuple[Plan, Surface]]:
    plans = {name: build_plan(900_000 + k, name, SIZE) for k, name in enumerate(BIOMES)}
    return {name: (plan, build_surface(plan, RESOLUTION)) for name, plan in plans.items()}


def solids(plan: Plan, surface: Surface) -> np.ndarray:
    """Where something stands on the ground, crowns aside."""
    return surface.height > surface.ground + 0.3


def cells(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    row = np.floor((SIZE / 2 - points[:, 1]) / RESOLUTION).astype(int)
    col = np.floor((points[:, 0] + SIZE / 2) / RESOLUTION).astype(int)
    return row, col


def network_of(biome: str, seed: int) -> Network:
    """The streets of a world of a kilometre, planned no further."""

    class Found(Exception):
        pass

    def found(_: object, network: Network, __: object) -> None:
        raise Found(network)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(town, "lay_streets", found)
        with pytest.raises(Found) as caught:
            build_plan(seed, biome)
    return caught.value.args[0]


def test_there_are_at_least_eleven_biomes_and_unknown_ones_are_refused():
    assert len(BIOMES) >= 11
    with pytest.raises(XViewError, match="Available: dense_city"):
        build_plan(0, "moon", SIZE)
    with pytest.raises(XViewError, match="120 to 4000"):
        build_plan(0, size=10)


@pytest.mark.parametrize("name", ["suburb", "coast", "village"])
def test_the_same_seed_gives_the_same_bytes(name: str, worlds):
    first, surface = worlds[name]
    again = build_plan(first.seed, name, SIZE)
    other = build_surface(again, RESOLUTION)
    for key in ("buildings", "trees", "viewpoints", "posts"):
        assert getattr(first, key).tobytes() == getattr(again, key).tobytes()
    assert first.cars.ground.tobytes() == again.cars.ground.tobytes()
    for key in RASTERS:
        assert getattr(surface, key).tobytes() == getattr(other, key).tobytes(), key
    assert build_plan(first.seed + 50, name, SIZE).trees.tobytes() != first.trees.tobytes()


def test_rasters_have_the_promised_types_and_hold_together(worlds):
    n = round(SIZE / RESOLUTION)
    for plan, surface in worlds.values():
        for key in RASTERS:
            raster = getattr(surface, key)
            kind = {"instance": np.int32, "crown": np.int32}.get(key, np.uint8)
            kind = np.float32 if key in ("ground", "height", "canopy", "canopy_base") else kind
            assert raster.shape == (n, n) and raster.dtype == kind
        assert np.isfinite(surface.ground).all() and np.isfinite(surface.height).all()
        assert plan.buildings.shape[1] == len(BUILDING) and np.isfinite(plan.buildings).all()
        crowned = surface.crown > 0
        assert ((surface.canopy == NOTHING) == ~crowned).all()
        assert (surface.canopy[crowned] > surface.canopy_base[crowned]).all()
        assert (surface.canopy_material[crowned] > 0).all() and (surface.canopy_material[~crowned] == 0).all()
        assert surface.crown.max() <= len(plan.trees) and surface.instance.max() <= len(plan.buildings)
        roofs = [i for i, material in enumerate(MATERIALS) if material.name.startswith("roof_")]
        built = (surface.instance > 0) & (surface.material != MATERIAL_ID["trunk"])
        assert np.isin(surface.material[built], roofs).all()


def test_every_class_occurs_over_ten_worlds(worlds):
    seen = {2}  # the sky belongs to the views
    for _, surface in list(worlds.values())[:10]:
        seen |= set(LABELS[np.unique(surface.material)]) | set(LABELS[np.unique(surface.canopy_material)])
    assert seen == set(range(8))


def test_what_covers_less_than_half_of_a_pixel_does_not_name_it(worlds):
    material, cover = (
        np.concatenate([getattr(surface, key).ravel() for _, surface in worlds.values()])
        for key in ("material", "cover")
    )
    named = {
        name: (cover[material == MATERIAL_ID[name]] == MATERIAL_ID[name]).mean()
        for name in ("hedge", "wall", "fence", "pole", "sign", "trunk")
    }
    assert 0.1 < named.pop("wall") < 0.9  # 0.2 to 0.4 m wide
    assert 0 < named.pop("fence") < 0.1  # 0.15 to 0.25 m
    assert named == {"hedge": 1, "pole": 0, "sign": 0, "trunk": 0}
    kinds = np.unique(material[cover != material])
    assert set(kinds) == {MATERIAL_ID[name] for name in ("wall", "fence", "pole", "sign", "trunk")}
    plan, _ = worlds["suburb"]
    fine = build_surface(plan, 0.25)
    fence = fine.material == MATERIAL_ID["fence"]
    assert fence.any() and (fine.cover[fence] == MATERIAL_ID["fence"]).all()


def test_cameras_stand_clear_on_dry_ground(worlds):
    for name, (plan, surface) in worlds.items():
        assert len(plan.viewpoints) > 10, name
        assert (np.abs(plan.viewpoints[:, :2]) < SIZE / 2).all()
        assert ((plan.viewpoints[:, 2] >= 0) & (plan.viewpoints[:, 2] < 360)).all()
        free = cv2.distanceTransform((~solids(plan, surface)).astype(np.uint8), cv2.DIST_L2, 5) * RESOLUTION
        at = cells(plan.viewpoints)
        assert free[at].min() >= 1.2, name
        assert not np.isin(surface.material[at], [MATERIAL_ID[k] for k in ("river", "sea", "pool", "hedge")]).any()


def test_no_building_stands_on_a_road(worlds):
    for name, (plan, surface) in worlds.items():
        raster = Raster(SIZE, RESOLUTION)
        road = np.zeros(surface.height.shape, np.uint8)
        for area in plan.areas:
            if area.layer == ROAD:
                raster.fill(road, area.rings, 1)
        built = surface.instance > 0
        if built.any():
            assert (built & (road > 0)).sum() <= 0.01 * built.sum(), name


def test_a_bridge_carries_the_road_over_the_river():
    found = 0
    for seed in range(900_100, 900_108):
        plan = build_plan(seed, "river_lake", 400.0)
        surface = build_surface(plan, RESOLUTION)
        raster = Raster(plan.size, RESOLUTION)
        river, road = (np.zeros(surface.height.shape, np.uint8) for _ in range(2))
        for area in plan.areas:
            if area.layer in (WATER, ROAD):
                raster.fill(river if area.layer == WATER else road, area.rings, 1)
        deck = (river > 0) & (road > 0)
        found += deck.sum() > 40
        assert (surface.ground[deck] > 0.3).all()
        assert (LABELS[surface.cover[deck]] != LABELS[MATERIAL_ID["river"]]).all()
        assert (surface.ground[surface.material == MATERIAL_ID["river"]] == 0).mean() > 0.999
    assert found >= 3


def test_roofs_follow_their_formula(worlds):
    plan, surface = worlds["suburb"]
    checked = 0
    for i, row in enumerate(plan.buildings):
        raster_rows, cols = np.nonzero(surface.instance == i + 1)
        solid = surface.material[raster_rows, cols] != MATERIAL_ID["trunk"]
        if solid.sum() < 40:
            continue
        east = (cols + 0.5) * RESOLUTION - SIZE / 2 - row[B["east"]]
        north = SIZE / 2 - (raster_rows + 0.5) * RESOLUTION - row[B["north"]]
        u = np.abs(east * row[B["cos"]] + north * row[B["sin"]])
        v = np.abs(north * row[B["cos"]] - east * row[B["sin"]])
        hl, hw = row[B["half_length"]], row[B["half_width"]]
        share = {0: 0 * u, 1: 1 - v / hw, 2: np.minimum(1 - v / hw, (hl - u) / hw)}[int(row[B["roof"]])]
        expected = row[B["eave"]] + row[B["rise"]] * np.clip(share, 0, 1)
        assert np.abs(surface.height[raster_rows, cols] - expected)[solid].max() < 0.02
        assert row[B["eave"]] > row[B["base"]] + 0.3
        checked += 1
    assert checked > 10


def test_paint_is_fractional_where_lines_are_thin():
    for seed in range(5):
        plan = build_plan(seed, "dense_city", SIZE)
        surface = build_surface(plan, RESOLUTION)
        marks = np.maximum(surface.marking, surface.marking_yellow)
        painted = marks[marks > 8]
        if painted.size > 500:
            assert (painted < 160).mean() > 0.4  # a 0.12 m line covers about a quarter of a half-metre pixel
            return
    raise AssertionError("five dense cities without paint")


def test_cars_stand_on_the_ground_and_shade_it(worlds):
    plan, surface = worlds["row_house"]
    before = surface.height.copy()
    table = vehicle_table(surface, plan.cars.ground)
    top, beneath = car_tops(surface, table)
    assert (surface.height == before).all() and table.shape[1] == len(VEHICLE) and np.isfinite(table).all()
    car = top > surface.height
    assert car.sum() > 500 and not car[surface.instance > 0].any() and (beneath[car] > 0).mean() > 0.9
    rise = top[car] - surface.ground[car]
    assert rise.min() > 0.5 and rise.max() < 4.2
    assert np.abs(table[:, V["base"]] - plan.terrain.height(table[:, :2])).max() < 0.5


def test_the_grounds_fill_the_square_and_hills_are_smooth(worlds):
    for name, (_, surface) in worlds.items():
        edge = np.concatenate(
            [surface.material[0], surface.material[-1], surface.material[:, 0], surface.material[:, -1]]
        )
        assert (edge > 0).mean() > 0.8, name
        steep = np.abs(np.diff(surface.ground, axis=0))[surface.material[1:] != MATERIAL_ID["river"]]
        assert np.percentile(steep, 99) / RESOLUTION < 1.2, name


def shaken(function: np.ufunc, rng: np.random.Generator) -> Callable[..., np.ndarray]:
    """The function, its last bit now and then another, as other processors' code has it."""

    def other(*args: object, **options: object) -> np.ndarray:
        value = np.asarray(function(*args, **options))
        if value.dtype != np.float64:
            return value
        toward = rng.choice([-np.inf, 0.0, np.inf], value.shape)
        return np.where(toward == 0, value, np.nextafter(value, toward))

    return other


@pytest.mark.parametrize(
    ("name", "seed", "size"),
    [("village", 950_004, 700.0), ("forest", 900_003, 700.0), ("coast", 900_007, 420.0), ("coast", 900_011, 420.0),
     ("desert_town", 900_001, 300.0), ("suburb", 900_001, 300.0), ("dense_city", 900_001, 300.0),
     ("river_lake", 900_002, 400.0), ("farmland", 900_001, 400.0), ("industrial", 900_001, 400.0)],
)  # fmt: skip
def test_the_last_bit_of_a_sine_decides_nothing(name: str, seed: int, size: float, monkeypatch: pytest.MonkeyPatch):
    plan = build_plan(seed, name, size)
    for function in ("sin", "cos", "tan", "arctan2", "hypot", "exp", "log", "power"):
        monkeypatch.setattr(np, function, shaken(getattr(np, function), np.random.default_rng(seed)))
    again = build_plan(seed, name, size)
    for key in ("buildings", "trees", "posts", "viewpoints", "roof_materials"):
        assert getattr(plan, key).tobytes() == getattr(again, key).tobytes(), key
    assert plan.cars.ground.tobytes() == again.cars.ground.tobytes()
    assert plan.terrain.elevation.values.tobytes() == again.terrain.elevation.values.tobytes()
    for key in ("areas", "strips", "lines"):
        pairs = zip(getattr(plan, key), getattr(again, key), strict=True)
        assert all(pickle.dumps(one) == pickle.dumps(other) for one, other in pairs), key


@pytest.mark.parametrize("name", ["dense_city", "industrial", "farmland"])
def test_a_highway_crosses_some_worlds(name: str):
    networks = [network_of(name, seed) for seed in range(900_300, 900_324)]
    ways = [[road for road in network.roads if road.kind == "highway"] for network in networks]
    assert 1 <= sum(bool(way) for way in ways) < len(ways) / 2
    for way in filter(None, ways):
        assert all(road.width >= 16 and road.lanes == 4 for road in way)
        points = np.concatenate([road.points for road in way])
        assert np.ptp(points, axis=0).max() > 900, "from edge to edge"
        together = shapely.union_all([shapely.LineString(road.points).buffer(1) for road in way])
        assert together.geom_type == "Polygon" or name == "farmland", "in one piece"


@pytest.mark.parametrize("name", ["forest", "farmland"])
def test_some_worlds_have_a_single_road(name: str):
    networks = [network_of(name, seed) for seed in range(900_300, 900_324)]
    alone = [network for network in networks if network.pattern == "single"]
    assert 1 <= len(alone) < len(networks) / 2
    for network in alone:
        assert len({road.kind for road in network.roads}) == 1
        assert np.ptp(np.concatenate([road.points for road in network.roads]), axis=0).max() > 900
        assert network.degree().max() <= 2, "no junction"


# What a plan holds ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Town:
    """A plan, the streets that it was made from, and what is carriageway in it."""

    plan: Plan
    network: Network
    road: shapely.Geometry

    def paved(self, points: np.ndarray) -> np.ndarray:
        """Which of the points (…, 2) lie on a carriageway, give or take half a metre."""
        return shapely.dwithin(self.road, shapely.points(points), 0.5)

    def strokes(self, width: float) -> np.ndarray:
        """White strokes of one width on carriageways inside the square: their ends (n, 2, 2)."""
        white = [line.points for line in self.plan.lines if line.colour == "white" and line.width == width]
        ends = np.array([points for points in white if points.shape == (2, 2)]).reshape(-1, 2, 2)
        ends = ends[(np.abs(ends) < SIZE / 2).all((1, 2))]
        return ends[self.paved(ends).all(1)]


@cache
def towns(biome: str) -> list[Town]:
    """Three towns of a biome."""
    made = []
    for seed in (900_200, 900_202, 900_210):
        networks: list[Network] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(town, "build_network", lambda *a, kept=networks: kept.append(build_network(*a)) or kept[0])
            plan = build_plan(seed, biome, SIZE)
        roads = [shapely.Polygon(a.rings[0], a.rings[1:]).buffer(0) for a in plan.areas if a.layer == ROAD]
        road = shapely.union_all(roads)
        shapely.prepare(road)
        made.append(Town(plan, networks[0], road))
    return made


def ring(point: np.ndarray, radius: float) -> np.ndarray:
    angle = np.arange(16) * np.pi / 8
    return point + radius * np.stack([np.cos(angle), np.sin(angle)], -1)


def stop_lines(place: Town) -> int:
    return len(place.strokes(0.35))


def crossings(place: Town) -> int:
    """Strokes of ladders, side by side a metre apart, and of pairs of bars as far apart as a ladder is long."""
    found = 0
    for width, low, high in ((0.5, 0.9, 1.1), (0.3, 2.3, 3.7)):
        strokes = place.strokes(width)
        middle, way = strokes.mean(1), strokes[:, 1] - strokes[:, 0]
        gap = np.hypot(*(middle[:, None] - middle).T)
        way = way / np.hypot(*way.T)[:, None]
        found += ((gap > low) & (gap < high) & (np.abs(way @ way.T) > 0.98)).any(1).sum()
    return int(found)


def roundabouts(place: Town) -> int:
    """Islands with a carriageway all around them."""
    found = 0
    for area in place.plan.areas:
        if area.layer == ISLAND:
            middle = area.rings[0].mean(0)
            radius = np.hypot(*(area.rings[0] - middle).T).max()
            found += bool((np.abs(middle) < SIZE / 2).all() and place.paved(ring(middle, radius + 3)).all())
    return found // 2  # kerb and planting are two areas


def dead_ends(place: Town) -> int:
    """Nodes of a single road; where a turning circle is promised, it is paved all around."""
    nodes = place.network.nodes
    degree = np.pad(place.network.degree(), (0, len(nodes)))[: len(nodes)]
    for point, radius, island in place.network.discs:
        if not island:
            assert place.paved(ring(point, radius - 0.5))[(np.abs(ring(point, radius)) < SIZE / 2).all(1)].all()
    return int(((degree == 1) & (np.abs(nodes) < SIZE / 2 - 10).all(1)).sum())


def crop_rows(place: Town) -> int:
    """Fields with rows that are wide and strong enough to be seen."""
    crops = {MATERIAL_ID[name] for name in ("crop_green", "crop_yellow", "crop_young", "stubble", "ploughed")}
    fields = [area.pattern for area in place.plan.areas if area.material in crops and area.pattern is not None]
    return sum(rows.spacing >= 1.6 and rows.strength >= 6 for rows in fields)


def strips(material: str) -> Callable[[Town], int]:
    return lambda place: sum(strip.material == MATERIAL_ID[material] for strip in place.plan.strips)


def posts(material: str) -> Callable[[Town], int]:
    return lambda place: int((place.plan.posts[:, 3] == MATERIAL_ID[material]).sum())


def roofs(kind: int) -> Callable[[Town], int]:
    def count(place: Town) -> int:
        table = place.plan.buildings
        return int(((table[:, B["roof"]] == kind) & (table[:, B["rise"]] > 0.5)).sum())

    return count


def above_ground(plan: Plan, column: str) -> np.ndarray:
    return plan.buildings[:, B[column]] - plan.terrain.height(plan.buildings[:, :2])


def terraces(place: Town) -> int:
    """Houses that share a whole end wall, or most of it, with one neighbour at least on either side."""
    table = place.plan.buildings[above_ground(place.plan, "base") < 2]
    along, half_width = table[:, [B["cos"], B["sin"]]], table[:, B["half_width"]]
    corners = rectangles(table)
    gap = corners[:, [0, 3]].mean(1) - corners[:, None, [1, 2]].mean(2)  # from the far end of i to the near end of j
    forward = np.einsum("ijk,ik->ij", gap, along)
    aside = np.einsum("ijk,ik->ij", gap, along[:, ::-1] * [-1, 1])
    joined = (along @ along.T > 0.999) & (np.abs(forward) < 0.05) & (np.abs(aside) < half_width[:, None] / 2)
    return int((joined.any(0) & joined.any(1)).sum())


def angled_houses(place: Town) -> int:
    """Pairs of bodies on the ground that overlap to an outline with a corner inside: an L or a T."""
    plan = place.plan
    standing = (above_ground(plan, "base") < 1) & (plan.buildings[:, 4] * plan.buildings[:, 5] > 4)
    bodies = [shapely.Polygon(corners) for corners in rectangles(plan.buildings[standing])]
    pairs = shapely.STRtree(bodies).query(bodies, predicate="overlaps").T
    unions = [bodies[i] | bodies[j] for i, j in pairs if i < j and (bodies[i] & bodies[j]).area > 5]
    return sum(outline.area < 0.97 * outline.convex_hull.area for outline in unions)


def wings_of(table: np.ndarray, body: np.ndarray) -> dict[int, set[int]]:
    """Ends (−1, 1) of a body that carry a wing across it, for each of its long sides (−1, 1)."""
    along = body[[B["cos"], B["sin"]]]
    u, v = np.stack([along, [-along[1], along[0]]]) @ (table[:, :2] - body[:2]).T
    across = np.abs(table[:, [B["cos"], B["sin"]]] @ along) < 0.5
    long, wide = table[:, B["half_length"]], table[:, B["half_width"]]
    reach_u, reach_v = np.where(across, wide, long), np.where(across, long, wide)
    flush = np.abs(np.abs(u) + reach_u - body[B["half_length"]]) < 0.05
    beyond = np.abs(v) + reach_v > body[B["half_width"]] + 1
    inner = np.abs(np.abs(v) - reach_v) < 0.05  # it begins at the body's middle
    wing = flush & beyond & inner & (np.abs(u) > reach_u + 0.5)
    return {side: set(np.sign(u[wing & (np.sign(v) == side)]).astype(int)) for side in (-1, 1)}


def courts(place: Town) -> int:
    """Bodies with two wings on the same long side: a U."""
    table = place.plan.buildings[above_ground(place.plan, "base") < 1].astype(float)
    return sum({-1, 1} in wings_of(table, body).values() for body in table)


def test_blocks_of_flats_are_bars_ls_and_us_that_keep_off_the_road():
    shapes = set()
    outline = np.array([[-40.0, -40.0], [40.0, -40.0], [40.0, 40.0], [-40.0, 40.0]])
    base = build_plan(900_003, "dense_city", SIZE)
    for seed in range(40):
        draft = Draft(base.character, SIZE, base.terrain)
        road = rectangle(0, 14, 1, 0, 150, 4)
        draft.claim([road], TAKEN_ROAD)
        slab(draft, np.random.default_rng(seed), STYLES["panel"], (0.0, 0.0, 1.0, 0.0, 22.0, 6.0), 4, outline)
        table = np.array(draft.rows)
        table = table[[material != MATERIAL_ID["roof_equipment"] for material in draft.roof_materials]]
        ends = wings_of(table, table[0])
        shapes.add((len(ends[-1]), len(ends[1])))
        bodies = [shapely.Polygon(corners) for corners in rectangles(table)]
        assert not any(body.intersects(shapely.Polygon(road).buffer(-1)) for body in bodies)
        assert all(shapely.Polygon(outline).contains(body) for body in bodies)
        assert len(bodies) == 1 + len(ends[-1])
    assert shapes == {(0, 0), (1, 0), (2, 0)}


def warehouses(place: Town) -> int:
    """Halls of more than 400 m² with loading bays."""
    table = place.plan.buildings
    large = 4 * table[:, B["half_length"]] * table[:, B["half_width"]] > 400
    return int((large & (table[:, B["ground_floor"]] == 2) & (above_ground(place.plan, "eave") > 4)).sum())


def towers(place: Town) -> int:
    """Shafts that rise from a podium to more than 30 m; boxes on roofs are smaller."""
    base, eave = (above_ground(place.plan, column) for column in ("base", "eave"))
    broad = 4 * place.plan.buildings[:, B["half_length"]] * place.plan.buildings[:, B["half_width"]] > 60
    return int((broad & (base > 4) & (eave > 30)).sum())


@pytest.mark.parametrize(
    ("thing", "biomes", "least"),
    [
        (stop_lines, ("dense_city", "row_house", "suburb", "industrial"), 10),
        (crossings, ("dense_city", "row_house"), 120),
        (roundabouts, ("industrial",), 1),
        (dead_ends, ("suburb", "village"), 1),
        (crop_rows, ("village", "farmland"), 10),
        (strips("hedge"), ("suburb", "village", "farmland"), 20),
        (strips("fence"), ("row_house", "suburb", "village", "industrial"), 20),
        (posts("pole"), ("dense_city", "row_house", "suburb"), 150),
        (posts("sign"), ("dense_city", "row_house", "suburb"), 10),
        (roofs(1), ("suburb", "village", "farmland"), 20),
        (roofs(2), ("suburb", "village"), 10),
        (terraces, ("row_house",), 100),
        (angled_houses, ("suburb", "village"), 20),
        (courts, ("suburb", "village", "desert_town"), 3),
        (warehouses, ("industrial",), 10),
        (towers, ("dense_city",), 10),
    ],
    ids=lambda value: value.__qualname__.split(".")[0] if callable(value) else None,
)
def test_what_a_biome_promises_stands_in_its_plans(thing: Callable[[Town], int], biomes: tuple[str, ...], least: int):
    """In all over three towns of 300 m; bridges have their own test."""
    for biome in biomes:
        assert sum(thing(place) for place in towns(biome)) >= least, biome
