"""Where the tiles of a gallery come from: a World or its streets, a folder, a CSV list, a georeferenced orthophoto."""

import csv
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch.nn.functional as F

from xview_demo.errors import GalleryError
from xview_demo.geometry import names
from xview_demo.images import SUFFIXES
from xview_demo.rasters import colour_bands, scaled, stretch
from xview_demo.views import AerialView, GroundView

if TYPE_CHECKING:
    from xview_demo.world.world import World

View = AerialView | GroundView
STRIDE = 8.0  # metres between tiles that are cut: matchers find cameras within a few metres of a tile's centre
MIN_VALID = 0.5  # share of an orthophoto's tile that must hold data
LIST_NAME = "tiles.csv"
SPACING = 10.0  # metres between the tiles along a generated world's streets, about
OFFSET = 3.0  # metres from a tile's centre to the street position it was cut for, at most
EDGE = 40.0  # metres kept from the world's edge


@dataclass(frozen=True)
class Tile:
    """One row of a gallery's `tiles.parquet`."""

    name: str
    latitude: float = math.nan  # degrees WGS84 of the centre; NaN = unknown
    longitude: float = math.nan  # degrees
    metres_per_pixel: float = math.nan  # NaN = unknown
    heading: float = math.nan  # degrees clockwise from north, galleries of ground views; NaN = unknown
    file: str | None = None  # picture, relative to the gallery's folder or absolute


@dataclass(frozen=True)
class TileSource:
    """Tiles to be encoded, opened one after the other."""

    kind: str  # "world", "folder", "list" or "ortho"
    label: str  # for people
    total: int | None  # how many; None when only reading tells
    views: Iterator[tuple[str, View]]  # (name, view)
    in_files: bool  # each view is a picture file of its own (`view.source`)


class StreetTiles:
    """The aerial tiles along a world's streets, as a source of `Gallery.build`: one for each place where a street
    camera could stand, about `SPACING` metres apart, its centre up to `OFFSET` metres off.

    Panoramas are taken on streets, so nothing is lost by leaving out the rest, and the tiles can lie close together.
    """

    def __init__(self, world: "World") -> None:
        self.world, self.seed = world, world.seed
        limit = world.size / 2 - EDGE
        points = np.asarray(world.plan.viewpoints, dtype=float)[:, :2]
        points = points[(np.abs(points) <= limit).all(1)]
        _, first = np.unique(np.floor(points / SPACING), axis=0, return_index=True)
        rng = np.random.default_rng([world.seed, 11])
        angle, away = rng.uniform(0, 2 * np.pi, len(first)), OFFSET * np.sqrt(rng.uniform(0, 1, len(first)))
        self.centres = points[np.sort(first)] + away[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1)

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self.centres)

    def tiles(self, tile_metres: float = 64.0, stride_metres: float | None = None) -> Iterator[AerialView]:
        """The tiles, `tile_metres` wide; `stride_metres` has no meaning here."""
        for number, (east, north) in enumerate(self.centres):
            yield self.world.aerial((float(east), float(north)), metres=tile_metres, seed=number + 1)


