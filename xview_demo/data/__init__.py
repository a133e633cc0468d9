"""Data sets: one reader each, which only lists what belongs together, and one class that opens the pictures.

`READERS` is the whole registry: name → function(root or seeds, split, …) → `PairIndex`.
"""

from collections.abc import Callable
from typing import Any

from xview_demo.data.brooklyn_queens import read_brooklyn_queens
from xview_demo.data.cvact import read_cvact
from xview_demo.data.cvusa import read_cvusa
from xview_demo.data.dataset import PairDataset
from xview_demo.data.folder import read_folder
from xview_demo.data.index import AerialItem, GroundItem, PairIndex, WorldPlace
from xview_demo.data.lists import read_lists
from xview_demo.data.vigor import read_vigor
from xview_demo.data.worlds import read_world
from xview_demo.errors import DataError

READERS: dict[str, Callable[..., PairIndex]] = {
    "cvusa": read_cvusa,
    "cvact": read_cvact,
    "vigor": read_vigor,
    "brooklyn-queens": read_brooklyn_queens,
    "ucf-op": read_lists,
    "folder": read_folder,
    "world": read_world,
}


def read(name: str, *args: Any, **options: Any) -> PairIndex:
    """The index of a data set by its name in `READERS`.

    Raises:
        DataError: no reader of that name.
    """
    if name not in READERS:
        raise DataError(f"No data set named {name!r}. Available: {', '.join(READERS)}.")
    return READERS[name](*args, **options)


__all__ = [
    "READERS",
    "AerialItem",
    "GroundItem",
    "PairDataset",
    "PairIndex",
    "WorldPlace",
    "read",
    "read_brooklyn_queens",
    "read_cvact",
    "read_cvusa",
    "read_folder",
    "read_lists",
    "read_vigor",
    "read_world",
]
