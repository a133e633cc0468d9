"""What a re-ranker has computed of a gallery's pictures lately, up to a number of bytes, for several threads."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from torch import Tensor

from xview_demo.gallery import Gallery

Tensors = tuple[Tensor, ...]


class Kept:
    """Tensors of rows of galleries; what was not asked for longest goes first.

    Args:
        size: bytes that are kept of each gallery.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: WeakKeyDictionary[Gallery, OrderedDict[int, Tensors]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def get(self, gallery: Gallery, rows: Sequence[int], make: Callable[[list[int]], list[Tensors]]) -> list[Tensors]:
        """The tensors of each row; `make` computes those of the rows that are not there."""
        with self._lock:
            kept = self._kept.setdefault(gallery, OrderedDict())
            known = {row: kept[row] for row in rows if row in kept}
        missing = [row for row in rows if row not in known]
        if missing:
            known |= dict(zip(missing, make(missing), strict=True))
        with self._lock:
            for row in rows:
                kept[row] = known[row]
                kept.move_to_end(row)
            each = sum(tensor.nbytes for tensor in known[rows[0]])
            while len(kept) * each > self.size and len(kept) > len(rows):
                kept.popitem(last=False)
        return [known[row] for row in rows]
