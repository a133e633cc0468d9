"""Pixels of GeoTIFFs that ordinary picture readers do not know: many bands, 16 bits, floats, unusual compression."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def raster_size(path: Path) -> tuple[int, int] | None:
    """(width, height) of a file GDAL can read, else None."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as file:
                return file.width, file.height
    except RasterioError:
        return None


def read_raster(path: Path) -> Tensor:
    """The colours of a raster as float32 (3, H, W) in [0, 1], stretched as `stretch` says; raises OSError."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as file:
                return scaled(file.read(colour_bands(file)), stretch(file))
    except RasterioError as error:
        raise OSError(str(error)) from None


def scaled(values: np.ndarray, limits: tuple[float, float]) -> Tensor:
    """Map values so that black is 0 and white is 1; what is not finite becomes 0."""
    unit = (values.astype(np.float32) - limits[0]) / (limits[1] - limits[0])
    return torch.from_numpy(np.nan_to_num(unit).clip(0, 1))


def colour_bands(file: Any) -> list[int]:
    """Numbers of the bands that are red, green and blue: the first three, or the first one thrice."""
    from rasterio.enums import ColorInterp

    bands = [i for i, role in enumerate(file.colorinterp, 1) if role != ColorInterp.alpha]
    return bands[:3] if len(bands) >= 3 else bands[:1] * 3


def stretch(file: Any) -> tuple[float, float]:
    """Black and white of a raster: 0–255 for 8 bits, else its 0.5th and 99.5th percentile."""
    if file.dtypes[0] == "uint8":
        return 0.0, 255.0
    shape = (3, min(512, file.height), min(512, file.width))
    values = file.read(colour_bands(file), out_shape=shape, masked=True).compressed()
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, [0.005, 0.995]) if values.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1e-6))
