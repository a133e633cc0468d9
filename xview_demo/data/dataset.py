"""The one class that opens pictures: an index in, tensors of canonical size out."""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from xview_demo.data.index import AerialItem, GroundItem, PairIndex, WorldPlace
from xview_demo.errors import DataError
from xview_demo.views import AerialView, GroundView

HEADINGS = ("as_is", "north", "random")


class PairDataset(Dataset[dict[str, Any]]):
    """Pairs of an index as tensors.

    An item is a dict, ready for the default collation:
    `ground` (3, 128, 512) and `ground_mask` (1, 128, 512), the level strip; `aerial` (3, 256, 256), north up;
    `heading` degrees of the strip's centre column (NaN = unknown); `offset` (2,) metres (east, north) of the camera
    from the tile's centre (NaN = unknown); `query` and `tile`, the rows in the index.

    Args:
        index: what to open.
        heading: "as_is" (the centre column looks along the picture's heading), "north" (known headings are turned
            to north) or "random" (known or not, the strip is turned by a random angle).
        fov: degrees of the strip that stay visible around its centre; the rest is 0 and masked.
        strip: (height, width) of the ground strip in pixels, `vfov` degrees high.
        tile_metres, tile_pixels: ground width and size of the aerial tile.
        seed: of the random headings; `epoch` (an attribute) changes them.
    """

    def __init__(
        self,
        index: PairIndex,
        *,
        heading: str = "as_is",
        fov: float = 360.0,
        strip: tuple[int, int] = (128, 512),
        vfov: float = 90.0,
        tile_metres: float = 64.0,
        tile_pixels: int = 256,
        seed: int = 0,
    ) -> None:
        if heading not in HEADINGS:
            raise DataError(f"heading {heading!r} is unknown: use one of {', '.join(HEADINGS)}.")
        if not 0 < fov <= 360:
            raise DataError(f"A field of view of {fov}° is not possible: give more than 0 and at most 360.")
        self.index, self.heading, self.fov = index, heading, fov
        self.strip, self.vfov = strip, vfov
        self.tile_metres, self.tile_pixels = tile_metres, tile_pixels
        self.seed, self.epoch = seed, 0

    def __len__(self) -> int:
        """Number of queries that have a right tile or not; every one is an item."""
        return len(self.index)

    def __getitem__(self, query: int) -> dict[str, Any]:
        """The query, its best right tile, and what is known of their geometry."""
        item, tile = self.index.ground[query], int(self.index.truth[query])
        if tile < 0:
            raise DataError(f"The query {item.id!r} has no right tile: open it with `open_ground` instead.")
        view = open_ground(item)
        image, mask, heading = self._strip(view, query)
        aerial = open_aerial(self.index.aerial[tile]).tile(self.tile_metres, self.tile_pixels)
        offset = (math.nan, math.nan) if item.offset is None else item.offset
        return {
            "ground": image,
            "ground_mask": mask,
            "aerial": aerial,
            "heading": torch.tensor(math.nan if heading is None else heading, dtype=torch.float32),
            "offset": torch.tensor(offset, dtype=torch.float32),
            "query": query,
            "tile": tile,
        }

    def _strip(self, view: GroundView, query: int) -> tuple[Tensor, Tensor, float | None]:
        height, width = self.strip
        heading = view.heading
        if self.heading == "north" and heading is not None:
            (image, mask), heading = view.strip(height, width, self.vfov, north=True), 0.0
        else:
            image, mask = view.strip(height, width, self.vfov)
        if self.heading == "random":
            generator = np.random.default_rng([self.seed, self.epoch, query])
            columns = int(generator.integers(0, width))
            image, mask = image.roll(-columns, -1), mask.roll(-columns, -1)
            heading = None if heading is None else (heading + columns * 360 / width) % 360
        if self.fov < 360:
            edge = round(width * (1 - self.fov / 360) / 2)
            mask = mask.clone()
            mask[..., :edge] = 0
            mask[..., width - edge :] = 0
        return image * mask, mask, heading


def open_ground(item: GroundItem) -> GroundView:
    """The picture of a ground item as a view."""
    if isinstance(item.source, WorldPlace):
        from xview_demo.world import Site

        place = item.source
        site = Site(place.east, place.north, 0.0, item.latlon or _world(place).latlon_of(place.east, place.north))
        return _world(place).panorama(site, heading=item.heading or 0.0, height=128, width=512)
    return GroundView.open(item.source, heading=item.heading, hfov=item.hfov, latlon=item.latlon)


def open_aerial(item: AerialItem) -> AerialView:
    """The picture of an aerial item as a view."""
    if isinstance(item.source, WorldPlace):
        return _world(item.source).aerial((item.source.east, item.source.north))
    return AerialView.open(item.source, item.metres_per_pixel, item.latlon, name=item.id)


def _world(place: WorldPlace) -> Any:
    return _worlds(place.seed, place.biome, place.size, place.resolution, place.exact)


@lru_cache(maxsize=2)
def _worlds(seed: int, biome: str | None, size: float, resolution: float, exact: bool) -> Any:
    from xview_demo.world import World

    return World(seed, biome=biome, size=size, resolution=resolution, exact=exact)
