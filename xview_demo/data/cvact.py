"""CVACT: Canberra (Liu & Li, "Lending orientation to neural networks", CVPR 2019, https://arxiv.org/abs/1903.12351).

35,532 training and 8,884 validation pairs in `ANU_data_small`, 92,802 test pairs in `ANU_data_test`; which is which,
and where, stands in `ACT_data.mat` (`panoIds`, `utm`, `trainSet.trainInd`, `valSet.valInd`, `valSetAll.valInd`).
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from xview_demo.data.index import SPLITS, AerialItem, GroundItem, PairIndex, check_split
from xview_demo.data.listing import Files
from xview_demo.errors import DataError
from xview_demo.geometry.geodesy import utm_to_latlon

LAYOUT = (
    "ACT_data.mat, ANU_data_small/ (training, validation) and ANU_data_test/ (test), each with "
    "streetview/ID_grdView.jpg and satview_polish/ID_satView_polish.jpg"
)
SETS = {"train": ("trainSet", "trainInd"), "validation": ("valSet", "valInd"), "test": ("valSetAll", "valInd")}
GROUND = ("streetview", "streetview_processed", "streetview_polish")
ZONE = (55, "S")  # UTM zone of Canberra
NEAR = 25.0  # metres within which a tile shows the same place and is no wrong answer, as in the source


def read_cvact(
    root: str | os.PathLike[str],
    split: str | None = None,
    *,
    heading: float | None = 0.0,
    metres_per_pixel: float | None = None,
    skip_missing: bool = False,
) -> PairIndex:
    """Read CVACT: one tile per panorama; tiles within 25 m of it are semi-positives.

    Args:
        root: the folder with `ACT_data.mat`.
        split: "train", "validation" (CVACT_val), "test" (CVACT_test) or None for all.
        heading: degrees clockwise from north of the panoramas' centre columns (they are aligned to north).
        metres_per_pixel: of the tiles; None = unknown, a tile is used whole.
        skip_missing: leave out pairs whose files are missing instead of raising (the public copies lack a few).

    Raises:
        DataError: the list or a picture is missing.
    """
    check_split(split)
    files = Files(root, LAYOUT)
    table = files.first("ACT_data.mat")
    content = _load(table)
    ids = [str(name) for name in np.atleast_1d(content["panoIds"])]
    utm = np.asarray(content["utm"], float).reshape(-1, 2)
    ground: list[GroundItem] = []
    aerial: list[AerialItem] = []
    places: dict[int, None] = {}  # rows of the table that were read, in order
    for part in (split,) if split else SPLITS:
        folder = files.has("ANU_data_test" if part == "test" else "ANU_data_small", "streetview")
        folder = "" if folder == "streetview" else f"{folder}/"
        side = files.has(*(folder + name for name in GROUND))
        numbers = [n for n in _indices(content, part) if n not in places]
        rows = [
            (f"{side}/{ids[n]}_grdView.jpg", f"{folder}satview_polish/{ids[n]}_satView_polish.jpg") for n in numbers
        ]
        number_of = dict(zip(rows, numbers, strict=True))
        for row, (strip, tile) in files.complete([*number_of], skip_missing, table):
            n = number_of[(row[0], row[1])]
            latlon = utm_to_latlon(float(utm[n, 0]), float(utm[n, 1]), *ZONE)
            ground.append(GroundItem(ids[n], strip, heading, 360.0, latlon))
            aerial.append(AerialItem(ids[n], tile, metres_per_pixel, latlon))
            places[n] = None
    positives = tuple((n,) for n in range(len(ground)))
    return PairIndex("cvact", split, tuple(ground), tuple(aerial), positives, _near(utm[list(places)]))


def _load(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content: dict[str, Any] = loadmat(path, simplify_cells=True)
        return {key: content[key] for key in ("panoIds", "utm", *(name for name, _ in SETS.values()))}
    except (OSError, ValueError, TypeError, KeyError, NotImplementedError, MatReadError) as error:
        raise DataError(f"{path} cannot be read as CVACT's table ({error}): restore it from where it came.") from None


def _indices(content: dict[str, Any], split: str) -> list[int]:
    """Rows of a split; MATLAB counts from 1."""
    name, column = SETS[split]
    return (np.atleast_1d(content[name][column]).astype(int) - 1).tolist()


def _near(utm: np.ndarray) -> tuple[tuple[int, ...], ...]:
    from scipy.spatial import cKDTree

    found = cKDTree(utm).query_ball_point(utm, NEAR)
    return tuple(tuple(sorted(other for other in tiles if other != n)) for n, tiles in enumerate(found))
