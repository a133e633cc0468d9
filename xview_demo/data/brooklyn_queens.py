"""Brooklyn & Queens: panoramas and z19 tiles of New York with land cover, land use, age, function, height and depth
(Workman et al., ICCV 2017; the layout and the values are those that CVSegGuide reads).

`{brooklyn,queens}/overhead/{images.txt,locations.txt,bboxes.txt,images/}`,
`{brooklyn,queens}/streetview/{images.txt,locations.txt,images/}` and `{brooklyn,queens}/labels/KIND/`; the lines of the
text files belong together. Tiles are named `19/x/y.jpg`, panoramas `lat/lon/lat_lon.jpg`. The tile of a panorama is the
one whose bounding box holds it.
"""

import os
import re
from pathlib import Path

import numpy as np

from xview_demo.data.index import AerialItem, GroundItem, PairIndex, check_split
from xview_demo.data.listing import Files, rows_of
from xview_demo.errors import DataError
from xview_demo.geometry.geodesy import latlon_to_enu
from xview_demo.geometry.names import place_of

BOROUGHS = {"train": ("brooklyn",), "validation": ("queens",), "test": ("queens",)}
KINDS = ("landcover", "landuse", "age", "function", "depth", "height")
OVERHEAD = ("landcover", "landuse", "age", "function", "height")  # kinds of labels that belong to a tile
LANDCOVER_VALUES = {1: 0, 2: 0, 5: 1, 6: 2, 7: 3}
"""Value of a land-cover picture → class of `LANDCOVER`: trees, grass and shrubs are tree (as in the source's figures),
then building, road, other paved; bare soil, water and rail are none (255)."""
LAYOUT = (
    "brooklyn/ and queens/, each with overhead/ and streetview/ (images.txt, locations.txt, images/, and "
    "overhead/bboxes.txt), and labels/"
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def read_brooklyn_queens(
    root: str | os.PathLike[str],
    split: str | None = None,
    *,
    boroughs: tuple[str, ...] | None = None,
    heading: float | None = 0.0,
    skip_missing: bool = False,
) -> PairIndex:
    """Read Brooklyn & Queens; labels are in `item.also[KIND]` (see `read_label`), depth with the panoramas.

    Args:
        root: the folder with `brooklyn/` and `queens/`.
        split: "train" is Brooklyn, "validation" and "test" are Queens; None is both.
        boroughs: only these.
        heading: degrees clockwise from north of the panoramas' centre columns (they are aligned to north).
        skip_missing: leave out pictures whose files are missing instead of raising.

    Raises:
        DataError: an unknown borough, lists that do not fit one another, or a list or picture is missing.
    """
    check_split(split)
    known = tuple(dict.fromkeys(name for names in BOROUGHS.values() for name in names))
    unknown = set(boroughs or ()) - set(known)
    if unknown:
        raise DataError(f"There is no borough {sorted(unknown)[0]!r}. Available: {', '.join(known)}.")
    files = Files(root, LAYOUT)
    offered = known if split is None else BOROUGHS[split]
    ground: list[GroundItem] = []
    aerial: list[AerialItem] = []
    positives: list[tuple[int, ...]] = []
    for borough in offered:
        if boroughs is None or borough in boroughs:
            tiles, boxes = _tiles(files, borough, skip_missing)
            for item in _panoramas(files, borough, heading, skip_missing):
                right = _tile_of(item, boxes)
                offset = None if right is None else _offset(item, tiles[right])
                ground.append(GroundItem(item.id, item.source, heading, 360.0, item.latlon, offset, item.also))
                positives.append(() if right is None else (len(aerial) + right,))
            aerial += tiles
    return PairIndex("brooklyn-queens", split, tuple(ground), tuple(aerial), tuple(positives))


def read_label(path: str | os.PathLike[str], kind: str) -> np.ndarray:
    """A label picture as an array (H, W).

    Land cover is uint8, classes of `LANDCOVER` and 255 for none; heights (sparse `.npz`) are float32 metres, 0 where
    nothing stands; the other kinds are the values of the file.

    Raises:
        DataError: an unknown kind, or a file that cannot be read.
    """
    if kind not in KINDS:
        raise DataError(f"No kind of labels named {kind!r}. Available: {', '.join(KINDS)}.")
    try:
        if kind == "height":
            return _height(Path(path))
        from PIL import Image

        with Image.open(path) as picture:
            values = np.asarray(picture)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"The {kind} labels in {path} cannot be read ({error}): download them again.") from error
    if kind != "landcover":
        return values
    table = np.full(256, 255, np.uint8)
    table[list(LANDCOVER_VALUES)] = list(LANDCOVER_VALUES.values())
    return table[values if values.ndim == 2 else values[..., 0]]


def _height(path: Path) -> np.ndarray:
    """Metres: a SciPy sparse matrix, or a plain array under any one name."""
    from scipy.sparse import load_npz

    with np.load(path, allow_pickle=False) as content:
        if len(content.files) == 1:
            return np.asarray(content[content.files[0]], dtype=np.float32)
    return np.asarray(load_npz(path).toarray(), dtype=np.float32)


