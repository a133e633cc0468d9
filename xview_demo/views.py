"""Pictures that know their geometry: `GroundView` from the street, `AerialView` from above.

Headings are degrees clockwise from north; an unknown heading, scale or place is None, never 0.
"""

import math
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from xview_demo.errors import ImageError
from xview_demo.geometry import geodesy, names
from xview_demo.geometry.panorama import equirect_grid, perspective_grid, photo_grid
from xview_demo.geometry.sampling import inside, pixel_grid, resize, roll_columns, sample
from xview_demo.georeference import read_georeference
from xview_demo.images import Metadata, read_image, write_image

EQUIRECTANGULAR, PERSPECTIVE = "equirectangular", "perspective"
PHOTO_HFOV = 70.0  # degrees, a photograph that does not say
STRIP_RATIO = 3.0  # width / height from which a picture without metadata is a full turn
SPHERE_RATIO_ERROR = 0.03  # how far from 2:1 a full sphere may be
FILM_DIAGONAL = math.hypot(36, 24)  # millimetres


@dataclass(frozen=True, eq=False)
class GroundView:
    """A picture taken from the street. Its centre column looks along `heading`; bearings grow to the right."""

    image: Tensor  # (3, H, W) float in [0, 1]
    projection: str = EQUIRECTANGULAR  # or "perspective"
    heading: float | None = None  # degrees clockwise from north, [0, 360); None = unknown
    hfov: float = 0.0  # degrees across; 0 = 360 for a panorama, 70 for a photograph
    vfov: float = 0.0  # degrees from top to bottom; 0 = from hfov and the picture's shape
    pitch: float = 0.0  # degrees the camera looks above the horizon
    roll: float = 0.0  # degrees the camera is turned clockwise
    latlon: tuple[float, float] | None = None  # degrees WGS84
    camera_height: float | None = None  # metres above the ground
    source: str | None = None  # the file it came from
    elevation: float = 0.0  # degrees of a panorama's middle row above the horizon of its own frame (an uneven crop)

    def __post_init__(self) -> None:
        """Check the picture, bring the heading into [0, 360) and fill in fields of view left at 0."""
        _check_image(self.image)
        if self.projection not in (EQUIRECTANGULAR, PERSPECTIVE):
            raise ImageError(f"Projection {self.projection!r} is unknown: use equirectangular or perspective.")
        panorama = self.projection == EQUIRECTANGULAR
        height, width = self.image.shape[-2:]
        hfov = float(self.hfov)
        if not hfov:
            hfov = 360.0 if panorama else _hfov_of(self.vfov, height, width) if self.vfov else PHOTO_HFOV
        limit = 360.0 if panorama else 179.0
        if not 1 <= hfov <= limit:
            raise ImageError(f"A {self.projection} view cannot cover {hfov:g}° across: give 1 to {limit:g}.")
        vfov = float(self.vfov) or (min(180.0, hfov * height / width) if panorama else _hfov_of(hfov, width, height))
        if not 0 < vfov <= 180:
            raise ImageError(f"A view cannot cover {vfov:g}° from top to bottom: give more than 0 and at most 180.")
        if self.camera_height is not None and not 0 < self.camera_height < math.inf:
            raise ImageError(f"A camera cannot stand {self.camera_height:g} m above the ground: give more than 0.")
        for name, value in (("hfov", hfov), ("vfov", vfov), ("heading", _compass(self.heading))):
            object.__setattr__(self, name, value)

    @classmethod
    def open(
        cls,
        source: Any,
        heading: float | None = None,
        hfov: float | None = None,
        vfov: float | None = None,
        *,
        projection: str | None = None,
        latlon: tuple[float, float] | None = None,
        camera_height: float | None = None,
    ) -> Self:
        """Open a ground picture and read what its metadata says; arguments that are given override it.

        EXIF orientation, GPS, compass direction (true north only) and 35 mm focal length are read, and GPano
        (full and cropped panoramas, heading, pitch, roll). Without GPano a 2:1 picture is a full sphere, one at
        least 3 times wider than high is a 360° strip whose horizon is its middle row (vfov = 360·H/W, as
        CVUSA's 1232×224), anything else a photograph, 70° across unless EXIF knows better. An `hfov` below 150
        makes a 2:1 or wider picture without metadata a photograph.

        Args:
            source: path, bytes, PIL picture, array, tensor or GroundView (see `images.read_image`).
            heading: degrees clockwise from north of the centre column.
            hfov, vfov: degrees covered, more than 0.
            projection: "equirectangular" or "perspective".
            latlon: degrees WGS84.
            camera_height: metres above the ground.

        Raises:
            ImageError: one sentence on why the picture cannot be used.
        """
        for way, degrees, limit in (("across", hfov, 360), ("from top to bottom", vfov, 180)):
            if degrees is not None and not 0 < degrees <= limit:
                raise ImageError(f"A view cannot cover {degrees:g}° {way}: give more than 0 and at most {limit}.")
        given = {"heading": heading, "hfov": hfov, "vfov": vfov, "projection": projection, "latlon": latlon}
        given["camera_height"] = camera_height
        given = {name: value for name, value in given.items() if value is not None}
        if isinstance(source, GroundView):
            return replace(source, **given)  # type: ignore[arg-type, return-value]
        image, metadata, path = read_image(source)
        fields = _ground_fields(image, metadata, given)
        return cls(image=image, source=path, **fields)

    @property
    def full_turn(self) -> bool:
        """Whether the picture is a panorama that covers all 360°."""
        return self.projection == EQUIRECTANGULAR and self.hfov > 359.5

    def strip(
        self, height: int = 128, width: int = 512, vfov: float = 90.0, *, north: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The level 360° strip around the horizon, what models take.

        Args:
            height, width: pixels.
            vfov: degrees from top to bottom, half above the horizon.
            north: turn the strip so that its centre column looks north instead of along the view's heading.

        Returns:
            image (3, height, width), 0 where the view shows nothing, and mask (1, height, width), 1 where it
            shows something. A photograph lies in the middle (with `north`, where its heading says).

        Raises:
            ImageError: `north` is asked of a view whose heading is unknown.
        """
        turn = 0.0
        if north:
            if self.heading is None:
                raise ImageError("The heading is unknown, so north cannot be found: give heading= in degrees.")
            turn = -self.heading
        source = self.image
        rows, columns = source.shape[-2:]
        if self.projection == EQUIRECTANGULAR:
            grid, mask = _panorama_grid(
                height, width, vfov, self.hfov, self.vfov, self.elevation, turn, self.pitch, self.roll
            )
            density = (self.vfov / rows * height / vfov, self.hfov / columns * width / 360)
        else:
            aspect = math.tan(math.radians(self.vfov) / 2) / math.tan(math.radians(self.hfov) / 2)
            grid, mask = _photo_grid(height, width, vfov, self.hfov, aspect, turn, self.pitch, self.roll)
            tangents = [2 * math.degrees(math.tan(math.radians(fov) / 2)) for fov in (self.vfov, self.hfov)]
            density = (tangents[0] / rows * height / vfov, tangents[1] / columns * width / 360)
        wanted = [max(2, round(n * min(1.0, d))) for n, d in zip((rows, columns), density, strict=True)]
        source = resize(source, wanted[0], wanted[1], wrap=self.full_turn)
        out = sample(source, grid.to(source.device), padding="wrap" if self.full_turn else "border")
        mask = mask.to(out)
        return out * mask, mask

    def rotated(self, degrees: float) -> Self:
        """The same full panorama with the camera turned clockwise: its centre looks `degrees` further right.

        A known heading grows by `degrees`, an unknown one stays unknown.

        Raises:
            ImageError: the view does not cover 360°, or its camera is tilted.
        """
        if not self.full_turn or self.pitch or self.roll:
            raise ImageError("Only a level 360° panorama can be turned: use .strip() for other views.")
        heading = None if self.heading is None else self.heading + degrees
        return replace(self, image=roll_columns(self.image, degrees), heading=heading)

    def photo(
        self, degrees: float = 0.0, hfov: float = 70.0, height: int = 384, width: int = 512, pitch: float = 0.0
    ) -> "GroundView":
        """Take a level photograph inside a panorama, `degrees` to the right of its centre column.

        Raises:
            ImageError: the view is not a panorama, or its camera is tilted.
        """
        if self.projection != EQUIRECTANGULAR or self.pitch or self.roll:
            raise ImageError("A photograph can only be taken inside a level panorama.")
        of_source = {"source_hfov": self.hfov, "source_vfov": self.vfov, "source_elevation": self.elevation}
        grid = perspective_grid(height, width, hfov, heading=degrees, pitch=pitch, **of_source)
        image = sample(self.image, grid.to(self.image.device), padding="wrap" if self.full_turn else "border")
        heading = None if self.heading is None else self.heading + degrees
        place = {"latlon": self.latlon, "camera_height": self.camera_height, "source": self.source}
        return GroundView(image, PERSPECTIVE, heading, hfov, pitch=pitch, **place)  # type: ignore[arg-type]

    def save(self, path: str | os.PathLike[str], quality: int = 92) -> Path:
        """Write JPEG, PNG or WebP with EXIF GPS and, for a panorama, GPano metadata that `open` reads back."""
        return write_image(path, self.image, quality=quality, latlon=self.latlon, gpano=_gpano_of(self))


@dataclass(frozen=True, eq=False)
class AerialView:
    """A picture from above, north up; `latlon` is its centre."""

    image: Tensor  # (3, H, W) float in [0, 1]
    metres_per_pixel: float | None = None  # ground size of a pixel; None = unknown
    latlon: tuple[float, float] | None = None  # degrees WGS84 of the centre
    name: str | None = None  # the tile's name in a gallery
    source: str | None = None  # the file it came from

    def __post_init__(self) -> None:
        """Check the picture and the scale."""
        _check_image(self.image)
        if self.metres_per_pixel is not None and not 0 < self.metres_per_pixel < math.inf:
            raise ImageError(f"A scale of {self.metres_per_pixel} metres per pixel is not possible: give more than 0.")

    @classmethod
    def open(
        cls,
        source: Any,
        metres_per_pixel: float | None = None,
        latlon: tuple[float, float] | None = None,
        name: str | None = None,
    ) -> Self:
        """Open an aerial picture; arguments that are given override what it says about itself.

        Scale and place come from a GeoTIFF's or world file's georeference (made square and north up), else from a
        slippy, UTM or lat/lon file name (`geometry.names`), else the place from EXIF GPS; else they stay None.

        Raises:
            ImageError: one sentence on why the picture cannot be used.
        """
        if isinstance(source, AerialView):
            given = {"metres_per_pixel": metres_per_pixel, "latlon": latlon, "name": name}
            return replace(source, **{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type, return-value]
        image, metadata, path = read_image(source)
        found, scale = metadata.latlon, None
        if path is not None:
            place = names.place_of(path)
            if place is not None:
                found = place.latlon
                scale = place.metres / image.shape[-1] if place.metres else None
            reference = read_georeference(path, image.shape[-1], image.shape[-2])
            if reference is not None:
                found, scale = reference.latlon or found, reference.metres[0]
                image = _square_pixels(image, *reference.metres)
                scale = min(reference.metres)
        return cls(
            image=image,
            metres_per_pixel=scale if metres_per_pixel is None else metres_per_pixel,
            latlon=found if latlon is None else latlon,
            name=name or (Path(path).stem if path else None),
            source=path,
        )

    @property
    def metres(self) -> float | None:
        """Ground width of the picture in metres, None when the scale is unknown."""
        return None if self.metres_per_pixel is None else self.metres_per_pixel * self.image.shape[-1]

    def tile(
        self, metres: float | None = 64.0, pixels: int = 256, *, east_north: tuple[float, float] = (0.0, 0.0)
    ) -> Tensor:
        """A square cut around the centre: (3, pixels, pixels), `metres` wide, anti-aliased.

        With `metres` None, or when the scale is unknown, it is the largest centred square of the picture. Beyond
        the picture its edge pixels repeat.

        Args:
            metres: ground width of the tile.
            pixels: pixels per side.
            east_north: metres from the picture's centre to the tile's (ignored when the scale is unknown).
        """
        height, width = self.image.shape[-2:]
        side, offset = float(min(height, width)), (0.0, 0.0)  # pixels of the picture
        if self.metres_per_pixel is not None:
            side = side if metres is None else metres / self.metres_per_pixel
            offset = (east_north[0] / self.metres_per_pixel, east_north[1] / self.metres_per_pixel)
        finer = max(1, math.ceil(side / pixels - 1e-6))
        scale = torch.tensor([side / width, side / height], device=self.image.device)
        shift = torch.tensor([2 * offset[0] / width, -2 * offset[1] / height], device=self.image.device)
        grid = pixel_grid(pixels * finer, pixels * finer, self.image.device) * scale + shift
        return F.avg_pool2d(sample(self.image, grid), finer) if finer > 1 else sample(self.image, grid)

    def latlon_of(self, east: float, north: float) -> tuple[float, float] | None:
        """Degrees of a place given in metres from the centre; None when the centre's place is unknown."""
        if self.latlon is None:
            return None
        latitude, longitude = geodesy.enu_to_latlon(east, north, self.latlon)
        return float(latitude), float(longitude)

    def save(self, path: str | os.PathLike[str], quality: int = 92) -> Path:
        """Write JPEG, PNG or WebP with the place in EXIF GPS; a known scale goes into a world file beside it."""
        written = write_image(path, self.image, quality=quality, latlon=self.latlon)
        if self.metres_per_pixel is not None and self.latlon is not None:
            from xview_demo.georeference import write_world_file

            height, width = self.image.shape[-2:]
            write_world_file(written, self.latlon, self.metres_per_pixel, width, height)
        return written


@lru_cache(maxsize=32)
def _panorama_grid(
    height: int,
    width: int,
    vfov: float,
    source_hfov: float,
    source_vfov: float,
    source_elevation: float,
    turn: float,
    pitch: float,
    roll: float,
) -> tuple[Tensor, Tensor]:
    grid = equirect_grid(
        height, width, 360.0, vfov, source_hfov=source_hfov, source_vfov=source_vfov,
        source_elevation=source_elevation, heading=turn, pitch=pitch, roll=roll,
    )  # fmt: skip
    return grid, inside(grid)[None]


@lru_cache(maxsize=32)
def _photo_grid(
    height: int, width: int, vfov: float, hfov: float, aspect: float, turn: float, pitch: float, roll: float
) -> tuple[Tensor, Tensor]:
    grid = photo_grid(
        height, width, 360.0, vfov, photo_hfov=hfov, photo_aspect=aspect, heading=turn, pitch=pitch, roll=roll
    )
    return grid, inside(grid)[None]


def _check_image(image: Any) -> None:
    if not isinstance(image, Tensor) or image.dim() != 3 or image.shape[0] != 3 or not image.is_floating_point():
        found = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise ImageError(f"A view holds a float tensor (3, H, W) in [0, 1], not {found}: use .open() for other kinds.")


def _compass(heading: float | None) -> float | None:
    if heading is None:
        return None
    if not math.isfinite(heading):
        raise ImageError(f"A heading of {heading} is not an angle: give degrees clockwise from north, or None.")
    return float(heading) % 360.0


def _hfov_of(vfov: float, height: int, width: int) -> float:
    """Degrees across `width` pixels when `height` pixels cover `vfov` (square pixels)."""
    return math.degrees(2 * math.atan(math.tan(math.radians(vfov) / 2) * width / height))


def _square_pixels(image: Tensor, metres_x: float, metres_y: float) -> Tensor:
    """Stretch a picture whose pixels are not square on the ground to the finer of the two sizes."""
    if abs(metres_x / metres_y - 1) < 0.002:
        return image
    finest = min(metres_x, metres_y)
    height, width = image.shape[-2:]
    return resize(image, round(height * metres_y / finest), round(width * metres_x / finest))


def _ground_fields(image: Tensor, metadata: Metadata, given: dict[str, Any]) -> dict[str, Any]:
    """Projection, angles and place from metadata and shape, overridden by what is given."""
    height, width = image.shape[-2:]
    fields: dict[str, Any] = {"latlon": metadata.latlon, "heading": metadata.compass}
    sphere = None if given.get("projection") == PERSPECTIVE else _gpano_fields(metadata.gpano)
    if sphere is not None:
        fields |= {"projection": EQUIRECTANGULAR, **sphere}
    elif given.get("projection") == PERSPECTIVE or not _looks_panoramic(width / height, given):
        fields |= {"projection": PERSPECTIVE}
        if metadata.focal_35mm:
            pixels = metadata.focal_35mm / FILM_DIAGONAL * math.hypot(width, height)
            fields["hfov"] = math.degrees(2 * math.atan(width / 2 / pixels))
    else:
        fields |= {"projection": EQUIRECTANGULAR, "hfov": 360.0}
    if "hfov" in given or "vfov" in given:
        fields = {k: v for k, v in fields.items() if k not in ("hfov", "vfov")}
    return {k: v for k, v in (fields | given).items() if v is not None}


def _looks_panoramic(ratio: float, given: dict[str, Any]) -> bool:
    if given.get("projection") == EQUIRECTANGULAR or given.get("hfov", 0) >= 150:
        return True
    return given.get("hfov", 360) >= 150 and (ratio >= STRIP_RATIO or abs(ratio - 2) < SPHERE_RATIO_ERROR)


def _gpano_fields(gpano: dict[str, str]) -> dict[str, Any] | None:
    """Fields of a GroundView from GPano properties; None when they describe no equirectangular panorama.

    The pose heading is that of the full sphere's centre column; a crop's own centre lies beside it by its offset.
    """
    if gpano.get("ProjectionType", EQUIRECTANGULAR).lower() != EQUIRECTANGULAR or not gpano:
        return None

    def number(name: str) -> float | None:
        try:
            value = float(gpano[name])
        except (KeyError, ValueError):
            return None
        return value if math.isfinite(value) else None

    fields: dict[str, Any] = {"pitch": number("PosePitchDegrees"), "roll": number("PoseRollDegrees")}
    heading = number("PoseHeadingDegrees")
    full = (number("FullPanoWidthPixels"), number("FullPanoHeightPixels"))
    crop = (number("CroppedAreaImageWidthPixels"), number("CroppedAreaImageHeightPixels"))
    left, top = number("CroppedAreaLeftPixels"), number("CroppedAreaTopPixels")
    width, height, inner_width, inner_height = *full, *crop
    if width and height and inner_width and inner_height and inner_width <= width and inner_height <= height:
        left = (width - inner_width) / 2 if left is None else left
        top = (height - inner_height) / 2 if top is None else top
        fields["hfov"] = 360 * inner_width / width
        fields["vfov"] = 180 * inner_height / height
        fields["elevation"] = (0.5 - (top + inner_height / 2) / height) * 180
        heading = None if heading is None else heading + ((left + inner_width / 2) / width - 0.5) * 360
    elif "ProjectionType" not in gpano:
        return None
    if heading is not None:
        fields["heading"] = heading
    return {name: value for name, value in fields.items() if value is not None}


def _gpano_of(view: GroundView) -> dict[str, str] | None:
    if view.projection != EQUIRECTANGULAR:
        return None
    height, width = view.image.shape[-2:]
    full_width, full_height = round(width * 360 / view.hfov), round(height * 180 / view.vfov)
    top = (0.5 - view.elevation / 180) * full_height - height / 2
    values: dict[str, Any] = {
        "ProjectionType": EQUIRECTANGULAR,
        "FullPanoWidthPixels": full_width,
        "FullPanoHeightPixels": full_height,
        "CroppedAreaImageWidthPixels": width,
        "CroppedAreaImageHeightPixels": height,
        "CroppedAreaLeftPixels": round((full_width - width) / 2),
        "CroppedAreaTopPixels": round(top),
        "PosePitchDegrees": view.pitch or None,
        "PoseRollDegrees": view.roll or None,
        "PoseHeadingDegrees": view.heading,
    }
    return {name: f"{value:.10g}" if isinstance(value, float) else str(value) for name, value in values.items()
            if value is not None}  # fmt: skip
