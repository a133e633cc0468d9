"""Georeferences of aerial pictures: GeoTIFF headers and world files."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from xview_demo.errors import ImageError
from xview_demo.files import atomic_path
from xview_demo.geometry.geodesy import distance_m, enu_to_latlon

MAX_TILT = 0.02  # radians between "up" in the picture and the map's north that are accepted as north up


@dataclass(frozen=True)
class Georeference:
    """Where a picture lies and how large its pixels are."""

    latlon: tuple[float, float] | None  # degrees WGS84 of the centre; None when the coordinate system is unknown
    metres: tuple[float, float]  # ground size of a pixel, across and down


def read_georeference(path: str | os.PathLike[str], width: int, height: int) -> Georeference | None:
    """The georeference of a picture of width × height pixels, from its GeoTIFF header or world file, or None.

    A world file's coordinates are degrees when a `.prj` says so, or when all of them could be; with another `.prj`
    they are in that system; with none they are metres at an unknown place.

    Raises:
        ImageError: the picture is turned or mirrored, so that north is not up.
    """
    path = Path(path)
    if path.suffix.lower() in (".tif", ".tiff"):
        found = _geotiff(path)
        if found is not None:
            return _reference(*found, width, height, path)
    for suffix in _world_suffixes(path):
        world = path.with_suffix(suffix)
        if world.is_file():
            a, d, b, e, c, f = _numbers(world)
            corner = (a, b, c - a / 2 - b / 2, d, e, f - d / 2 - e / 2)  # world files name the first pixel's centre
            return _reference(corner, _prj(path, corner), width, height, path)
    return None


def _degrees(
    latlon: tuple[float, float], metres_per_pixel: float, width: int, height: int
) -> tuple[float, float, float, float]:
    """Of a north-up picture: degrees of longitude and latitude across a pixel, and the first pixel's centre."""
    north, _ = enu_to_latlon(0, height / 2 * metres_per_pixel, latlon)
    south, _ = enu_to_latlon(0, -height / 2 * metres_per_pixel, latlon)
    _, east = enu_to_latlon(width / 2 * metres_per_pixel, 0, latlon)
    step_x = 2 * (east - latlon[1]) / width
    step_y = (north - south) / height
    return step_x, step_y, latlon[1] - step_x * (width - 1) / 2, latlon[0] + step_y * (height - 1) / 2


def write_geotiff(
    path: str | os.PathLike[str], image: Any, latlon: tuple[float, float], metres_per_pixel: float
) -> Path:
    """Write a north-up picture as a GeoTIFF in degrees (WGS84); returns its path.

    Args:
        path: of the file.
        image: (3, H, W) float tensor in [0, 1].
        latlon: degrees of the centre.
        metres_per_pixel: ground size of a pixel.
    """
    import rasterio
    from rasterio.transform import Affine

    pixels = (image.detach().cpu().clamp(0, 1) * 255 + 0.5).byte().numpy()
    height, width = pixels.shape[-2:]
    step_x, step_y, x, y = _degrees(latlon, metres_per_pixel, width, height)
    affine = Affine(step_x, 0.0, x - step_x / 2, 0.0, -step_y, y + step_y / 2)
    target = Path(path)
    with (
        atomic_path(target) as temporary,
        rasterio.open(
            temporary, "w", driver="GTiff", width=width, height=height, count=3, dtype="uint8", crs="EPSG:4326",
            transform=affine, compress="deflate", photometric="RGB",
        ) as file,
    ):  # fmt: skip
        file.write(pixels)
    return target


def write_world_file(
    path: str | os.PathLike[str], latlon: tuple[float, float], metres_per_pixel: float, width: int, height: int
) -> Path:
    """Write the world file of a north-up picture (degrees, WGS84) beside it (`.jgw`, `.pgw`, …); returns its path."""
    step_x, step_y, x, y = _degrees(latlon, metres_per_pixel, width, height)
    values = (step_x, 0.0, 0.0, -step_y, x, y)
    target = Path(path).with_suffix(_world_suffixes(Path(path))[0])
    with atomic_path(target) as temporary:
        temporary.write_text("".join(f"{value:.14g}\n" for value in values))
    return target


def _world_suffixes(path: Path) -> tuple[str, ...]:
    suffix = path.suffix.lower().lstrip(".")
    return (f".{suffix[0]}{suffix[-1]}w", f".{suffix}w", ".wld") if suffix else (".wld",)


def _numbers(world: Path) -> list[float]:
    try:
        numbers = [float(text.replace(",", ".")) for text in world.read_text().split()]
    except ValueError:
        numbers = []
    if len(numbers) != 6 or not all(map(math.isfinite, numbers)):
        raise ImageError(f"{world} is not a world file: it must hold six numbers, one per line.")
    return numbers


def _prj(path: Path, corner: tuple[float, ...]) -> CRS | None:
    prj = path.with_suffix(".prj")
    if prj.is_file():
        try:
            return CRS.from_user_input(prj.read_text())
        except CRSError:
            raise ImageError(f"{prj} does not name a coordinate system: replace it by the map's WKT.") from None
    degrees = abs(corner[2]) <= 180 and abs(corner[5]) <= 90 and abs(corner[0]) < 0.1
    return CRS.from_epsg(4326) if degrees else None


def _geotiff(path: Path) -> tuple[tuple[float, ...], CRS | None] | None:
    import warnings

    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as file:
                transform, crs = file.transform, file.crs
    except RasterioError:
        return None
    if transform.is_identity:
        return None
    return tuple(transform)[:6], None if crs is None else CRS.from_user_input(crs.to_wkt())


def _reference(affine: tuple[float, ...], crs: CRS | None, width: int, height: int, path: Path) -> Georeference:
    a, b, c, d, e, f = affine
    if a <= 0 or e >= 0 or abs(b) > MAX_TILT * abs(e) or abs(d) > MAX_TILT * abs(a):
        raise ImageError(f"{path} is not north up: rewrite it with `gdalwarp` (north up, square pixels) first.")

    def place(x: float, y: float) -> tuple[float, float]:
        return a * x + b * y + c, d * x + e * y + f

    if crs is None:
        return Georeference(None, (abs(a), abs(e)))
    to_degrees: Any = Transformer.from_crs(crs, CRS.from_epsg(4326), always_xy=True)

    def latlon(x: float, y: float) -> tuple[float, float]:
        longitude, latitude = to_degrees.transform(*place(x, y))
        return latitude, longitude

    middle = (width / 2, height / 2)
    across = distance_m(latlon(middle[0] - 0.5, middle[1]), latlon(middle[0] + 0.5, middle[1]))
    down = distance_m(latlon(middle[0], middle[1] - 0.5), latlon(middle[0], middle[1] + 0.5))
    if not (math.isfinite(across) and math.isfinite(down) and across > 0 and down > 0):
        raise ImageError(f"{path} lies outside its coordinate system: check its georeference.")
    return Georeference(latlon(*middle), (across, down))
