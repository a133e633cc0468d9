"""Reading and writing picture files: pixels as a float tensor, and what their metadata says about the camera.

Every colour type becomes RGB in [0, 1] (16 bit, CMYK with its profile, palette, grey, alpha laid over white);
what is not one usable still picture is refused with one sentence.

JPEG, PNG, WebP, TIFF, BMP, GIF and AVIF are read, a TIFF also as GDAL reads it. An animation is refused; of a TIFF with
several pages the first is taken, for a GeoTIFF's further pages are the same picture in smaller sizes.
"""

import io
import math
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import IFDRational
from torch import Tensor

from xview_demo.errors import ImageError, one_line
from xview_demo.files import atomic_path

MIN_SIDE = 16  # pixels
MAX_SIDE = 16384  # pixels
MAX_PIXELS = 64_000_000
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")  # PIL's names; others need programs or are no photos
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
XMP_KEY = "XML:com.adobe.xmp"


@dataclass(frozen=True)
class Metadata:
    """What a file says about how it was taken; None where it says nothing."""

    latlon: tuple[float, float] | None = None  # degrees WGS84, from EXIF GPS
    compass: float | None = None  # degrees clockwise from true north, EXIF GPSImgDirection with reference T
    focal_35mm: float | None = None  # millimetres, 35 mm equivalent by the picture's diagonal
    gpano: dict[str, str] = field(default_factory=dict)  # Google's GPano properties, name → text


def read_image(source: Any) -> tuple[Tensor, Metadata, str | None]:
    """Open a picture.

    Args:
        source: a path, bytes, a PIL picture, an array (H, W), (H, W, 1|3|4) of uint8, uint16 or floats in
            [0, 1], or a tensor (3, H, W) or (1, 3, H, W), floats in [0, 1] or uint8.

    Returns:
        The picture, float32 (3, H, W) in [0, 1], upright by its EXIF orientation; its metadata; its path or None.

    Raises:
        ImageError: one sentence on why it cannot be used.
    """
    if isinstance(source, Tensor):
        return _from_tensor(source), Metadata(), None
    if isinstance(source, np.ndarray):
        return _from_array(source), Metadata(), None
    if isinstance(source, Image.Image):
        return _decode(source, "the picture"), _metadata(source), getattr(source, "filename", None) or None
    if isinstance(source, (bytes, bytearray)):
        return *_from_file(io.BytesIO(bytes(source)), "the upload", len(source)), None
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.is_file():
            found = "is a folder" if path.is_dir() else "does not exist"
            raise ImageError(f"{path} {found}: give the path of a picture file.")
        with path.open("rb") as file:
            return *_from_file(file, str(path), path.stat().st_size, path), str(path)
    raise ImageError(f"A {type(source).__name__} is not a picture: give a path, a PIL picture, an array or a tensor.")


def to_uint8(image: Tensor) -> np.ndarray:
    """A float picture (3, H, W) in [0, 1] as uint8 (H, W, 3)."""
    array = image.detach().to("cpu", torch.float32).clamp(0, 1).mul(255).round().to(torch.uint8)
    return array.permute(1, 2, 0).contiguous().numpy()


def to_pil(image: Tensor) -> Image.Image:
    """A float picture (3, H, W) in [0, 1] as a PIL picture."""
    return Image.fromarray(to_uint8(image))


def encode_jpeg(image: Tensor, quality: int = 92) -> bytes:
    """A float picture (3, H, W) in [0, 1] as the bytes of a JPEG file."""
    buffer = io.BytesIO()
    to_pil(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def write_image(
    path: str | os.PathLike[str],
    image: Tensor,
    *,
    quality: int = 92,
    latlon: tuple[float, float] | None = None,
    gpano: dict[str, str] | None = None,
) -> Path:
    """Write a picture (3, H, W) as JPEG, PNG or WebP with EXIF GPS and GPano metadata, atomically.

    Raises:
        ImageError: the suffix is none of those.
    """
    path = Path(path)
    kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}.get(path.suffix.lower())
    if kind is None:
        raise ImageError(f"A picture cannot be written as '{path.name}': use .jpg, .png or .webp.")
    options: dict[str, Any] = {} if kind == "PNG" else {"quality": quality}
    if latlon is not None:
        options["exif"] = _gps_exif(latlon)
    if gpano:
        xmp = _xmp(gpano)
        if kind == "PNG":
            from PIL.PngImagePlugin import PngInfo

            options["pnginfo"] = PngInfo()
            options["pnginfo"].add_itxt(XMP_KEY, xmp)
        else:
            options["xmp"] = xmp.encode()
    with atomic_path(path) as temporary:
        to_pil(image).save(temporary, kind, **options)
    return path


