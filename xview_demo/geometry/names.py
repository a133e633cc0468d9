"""Places written in file names: slippy tiles, UTM names and latitude/longitude.

Accepted, with any picture suffix:
- slippy tiles: `19/154413/197027.jpg` (folders z/x/y) or `19_154413_197027.jpg`;
- UTM, as place-recognition data sets write it: `@east@north@zone@letter@….jpg` (the letter is the MGRS latitude
  band C–X), or `@east@north@….jpg` when a zone is given to `place_of`;
- degrees: `51.5092_-0.0873.jpg` or `51.5092,-0.0873.jpg`, whatever follows after another separator
  (`51.5092,-0.0873,12.1.png` has heading 12.1).
"""

import os
import re
from dataclasses import dataclass
from pathlib import PurePath

from xview_demo.geometry.geodesy import tile_latlon, tile_metres, utm_to_latlon

_SLIPPY = re.compile(r"^(\d{1,2})[_-](\d+)[_-](\d+)$")
_DEGREES = re.compile(r"^([+-]?\d{1,2}\.\d+)[,_ ]([+-]?\d{1,3}\.\d+)(?:[,_ ]([+-]?\d+(?:\.\d+)?))?(?:[,_ @].*)?$")
_NUMBER = re.compile(r"^[+-]?\d+(\.\d+)?$")


@dataclass(frozen=True)
class NamedPlace:
    """What a file name says about where its picture is."""

    latlon: tuple[float, float]  # degrees WGS84, the picture's centre
    metres: float | None = None  # ground width of the picture, known for slippy tiles
    heading: float | None = None  # degrees clockwise from north, third number of a degrees name
    tile: tuple[int, int, int] | None = None  # (z, x, y) of a slippy tile
    utm: tuple[float, float] | None = None  # metres (east, north) of a UTM name


def place_of(path: str | os.PathLike[str], utm_zone: tuple[int, str] | None = None) -> NamedPlace | None:
    """The place a file's name holds, or None.

    Args:
        path: only the name is read, and for z/x/y tiles the two folders above it; nothing is opened.
        utm_zone: (number, "N" or "S") for UTM names that do not state their zone.
    """
    path = PurePath(path)
    if path.name.startswith("@"):
        return _utm(path.name, utm_zone)
    stem = path.name.removesuffix(path.suffix) if not _NUMBER.match(path.suffix.lstrip(".")) else path.name
    match = _SLIPPY.match(stem)
    if match:
        return _slippy(*(int(part) for part in match.groups()))
    if len(path.parts) >= 3 and all(part.isdigit() for part in (*path.parts[-3:-1], stem)):
        return _slippy(int(path.parts[-3]), int(path.parts[-2]), int(stem))
    match = _DEGREES.match(stem)
    if match:
        latitude, longitude = float(match[1]), float(match[2])
        if abs(latitude) <= 90 and abs(longitude) <= 180:
            return NamedPlace((latitude, longitude), heading=float(match[3]) if match[3] else None)
    return None


def utm_of(path: str | os.PathLike[str]) -> tuple[float, float] | None:
    """Metres (east, north) of a UTM name `@east@north@…`, whether or not the zone is known; None for other names.

    Only the file's own name is read, so an "@" in a folder does no harm.
    """
    parts = PurePath(path).name.split("@")
    if len(parts) < 3 or parts[0] or not all(_NUMBER.match(part) for part in parts[1:3]):
        return None
    return float(parts[1]), float(parts[2])


def _slippy(z: int, x: int, y: int) -> NamedPlace | None:
    if not 1 <= z <= 24 or x >= 2**z or y >= 2**z:
        return None
    latlon = tile_latlon(x + 0.5, y + 0.5, z)
    return NamedPlace(latlon, metres=tile_metres(latlon[0], z), tile=(z, x, y))


def _utm(name: str, zone: tuple[int, str] | None) -> NamedPlace | None:
    place = utm_of(name)
    if place is None:
        return None
    parts = name.split("@")
    if len(parts) > 4 and parts[3].isdigit() and 1 <= int(parts[3]) <= 60 and re.match(r"^[C-Xc-x]$", parts[4]):
        zone = (int(parts[3]), "N" if parts[4].upper() >= "N" else "S")
    if zone is None:
        return None
    latlon = utm_to_latlon(*place, *zone)
    return NamedPlace((float(latlon[0]), float(latlon[1])), utm=place)