def tiles_of(
    source: Any,
    *,
    tile_metres: float = 64.0,
    stride_metres: float = STRIDE,
    pixels: int = 256,
    kind: str = "aerial",
    utm_zone: tuple[int, str] | None = None,
) -> TileSource:
    """Find the tiles of a source.

    Args:
        source: a World (anything with `.tiles(tile_metres, stride_metres)`); a folder, each picture in it one
            tile; a CSV with the columns `file,lat,lon[,metres_per_pixel][,name]`, files relative to it; or a
            GeoTIFF orthophoto in any coordinate system. A folder that holds `tiles.csv` is read by that list.
            Names of files in a folder may hold the place, see `geometry.names`; georeferences and EXIF are read too.
        tile_metres: ground width of the tiles cut from a World or an orthophoto.
        stride_metres: distance between their centres. Matchers find cameras near a tile's centre.
        pixels: per side of the tiles cut from a World or orthophoto.
        kind: "aerial", or "ground" for a gallery of street-level pictures (folder or CSV).
        utm_zone: (number, "N" or "S") of UTM names that do not state their zone.

    Raises:
        GalleryError: the source is none of these, or holds no tile.
    """
    if not (tile_metres > 0 and stride_metres > 0):
        raise GalleryError(f"Tiles of {tile_metres} m every {stride_metres} m are not possible: give more than 0.")
    if callable(getattr(source, "tiles", None)):
        label = f"world:{source.seed}" if hasattr(source, "seed") else type(source).__name__
        return TileSource("world", label, *_world_tiles(source, tile_metres, stride_metres), in_files=False)
    if not isinstance(source, (str, os.PathLike)):
        raise GalleryError(f"A {type(source).__name__} holds no tiles: give a World, a folder, a CSV or a GeoTIFF.")
    path = Path(source)
    if not path.exists():
        raise GalleryError(f"There is nothing at {path}: give a folder of tiles, a CSV or a GeoTIFF.")
    if path.is_dir() and not (path / LIST_NAME).is_file():
        files = picture_files(path)
        if not files:
            raise GalleryError(f"{path} holds no pictures ({', '.join(SUFFIXES)}): give the folder of the tiles.")
        return TileSource("folder", str(path), len(files), _folder(path, files, kind, utm_zone), in_files=True)
    if path.is_dir() or path.suffix.lower() == ".csv":
        path = path / LIST_NAME if path.is_dir() else path
        rows = _read_list(path)
        return TileSource("list", str(path), len(rows), _listed(path, rows, kind), in_files=True)
    if path.suffix.lower() in (".tif", ".tiff", ".vrt"):
        return TileSource("ortho", str(path), None, _ortho(path, tile_metres, stride_metres, pixels), in_files=False)
    raise GalleryError(f"{path.name} is no source of tiles: give a folder, a CSV, a GeoTIFF or a World.")


def encoder_for(kind: str, encoder: Any) -> Any:
    """What encodes tiles of a kind: for photographs the encoder's own recognizer of places, where it has one."""
    return (getattr(encoder, "places", None) or encoder) if kind == "ground" else encoder


