"""What makes a gallery's tiles out of a source: their rows, their descriptors, their pictures."""

import math
import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from xview_demo.errors import GalleryError
from xview_demo.images import encode_jpeg, write_image
from xview_demo.tiles import AerialView, Tile, TileSource, View

JPEG_QUALITY = 90
Progress = Callable[[int, int], None]


class Encoder(Protocol):
    """What builds a gallery: `GeoLocalizer`, or anything that turns views into unit-length descriptors."""

    @property
    def fingerprint(self) -> str:
        """A text that changes whenever the descriptors would."""

    def embed_aerial(self, views: list[AerialView]) -> Any:
        """(N, D) float32 descriptors of aerial views."""


def encode(
    source: TileSource,
    encoder: Encoder,
    kind: str,
    batch: int,
    progress: Progress | None,
    home: Path | None,
    target: Path | None,
) -> tuple[tuple[Tile, ...], np.ndarray, dict[int, bytes]]:
    """Encode every tile of a source, in batches.

    Args:
        source: of the tiles.
        encoder: what describes them.
        kind: "aerial" or "ground".
        batch: tiles per call of the encoder.
        progress: called with (tiles done, tiles in all; 0 while unknown).
        home: folder that the tiles' pictures are written below; None refers to files, or keeps pictures in memory.
        target: folder that files are referred to from.

    Returns:
        Rows of the gallery's table, descriptors (N, D) float32, and the JPEG of each tile that is kept in memory.

    Raises:
        GalleryError: no tile, two of one name, or descriptors of another shape.
    """
    tiles: list[Tile] = []
    parts: list[np.ndarray] = []
    pictures: dict[int, bytes] = {}
    embed: Callable[[list[Any]], Any] = encoder.embed_aerial if kind == "aerial" else getattr(encoder, "embed_ground")  # noqa: B009
    for group in _batches(source.views, batch):
        parts.append(_as_array(embed([view for _, view in group]), len(group)))
        for name, view in group:
            index = len(tiles)
            if home is not None:
                file: str | None = write_tile(home, index, view)
            elif source.in_files and view.source is not None:
                file = _relative(view.source, target)
            else:
                file, pictures[index] = None, encode_jpeg(view.image, JPEG_QUALITY)
            tiles.append(_row(name, view, file))
        if progress is not None:
            progress(len(tiles), source.total or 0)
    if not tiles:
        raise GalleryError(f"{source.label} holds no tile of the asked size: ask for smaller tiles or a larger area.")
    if len({tile.name for tile in tiles}) < len(tiles):
        raise GalleryError(f"{source.label} holds several tiles of one name: give each its own.")
    return tuple(tiles), np.concatenate(parts), pictures


def _batches(views: Iterator[tuple[str, View]], size: int) -> Iterator[list[tuple[str, View]]]:
    while group := list(islice(views, max(1, size))):
        yield group


def _as_array(descriptors: Any, count: int) -> np.ndarray:
    array = descriptors.detach().cpu().numpy() if isinstance(descriptors, torch.Tensor) else np.asarray(descriptors)
    if array.ndim != 2 or len(array) != count:
        raise GalleryError(f"The encoder returned shape {array.shape} for {count} tiles: it must return (N, D).")
    return array.astype(np.float32)


def _row(name: str, view: View, file: str | None) -> Tile:
    latitude, longitude = view.latlon or (math.nan, math.nan)
    scale = getattr(view, "metres_per_pixel", None)
    heading = getattr(view, "heading", None)
    unknown = math.nan
    return Tile(name, latitude, longitude, unknown if scale is None else scale, unknown if heading is None else heading,
                file)  # fmt: skip


def write_tile(folder: Path, index: int, view: View) -> str:
    """Keep a tile's picture in a gallery's folder; returns its file name there."""
    file = f"tiles/{index:07d}.jpg"
    write_image(folder / file, view.image, quality=JPEG_QUALITY)
    return file


def _relative(file: str, target: Path | None) -> str:
    return str(Path(file).resolve()) if target is None else os.path.relpath(Path(file).resolve(), target.resolve())
