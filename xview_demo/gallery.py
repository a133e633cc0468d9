"""`Gallery`: the tiles of an area with their coordinates and descriptors, encoded once, kept on disk, searched.

The search is exact. Only where all headings of a view are tried in more than `FIRST_STAGE` tiles does a first stage,
which no turn of the camera changes, choose the tiles that are compared.

A gallery's folder holds `gallery.json` (what it is and which encoder made it), `descriptors.safetensors`
(`descriptors` (N, D) float32), `tiles.parquet` (name, latitude, longitude, metres_per_pixel, heading, file) and, for
tiles that are not files of their own, `tiles/*.jpg`. It is written under a temporary name and renamed, so it is
whole or absent.
"""

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self, overload

import numpy as np
import torch

from xview_demo.encoding import Encoder, Progress, encode, write_tile
from xview_demo.errors import GalleryError
from xview_demo.files import atomic_path, write_json
from xview_demo.geometry.geodesy import distance_m
from xview_demo.geometry.regions import Region, region_mask
from xview_demo.tiles import STRIDE, AerialView, GroundView, Tile, View, encoder_for, tiles_of

FORMAT = 1
KINDS = ("aerial", "ground")
FILES = ("gallery.json", "descriptors.safetensors", "tiles.parquet")
FIRST_STAGE = 20_000  # tiles; in larger galleries only a shortlist is compared over all headings
SHORTLIST = 0.1  # share of the tiles that is on it
PART = 8192  # tiles looked at together


