"""Your own pictures: a folder with `ground/` and `aerial/`, paired by name or by a list."""

import csv
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from xview_demo.data.index import AerialItem, GroundItem, PairIndex, check_split
from xview_demo.errors import DataError
from xview_demo.geometry import names
from xview_demo.tiles import picture_files

LIST_NAME = "pairs.csv"
SHARES = (("train", 0.8), ("validation", 0.9), ("test", 1.0))  # cumulated shares of the split by name


def read_folder(
    root: str | os.PathLike[str],
    split: str | None = None,
    *,
    heading: float | None = None,
    hfov: float | None = None,
    metres_per_pixel: float | None = None,
) -> PairIndex:
    """Read `root/ground/*` and `root/aerial/*`.

    Pictures are paired by their names without suffix, never by their order. With `root/pairs.csv` they are paired by
    its rows instead: columns `ground,aerial` (files relative to the root) and optionally
    `heading,lat,lon,metres_per_pixel,east,north,split`, where east and north are metres of the camera from the
    tile's centre. A name such as `51.5092,-0.0873,12.1.png` gives place and heading. Every other folder
    `ground_KIND/` or `aerial_KIND/` holds further pictures of the same names (`item.also[KIND]`).

    Args:
        root: the folder.
        split: "train", "validation", "test" or None for everything; without a `split` column a name's hash decides
            (80 : 10 : 10), so that it stays where it is when pictures are added.
        heading: degrees clockwise from north of pictures that do not say; None = unknown.
        hfov: degrees across every ground picture; None = as it says.
        metres_per_pixel: of tiles that do not say.

    Raises:
        DataError: folders or files that are missing, or names that match nothing.
    """
    root = Path(root)
    check_split(split)
    listed = (root / LIST_NAME).is_file()
    rows = _listed(root) if listed else _by_name(root)
    rows = [row for row in rows if split is None or (row.get("split") or _split_of(row["ground"])) == split]
    aerials = {name: number for number, name in enumerate(dict.fromkeys(row["aerial"] for row in rows))}
    scale = {row["aerial"]: _number(row, "metres_per_pixel") for row in rows}
    ground = tuple(_ground(root, row, heading, hfov) for row in rows)
    aerial = tuple(_aerial(root, name, scale[name] or metres_per_pixel) for name in aerials)
    positives = tuple((aerials[row["aerial"]],) for row in rows)
    return PairIndex(root.name, split, ground, aerial, positives)


def _by_name(root: Path) -> list[dict[str, str]]:
    found = {}
    for side in ("ground", "aerial"):
        if not (root / side).is_dir():
            raise DataError(f"{root} has no folder {side}/: put the pictures in ground/ and aerial/, same names.")
        files = picture_files(root / side)
        found[side] = {_key(file.relative_to(root / side)): file.relative_to(root).as_posix() for file in files}
    both = [key for key in found["ground"] if key in found["aerial"]]
    if not both:
        samples = [next(iter(found[side]), "nothing") for side in ("ground", "aerial")]
        raise DataError(
            f"No picture in {root} has the same name in ground/ ({samples[0]}) and aerial/ ({samples[1]}): "
            f"rename them, or pair them in {LIST_NAME}."
        )
    return [{"ground": found["ground"][key], "aerial": found["aerial"][key]} for key in both]


def _listed(root: Path) -> list[dict[str, str]]:
    with (root / LIST_NAME).open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        if not {"ground", "aerial"} <= set(reader.fieldnames or []):
            raise DataError(f"{root / LIST_NAME} must begin with a header that holds at least ground,aerial.")
        rows = [{k: v or "" for k, v in row.items() if k} for row in reader]
    missing = [name for row in rows for name in (row["ground"], row["aerial"]) if not (root / name).is_file()]
    if missing:
        raise DataError(f"{root / LIST_NAME} lists {len(missing)} files that do not exist, the first is {missing[0]}.")
    return rows


def _ground(root: Path, row: dict[str, str], heading: float | None, hfov: float | None) -> GroundItem:
    place = names.place_of(row["ground"])
    latlon = None if place is None else place.latlon
    known = None if place is None else place.heading
    lat, lon, own = _number(row, "lat"), _number(row, "lon"), _number(row, "heading")
    if lat is not None and lon is not None:
        latlon = (lat, lon)
    known = own if own is not None else known if known is not None else heading
    east, north = _number(row, "east"), _number(row, "north")
    offset = None if east is None or north is None else (east, north)
    name = row["ground"]
    return GroundItem(_id(name), root / name, known, hfov, latlon, offset, _also(root, name))


def _aerial(root: Path, name: str, metres_per_pixel: float | None) -> AerialItem:
    place = names.place_of(name)
    return AerialItem(
        _id(name), root / name, metres_per_pixel, None if place is None else place.latlon, _also(root, name)
    )


def _also(root: Path, name: str) -> dict[str, Path]:
    """Pictures of the same name in `SIDE_KIND/`."""
    path = Path(name)
    if len(path.parts) < 2:
        return {}
    side, rest = path.parts[0], Path(*path.parts[1:])
    found = {}
    for folder in _siblings(root, side):
        stem = folder / _key(rest)
        files = (stem.with_name(stem.name + suffix) for suffix in (".png", ".jpg", rest.suffix))
        file = next((file for file in files if file.is_file()), None)
        if file is not None:
            found[folder.name.removeprefix(f"{side}_")] = file
    return found


def _siblings(root: Path, side: str) -> Iterable[Path]:
    return sorted(folder for folder in root.glob(f"{side}_*") if folder.is_dir())


def _key(path: Path) -> str:
    """A relative name without its suffix (a name may hold dots of its own)."""
    return path.as_posix().removesuffix(path.suffix)


def _id(name: str) -> str:
    return _key(Path(*Path(name).parts[1:]) if len(Path(name).parts) > 1 else Path(name))


def _number(row: dict[str, str], column: str) -> float | None:
    text = row.get(column, "")
    try:
        return float(text) if text else None
    except ValueError:
        raise DataError(
            f"{column} is {text!r} in the row of {row['ground']}: give a number or leave it empty."
        ) from None


def _split_of(name: str) -> str:
    """The split a name falls into, by its hash."""
    share = int.from_bytes(hashlib.sha256(_id(name).encode()).digest()[:8]) / 2**64
    return next(split for split, limit in SHARES if share < limit)
