"""Lists of pairs, as UCF-OP and many private data sets have them: one text file per split, one pair per line.

UCF-OP (Orlando and Pittsburgh; Regmi & Shah, ICCV 2019, https://arxiv.org/abs/1904.11045) has 1,910 training and 722
test pairs. A picture may stand in several lines: a tile with several panoramas, a panorama with several right tiles.
"""

import os

from xview_demo.data.index import SPLITS, AerialItem, GroundItem, PairIndex, check_split
from xview_demo.data.listing import Files, rows_of
from xview_demo.errors import DataError

NAMES = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
LAYOUT = (
    "train.txt, val.txt or test.txt (or .csv, or in splits/), each line `ground aerial`, files relative to the root"
)


def read_lists(
    root: str | os.PathLike[str],
    split: str | None = None,
    *,
    columns: tuple[str, ...] = ("ground", "aerial"),
    heading: float | None = None,
    hfov: float | None = None,
    metres_per_pixel: float | None = None,
    skip_missing: bool = False,
) -> PairIndex:
    """Read `train.txt`, `val.txt` or `test.txt`: fields between commas, tabs or blanks, with or without a header.

    Args:
        root: the folder of the lists.
        split: "train", "validation", "test" or None for all lists there are.
        columns: what the first columns hold: "ground" and "aerial", and "heading" for degrees; others are passed over.
        heading: degrees clockwise from north of pictures without a column that says; None = unknown.
        hfov: degrees across the ground pictures; None = as they say.
        metres_per_pixel: of the tiles; None = as they say.
        skip_missing: leave out pairs whose files are missing instead of raising.

    Raises:
        DataError: a list or a picture is missing.
    """
    check_split(split)
    if not {"ground", "aerial"} <= set(columns):
        raise DataError(f"columns is {', '.join(columns)}: name at least ground and aerial.")
    files = Files(root, LAYOUT)
    ground: dict[str, GroundItem] = {}
    aerial: dict[str, AerialItem] = {}
    positives: dict[str, dict[str, None]] = {}
    for names in _lists(files, split):
        source = files.first(*names)
        rows = [dict(zip(columns, row, strict=False)) for row in rows_of(source, len(columns))]
        headings = {row["ground"]: row.get("heading") for row in rows}
        listed = [(row["ground"], row["aerial"]) for row in rows]
        for (picture, tile), (ground_file, aerial_file) in files.complete(listed, skip_missing, source):
            look = _degrees(headings[picture], picture, heading)
            ground[picture] = GroundItem(_id(picture), ground_file, look, hfov)
            aerial[tile] = AerialItem(_id(tile), aerial_file, metres_per_pixel)
            positives.setdefault(picture, {})[tile] = None
    order = {name: number for number, name in enumerate(aerial)}
    right = tuple(tuple(order[tile] for tile in positives[picture]) for picture in ground)
    return PairIndex(files.root.name, split, tuple(ground.values()), tuple(aerial.values()), right)


def _lists(files: Files, split: str | None) -> list[tuple[str, ...]]:
    """The files each wanted list may be; with no split, those that are there."""
    offered = {
        part: tuple(f"{folder}{n}{end}" for folder in ("", "splits/") for n in NAMES[part] for end in (".txt", ".csv"))
        for part in SPLITS
    }
    if split is not None:
        return [offered[split]]
    there = [names for names in offered.values() if any((files.root / name).is_file() for name in names)]
    return there or [tuple(name for names in offered.values() for name in names)]


def _degrees(text: str | None, name: str, otherwise: float | None) -> float | None:
    try:
        return float(text) if text else otherwise
    except ValueError:
        raise DataError(f"The heading of {name} is {text!r}: give degrees, or other columns=.") from None


def _id(name: str) -> str:
    return os.path.splitext(name)[0]