class Scorer(Protocol):
    """A comparison richer than the inner product, such as circular correlation over headings."""

    def score(self, query: torch.Tensor, reference: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (Q, N), higher is better, and headings (Q, N) in degrees, of queries (Q, D) and references (N, D).

        A scorer may also have `invariants(descriptors)`: (N, K) of unit length, which no turn of the camera changes, or
        None. Galleries of more than `FIRST_STAGE` tiles are then searched in two stages.
        """


@dataclass(frozen=True, eq=False)
class Gallery:
    """Tiles, coordinates and descriptors of an area."""

    tiles: tuple[Tile, ...]
    descriptors: np.ndarray  # (N, D) float32
    fingerprint: str  # of the encoder
    kind: str = "aerial"  # what a tile is: "aerial" or "ground"
    source: str = ""  # what it was built from, for people
    tile_metres: float | None = None  # ground width of tiles that were cut from a World or an orthophoto
    stride_metres: float | None = None  # metres between their centres
    path: Path | None = None  # its folder; None = in memory only
    pictures: dict[int, bytes] = field(default_factory=dict, repr=False)  # JPEG of tiles that are in no file

    def __post_init__(self) -> None:
        """Check that rows and descriptors belong together."""
        if self.descriptors.ndim != 2 or len(self.descriptors) != len(self.tiles) or not self.tiles:
            raise GalleryError(
                f"{len(self.tiles)} tiles with descriptors of shape {self.descriptors.shape} make no gallery: "
                "give one descriptor per tile, and at least one tile."
            )
        if not np.isfinite(self.descriptors).all():
            raise GalleryError("Some descriptors are not finite: check the encoder and build the gallery again.")

    # Making and keeping

    @classmethod
    def build(
        cls,
        source: Any,
        encoder: Encoder,
        *,
        path: str | os.PathLike[str] | None = None,
        tile_metres: float = 64.0,
        stride_metres: float | None = None,
        kind: str = "aerial",
        batch: int = 32,
        progress: Progress | None = None,
        copy_tiles: bool = False,
        utm_zone: tuple[int, str] | None = None,
        pixels: int = 256,
    ) -> "Gallery":
        """Encode every tile of a source, once.

        Args:
            source: a World, a folder, a CSV or a GeoTIFF (`tiles.tiles_of` says what is accepted).
            encoder: usually a `GeoLocalizer`; photographs are encoded by its `places`, where it has that part.
            path: folder to keep it in, replaced if it holds a gallery; None = in memory only.
            tile_metres, stride_metres: size and distance of tiles cut from a World or GeoTIFF; None = every 8 m.
            kind: "aerial", or "ground" for a gallery of street-level pictures (encoder needs `embed_ground`).
            batch: tiles per call of the encoder.
            progress: called with (tiles done, tiles in all; 0 while unknown).
            copy_tiles: keep a copy of tiles that are files, so that the folder can be moved alone; otherwise they
                are referred to where they are.
            utm_zone: (number, "N" or "S") of UTM names that do not state their zone.
            pixels: per side of tiles cut from a World or GeoTIFF.

        Raises:
            GalleryError: no tiles, an unknown kind, or `path` holds something else.
        """
        if kind not in KINDS:
            raise GalleryError(f"Galleries of kind {kind!r} do not exist: use one of {', '.join(KINDS)}.")
        stride = STRIDE if stride_metres is None else stride_metres
        found = tiles_of(
            source, tile_metres=tile_metres, stride_metres=stride, pixels=pixels, kind=kind, utm_zone=utm_zone
        )
        cut = found.kind in ("world", "ortho")
        encoder = encoder_for(kind, encoder)
        about: dict[str, Any] = {
            "fingerprint": encoder.fingerprint,
            "kind": kind,
            "source": found.label,
            "tile_metres": float(tile_metres) if cut else None,
            "stride_metres": float(stride) if cut else None,
        }
        if path is None:
            tiles, descriptors, pictures = encode(found, encoder, kind, batch, progress, None, None)
            return cls(tiles, descriptors, pictures=pictures, **about)
        target = Path(path)
        _check_target(target)
        with atomic_path(target) as folder:
            (folder / "tiles").mkdir(parents=True)
            home = None if found.in_files and not copy_tiles else folder
            tiles, descriptors, _ = encode(found, encoder, kind, batch, progress, home, target)
            cls(tiles, descriptors, **about)._write(folder)
        return cls.open(target)

    @classmethod
    def open(cls, path: str | os.PathLike[str], encoder: Encoder | None = None) -> Self:
        """Open a kept gallery without encoding anything; with `encoder`, check that it made the gallery.

        Raises:
            GalleryError: no gallery there, a damaged one, or one of another encoder.
        """
        folder = Path(path)
        if not (folder / FILES[0]).is_file():
            raise GalleryError(
                f"There is no gallery at {folder}: build one with `xview gallery build SOURCE --out DIR`."
            )
        from pyarrow import ArrowException, parquet
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            about: dict[str, Any] = json.loads((folder / FILES[0]).read_text(encoding="utf-8"))
            descriptors = load_file(folder / FILES[1])["descriptors"]
            rows = parquet.read_table(folder / FILES[2]).to_pylist()
            written = about.pop("format")
            about = {k: about[k] for k in ("fingerprint", "kind", "source", "tile_metres", "stride_metres")}
            tiles = tuple(Tile(**{k: row[k] for k in Tile.__dataclass_fields__}) for row in rows)
        except (OSError, ValueError, KeyError, TypeError, ArrowException, SafetensorError) as error:
            raise GalleryError(
                f"The gallery at {folder} is damaged ({type(error).__name__}: {error}): build it again."
            ) from None
        if written != FORMAT:
            raise GalleryError(f"The gallery at {folder} has format {written}, not {FORMAT}: build it again.")
        gallery = cls(tiles, np.ascontiguousarray(descriptors, np.float32), path=folder, **about)
        if encoder is not None:
            gallery.check(encoder)
        return gallery

    def save(self, path: str | os.PathLike[str]) -> "Gallery":
        """Keep the gallery in a folder, pictures included, and open it there."""
        target = Path(path)
        _check_target(target)
        with atomic_path(target) as folder:
            (folder / "tiles").mkdir(parents=True)
            names = [write_tile(folder, i, self.tile(i)) for i in range(len(self))]
            tiles = tuple(Tile(**(asdict(t) | {"file": n})) for t, n in zip(self.tiles, names, strict=True))
            Gallery(tiles, self.descriptors, self.fingerprint, self.kind, self.source,
                    self.tile_metres, self.stride_metres)._write(folder)  # fmt: skip
        return Gallery.open(target)

    def _write(self, folder: Path) -> None:
        import pyarrow
        from pyarrow import parquet
        from safetensors.numpy import save_file

        save_file({"descriptors": np.ascontiguousarray(self.descriptors)}, folder / FILES[1])
        columns = {name: [getattr(tile, name) for tile in self.tiles] for name in Tile.__dataclass_fields__}
        text = pyarrow.string()
        kinds = {name: text if name in ("name", "file") else pyarrow.float64() for name in columns}
        parquet.write_table(
            pyarrow.table({n: pyarrow.array(v, kinds[n]) for n, v in columns.items()}), folder / FILES[2]
        )
        write_json(folder / FILES[0], {
            "format": FORMAT, "fingerprint": self.fingerprint, "kind": self.kind, "source": self.source,
            "tile_metres": self.tile_metres, "stride_metres": self.stride_metres,
            "tiles": len(self), "dimensions": self.descriptors.shape[1],
        })  # fmt: skip

    def check(self, encoder: Encoder) -> None:
        """Raise `GalleryError` unless `encoder` is the one that made the descriptors."""
        encoder = encoder_for(self.kind, encoder)
        if encoder.fingerprint != self.fingerprint:
            raise GalleryError(
                f"This gallery was encoded by {self.fingerprint}, the query would be encoded by {encoder.fingerprint}: "
                "build the gallery again with this model, or open the model it was built with."
            )

    # What it holds

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self.tiles)

    @cached_property
    def names(self) -> list[str]:
        """Name of each tile."""
        return [tile.name for tile in self.tiles]

    @cached_property
    def latlons(self) -> np.ndarray:
        """(N, 2) degrees WGS84 of the tiles' centres; NaN where unknown."""
        return np.array([(tile.latitude, tile.longitude) for tile in self.tiles])

    @cached_property
    def pictured(self) -> bool:
        """Whether the picture of every tile is kept, or is still where it was."""
        home = self.path or Path()
        return all(
            index in self.pictures if tile.file is None else (home / tile.file).is_file()
            for index, tile in enumerate(self.tiles)
        )

    def tile(self, index: int) -> View:
        """The picture of a tile as a view, with its place, scale and name.

        Raises:
            GalleryError: there is no such tile or its picture is gone.
        """
        if not 0 <= index < len(self):
            raise GalleryError(f"Tile {index} does not exist: the gallery has tiles 0 to {len(self) - 1}.")
        row = self.tiles[index]
        file = self._picture(index)
        latlon = None if math.isnan(row.latitude) else (row.latitude, row.longitude)
        if self.kind == "ground":
            return GroundView.open(file, heading=None if math.isnan(row.heading) else row.heading, latlon=latlon)
        scale = None if math.isnan(row.metres_per_pixel) else row.metres_per_pixel
        return AerialView.open(file, metres_per_pixel=scale, latlon=latlon, name=row.name)

    def _picture(self, index: int) -> Path | bytes:
        name, file = self.tiles[index].name, self.tiles[index].file
        if file is None:
            if index not in self.pictures:
                raise GalleryError(f"The gallery keeps no picture of tile {name!r}.")
            return self.pictures[index]
        place = Path(file) if self.path is None else self.path / file
        if not place.is_file():
            raise GalleryError(f"The picture of tile {name!r} is no longer at {place}: put it back or build again.")
        return place

    def distances(self, latlon: tuple[float, float]) -> np.ndarray:
        """(N,) metres from a place to each tile's centre; NaN where the tile's place is unknown."""
        metres = np.full(len(self), np.nan)
        known = np.isfinite(self.latlons).all(1)
        metres[known] = distance_m(self.latlons[known], latlon)
        return metres

    # Search

    @overload
    def search(
        self, descriptors: Any, k: int = 10, region: Region | None = None, scorer: None = None
    ) -> tuple[np.ndarray, np.ndarray]: ...

    @overload
    def search(
        self, descriptors: Any, k: int = 10, region: Region | None = None, *, scorer: Scorer
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...

    def search(
        self, descriptors: Any, k: int = 10, region: Region | None = None, scorer: Scorer | None = None
    ) -> tuple[np.ndarray, ...]:
        """The k best tiles of each query; exactly, but for scorers that search large galleries in two stages.

        Args:
            descriptors: (Q, D) array or tensor; (Q, K·D) for scorers that take several descriptors of a query.
            k: how many; fewer come back when the gallery, or the region, has fewer.
            region: search only there, see `mask`.
            scorer: None for the inner product (FAISS); else its `score` is used.

        Returns:
            scores (Q, k) float32, best first, and indices (Q, k) int64; with a scorer also headings (Q, k) degrees.

        Raises:
            GalleryError: descriptors of another length, k below 1, or a region without tiles.
        """
        query = self._query(descriptors, scorer is not None)
        if k < 1:
            raise GalleryError(f"The {k} best tiles cannot be asked for: give k of at least 1.")
        kept = None if region is None else np.flatnonzero(self.mask(region))
        k = min(k, len(self) if kept is None else len(kept))
        if scorer is None:
            return self._search_inner(query, k, kept)
        scores, headings = self._scored(query, scorer, kept)
        best = torch.topk(scores, k, dim=1)
        chosen = headings.gather(1, best.indices)
        indices = best.indices.numpy() if kept is None else kept[best.indices.numpy()]
        return best.values.numpy(), indices, chosen.numpy()

    def scores(
        self, descriptors: Any, scorer: Scorer | None = None, region: Region | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Scores (Q, N) of every tile and, with a scorer, headings (Q, N) in degrees.

        A tile outside the region scores -inf; one that is not on the shortlist of a large gallery gets the lowest score
        on it. Both have no heading (NaN).
        """
        query = self._query(descriptors, scorer is not None)
        kept = None if region is None else np.flatnonzero(self.mask(region))
        rows = slice(None) if kept is None else kept
        scores = np.full((len(query), len(self)), -np.inf, np.float32)
        if scorer is None:
            scores[:, rows] = query @ self.descriptors[rows].T
            return scores, None
        headings = np.full_like(scores, np.nan)
        scores[:, rows], headings[:, rows] = self._scored(query, scorer, kept)
        return scores, headings

    def mask(self, region: Region) -> np.ndarray:
        """(N,) bool, the tiles whose centre lies in a region (borders included).

        Regions are those of `geometry.regions.region_mask`: a circle (lat, lon, radius_m), a box (lat0, lon0, lat1,
        lon1), or the corners (lat, lon) of a polygon. Tiles of unknown place lie in no region.

        Raises:
            GalleryError: the region is none of these, or holds no tile.
        """
        try:
            inside = region_mask(self.latlons, region)
        except ValueError as error:
            raise GalleryError(str(error)) from None
        if not inside.any():
            raise GalleryError(f"No tile lies in the region {region}: the gallery covers {self._extent()}.")
        return inside

    def _extent(self) -> str:
        known = self.latlons[np.isfinite(self.latlons).all(1)]
        if not len(known):
            return "no known places"
        low, high = known.min(0), known.max(0)
        return f"latitudes {low[0]:.5f} to {high[0]:.5f}, longitudes {low[1]:.5f} to {high[1]:.5f}"

    def _query(self, descriptors: Any, several: bool) -> np.ndarray:
        """Descriptors as an array; a scorer may be given `several` of each query side by side."""
        array = descriptors.detach().cpu().numpy() if isinstance(descriptors, torch.Tensor) else np.asarray(descriptors)
        array = np.ascontiguousarray(np.atleast_2d(array), dtype=np.float32)
        length = self.descriptors.shape[1]
        if array.ndim != 2 or (array.shape[1] != length and not (several and array.shape[1] % length == 0)):
            raise GalleryError(
                f"Query descriptors of shape {array.shape} do not fit this gallery's {length} "
                "dimensions: encode the query with the model that built the gallery."
            )
        return array

    @cached_property
    def _index(self) -> Any:
        import faiss

        index = faiss.IndexFlatIP(self.descriptors.shape[1])
        index.add(self.descriptors)
        return index

    def _search_inner(self, query: np.ndarray, k: int, kept: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        if kept is None:
            return self._index.search(query, k)
        import faiss

        selector = faiss.IDSelectorBatch(kept.astype(np.int64))
        return self._index.search(query, k, params=faiss.SearchParameters(sel=selector))  # type: ignore[call-arg]

    def _scored(self, query: np.ndarray, scorer: Scorer, kept: np.ndarray | None) -> tuple[torch.Tensor, torch.Tensor]:
        reference = torch.from_numpy(self.descriptors if kept is None else self.descriptors[kept])
        with torch.inference_mode():
            turned = torch.from_numpy(query)
            shape = self._invariants(scorer, turned) if len(reference) > FIRST_STAGE else None
            if shape is None:
                scores, headings = scorer.score(turned, reference)
            else:
                tiles = self._turnless[1] if kept is None else self._turnless[1][kept]
                scores, headings = _staged(turned, reference, scorer, shape @ tiles.T)
        return scores.float().cpu(), headings.float().cpu()

    def _invariants(self, scorer: Any, query: torch.Tensor) -> torch.Tensor | None:
        """What no turn changes, of queries (Q, K); that of the tiles is computed once and kept in `_turnless`."""
        of: Callable[[torch.Tensor], Any] = getattr(scorer, "invariants", lambda _: None)
        found = of(query)
        if found is not None and self._turnless[0] is not scorer:
            parts = [of(torch.from_numpy(self.descriptors[n : n + PART])) for n in range(0, len(self), PART)]
            self._turnless[:] = scorer, torch.cat(parts)
        return found

    @cached_property
    def _turnless(self) -> list[Any]:
        """A scorer, and the invariants (N, K) of the tiles by it."""
        return [None, None]


def _staged(
    query: torch.Tensor, reference: torch.Tensor, scorer: Scorer, alike: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores and headings (Q, N), compared only with the tiles that are most `alike` (Q, N); the rest score no more."""
    scores, headings = torch.empty(alike.shape), torch.full(alike.shape, math.nan)
    for row, listed in enumerate(alike.topk(round(SHORTLIST * len(reference)), dim=1).indices):
        found, angles = scorer.score(query[row : row + 1], reference[listed])
        scores[row] = found.min()
        scores[row, listed], headings[row, listed] = found[0].float(), angles[0].float()
    return scores, headings


def _check_target(path: Path) -> None:
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / FILES[0]).is_file()):
        raise GalleryError(f"{path} already holds something that is no gallery: choose another folder.")
