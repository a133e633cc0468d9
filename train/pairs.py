"""Real pairs in the place of a cache: the same names, frames and units, each picture opened when it is drawn.

A data set has no depth and often no classes. Classes are read from a painted picture where the index names one
(`also["label"]`), and estimated by the bundled models otherwise, as pseudo-labels.
"""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor

from train.cache import CacheConfig
from train.geography import places, same_places
from xview_demo import zoo
from xview_demo.classes import label_colours
from xview_demo.data import PairIndex, read
from xview_demo.data.dataset import open_aerial, open_ground
from xview_demo.errors import DataError
from xview_demo.images import read_image
from xview_demo.views import GroundView

HELPERS = {"ground": "unet-ground-world", "aerial": "unet-aerial-world", "depth": "depth-world"}


class Rows:
    """An array (N, …) whose rows are made when they are asked for."""

    def __init__(self, count: int, make: Callable[[int], Tensor]) -> None:
        self.count, self.make = count, make

    def __len__(self) -> int:
        """N."""
        return self.count

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Rows by their numbers, or one row."""
        if np.ndim(rows) == 0:
            return self.make(int(rows)).numpy()
        return np.stack([self.make(int(row)).numpy() for row in rows])


class PairCache:
    """The pairs of an index as a `train.cache.Cache` offers them: `ground`, `aerial`, `place`, and what is estimated.

    Strips look north where the heading is known and are filled by the picture, whatever its vertical field of view, as
    the published models take them; a tile is the middle `tile_metres` of its picture, or all of it when the scale is
    unknown. A place is where the camera stood, or else its tile; pairs of unknown places lie in areas of their own.

    Args:
        index: what to open; queries without a right tile are left out.
        config: sizes of the pictures; every pair counts as dense.
        folder: where recipes keep what other models make of the pairs.
    """

    def __init__(self, index: PairIndex, config: CacheConfig, folder: Path | None = None) -> None:
        self.index, self.folder = index, folder
        self.truth = index.truth  # kept, since an index finds it anew each time
        self.rows = np.flatnonzero(self.truth >= 0)
        if not len(self.rows):
            raise DataError(f"No query of the data set {index.name!r} has a right tile: check its split.")
        self.config = CacheConfig(
            split=f"{index.name} {index.split or 'all'}", worlds=1, per_world=len(self.rows), dense_every=1,
            tile_metres=config.tile_metres, tile_pixels=config.tile_pixels, height=config.height, width=config.width,
        )  # fmt: skip
        self.worlds = np.arange(1)
        makers = {
            "ground": self._ground, "aerial": self._aerial, "ground_labels": self._ground_labels,
            "aerial_labels": self._aerial_labels, "depth": self._depth, "place": self._place,
        }  # fmt: skip
        self.arrays = {name: Rows(len(self.rows), make) for name, make in makers.items()}

    def __getitem__(self, name: str) -> Rows:
        return self.arrays[name]

    def samples(self) -> np.ndarray:
        """Indices of all pairs."""
        return np.arange(len(self.rows))

    def dense(self) -> np.ndarray:
        """The same: depth and classes are estimated where there are none."""
        return self.samples()

    def _view(self, row: int) -> GroundView:
        return open_ground(self.index.ground[self.rows[row]])

    def _strip(self, view: GroundView) -> Tensor:
        vfov = view.vfov if view.full_turn else 90.0
        return view.strip(self.config.height, self.config.width, vfov, north=view.heading is not None)[0]

    def _ground(self, row: int) -> Tensor:
        return _bytes(self._strip(self._view(row)))

    def _tile(self, row: int) -> Tensor:
        item = self.index.aerial[self.truth[self.rows[row]]]
        return open_aerial(item).tile(self.config.tile_metres, self.config.tile_pixels)

    def _aerial(self, row: int) -> Tensor:
        return _bytes(self._tile(row))

    def _ground_labels(self, row: int) -> Tensor:
        item, view = self.index.ground[self.rows[row]], self._view(row)
        if "label" in item.also:
            painted = GroundView(read_image(item.also["label"])[0], view.projection, view.heading, view.hfov)
            return _labels(_bytes(self._strip(painted)))
        return self._helper("ground").predict(self._strip(view)[None])[0][0]

    def _aerial_labels(self, row: int) -> Tensor:
        item, tile = self.index.aerial[self.truth[self.rows[row]]], self._tile(row)
        if "label" in item.also:
            painted = read_image(item.also["label"])[0][None]
            return _labels(_bytes(F.interpolate(painted, tile.shape[-2:], mode="nearest")[0]))
        return self._helper("aerial").predict(tile[None])[0][0]

    def _depth(self, row: int) -> Tensor:
        return self._helper("depth").predict(self._strip(self._view(row))[None])[0].half()

    def _place(self, row: int) -> Tensor:
        return self._places[row]

    @cached_property
    def _places(self) -> Tensor:
        """(N, 4) as `train.geography.places` has them."""
        items = ((self.index.ground[row], self.index.aerial[self.truth[row]]) for row in self.rows)
        return torch.from_numpy(places([ground.latlon or aerial.latlon for ground, aerial in items]))

    @cached_property
    def same(self) -> csr_array:
        """(N, N) bool, True where two pairs show the same place, whatever the metres between them."""
        return same_places(self.index, self.rows)

    @cached_property
    def _helpers(self) -> dict[str, Any]:
        return {}

    def _helper(self, kind: str) -> Any:
        if kind not in self._helpers:
            self._helpers[kind] = zoo.load(HELPERS[kind])
        return self._helpers[kind]


def open_pairs(
    name: str, root: Path | None, split: str | None, config: CacheConfig, home: Path | None = None
) -> PairCache:
    """The pairs of a data set by its name in `xview_demo.data.READERS`; what is made of them is kept below `home`.

    Raises:
        DataError: no data set of that name, no root, or files that are missing.
    """
    if root is None:
        raise DataError(f"--data {name} needs --root, the folder that holds it.")
    folder = None if home is None else home / f"pairs-{name}-{split or 'all'}-{config.fingerprint}"
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return PairCache(read(name, root, split=split), config, folder)


def _bytes(image: Tensor) -> Tensor:
    return (image.permute(1, 2, 0) * 255 + 0.5).clamp(0, 255).to(torch.uint8)


def _labels(picture: Tensor) -> Tensor:
    return torch.from_numpy(label_colours(picture.numpy()))
