"""How much the first stage of a large gallery saves: the numbers of `xview bench search`."""

import math
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xview_demo.gallery import SHORTLIST, Gallery, Scorer
from xview_demo.models.matching.azimuth import AzimuthMatcher
from xview_demo.tiles import Tile

NOISE = 0.5  # length of what is added to the sought tile's descriptor


class _Whole:
    """The matcher without its first stage."""

    def __init__(self, matcher: AzimuthMatcher) -> None:
        self.matcher = matcher

    def score(self, query: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and headings of every tile."""
        return self.matcher.score(query, reference)


def bench_search(tiles: int = 30_000, seed: int = 0) -> dict[str, Any]:
    """Time one query of unknown heading in a gallery of random descriptors, in two stages and tile by tile.

    Returns:
        `tiles`, `milliseconds` (best of three, invariants known), `whole_milliseconds`, `speedup`, `threads`, and
        `agree`, whether both find the tile that the query was made from.
    """
    generator = torch.Generator().manual_seed(seed)
    matcher = AzimuthMatcher().eval()
    reference = F.normalize(torch.randn(tiles, matcher.dimension, generator=generator), dim=1)
    noise = F.normalize(torch.randn(1, matcher.dimension, generator=generator), dim=1) * NOISE
    turned = (reference[:1] + noise).view(1, -1, matcher.bins).roll(-5, -1).flatten(1)
    names = [Tile(str(n), math.nan, math.nan, math.nan, math.nan, None) for n in range(tiles)]
    gallery = Gallery(tuple(names), reference.numpy(), "bench")
    staged, first = _best(gallery, turned, matcher)
    whole, second = _best(gallery, turned, _Whole(matcher))
    return {
        "tiles": tiles, "shortlist": SHORTLIST, "milliseconds": 1000 * staged, "whole_milliseconds": 1000 * whole,
        "speedup": whole / staged, "threads": torch.get_num_threads(), "agree": first == second == 0,
    }  # fmt: skip


def _best(gallery: Gallery, query: Tensor, scorer: Scorer) -> tuple[float, int]:
    """Seconds of the quickest of three searches after the first, and the tile found."""
    seconds, found = math.inf, -1
    for _ in range(4):
        start = time.perf_counter()
        scores, _ = gallery.scores(query, scorer)
        seconds = min(seconds, time.perf_counter() - start)
        found = int(scores.argmax())
    return seconds, found
