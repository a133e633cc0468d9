"""VIGOR: four cities, tiles that cover them, panoramas anywhere (Zhu et al., CVPR 2021, https://arxiv.org/abs/2011.12172).

A panorama has one positive tile, whose middle quarter holds the camera, and up to three semi-positives, which see it
nearer their edge. Lists: `pano tile dr dc tile dr dc tile dr dc tile dr dc`, the positive first; dr and dc are pixels
of 640² from the camera to the tile's centre: the camera is in row 320 + dr and column 320 - dc.
"""

import os
import re
from pathlib import Path

from xview_demo.data.index import SPLITS, AerialItem, GroundItem, PairIndex
from xview_demo.data.listing import Files, published, rows_of
from xview_demo.errors import DataError

SCALES = {"NewYork": 0.113248, "Seattle": 0.100817, "SanFrancisco": 0.118141, "Chicago": 0.111262}  # m/px of 640²
SIDE = 640
CITIES = {"train": ("NewYork", "Seattle"), "test": ("SanFrancisco", "Chicago")}  # of the cross-area protocol
CROSS = "cross-"  # before a split, of the cross-area protocol
OFFERED = (*SPLITS, *(CROSS + name for name in SPLITS))
LAYOUT = (
    "splits/City/satellite_list.txt, same_area_balanced_train.txt, same_area_balanced_test.txt and "
    "pano_label_balanced.txt, and the pictures in City/satellite/ and City/panorama/ (or satellite/City/ and "
    "ground/City/) for NewYork, Seattle, SanFrancisco and Chicago"
)
_PLACE = re.compile(r"(-?\d+\.\d+)[,_](-?\d+\.\d+),?\.?$")


def read_vigor(
    root: str | os.PathLike[str],
    split: str | None = None,
    *,
    area: str = "same",
    cities: tuple[str, ...] | None = None,
    corrected: bool = False,
    heading: float | None = 0.0,
    skip_missing: bool = False,
) -> PairIndex:
    """Read VIGOR; the gallery holds every tile of the cities, with or without a panorama.

    Args:
        root: the folder with `splits/` and the cities.
        split: "train"; "validation" and "test" both mean the published test list; None for all. "cross-train",
            "cross-validation" and "cross-test" are those of the area "cross".
        area: "same" (all cities in both splits) or "cross" (train in two cities, test in the other two).
        cities: only these.
        corrected: read the lists of SliceMatch (`splits__corrected/City/NAME__corrected.txt`), whose positions are
            more exact (Lentsch et al., CVPR 2023).
        heading: degrees clockwise from north of the panoramas' centre columns (they are aligned to north).
        skip_missing: leave out panoramas and tiles whose files are missing instead of raising.

    Raises:
        DataError: an unknown split, area or city, or a list or picture is missing.
    """
    if area not in ("same", "cross"):
        raise DataError(f"VIGOR has no area {area!r}: use same or cross.")
    if split is not None and split not in OFFERED:
        raise DataError(f"VIGOR has no split {split!r}. Available: {', '.join(OFFERED)}, or None for everything.")
    asked = split
    if split is not None and split.startswith(CROSS):
        area, split = "cross", split.removeprefix(CROSS)
    files, tail = Files(root, LAYOUT), "__corrected" if corrected else ""
    tiles: dict[str, AerialItem] = {}
    rows: list[tuple[str, list[str], Path]] = []
    for part in published(split):
        name = "pano_label_balanced" if area == "cross" else f"same_area_balanced_{part}"
        for city in _cities(part, area, cities):
            if not any(key.startswith(f"{city}/") for key in tiles):
                tiles |= _tiles(files, city, tail, skip_missing)
            rows += _rows(files, city, f"splits{tail}/{city}/{name}{tail}.txt", skip_missing)
    order = {name: number for number, name in enumerate(tiles)}
    ground, positives, semi = [], [], []
    for city, row, file in rows:
        right, *others = (order.get(f"{city}/{name}") for name in row[1:13:3])
        if right is None and not skip_missing:
            raise DataError(f"VIGOR's row of {row[0]} names {row[1]}, which is not in {city}/satellite_list.txt.")
        if right is not None:
            place = _latlon(row[0])
            ground.append(GroundItem(f"{city}/{Path(row[0]).stem}", file, heading, 360.0, place, _offset(row, city)))
            positives.append((right,))
            semi.append(tuple(dict.fromkeys(n for n in others if n is not None and n != right)))
    return PairIndex("vigor", asked, tuple(ground), tuple(tiles.values()), tuple(positives), tuple(semi))


def _cities(part: str, area: str, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    unknown = set(wanted or ()) - set(SCALES)
    if unknown:
        raise DataError(f"VIGOR has no city {sorted(unknown)[0]!r}. Available: {', '.join(SCALES)}.")
    offered = CITIES[part] if area == "cross" else tuple(SCALES)
    return tuple(city for city in offered if wanted is None or city in wanted)


def _tiles(files: Files, city: str, tail: str, skip_missing: bool) -> dict[str, AerialItem]:
    source = files.first(f"splits{tail}/{city}/satellite_list{tail}.txt", f"splits{tail}/{city}/satellite_list.txt")
    folder = files.has(f"{city}/satellite", f"satellite/{city}")
    listed = [(f"{folder}/{row[0]}",) for row in rows_of(source, 1, commas=False)]
    found, scale = {}, None
    for (name,), (file,) in files.complete(listed, skip_missing, source):
        scale = scale or SCALES[city] * SIDE / _width(file)
        short = Path(name).name
        found[f"{city}/{short}"] = AerialItem(f"{city}/{Path(name).stem}", file, scale, _latlon(name))
    return found


def _width(file: Path) -> int:
    from PIL import Image

    with Image.open(file) as picture:
        return picture.width


def _rows(files: Files, city: str, name: str, skip_missing: bool) -> list[tuple[str, list[str], Path]]:
    """City, fields and panorama of each row of a list."""
    source, home = files.first(name), files.has(f"{city}/panorama", f"ground/{city}")
    rows = {f"{home}/{row[0]}": row for row in rows_of(source, 13, commas=False)}
    found = files.complete([(picture,) for picture in rows], skip_missing, source)
    return [(city, rows[picture], file) for (picture,), (file,) in found]


def _offset(row: list[str], city: str) -> tuple[float, float] | None:
    """Metres (east, north) of the camera from its positive tile's centre; None when it lies outside the tile."""
    try:
        down, left = float(row[2]), float(row[3])
    except ValueError:
        raise DataError(
            f"VIGOR's row of {row[0]} holds {row[2]} {row[3]}, not two numbers: restore the list."
        ) from None
    if max(abs(down), abs(left)) >= SIDE / 2:
        return None
    return -left * SCALES[city], -down * SCALES[city]


def _latlon(name: str) -> tuple[float, float] | None:
    """The place in `satellite_40.7_-73.9.png` or `PANO,40.7,-73.9,.jpg`."""
    match = _PLACE.search(Path(name).stem)
    return (float(match[1]), float(match[2])) if match else None
