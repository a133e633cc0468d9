"""Truths of the world: what is seen from the street stands where it is seen from above."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from xview_demo.classes import CLASSES
from xview_demo.errors import XViewError
from xview_demo.geometry.geodesy import distance_m
from xview_demo.world import SPLITS, World, split_of
from xview_demo.world.bench import bench_world
from xview_demo.world.sensor import EXPOSED, expose
from xview_demo.world.sheet import contact_sheet
from xview_demo.world.world import EXACT, Nuisance

VEGETATION = 3
GROUND_SURFACES = (4, 5, 6, 7)  # road, ground, water, sand


@pytest.fixture(scope="module")
def exact_world() -> World:
    return World(11, biome="suburb", size=300, exact=True)


@pytest.fixture(scope="module")
def world() -> World:
    return World(12, biome="village", size=300)


@pytest.fixture(scope="module")
def car_park() -> World:
    return World(24, biome="industrial", size=300, exact=True)


def directions(batch, vfov: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Azimuths (B, W) and elevations (H,) in radians of a panorama batch."""
    rows, columns = batch.depth.shape[-2:]
    azimuth = torch.deg2rad(batch.headings)[:, None] + ((torch.arange(columns) + 0.5) / columns - 0.5) * 2 * math.pi
    return azimuth, (0.5 - (torch.arange(rows) + 0.5) / rows) * math.radians(vfov)


