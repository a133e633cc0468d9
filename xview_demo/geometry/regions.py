"""Regions on the map as exact masks over places."""

from collections.abc import Sequence

import numpy as np

from xview_demo.geometry.geodesy import distance_m

Region = Sequence[float] | Sequence[Sequence[float]]


def region_mask(latlons: np.ndarray, region: Region) -> np.ndarray:
    """Which places lie in a region, borders included: (N,) bool.

    Args:
        latlons: (N, 2) degrees WGS84; a place with NaN lies in no region.
        region: (lat, lon, radius_m), a circle; (lat0, lon0, lat1, lon1), two opposite corners of a box (the narrower
            way round the globe); or three or more (lat, lon) corners of a polygon.

    Raises:
        ValueError: the region is none of these, or its outline crosses itself.
    """
    try:
        shape = np.asarray(region, dtype=np.float64)
    except (TypeError, ValueError):
        shape = np.zeros(0)
    if not np.isfinite(shape).all():
        raise ValueError(f"The region {region} holds numbers that are not finite: give degrees and metres.")
    if shape.shape == (3,):
        return _in_circle(latlons, (shape[0], shape[1]), shape[2])
    if shape.shape == (4,):
        return _in_box(latlons[:, 0], latlons[:, 1], shape)
    if shape.ndim == 2 and shape.shape[1] == 2 and len(shape) >= 3:
        return _in_polygon(latlons, shape)
    raise ValueError(
        f"The region {region} is not understood: give lat,lon,radius_m, or lat0,lon0,lat1,lon1, or corners (lat, lon)."
    )


def _in_circle(latlons: np.ndarray, centre: tuple[float, float], radius: float) -> np.ndarray:
    inside = np.zeros(len(latlons), dtype=bool)
    known = np.isfinite(latlons).all(1)
    inside[known] = np.atleast_1d(distance_m(latlons[known], centre)) <= radius
    return inside


def _in_box(latitude: np.ndarray, longitude: np.ndarray, box: np.ndarray) -> np.ndarray:
    south, north = sorted((box[0], box[2]))
    west, east = sorted((box[1], box[3]))
    with np.errstate(invalid="ignore"):
        rows = (latitude >= south) & (latitude <= north)
        between = (longitude >= west) & (longitude <= east)
        return rows & (between if east - west <= 180 else (longitude <= west) | (longitude >= east))


def _in_polygon(latlons: np.ndarray, corners: np.ndarray) -> np.ndarray:
    import shapely

    polygon = shapely.Polygon(corners[:, ::-1])
    if not polygon.is_valid:
        raise ValueError("The region's outline crosses itself: give its corners in order.")
    shapely.prepare(polygon)
    inside = shapely.intersects_xy(polygon, latlons[:, 1], latlons[:, 0])
    return np.asarray(inside, dtype=bool) & np.isfinite(latlons).all(1)
