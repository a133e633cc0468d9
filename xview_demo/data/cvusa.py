"""CVUSA, the subset that matching is measured on (Zhai et al., CVPR 2017, https://arxiv.org/abs/1612.02709).

35,532 training and 8,884 validation pairs; lists without a header, `aerial,ground` or `aerial,ground,annotation`.
"""

import os
from pathlib import Path

from xview_demo.data.index import AerialItem, GroundItem, PairIndex
from xview_demo.data.listing import Files, number_of, published, rows_of
from xview_demo.errors import DataError

LISTS = {"train": "train-19zl.csv", "test": "val-19zl.csv"}
LAYOUT = (
    "splits/train-19zl.csv and splits/val-19zl.csv (or beside the pictures' folders), bingmap/19/0000001.jpg and "
    "streetview/panos/0000001.jpg"
)
ALSO = {"polarmap": "polar", "segmap": "label"}  # folders beside bingmap/ with a picture of the same number


def read_cvusa(
    root: str | os.PathLike[str],
    split: str | None = None,
    *,
    heading: float | None = 0.0,
    metres_per_pixel: float | None = None,
    skip_missing: bool = False,
) -> PairIndex:
    """Read CVUSA: one tile per panorama, paired by the number in the file's name.

    Copies whose pictures are named `bingmap/input0000001.png` or have other suffixes than the lists are read as well;
    annotations, `polarmap/` and `segmap/` are found in `item.also`.

    Args:
        root: the folder.
        split: "train"; "validation" and "test" both mean the published validation list; None for all.
        heading: degrees clockwise from north of the panoramas' centre columns (they are aligned to north).
        metres_per_pixel: of the tiles; None = unknown, a tile is used whole.
        skip_missing: leave out pairs whose files are missing instead of raising.

    Raises:
        DataError: a list or a picture is missing, or a row pairs different numbers.
    """
    files = Files(root, LAYOUT)
    ground, aerial = [], []
    for part in published(split):
        name = LISTS[part]
        source = files.first(f"splits/{name}", name)
        rows = rows_of(source, 2)
        labels = {row[1]: row[2] for row in rows if len(row) > 2}
        for (tile, strip), (tile_file, strip_file) in files.complete(
            [(row[0], row[1]) for row in rows], skip_missing, source
        ):
            number = _number(tile, strip, tile_file, strip_file)
            label = files.find(labels[strip], elsewhere=False) if strip in labels else None
            also = {} if label is None else {"label": label}
            ground.append(GroundItem(f"{number:07d}", strip_file, heading, 360.0, also=also))
            aerial.append(AerialItem(f"{number:07d}", tile_file, metres_per_pixel, also=_also(files, tile_file)))
    return PairIndex("cvusa", split, tuple(ground), tuple(aerial), tuple((n,) for n in range(len(ground))))


def _number(tile: str, strip: str, tile_file: Path, strip_file: Path) -> int:
    """The number that all four names share."""
    numbers = {number_of(name) for name in (tile, strip, tile_file.name, strip_file.name)}
    if len(numbers) > 1 or None in numbers:
        raise DataError(f"{tile} and {strip} do not show one place, their numbers differ: restore the list.")
    return numbers.pop() or 0


def _also(files: Files, tile: Path) -> dict[str, Path]:
    found = {kind: files.find(f"{folder}/{tile.name}", elsewhere=False) for folder, kind in ALSO.items()}
    return {kind: file for kind, file in found.items() if file is not None}
