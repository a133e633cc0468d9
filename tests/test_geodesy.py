"""Places on Earth."""

import math

import numpy as np
import pytest

from xview_demo.geometry import geodesy
from xview_demo.geometry.names import place_of, utm_of
from xview_demo.geometry.regions import region_mask

PLACES = [(40.7, -73.9), (-33.9, 151.2), (0.0, 0.0), (64.1, -21.9), (-1.3, 179.9)]


@pytest.mark.parametrize("origin", PLACES)
def test_local_metres_are_exact_inverses(origin):
    east, north = np.meshgrid([-2000.0, 0.0, 1.0, 5000.0], [-3000.0, 0.0, 7.5])
    back = geodesy.latlon_to_enu(*geodesy.enu_to_latlon(east, north, origin), origin)
    np.testing.assert_allclose(back, (east, north), atol=1e-5)


@pytest.mark.parametrize("origin", PLACES)
def test_local_metres_are_metres(origin):
    there = geodesy.enu_to_latlon(300.0, 400.0, origin)
    assert geodesy.distance_m(origin, there) == pytest.approx(500.0, abs=1e-3)
    assert geodesy.bearing_deg(origin, there) == pytest.approx(math.degrees(math.atan2(300, 400)), abs=1e-3)
    assert geodesy.enu_to_latlon(0.0, 0.0, origin) == pytest.approx(origin)


def test_distance_takes_arrays():
    there = np.array([(40.7, -73.9), (40.8, -73.9)])
    metres = geodesy.distance_m(there, (40.7, -73.9))
    assert metres.shape == (2,) and metres[0] == 0 and metres[1] == pytest.approx(11104.6, abs=1)
    assert geodesy.haversine_m(there, (40.7, -73.9))[1] == pytest.approx(metres[1], rel=6e-3)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("zoom", [1, 14, 19])
def test_slippy_tiles_hold_their_place(place, zoom):
    x, y = geodesy.tile_of(*place, zoom)
    north, west = geodesy.tile_latlon(x, y, zoom)
    south, east = geodesy.tile_latlon(x + 1, y + 1, zoom)
    assert south - 1e-9 <= place[0] <= north + 1e-9 and west - 1e-9 <= place[1] <= east + 1e-9
    position = geodesy.tile_position(*place, zoom)
    assert geodesy.tile_latlon(*position, zoom) == pytest.approx(place, abs=1e-9)


def test_known_slippy_tile():
    assert geodesy.tile_of(51.51202, 0.02435, 17) == (65544, 43582)  # OpenStreetMap wiki's example
    assert geodesy.metres_per_pixel(0, 0) == pytest.approx(156543.03392, abs=1e-4)
    assert geodesy.metres_per_pixel(40.7, 19, 512) * 512 == pytest.approx(57.95, abs=0.05)


@pytest.mark.parametrize("place", PLACES)
def test_utm_inverts(place):
    assert geodesy.utm_to_latlon(*geodesy.latlon_to_utm(*place)) == pytest.approx(place, abs=1e-8)


def test_known_utm():
    east, north, zone, hemisphere = geodesy.latlon_to_utm(48.8582, 2.2945)  # the Eiffel tower
    assert (zone, hemisphere) == (31, "N")
    assert (east, north) == pytest.approx((448251.8, 5411932.7), abs=1)
    assert geodesy.utm_zone(60.4, 5.3)[0] == 32 and geodesy.utm_zone(78.2, 15.6)[0] == 33  # Bergen, Svalbard
    with pytest.raises(ValueError, match="61"):
        geodesy.utm_to_latlon(5e5, 5e6, 61)


# Names


def test_slippy_names():
    place = place_of("tiles/19/154413/197027.jpg")
    assert place.tile == (19, 154413, 197027) and place == place_of("19_154413_197027.png")
    assert geodesy.tile_of(*place.latlon, 19) == (154413, 197027)
    assert place.metres == pytest.approx(geodesy.tile_metres(place.latlon[0], 19))
    assert place_of("19/9999999/1.jpg") is None


def test_degree_names():
    assert place_of("a/51.5092,-0.0873.png").latlon == (51.5092, -0.0873)
    assert place_of("40.7000_-73.9000.jpg").latlon == (40.7, -73.9)
    place = place_of("51.5092003280479,-0.08729706392568914,12.11287879943848.png")
    assert place.heading == pytest.approx(12.11287879943848)
    assert place_of("151.5092,-0.0873.png") is None


def test_utm_names():
    path = "a@b/@0448251.8@5411932.7@31@U@x@.jpg"
    assert utm_of(path) == (448251.8, 5411932.7)
    assert place_of(path).latlon == pytest.approx((48.8582, 2.2945), abs=1e-5)
    unzoned = "@0448251.8@5411932.7@.jpg"
    assert place_of(unzoned) is None
    assert place_of(unzoned, utm_zone=(31, "N")).latlon == pytest.approx((48.8582, 2.2945), abs=1e-5)


@pytest.mark.parametrize("name", ["house.jpg", "IMG_2034.jpg", "a/b/12.jpg", "2024_01_02.jpeg", "@x@y@.jpg", "1/2/3"])
def test_other_names_hold_no_place(name):
    place = place_of(name)
    assert place is None or place.tile is not None and name == "1/2/3"


# Regions

TILES = np.array([(10.0, 20.0), (10.01, 20.0), (10.0, 20.01), (np.nan, np.nan), (10.0, -179.99), (10.0, 179.99)])


def test_regions():
    assert region_mask(TILES, (10.0, 20.0, 0.0)).tolist() == [True, False, False, False, False, False]
    assert region_mask(TILES, (10.0, 20.0, 1100.0)).sum() == 2  # a hundredth of a degree: 1106 m north, 1097 m east
    assert region_mask(TILES, (10.02, 19.9, 9.9, 20.005)).tolist() == [True, True, False, False, False, False]
    assert region_mask(TILES, (9, 179.9, 11, -179.9)).tolist() == [False, False, False, False, True, True]
    assert region_mask(TILES, [(9.99, 19.99), (9.99, 20.04), (10.04, 19.99)]).sum() == 3


@pytest.mark.parametrize("region", [(1, 2), "here", [(1, 2), (3, 4)], (1.0, 2.0, float("nan"))])
def test_regions_that_are_none(region):
    with pytest.raises(ValueError, match="region"):
        region_mask(TILES, region)


def test_crossed_outline():
    with pytest.raises(ValueError, match="crosses itself"):
        region_mask(TILES, [(0, 0), (1, 1), (0, 1), (1, 0)])