def ground_seen(batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Metres east and north of the camera of what each pixel shows, and which show the ground, each (B, H, W)."""
    azimuth, elevation = directions(batch, 90.0)
    reach = batch.depth * torch.cos(elevation)[:, None]
    east, north = reach * torch.sin(azimuth)[:, None], reach * torch.cos(azimuth)[:, None]
    return east, north, torch.isin(batch.labels, torch.tensor(GROUND_SURFACES, dtype=torch.uint8))


@pytest.mark.parametrize("biome", ["suburb", "dense_city", "farmland", "coast"])
def test_depth_projected_to_the_ground_lands_on_the_same_class(biome: str) -> None:
    world = World(22, biome=biome, size=300, exact=True)
    sites = world.sites(6)
    batch = world.panoramas(sites)
    east, north, ground = ground_seen(batch)
    position = torch.tensor([(s.east, s.north) for s in sites])
    chosen = ground & (torch.hypot(east, north) < 100)
    east, north = east + position[:, 0, None, None], north + position[:, 1, None, None]
    labels = world.ground_scene.labels[
        world.ground_scene.cover[world.ground_scene.index(east[chosen], north[chosen]).long()].long()
    ]
    assert chosen.float().mean() > 0.2
    assert (labels == batch.labels[chosen]).float().mean() >= 0.99


@pytest.mark.parametrize("biome", World.BIOMES)
def test_ground_seen_from_the_street_is_the_same_class_in_the_picture_from_above(biome: str) -> None:
    """Within 16 m, where a pixel from above is 0.05 m wide, ten times as fine as the world's own rasters.

    Only what lies under crowns (and hedges) is left out: the street camera sees beneath them, the aerial one does
    not. Roofs and cars are left in: they stand on the ground here, so no camera sees ground that they hide.
    """
    metres, pixels = 32.0, 640
    world = World(22, biome=biome, size=220, exact=True)
    sites = world.sites(4)
    batch = world.panoramas(sites, height=96, width=384)
    tiles = world.aerials(sites, metres=metres, pixels=pixels)
    east, north, ground = ground_seen(batch)
    near = ground & (east.abs() < metres / 2) & (north.abs() < metres / 2)
    row, column = ((0.5 - north[near] / metres) * pixels).long(), ((east[near] / metres + 0.5) * pixels).long()
    above = tiles.labels[near.nonzero()[:, 0], row, column]
    open_air = above != VEGETATION
    assert open_air.sum() > 0.2 * batch.labels.numel()
    assert (above == batch.labels[near])[open_air].float().mean() >= 0.995


def test_aerial_tile_shows_the_classes_under_the_camera(exact_world: World) -> None:
    sites = exact_world.sites(8)
    tiles = exact_world.aerials(sites, metres=32, pixels=128)
    for site, labels in zip(sites, tiles.labels, strict=True):
        index = exact_world.ground_scene.index(torch.tensor([site.east]), torch.tensor([site.north])).long()
        material = exact_world.ground_scene.cover[index].long()
        covered = exact_world.ground_scene.canopy[index] > exact_world.ground_scene.height[index]
        expected = VEGETATION if covered else int(exact_world.ground_scene.labels[material])
        assert expected in labels[63:65, 63:65]


def test_quarter_turn_of_the_camera_rolls_the_panorama_by_a_quarter(exact_world: World) -> None:
    site = exact_world.sites(1)[0]
    north, east = exact_world.panoramas([site, site], headings=[0, 90]).labels
    turned = torch.roll(north, -128, dims=-1)
    assert (turned == east).float().mean() > 0.995


def test_photographs_around_reassemble_the_panorama(exact_world: World) -> None:
    """Their classes and their colours."""
    site = exact_world.sites(1)[0]
    panorama = exact_world.panoramas([site], height=256, width=1024)
    photos = exact_world.photos([site] * 4, headings=[0, 90, 180, 270], hfov=90, height=256, width=256)
    azimuth, elevation = directions(panorama, 90.0)
    azimuth = torch.rad2deg(azimuth[0]) % 360
    agreements, differences = [], []
    for number, heading in enumerate((0, 90, 180, 270)):
        offset = torch.deg2rad((azimuth - heading + 180) % 360 - 180)
        columns = (offset.abs() < math.radians(44)).nonzero()[:, 0]
        x = ((torch.tan(offset[columns]) + 1) / 2 * 256).long().clamp(0, 255)
        y = (1 - torch.tan(elevation)[:, None] / torch.cos(offset[columns])) / 2 * 256
        valid = (y > 0) & (y < 256)
        row, column = y.long().clamp(0, 255), x.expand(y.shape)
        seen = photos.labels[number][row, column]
        agreements.append((seen == panorama.labels[0][:, columns])[valid].float())
        difference = photos.colour[number][:, row, column] - panorama.colour[0][:, :, columns]
        differences.append(difference.abs().amax(0)[valid])
    assert torch.cat(agreements).mean() > 0.97
    assert torch.cat(differences).median() < 0.02
    assert (torch.cat(differences) < 0.1).float().mean() > 0.95


def test_a_fine_picture_from_above_is_the_middle_of_a_coarse_one(exact_world: World) -> None:
    sites = exact_world.sites(4)
    fine = exact_world.aerials(sites, metres=32, pixels=320)  # 0.1 m a pixel
    coarse = exact_world.aerials(sites, metres=128, pixels=256)  # 0.5 m
    assert (fine.metres_per_pixel, coarse.metres_per_pixel) == (0.1, 0.5)
    middle = slice(96, 160)
    assert (fine.labels[:, 2::5, 2::5] == coarse.labels[:, middle, middle]).float().mean() > 0.999
    assert torch.allclose(fine.height[:, 2::5, 2::5], coarse.height[:, middle, middle])
    small = torch.nn.functional.avg_pool2d(fine.colour, 5)
    for left, right in zip(small, coarse.colour[..., middle, middle], strict=True):
        assert torch.corrcoef(torch.stack([left.flatten(), right.flatten()]))[0, 1] > 0.99  # a pixel aside: 0.9
        assert (left - right).abs().mean() < 0.02
    for metres, pixels, batch in ((32.0, 320, fine), (128.0, 256, coarse)):
        view = exact_world.aerial(sites[0], metres=metres, pixels=pixels)
        assert view.metres_per_pixel == batch.metres_per_pixel and view.latlon == sites[0].latlon
        torch.testing.assert_close(view.image, batch.colour[0])


def outside(car: np.ndarray, east: torch.Tensor, north: torch.Tensor) -> torch.Tensor:
    """Metres from the sides of a car's rectangle, positive outside, as `town.Cars` describes it."""
    ahead = math.radians(car[2])
    de, dn = east - float(car[0]), north - float(car[1])
    u, v = de * math.sin(ahead) + dn * math.cos(ahead), dn * math.sin(ahead) - de * math.cos(ahead)
    return torch.maximum(u.abs() - float(car[3]) / 2, v.abs() - float(car[4]) / 2)


def level_cars(world: World) -> list[np.ndarray]:
    """Cars (no lorries) in the open, alone, and on ground that differs by less than 0.25 m around them."""
    scene, cars, chosen = world.ground_scene, world.plan.cars.ground, []
    axis = torch.arange(-4.5, 4.6, 0.5)
    for car in cars[(np.abs(cars[:, :2]) < world.size / 2 - 20).all(1)]:
        index = scene.index(*torch.meshgrid(axis + float(car[0]), axis + float(car[1]), indexing="ij"))
        ground, top = scene.ground[index.long()], torch.maximum(scene.height, scene.canopy)[index.long()]
        alone = np.hypot(*(cars[:, :2] - car[:2]).T)
        if (
            car[5] < 2.5
            and ground.max() - ground.min() < 0.25
            and (top <= ground + 0.05).all()
            and (alone < 7).sum() == 1
        ):
            chosen.append(car)
    return chosen


def test_a_car_seen_from_nearby_has_the_sides_and_corners_of_its_rectangle(car_park: World) -> None:
    """Within a few centimetres: rasters of 0.5 m would make steps of half a metre."""
    cars = level_cars(car_park)[:4]
    assert len(cars) >= 3
    for car, bearing in ((car, car[2] + turn) for car in cars for turn in (40, 160)):
        spot = car[:2] + 4.2 * np.array([math.sin(math.radians(bearing)), math.cos(math.radians(bearing))])
        site = replace(car_park.sites(1)[0], east=float(spot[0]), north=float(spot[1]))
        batch = car_park.panoramas([site], headings=[bearing + 180], height=512, width=2048, camera_height=1.6)
        azimuth, elevation = directions(batch, 90.0)
        east, north, _ = ground_seen(batch)
        level = (1.6 + batch.depth * torch.sin(elevation)[:, None])[0]
        gap = outside(car, east[0] + site.east, north[0] + site.north)
        seen = (batch.labels[0] == 0) & (gap.abs() < 0.6) & (level > 0.25) & (level < 0.5)
        assert gap[seen].abs().quantile(0.99) < 0.06
        ahead = np.array([math.sin(math.radians(car[2])), math.cos(math.radians(car[2]))])
        left = np.array([-ahead[1], ahead[0]])
        ends = [(u, v) for u in (-car[3] / 2, car[3] / 2) for v in (-car[4] / 2, car[4] / 2)]
        corners = np.array([car[:2] - spot + u * ahead + v * left for u, v in ends])
        middle = math.radians(bearing + 180)
        expected = (np.arctan2(*corners.T) - middle + math.pi) % (2 * math.pi) - math.pi
        columns = (azimuth[0][seen.any(0)] - middle + math.pi) % (2 * math.pi) - math.pi
        for edge, corner in ((columns.min(), expected.argmin()), (columns.max(), expected.argmax())):
            assert abs(float(edge) - expected[corner]) * np.hypot(*corners[corner]) < 0.08


def test_a_car_seen_from_above_fills_its_rectangle(car_park: World) -> None:
    cars = level_cars(car_park)[:6]
    tiles = car_park.aerials([(float(c[0]), float(c[1])) for c in cars], metres=12.8, pixels=256)
    step = ((torch.arange(256) + 0.5) / 256 - 0.5) * 12.8
    assert len(cars) >= 3
    for car, labels, height in zip(cars, tiles.labels, tiles.height, strict=True):
        gap = outside(car, float(car[0]) + step[None], float(car[1]) - step[:, None])
        assert (labels[gap < -0.03] == 0).all() and (labels[(gap > 0.03) & (gap < 0.8)] != 0).all()
        assert height[gap < -0.03].max() == pytest.approx(float(car[5]), abs=0.02)


def test_same_seed_gives_the_same_bytes() -> None:
    first, second = (World(5, size=220, resolution=1.0) for _ in range(2))
    for name in ("ground", "height", "canopy", "material", "instance", "marking"):
        assert getattr(first.surface, name).tobytes() == getattr(second.surface, name).tobytes()
    site = first.sites(1)[0]
    assert torch.equal(first.panoramas([site]).colour, second.panoramas([site]).colour)
    assert torch.equal(first.aerials([site]).colour, second.aerials([site]).colour)


def test_different_seeds_give_different_worlds() -> None:
    first, second = World(6, size=220, resolution=1.0), World(7, size=220, resolution=1.0)
    assert first.latlon != second.latlon
    assert not np.array_equal(first.surface.material, second.surface.material)


def test_every_class_occurs_across_ten_worlds() -> None:
    seen: set[int] = set()
    for seed in range(10):
        world = World(seed, biome=World.BIOMES[seed % len(World.BIOMES)], size=300, resolution=1.0)
        seen |= set(world.panoramas(world.sites(4)).labels.unique().tolist())
        seen |= set(world.aerials(world.sites(4)).labels.unique().tolist())
    assert seen == set(range(len(CLASSES)))


def test_the_two_moments_differ_and_exact_worlds_have_one(world: World, exact_world: World) -> None:
    assert world.ground_moment.sun_azimuth != world.aerial_moment.sun_azimuth
    assert exact_world.ground_moment == exact_world.aerial_moment
    assert exact_world.ground_scene is exact_world.aerial_scene


COLOUR, EVERYTHING = {"colour"}, {"colour", "depth", "labels"}
EYE = EVERYTHING | {"camera_height"}
SWITCHES = {  # a value, and what it changes in each kind of picture; kinds left out stay as they are
    "moments": (True, {"later photo": COLOUR, "aerial": COLOUR}),
    "cars": (True, {"later photo": EVERYTHING, "aerial": {"colour", "labels", "height"}}),
    "sensor": (1.0, {"panorama": COLOUR, "photo": COLOUR, "later photo": COLOUR, "aerial": COLOUR}),
    "tilt": (2.0, {"panorama": EVERYTHING}),
    "lean": (0.14, {"aerial": {"colour", "labels", "height"}}),
    "camera_height": ((1.6, 2.4), {"panorama": EYE, "photo": EYE, "later photo": EYE}),
}


def pictures_with(nuisance: Nuisance | None) -> dict[str, dict[str, torch.Tensor]]:
    """What each kind of picture of a place holds; without nuisance it is an exact world."""
    world = World(12, biome="industrial", size=220, exact=nuisance is None, nuisance=nuisance)
    sites = world.sites(2)
    batches = {
        "panorama": world.panoramas(sites, height=64, width=256),
        "photo": world.photos(sites, height=64, width=96),
        "later photo": world.photos(sites, height=64, width=96, later=True),
        "aerial": world.aerials(sites, pixels=128),
    }
    return {
        kind: {name: value for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
        for kind, batch in batches.items()
    }


@pytest.fixture(scope="module")
def exact_pictures() -> dict[str, dict[str, torch.Tensor]]:
    return pictures_with(None)


@pytest.mark.parametrize("switch", [None, *(field.name for field in fields(Nuisance))])
def test_a_nuisance_changes_the_pictures_it_should_and_no_others(switch: str | None, exact_pictures: dict) -> None:
    """Each alone, against an exact world, which is a world with every nuisance switched off."""
    value, changes = (None, {}) if switch is None else SWITCHES[switch]
    pictures = pictures_with(EXACT if switch is None else replace(EXACT, **{switch: value}))
    for kind, exact in exact_pictures.items():
        changed = {name for name in exact if not torch.equal(exact[name], pictures[kind][name])}
        assert changed == changes.get(kind, set()), kind


def test_every_camera_exposes_and_compresses_however_weak_its_faults() -> None:
    dark = 0.3 * torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    flawless, faulty = (expose(dark, np.random.default_rng(1), strength=strength) for strength in (0.0, 1.0))
    brightness = flawless.mean((1, 2, 3))
    assert (brightness > 1.5 * dark.mean((1, 2, 3))).all() and (brightness < EXPOSED).all()
    again = expose(dark, np.random.default_rng(2), strength=0.0)  # differs by the quality of the JPEG alone
    assert not torch.equal(flawless, again) and (again.mean((1, 2, 3)) - brightness).abs().max() < 0.01
    assert faulty.mean((1, 2, 3)).std() > 10 * brightness.std()


def test_coordinates_round_trip_and_tiles_are_where_they_say(world: World) -> None:
    lat, lon = world.latlon_of(70.0, -40.0)
    assert world.local_of(lat, lon) == pytest.approx((70.0, -40.0), abs=1e-3)
    tiles = list(world.tiles(64, 64, limit=6))
    assert distance_m(tiles[0].latlon, tiles[1].latlon) == pytest.approx(64, rel=1e-3)
    assert tiles[0].latlon[0] > tiles[5].latlon[0]
    assert all(tile.metres_per_pixel == 0.25 for tile in tiles)


def test_pair_knows_its_geometry(world: World) -> None:
    ground, aerial = world.pair(world.sites(1)[0], offset=(3.0, 4.0))
    assert ground.image.shape == (3, 256, 1024) and aerial.image.shape == (3, 256, 256)
    assert (ground.heading, ground.hfov, ground.vfov) == (0.0, 360.0, 90.0)
    assert distance_m(ground.latlon, aerial.latlon) == pytest.approx(5.0, rel=1e-3)


def test_sky_is_infinitely_far_and_the_ground_is_near(exact_world: World) -> None:
    batch = exact_world.panoramas(exact_world.sites(4))
    assert torch.isinf(batch.depth[batch.labels == 2]).all()
    lowest = batch.depth[:, -1]
    assert ((lowest > 2.0) & (lowest < 5.0)).float().mean() > 0.8


def test_splits_cover_the_seeds_without_overlap() -> None:
    assert [split_of(seed) for seed in (0, 899_999, 900_000, 949_999, 950_000, 999_999)] == [
        "train", "train", "validation", "validation", "test", "test",
    ]  # fmt: skip
    assert sum(len(seeds) for seeds in SPLITS.values()) == 1_000_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"seed": 1_000_000}, "outside 0–999 999"),
        ({"seed": 1, "biome": "moon"}, "No biome named 'moon'. Available: "),
        ({"seed": 1, "size": 10}, "choose a side of 200 to 4000 m"),
    ],
)
def test_impossible_worlds_are_refused(arguments: dict, said: str) -> None:
    with pytest.raises(XViewError, match=said):
        World(**arguments)


@pytest.mark.parametrize("inference", [False, True])
def test_cores_that_share_the_work_draw_the_same_pictures(exact_world: World, inference: bool) -> None:
    sites = exact_world.sites(7)
    alone = exact_world.panoramas(sites, height=32, width=128)
    torch.set_num_threads(3)
    try:
        with torch.inference_mode(inference):
            shared = exact_world.panoramas(sites, height=32, width=128)
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(1)
    assert torch.equal(alone.labels, shared.labels)
    torch.testing.assert_close(alone.depth, shared.depth)
    torch.testing.assert_close(alone.colour, shared.colour)


def test_too_many_sites_are_refused(world: World) -> None:
    with pytest.raises(XViewError, match="fewer than 1000000"):
        world.sites(1_000_000)


def test_contact_sheet_and_bench() -> None:
    world = World(8, size=220, resolution=1.0)
    sheet = contact_sheet(world, sites=2)
    assert sheet.dtype == np.uint8 and sheet.shape == (512, 1024 + 512 + 512, 3) and sheet.std() > 20
    figures = bench_world(size=220, batch=4)
    assert figures["world_seconds"] > 0 and figures["panoramas_per_second"] > 0
