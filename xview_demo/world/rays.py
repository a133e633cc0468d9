"""The rays of upright cameras: columns are vertical planes, rows have slopes."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .scene import look_up
from .sky import sky_row


@dataclass
class Slopes:
    """How each of the (B, W, H) rays rises; what all cameras or columns share is stored once (stride 0)."""

    tangent: Tensor  # tangent of the elevation, decreasing with the row
    slant: Tensor  # metres along the ray per metre along the ground
    stretch: Tensor  # square root of a footprint's length over its width on level ground, at most √6
    sky_row: Tensor  # −1 … 1, where the ray meets the sky's table

    @staticmethod
    def of(tangent: Tensor, shape: tuple[int, int, int]) -> "Slopes":
        """`tangent` is anything that expands to `shape` (B, W, H)."""
        slant = torch.sqrt(1 + tangent**2)
        stretch = torch.sqrt((slant / tangent.abs().clamp(min=0.02)).clamp(max=6))
        rows = sky_row(tangent / slant)
        return Slopes(tangent.expand(shape), slant.expand(shape), stretch.expand(shape), rows.expand(shape))

    def part(self, cut: slice) -> "Slopes":
        """Those of some of the cameras."""
        return Slopes(self.tangent[cut], self.slant[cut], self.stretch[cut], self.sky_row[cut])


@dataclass
class Rays:
    """Column-wise rays of B cameras with W columns and H rows."""

    east: Tensor  # (B,) metres
    north: Tensor  # (B,)
    height: Tensor  # (B,) absolute metres
    azimuth: Tensor  # (B, W) radians clockwise from north
    slopes: Slopes
    pixel: float  # radians a pixel spans
    kind: str  # "equirectangular": rows even in angle; "perspective": rows even in tangent
    top: float  # angle (radians) or tangent (on the axis) of the picture's upper edge
    column_scale: Tensor | None = None  # (B, W) perspective: tangent per unit of the image plane

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cameras, columns, rows."""
        batch, columns, rows = self.slopes.tangent.shape
        return batch, columns, rows

    @cached_property
    def bearing(self) -> Tensor:
        """(N,) azimuth of each of the N = B·W columns, 0 – 2 π."""
        return torch.remainder(self.azimuth.reshape(-1), 2 * math.pi)

    @cached_property
    def columns(self) -> Tensor:
        """(5, N) east, north and height of each column's camera, sine and cosine of its azimuth."""
        cameras = [t.repeat_interleave(self.azimuth.shape[1]) for t in (self.east, self.north, self.height)]
        return torch.stack([*cameras, torch.sin(self.bearing), torch.cos(self.bearing)])

    def part(self, cut: slice) -> "Rays":
        """Those of some of the cameras."""
        scale = None if self.column_scale is None else self.column_scale[cut]
        return Rays(
            self.east[cut], self.north[cut], self.height[cut], self.azimuth[cut], self.slopes.part(cut),
            self.pixel, self.kind, self.top, scale,
        )  # fmt: skip

    def row_of(self, tangent: Tensor, ray: Tensor) -> Tensor:
        """Fractional row (pixel centres are whole numbers) of tangents (N,) in columns `ray` (N,) of all B·W."""
        rows = self.shape[2]
        if self.kind == "equirectangular":
            return torch.atan(tangent).mul_(-0.5 * rows / self.top).add_(0.5 * rows - 0.5)
        assert self.column_scale is not None
        place = tangent / look_up(self.column_scale.reshape(-1), ray)
        return place.mul_(-0.5 * rows / self.top).add_(0.5 * rows - 0.5)


def equirectangular_rays(
    east: Tensor, north: Tensor, height: Tensor, heading: Tensor, rows: int, columns: int, vfov: float
) -> Rays:
    """Rays of upright panoramas; `heading` (B,) and `vfov` in degrees, the centre column looks along `heading`."""
    device = east.device
    offset = ((torch.arange(columns, device=device) + 0.5) / columns - 0.5) * 2 * math.pi
    elevation = (0.5 - (torch.arange(rows, device=device) + 0.5) / rows) * math.radians(vfov)
    azimuth = torch.deg2rad(heading)[:, None] + offset
    slopes = Slopes.of(torch.tan(elevation.clamp(-1.5690, 1.5690)), (len(east), columns, rows))
    return Rays(east, north, height, azimuth, slopes, 2 * math.pi / columns, "equirectangular", math.radians(vfov) / 2)


def perspective_rays(
    east: Tensor, north: Tensor, height: Tensor, heading: Tensor, rows: int, columns: int, hfov: float
) -> Rays:
    """Rays of upright pinhole cameras with square pixels; `heading` (B,) and `hfov` in degrees."""
    device = east.device
    half = math.tan(math.radians(hfov) / 2)
    x = ((torch.arange(columns, device=device) + 0.5) / columns * 2 - 1) * half
    top = half * rows / columns
    y = (1 - (torch.arange(rows, device=device) + 0.5) / rows * 2) * top
    scale = 1 / torch.sqrt(1 + x**2)
    slopes = Slopes.of(y * scale[:, None], (len(east), columns, rows))
    return Rays(
        east, north, height, torch.deg2rad(heading)[:, None] + torch.atan(x), slopes,
        2 * half / columns, "perspective", top, scale.expand(len(east), columns),
    )  # fmt: skip
