"""Place-recognition folders, as Pitts30k, MSLS and others are laid out: photographs named by UTM, queries and gallery.

`{root}/images/{train,val,test}/{gallery,queries}/**/@UTM east@UTM north@…@.jpg` (`images/` may be missing). A gallery
photograph is right for a query if both were taken within 25 m of one another.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xview_demo.data.index import check_split
from xview_demo.errors import DataError
from xview_demo.geometry.geodesy import latlon_to_utm
from xview_demo.geometry.names import place_of, utm_of
from xview_demo.tiles import picture_files

RADIUS = 25.0  # metres
FOLDERS = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}


@dataclass(frozen=True, eq=False)
class PlaceIndex:
    """Gallery and queries of one split."""

    name: str
    split: str
    gallery: tuple[Path, ...]
    queries: tuple[Path, ...]
    gallery_utm: np.ndarray  # (N, 2) metres east, north
    query_utm: np.ndarray  # (Q, 2)

    def positives(self, radius: float = RADIUS) -> list[np.ndarray]:
        """For each query the gallery's photographs at most `radius` metres away, the nearest first."""
        from scipy.spatial import cKDTree

        found = cKDTree(self.gallery_utm).query_ball_point(self.query_utm, radius)
        away = [
            np.hypot(*(self.gallery_utm[near] - place).T) for near, place in zip(found, self.query_utm, strict=True)
        ]
        return [np.asarray(near, dtype=np.int64)[np.argsort(d)] for near, d in zip(found, away, strict=True)]


def read_places(root: str | os.PathLike[str], split: str = "test") -> PlaceIndex:
    """Read one split of a place-recognition folder; any picture suffix, sorted by path.

    Args:
        root: the folder; an "@" in its name does no harm.
        split: "train", "validation" or "test".

    Raises:
        DataError: folders that are missing or empty, or a name without a position.
    """
    check_split(split)
    root = Path(root)
    base = root / "images" if (root / "images").is_dir() else root
    home = next((base / name for name in FOLDERS[split] if (base / name).is_dir()), None)
    if home is None:
        raise DataError(f"{base} has no folder {FOLDERS[split][0]}/: it needs train, val and test.")
    files: dict[str, tuple[Path, ...]] = {}
    for side in ("gallery", "queries"):
        files[side] = tuple(picture_files(home / side)) if (home / side).is_dir() else ()
        if not files[side]:
            raise DataError(f"{home / side} holds no pictures: put photographs named @UTM east@UTM north@…@.jpg there.")
    places = {side: np.array([_position(file) for file in found]) for side, found in files.items()}
    return PlaceIndex(root.name, split, files["gallery"], files["queries"], places["gallery"], places["queries"])


def _position(file: Path) -> tuple[float, float]:
    """Metres (east, north) that a file's name holds: UTM as written, or of its latitude and longitude."""
    metres = utm_of(file)
    if metres is not None:
        return metres
    place = place_of(file)
    if place is None:
        raise DataError(f"{file.name} holds no position: name it @UTM east@UTM north@…@{file.suffix}.")
    return latlon_to_utm(*place.latlon)[:2]