def _listed(files: Files, borough: str, side: str, names: tuple[str, ...]) -> list[list[list[str]]]:
    """The lines of several lists of one folder, which must be as long as one another."""
    lists = []
    for name in names:
        path = files.first(f"{borough}/{side}/{name}.txt")
        lists.append([[path.name, *row] for row in rows_of(path, 1, commas=False)])
    if len({len(rows) for rows in lists}) > 1:
        lengths = ", ".join(f"{name}.txt has {len(rows)}" for name, rows in zip(names, lists, strict=True))
        raise DataError(f"The lists in {borough}/{side} belong together line by line, but {lengths}: restore them.")
    return lists


def _numbers(row: list[str], count: int) -> list[float]:
    """The last `count` numbers of a line, whatever stands between them."""
    found = [float(text) for text in _NUMBER.findall(" ".join(row[1:]))]
    if len(found) < count:
        raise DataError(f"{row[0]} has the line {' '.join(row[1:])!r}, which holds no {count} numbers: restore it.")
    return found[-count:]


def _pictures(
    files: Files, borough: str, side: str, rows: list[list[str]], skip: bool
) -> list[tuple[str, Path] | None]:
    """Name and file of each line of `images.txt`; None for one that is missing and may be."""
    found: list[tuple[str, Path] | None] = []
    for row in rows:
        name = row[1].strip().lstrip("/")
        file = files.find(f"{borough}/{side}/images/{name.removeprefix('images/')}", elsewhere=False)
        if file is None and not skip:
            raise DataError(
                f"{borough}/{side}/images.txt lists {name}, which is missing below {files.root}: the layout is "
                f"{LAYOUT} (skip_missing=True reads the rest)."
            )
        found.append(None if file is None else (name, file))
    return found


def _tiles(files: Files, borough: str, skip: bool) -> tuple[list[AerialItem], np.ndarray]:
    """Tiles, and their boxes (N, 4): south, west, north, east."""
    names, boxes = _listed(files, borough, "overhead", ("images", "bboxes"))
    labels = {kind: _labels(files.root / borough / "labels" / kind) for kind in OVERHEAD}
    items, kept = [], []
    for picture, box in zip(_pictures(files, borough, "overhead", names, skip), boxes, strict=True):
        if picture is None:
            continue
        lat1, lon1, lat2, lon2 = _numbers(box, 4)
        kept.append((min(lat1, lat2), min(lon1, lon2), max(lat1, lat2), max(lon1, lon2)))
        name, file = picture
        place = place_of(file)
        centre = ((lat1 + lat2) / 2, (lon1 + lon2) / 2) if place is None else place.latlon
        also = {kind: found[_key(name)] for kind, found in labels.items() if _key(name) in found}
        items.append(AerialItem(f"{borough}/{Path(name).with_suffix('').as_posix()}", file, None, centre, also))
    return items, np.array(kept).reshape(-1, 4)


def _panoramas(files: Files, borough: str, heading: float | None, skip: bool) -> list[GroundItem]:
    names, places = _listed(files, borough, "streetview", ("images", "locations"))
    depths = _labels(files.root / borough / "labels" / "depth")
    items = []
    for picture, place in zip(_pictures(files, borough, "streetview", names, skip), places, strict=True):
        if picture is not None:
            name, file = picture
            latitude, longitude = _numbers(place, 2)
            also = {"depth": depths[_key(name)]} if _key(name) in depths else {}
            stem = f"{borough}/{Path(name).stem}"
            items.append(GroundItem(stem, file, heading, 360.0, (latitude, longitude), None, also))
    return items


def _key(name: str) -> tuple[str, ...]:
    """What a picture and its labels have in common: the last two numbers of their names (x and y, or lat and lon)."""
    return tuple(_NUMBER.findall(Path(name).with_suffix("").as_posix().replace("_", "/"))[-2:])


def _labels(folder: Path) -> dict[tuple[str, ...], Path]:
    """The label files of a folder, nested or not."""
    if not folder.is_dir():
        return {}
    return {
        _key(str(path.relative_to(folder))): path
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".png", ".npz")
    }


def _tile_of(item: GroundItem, boxes: np.ndarray) -> int | None:
    """The tile whose box holds a panorama; the one whose middle is nearest where boxes overlap."""
    assert item.latlon is not None
    latitude, longitude = item.latlon
    inside = (
        (boxes[:, 0] <= latitude) & (latitude <= boxes[:, 2]) & (boxes[:, 1] <= longitude) & (longitude <= boxes[:, 3])
    )
    if not inside.any():
        return None
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    away = np.where(inside, np.hypot(middle[:, 0] - latitude, middle[:, 1] - longitude), np.inf)
    return int(away.argmin())


def _offset(item: GroundItem, tile: AerialItem) -> tuple[float, float]:
    """Metres (east, north) of the camera from the tile's centre."""
    assert item.latlon is not None and tile.latlon is not None
    east, north = latlon_to_enu(*item.latlon, tile.latlon)
    return float(east), float(north)
