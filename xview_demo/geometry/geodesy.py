"""Places on Earth: WGS84 degrees, local metres, slippy tiles, UTM and distances.

`latlon` is (latitude, longitude) in degrees WGS84; local metres are (east, north). Functions take numbers or
arrays. Where a result is not exact the docstring says by how much.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from pyproj import Geod, Proj

LatLon = tuple[float, float]
WGS84 = Geod(ellps="WGS84")
MERCATOR_RADIUS = 6378137.0  # metres, the sphere of web maps
MERCATOR_LIMIT = 85.05112877980659  # degrees, where the square of web maps ends


def enu_to_latlon(east: Any, north: Any, origin: LatLon) -> tuple[Any, Any]:
    """Degrees (latitude, longitude) of local metres around `origin`, a transverse Mercator map centred on it.

    The exact inverse of `latlon_to_enu` (below a millimetre); metres on the map are metres on the ellipsoid to
    1 in 10⁷ within 2 km of the origin and 1 in 10⁵ within 25 km.
    """
    longitude, latitude = _local(float(origin[0]), float(origin[1]))(east, north, inverse=True)
    return latitude, longitude


def latlon_to_enu(latitude: Any, longitude: Any, origin: LatLon) -> tuple[Any, Any]:
    """Local metres (east, north) around `origin` of places in degrees: the inverse of `enu_to_latlon`."""
    return _local(float(origin[0]), float(origin[1]))(longitude, latitude)


@lru_cache(maxsize=1024)
def _local(latitude: float, longitude: float) -> Proj:
    return Proj(proj="tmerc", lat_0=latitude, lon_0=longitude, k=1, ellps="WGS84", units="m")


def distance_m(a: Any, b: Any) -> Any:
    """Metres on the WGS84 ellipsoid between places a and b, each (2,) or (…, 2) degrees; exact to the micrometre."""
    p, q = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    _, _, metres = WGS84.inv(p[..., 1].ravel(), p[..., 0].ravel(), q[..., 1].ravel(), q[..., 0].ravel())
    metres = np.asarray(metres).reshape(p.shape[:-1])
    return float(metres) if metres.ndim == 0 else metres


def bearing_deg(a: Any, b: Any) -> float:
    """Degrees clockwise from north, [0, 360), of place b seen from place a."""
    return float(WGS84.inv(a[1], a[0], b[1], b[0])[0] % 360)


def haversine_m(a: Any, b: Any) -> Any:
    """Metres between places (…, 2) on a sphere of 6 371 008.8 m: quick, within 0.6 % of `distance_m`."""
    p, q = np.radians(np.asarray(a, np.float64)), np.radians(np.asarray(b, np.float64))
    half = np.sin((q - p) / 2) ** 2
    share = half[..., 0] + np.cos(p[..., 0]) * np.cos(q[..., 0]) * half[..., 1]
    metres = 2 * 6371008.8 * np.arcsin(np.sqrt(np.clip(share, 0, 1)))
    return float(metres) if np.ndim(metres) == 0 else metres


def tile_of(latitude: float, longitude: float, zoom: int) -> tuple[int, int]:
    """The slippy tile (x, y) of zoom z that holds a place; x grows eastward, y southward."""
    x, y = tile_position(latitude, longitude, zoom)
    last = 2**zoom - 1
    return min(max(math.floor(x), 0), last), min(max(math.floor(y), 0), last)


def tile_position(latitude: float, longitude: float, zoom: int) -> tuple[float, float]:
    """The place in units of slippy tiles, fractions included (tile 3's middle is 3.5)."""
    phi = math.radians(max(-MERCATOR_LIMIT, min(MERCATOR_LIMIT, latitude)))
    x = (longitude + 180) / 360
    y = (1 - math.asinh(math.tan(phi)) / math.pi) / 2
    return x * 2**zoom, y * 2**zoom


def tile_latlon(x: float, y: float, zoom: int) -> tuple[float, float]:
    """Degrees of a position in tile units: (x, y) is the tile's north-west corner, (x + .5, y + .5) its middle."""
    n = 2**zoom
    return math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * y / n)))), x / n * 360 - 180


def tile_metres(latitude: float, zoom: int) -> float:
    """Ground width in metres of a slippy tile at a latitude (web maps' sphere; within 0.7 % of the ellipsoid)."""
    return 2 * math.pi * MERCATOR_RADIUS * math.cos(math.radians(latitude)) / 2**zoom


def metres_per_pixel(latitude: float, zoom: int, tile_pixels: int = 256) -> float:
    """Ground size in metres of one pixel of a slippy tile that has `tile_pixels` per side."""
    return tile_metres(latitude, zoom) / tile_pixels


def utm_zone(latitude: float, longitude: float) -> tuple[int, str]:
    """UTM zone number 1–60 and "N" or "S" (the irregular zones of Norway and Svalbard included)."""
    zone = int((longitude + 180) % 360 // 6) + 1
    if 56 <= latitude < 64 and 3 <= longitude < 12:
        zone = 32
    elif 72 <= latitude <= 84 and 0 <= longitude < 42:
        zone = next(number for east, number in ((9, 31), (21, 33), (33, 35), (42, 37)) if longitude < east)
    return zone, "N" if latitude >= 0 else "S"


def latlon_to_utm(latitude: float, longitude: float) -> tuple[float, float, int, str]:
    """UTM (east, north) in metres with zone number and hemisphere of a place."""
    zone, hemisphere = utm_zone(latitude, longitude)
    east, north = _utm(zone, hemisphere)(longitude, latitude)
    return east, north, zone, hemisphere


def utm_to_latlon(east: float, north: float, zone: int, hemisphere: str = "N") -> tuple[float, float]:
    """Degrees of a UTM position; the exact inverse of `latlon_to_utm`.

    Raises:
        ValueError: the zone is not 1–60 or the hemisphere not N or S.
    """
    longitude, latitude = _utm(zone, hemisphere)(east, north, inverse=True)
    return latitude, longitude


@lru_cache(maxsize=128)
def _utm(zone: int, hemisphere: str) -> Proj:
    if not 1 <= zone <= 60 or hemisphere not in ("N", "S"):
        raise ValueError(f"UTM zone {zone}{hemisphere} does not exist: give 1–60 and N or S")
    return Proj(proj="utm", zone=zone, south=hemisphere == "S", ellps="WGS84")
