"""Truths of the town plan and its rasters."""

import cv2
import numpy as np
import pytest

from xview_demo.errors import XViewError
from xview_demo.world.biome import BIOMES
from xview_demo.world.draft import ROAD, WATER, rectangle
from xview_demo.world.materials import BUILDING, MATERIAL_ID, MATERIALS, B
from xview_demo.world.surface import NOTHING, Raster, Surface, build_surface, stamp_cars
from xview_demo.world.town import Plan, build_plan

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
    for plan, surface in list(worlds.values())[:10]:
        stamped = stamp_cars(surface, plan.cars.aerial)
        seen |= set(LABELS[np.unique(stamped.material)]) | set(LABELS[np.unique(surface.canopy_material)])
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


def test_cars_stand_on_the_ground_and_leave_the_surface_alone(worlds):
    plan, surface = worlds["row_house"]
    before = surface.height.copy()
    stamped = stamp_cars(surface, plan.cars.ground)
    assert (surface.height == before).all()
    car = stamped.material == MATERIAL_ID["car"]
    assert (car == (stamped.cover == MATERIAL_ID["car"])).all()
    assert car.sum() > 500 and stamped.car_colour.shape == (*car.shape, 3)
    rise = stamped.height[car] - surface.ground[car]
    assert rise.min() > 0.5 and rise.max() < 4.2
    lone = rectangle(*plan.cars.ground[0, :2], 1.0, 0.0, 1.0, 1.0)
    assert lone.shape == (4, 2)


def test_the_grounds_fill_the_square_and_hills_are_smooth(worlds):
    for name, (_, surface) in worlds.items():
        edge = np.concatenate(
            [surface.material[0], surface.material[-1], surface.material[:, 0], surface.material[:, -1]]
        )
        assert (edge > 0).mean() > 0.8, name
        steep = np.abs(np.diff(surface.ground, axis=0))[surface.material[1:] != MATERIAL_ID["river"]]
        assert np.percentile(steep, 99) / RESOLUTION < 1.2, name
