"""What the readers of published data sets share: lists, the files that the lists name, and what to say of missing ones.

The copies of these data sets that are in use differ from their lists: another suffix, a prefix before the number, a
folder unpacked into itself. `Files.find` looks past those differences, and pairs by name or number, never by order.
"""

import csv
import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath

from xview_demo.data.index import check_split
from xview_demo.errors import DataError
from xview_demo.images import SUFFIXES

_NUMBERED = re.compile(r"(?:input|output)?_?(\d+)", re.IGNORECASE)


def number_of(name: str) -> int | None:
    """The number a picture's name consists of, an `input` or `output` before it aside: `input0000008.png` → 8."""
    match = _NUMBERED.fullmatch(PurePosixPath(name).stem)
    return int(match[1]) if match else None


def published(split: str | None) -> tuple[str, ...]:
    """The published lists a split stands for, where a data set has "train" and "test" only.

    "validation" and "test" both mean the second, as in the literature; None means both lists.
    """
    check_split(split)
    return {None: ("train", "test"), "train": ("train",)}.get(split, ("test",))


class Files:
    """The files below the root of a data set.

    Args:
        root: the folder.
        layout: what it should hold, in words, for the messages.

    Raises:
        DataError: there is no such folder.
    """

    def __init__(self, root: str | os.PathLike[str], layout: str) -> None:
        self.root, self.layout = Path(root), layout
        if not self.root.is_dir():
            raise DataError(f"There is no folder {self.root}: give the one that holds {layout}.")
        self.listing = cache(self._listing)

    def first(self, *names: str) -> Path:
        """The first of several files that exists.

        Raises:
            DataError: none does.
        """
        for name in names:
            if (self.root / name).is_file():
                return self.root / name
        raise DataError(f"{self.root} has no {' and no '.join(names)}: the layout is {self.layout}.")

    def has(self, *folders: str) -> str:
        """The first of several folders that exists, relative to the root.

        Raises:
            DataError: none does.
        """
        for name in folders:
            if (self.root / name).is_dir():
                return name
        raise DataError(f"{self.root} has no folder {' and no '.join(folders)}: the layout is {self.layout}.")

    def find(self, name: str, elsewhere: bool = True) -> Path | None:
        """The picture a list names; under another suffix or prefix and, `elsewhere`, one folder off if need be."""
        path = PurePosixPath(name.strip().replace("\\", "/"))
        if not path.name:
            return None
        parent, top = path.parent, path.parts[0]
        for folder in dict.fromkeys((str(parent), f"{top}/{parent}", top) if elsewhere else (str(parent),)):
            found = self.listing(folder)
            for key in (path.name, path.stem, number_of(path.name)):
                if key in found:
                    return self.root / folder / found[key]
        return None

    def _listing(self, folder: str) -> dict[str | int | None, str]:
        """The pictures of a folder by name, by stem and by number."""
        if not (self.root / folder).is_dir():
            return {}
        names = sorted(n for n in os.listdir(self.root / folder) if Path(n).suffix.lower() in SUFFIXES)
        found: dict[str | int | None, str] = {name: name for name in names}
        for name in names:
            found.setdefault(PurePosixPath(name).stem, name)
            number = number_of(name)
            if number is not None:
                found.setdefault(number, name)
        return found

    def complete(
        self, rows: Sequence[tuple[str, ...]], skip_missing: bool, source: Path | None = None
    ) -> list[tuple[tuple[str, ...], list[Path]]]:
        """The rows whose files all exist, each with its files.

        Args:
            rows: names of files.
            skip_missing: leave out rows with a missing file instead of raising.
            source: the list the rows come from, for the message.

        Raises:
            DataError: a file is missing.
        """
        found, missing = [], []
        for row in rows:
            files = [self.find(name) for name in row]
            missing += [name for name, file in zip(row, files, strict=True) if file is None]
            if None not in files:
                found.append((row, [file for file in files if file is not None]))
        if missing and not skip_missing:
            raise DataError(
                f"{len(missing)} files that {source or self.root} lists are missing below {self.root}, the first is "
                f"{missing[0]}: the layout is {self.layout} (skip_missing=True reads the rest)."
            )
        return found


def rows_of(path: Path, least: int, commas: bool | None = None) -> list[list[str]]:
    """The rows of a list, without empty lines, remarks (#) and a header.

    Args:
        path: of the list.
        least: number of fields a row must have.
        commas: whether commas part the fields (else tabs or blanks do); None = as the list looks.

    Raises:
        DataError: the list is empty, or a row has fewer fields than `least`.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [line.strip() for line in file]
    lines = [line for line in lines if line and not line.startswith("#")]
    if commas is None:
        commas = any(len(line.split(",")) >= least > 1 for line in lines[:2])
    rows = [[f.strip() for f in next(csv.reader([line]))] if commas else line.split() for line in lines]
    if len(rows) > 1 and any(map(_is_picture, rows[1])) and not any(map(_is_picture, rows[0])):
        rows = rows[1:]
    if not rows:
        raise DataError(f"{path} lists no pictures: restore it from where it came.")
    short = next((row for row in rows if len(row) < least), None)
    if short is not None:
        raise DataError(f"{path} has a row of {len(short)} fields, {','.join(short)[:80]!r}: each needs {least}.")
    return rows


def _is_picture(field: str) -> bool:
    return PurePosixPath(field.strip()).suffix.lower() in SUFFIXES