@cache
def _formats() -> tuple[str, ...]:
    """The formats that this installation of PIL reads, of `FORMATS`."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextmanager
def _quietly() -> Iterator[None]:
    """Leave out PIL's warnings: what is too large or damaged is told in the one sentence of an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _from_file(file: Any, name: str, size: int, path: Path | None = None) -> tuple[Tensor, Metadata]:
    if size == 0:
        raise ImageError(f"{name} is empty (0 bytes): give a picture file.")
    with _quietly():
        picture = _opened(file, name)
        if picture is not None:
            return _decode(picture, name), _metadata(picture)
    if path is not None and path.suffix.lower() in (".tif", ".tiff"):
        return _raster(path), Metadata()
    raise ImageError(f"{name} is not a picture this program can read: give a JPEG, PNG, WebP or TIFF.")


def _opened(file: Any, name: str) -> Image.Image | None:
    """A picture whose pixels are not read yet; None when it is of no format that is read."""
    try:
        return Image.open(file, formats=_formats())
    except UnidentifiedImageError:
        return None
    except Image.DecompressionBombError:
        raise ImageError(_too_large(name, "more than 178 million pixels")) from None
    except Exception as error:  # PIL's readers raise errors of every kind on a damaged file
        raise ImageError(
            f"{name} cannot be opened ({one_line(error, 100)}): the file is damaged, save it again."
        ) from None


def _raster(path: Path) -> Tensor:
    """A TIFF that only GDAL reads: many bands, floats, unusual compression."""
    from xview_demo.rasters import raster_size, read_raster

    size = raster_size(path)
    if size is None:
        raise ImageError(f"{path} is not a TIFF this program can read: write it again with GDAL.")
    _check_size(*size, str(path))
    with _whole(str(path)):
        return read_raster(path)


def _decode(picture: Image.Image, name: str) -> Tensor:
    width, height = picture.size
    _check_size(width, height, name)
    with _whole(name):
        frames = getattr(picture, "n_frames", 1) if picture.format in ANIMATED else 1
        if frames <= 1:
            picture.load()
            return _pixels(ImageOps.exif_transpose(picture))
    raise ImageError(f"{name} is an animation of {frames} frames: save one frame as a still picture.")


@contextmanager
def _whole(name: str) -> Iterator[None]:
    """Turn whatever the reading of pixels raises into one sentence."""
    try:
        yield
    except Exception as error:  # PIL's readers raise errors of every kind on a damaged file, a TypeError for a TIFF
        raise ImageError(
            f"{name} cannot be decoded ({one_line(error, 100)}): the file is cut short or damaged."
        ) from None


def _check_size(width: int, height: int, name: str) -> None:
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{name} is {width}×{height} pixels: at least {MIN_SIDE}×{MIN_SIDE} are needed.")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageError(_too_large(name, f"{width}×{height} pixels", width, height))


def _too_large(name: str, found: str, width: int = 0, height: int = 0) -> str:
    limit = f"the limit is {MAX_SIDE} pixels per side and {MAX_PIXELS // 1_000_000} million in all"
    if not width:
        return f"{name} has {found}: {limit}; make it smaller first."
    scale = min(MAX_SIDE / max(width, height), math.sqrt(MAX_PIXELS / (width * height)))
    return f"{name} is {found}: {limit}; resize it to {int(width * scale)}×{int(height * scale)} first."


def _pixels(picture: Image.Image) -> Tensor:
    """RGB floats of a loaded PIL picture of any mode."""
    mode = picture.mode
    if mode.startswith("I") or mode == "F":
        grey = np.asarray(picture).astype(np.float32)
        top = float(grey.max(initial=0.0))
        scale = 1.0 if mode == "F" and top <= 1 else 255.0 if mode == "F" and top <= 255 else 65535.0
        grey = np.clip(np.nan_to_num(grey / scale), 0, 1)
        return torch.from_numpy(grey).expand(3, *grey.shape).clone()
    if mode == "CMYK":
        picture = _from_cmyk(picture)
    elif mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, layer)
    array = np.array(picture.convert("RGB"))
    return torch.from_numpy(array).permute(2, 0, 1).float().div_(255).contiguous()


def _from_cmyk(picture: Image.Image) -> Image.Image:
    """CMYK to RGB through the embedded profile, or by the plain formula without one."""
    profile = picture.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError):
            return picture.convert("RGB")
    return picture.convert("RGB")