def picture_files(folder: Path) -> list[Path]:
    """Every picture below a folder, hidden files and folders left out, in the order of their names."""
    found = (p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def open_view(file: Path, kind: str, **given: Any) -> View:
    """One picture as a view of the asked kind; a ground view takes place and heading from its name as well."""
    if kind == "aerial":
        return AerialView.open(file, **given)
    place = names.place_of(file)
    known = {} if place is None else {"latlon": place.latlon, "heading": place.heading}
    given = {k: v for k, v in given.items() if k in ("latlon", "heading")}
    return GroundView.open(file, **(known | given))


def _world_tiles(world: Any, metres: float, stride: float) -> tuple[int | None, Iterator[tuple[str, View]]]:
    total = None
    if hasattr(world, "size"):
        total = max(0, int((float(world.size) - metres) // stride) + 1) ** 2
    views = ((view.name or f"tile-{i:06d}", view) for i, view in enumerate(world.tiles(metres, stride)))
    return total, views


def _folder(folder: Path, files: list[Path], kind: str, zone: tuple[int, str] | None) -> Iterator[tuple[str, View]]:
    for file in files:
        view = open_view(file, kind)
        place = names.place_of(file, zone)
        if view.latlon is None and place is not None:
            view = replace(view, latlon=place.latlon)
        yield file.relative_to(folder).with_suffix("").as_posix(), view


def _read_list(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        columns = [name.strip().lower() for name in reader.fieldnames or []]
        reader.fieldnames = columns
        rows = list(reader)
    if not {"file", "lat", "lon"} <= set(columns):
        raise GalleryError(f"{path} has the columns {', '.join(columns) or 'none'}: it needs at least file,lat,lon.")
    if not rows:
        raise GalleryError(f"{path} lists no tiles: add one row per picture below its header.")
    return rows


def _listed(path: Path, rows: list[dict[str, str]], kind: str) -> Iterator[tuple[str, View]]:
    for number, row in enumerate(rows, start=2):
        try:
            latlon = (float(row["lat"]), float(row["lon"]))
            given = {k: float(row[k]) for k in ("metres_per_pixel", "heading") if row.get(k)}
        except (TypeError, ValueError):
            raise GalleryError(
                f"{path} line {number}: {row} is not file,lat,lon[,metres_per_pixel] in numbers."
            ) from None
        if abs(latlon[0]) > 90 or abs(latlon[1]) > 180:
            raise GalleryError(
                f"{path} line {number}: ({latlon[0]}, {latlon[1]}) is no latitude, longitude in degrees."
            )
        given = {k: v for k, v in given.items() if kind == "ground" or k != "heading"}
        view = open_view(path.parent / row["file"], kind, latlon=latlon, **given)
        yield row.get("name") or Path(row["file"]).with_suffix("").as_posix(), view


def _ortho(path: Path, metres: float, stride: float, pixels: int) -> Iterator[tuple[str, View]]:
    """Cut an orthophoto, warped to a transverse Mercator map on its own centre: north up, square metres."""
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.errors import RasterioError
    from rasterio.vrt import WarpedVRT
    from rasterio.windows import Window

    try:
        with rasterio.open(path) as file:
            if file.crs is None or file.transform.is_identity:
                raise GalleryError(f"{path} has no georeference: cut it into tiles and list them in a CSV instead.")
            origin = _centre(file)
            local = f"+proj=tmerc +lat_0={origin[0]!r} +lon_0={origin[1]!r} +k=1 +ellps=WGS84 +units=m"
            with WarpedVRT(file, crs=local, resampling=Resampling.bilinear, add_alpha=not _has_mask(file)) as vrt:
                resolution = vrt.transform.a
                side = metres / resolution
                columns = int((vrt.width - side) // (stride / resolution)) + 1
                rows = int((vrt.height - side) // (stride / resolution)) + 1
                limits = stretch(vrt)
                for index in range(max(0, rows) * max(0, columns)):
                    row, column = divmod(index, columns)
                    left, top = column * stride / resolution, row * stride / resolution
                    view = _cut(vrt, Window(left, top, side, side), pixels, limits, metres)
                    if view is not None:
                        place = _place(vrt, left + side / 2, top + side / 2, origin)
                        name = f"{path.stem}_r{row:04d}_c{column:04d}"
                        yield name, replace(view, latlon=place, name=name, source=str(path))
    except RasterioError as error:
        raise GalleryError(f"{path} cannot be read as a GeoTIFF ({error}): write it again with GDAL.") from None


def _centre(file: Any) -> tuple[float, float]:
    from pyproj import CRS, Transformer

    x, y = _at(file.transform, file.width / 2, file.height / 2)
    degrees = Transformer.from_crs(CRS.from_user_input(file.crs.to_wkt()), CRS.from_epsg(4326), always_xy=True)
    longitude, latitude = degrees.transform(x, y)
    return latitude, longitude


def _at(affine: Any, column: float, row: float) -> tuple[float, float]:
    return affine.a * column + affine.b * row + affine.c, affine.d * column + affine.e * row + affine.f


def _has_mask(file: Any) -> bool:
    from rasterio.enums import ColorInterp

    return file.nodata is not None or ColorInterp.alpha in file.colorinterp


def _place(vrt: Any, column: float, row: float, origin: tuple[float, float]) -> tuple[float, float]:
    from xview_demo.geometry.geodesy import enu_to_latlon

    east, north = _at(vrt.transform, column, row)
    latitude, longitude = enu_to_latlon(east, north, origin)
    return float(latitude), float(longitude)


def _cut(vrt: Any, window: Any, pixels: int, limits: tuple[float, float], metres: float) -> AerialView | None:
    from rasterio.enums import Resampling

    finer = max(1, math.ceil(window.width / pixels - 1e-6))
    side = pixels * finer
    valid = vrt.dataset_mask(window=window, out_shape=(side, side))
    if (valid > 0).mean() < MIN_VALID:
        return None
    values = vrt.read(colour_bands(vrt), out_shape=(3, side, side), window=window, resampling=Resampling.bilinear)
    return AerialView(F.avg_pool2d(scaled(values, limits), finer), metres / pixels)
