"""Where the pairs of a data set lie, and which of them show the same place."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from xview_demo.data import PairIndex
from xview_demo.geometry.geodesy import LatLon, latlon_to_enu

CELL = 0.25  # degrees; places in cells that touch belong to one area
GAP = 100.0  # metres between areas
CAMERA_HEIGHT = 2.5  # metres above the ground; no data set says more


def places(latlon: Sequence[LatLon | None]) -> np.ndarray:
    """(N, 4) float64 places of pairs as a cache holds them: area, east and north (metres), camera height (metres).

    An area takes the part of a world: places of two areas are never near. Each has an origin of its own and all lie
    side by side. A pair whose place is unknown is an area of its own. Single precision would be wrong by metres where
    distances are made of squares this far from the origin.

    Args:
        latlon: degrees WGS84 of each pair; None = unknown.
    """
    known = np.array([n for n, place in enumerate(latlon) if place is not None], dtype=int)
    degrees = np.array([place for place in latlon if place is not None], dtype=np.float64).reshape(-1, 2)
    area, metres = np.zeros(len(latlon), dtype=int), np.zeros((len(latlon), 2))
    area[known] = _areas(degrees)
    for number in np.unique(area[known]):
        rows = area[known] == number
        latitude, longitude = degrees[rows].T
        metres[known[rows]] = np.stack(latlon_to_enu(latitude, longitude, tuple(degrees[rows].mean(0))), 1)
    unknown = np.setdiff1d(np.arange(len(latlon)), known)
    area[unknown] = len(known) + unknown
    east = _side_by_side(np.unique(area, return_inverse=True)[1], metres[:, 0])
    return np.stack((area, east, metres[:, 1], np.full(len(latlon), CAMERA_HEIGHT)), 1)


def _areas(degrees: np.ndarray) -> np.ndarray:
    """(N,) number of the area of each place (N, 2): cells of latitude and longitude that touch are one."""
    if not len(degrees):
        return np.zeros(0, dtype=int)
    cells, cell_of = np.unique(np.floor(degrees / CELL), axis=0, return_inverse=True)
    first, second = cKDTree(cells).query_pairs(1.0, p=np.inf, output_type="ndarray").T
    touching = coo_array((np.ones(len(first)), (first, second)), shape=(len(cells), len(cells)))
    return connected_components(touching, directed=False)[1][cell_of.ravel()]


def _side_by_side(area: np.ndarray, east: np.ndarray) -> np.ndarray:
    """(N,) metres east with areas 0, 1, … one beside the other, for whoever looks at metres alone."""
    low, high = np.full(area.max() + 1, np.inf), np.full(area.max() + 1, -np.inf)
    np.minimum.at(low, area, east)
    np.maximum.at(high, area, east)
    start = np.concatenate(([0.0], np.cumsum(high - low + GAP)[:-1]))
    return east + (start - low)[area]


def same_places(index: PairIndex, queries: np.ndarray) -> csr_array:
    """(N, N) bool, True where either of two pairs lies within the right tile of the other, itself included.

    Args:
        index: its right and semi-positive tiles say which places a tile shows.
        queries: (N,) rows of the queries that make pairs, each with its best right tile.
    """
    semi = index.semi_positives or ((),) * len(index)
    seen = [set(index.positives[query]) | set(semi[query]) for query in queries]
    shape = (len(queries), len(index.aerial))
    within = _table(np.repeat(np.arange(len(seen)), [len(s) for s in seen]), [t for s in seen for t in s], shape)
    own = _table(np.arange(len(queries)), index.truth[queries], shape)
    found = within @ own.T
    return csr_array((found + found.T) > 0)


def _table(rows: np.ndarray, columns: Sequence[int] | np.ndarray, shape: tuple[int, int]) -> csr_array:
    return csr_array((np.ones(len(rows), dtype=np.int32), (rows, np.asarray(columns, dtype=int))), shape=shape)