def _from_array(array: np.ndarray) -> Tensor:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or array.size == 0:
        raise ImageError(f"An array of shape {array.shape} is not a picture: give (H, W), (H, W, 3) or (H, W, 4).")
    _check_size(array.shape[1], array.shape[0], "the array")
    if array.dtype == np.uint8 or array.dtype == np.uint16:
        values = array.astype(np.float32) / np.iinfo(array.dtype).max
    elif array.dtype == np.bool_ or np.issubdtype(array.dtype, np.floating):
        values = array.astype(np.float32)
    else:
        raise ImageError(f"An array of {array.dtype} is not a picture: give uint8, uint16 or floats in [0, 1].")
    if values.ndim == 2:
        values = values[..., None]
    if values.shape[2] == 4:
        values = values[..., :3] * values[..., 3:] + (1 - values[..., 3:])
    image = torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1)
    return _checked_range(image.expand(3, *image.shape[1:]).contiguous())


def _from_tensor(tensor: Tensor) -> Tensor:
    image = tensor.detach()
    if image.dim() == 4 and image.shape[0] == 1:
        image = image[0]
    if image.dim() != 3 or image.shape[0] not in (1, 3):
        raise ImageError(f"A tensor of shape {tuple(tensor.shape)} is not a picture: give (3, H, W).")
    _check_size(image.shape[2], image.shape[1], "the tensor")
    image = image.float() / 255 if image.dtype == torch.uint8 else image.float()
    return _checked_range(image.expand(3, -1, -1))


def _checked_range(image: Tensor) -> Tensor:
    low, high = float(image.min()), float(image.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ImageError("The picture holds values that are not finite: replace NaN and infinity first.")
    if low < -1e-3 or high > 1 + 1e-3:
        raise ImageError(f"The picture's values run from {low:.3g} to {high:.3g}: floats must lie in [0, 1].")
    return image.clamp(0, 1)


def _metadata(picture: Image.Image) -> Metadata:
    try:
        exif = picture.getexif()
        gps = dict(exif.get_ifd(ExifTags.IFD.GPSInfo))
        focal = _finite(exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.FocalLengthIn35mmFilm))
    except Exception:  # damaged metadata raise errors of every kind, and the picture is as good without them
        gps, focal = {}, None
    compass = _finite(gps.get(ExifTags.GPS.GPSImgDirection))
    true_north = str(gps.get(ExifTags.GPS.GPSImgDirectionRef, "")).strip("\0 ").upper() == "T"
    return Metadata(
        latlon=_gps_latlon(gps),
        compass=compass % 360 if compass is not None and true_north else None,
        focal_35mm=focal if focal else None,
        gpano=_gpano(picture),
    )


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None


def _gps_latlon(gps: dict[int, Any]) -> tuple[float, float] | None:
    """Degrees of the EXIF GPS block; (0, 0), what cameras write without a fix, counts as absent."""
    degrees = []
    for ref, value, negative in ((1, 2, "S"), (3, 4, "W")):
        parts = gps.get(value)
        numbers = [_finite(part) for part in parts] if isinstance(parts, tuple) else []
        if len(numbers) != 3 or any(n is None for n in numbers):
            return None
        d, m, s = (n or 0.0 for n in numbers)
        sign = -1 if str(gps.get(ref, "")).strip("\0 ").upper().startswith(negative) else 1
        degrees.append(sign * (d + m / 60 + s / 3600))
    latitude, longitude = degrees
    if abs(latitude) > 90 or abs(longitude) > 180 or latitude == longitude == 0:
        return None
    return latitude, longitude


def _gps_exif(latlon: tuple[float, float]) -> bytes:
    exif = Image.Exif()
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    for tag, value, letters in ((1, latlon[0], "NS"), (3, latlon[1], "EW")):
        seconds = round(abs(value) * 3600 * 10**6)  # millionths, 0.03 mm
        minutes, rest = divmod(seconds, 60 * 10**6)
        gps[tag] = letters[value < 0]
        gps[tag + 1] = (IFDRational(minutes // 60), IFDRational(minutes % 60), IFDRational(rest, 10**6))
    return exif.tobytes()


def _gpano(picture: Image.Image) -> dict[str, str]:
    """GPano properties of the picture's XMP, written as attributes or as elements."""
    packet = picture.info.get("xmp") or picture.info.get(XMP_KEY)
    if packet is None and hasattr(picture, "tag_v2"):
        packet = picture.tag_v2.get(700)
    if packet is None:
        return {}
    text = packet.decode("utf-8", "replace") if isinstance(packet, bytes) else str(packet)
    attributes = re.findall(r"""GPano:(\w+)\s*=\s*["']([^"']*)["']""", text)
    elements = re.findall(r"<GPano:(\w+)>\s*([^<]*?)\s*</GPano:", text)
    return dict(attributes + elements)


def _xmp(gpano: dict[str, str]) -> str:
    properties = " ".join(f'GPano:{name}="{value}"' for name, value in gpano.items())
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" {properties}/>'
        "</rdf:RDF></x:xmpmeta>"
    )
