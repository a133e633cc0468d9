"""Panoramas and photographs: directions of pixels, and grids that turn one projection into another.

The level frame is x right, y forward (along the view's heading), z up. Azimuth grows to the right from the
heading, elevation upward from the horizon. A camera with `pitch` p looks p degrees above the horizon; with
`roll` r it is turned clockwise about its own axis, so the horizon turns counterclockwise (as Google's GPano).
"""

import math

import torch
from torch import Tensor

OUTSIDE = 4.0  # a grid value that lies on no picture


def wrap_degrees(angle: float) -> float:
    """Bring an angle into [−180, 180)."""
    return (angle + 180.0) % 360.0 - 180.0


def camera_matrix(pitch: float = 0.0, roll: float = 0.0, heading: float = 0.0) -> Tensor:
    """(3, 3) rotation, level frame → camera (right, forward, up), of angles in degrees; inverse = transpose."""
    p, r, h = (math.radians(a) for a in (pitch, roll, heading))
    right0 = torch.tensor([math.cos(h), -math.sin(h), 0.0], dtype=torch.float64)
    flat = torch.tensor([math.sin(h), math.cos(h), 0.0], dtype=torch.float64)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    forward = math.cos(p) * flat + math.sin(p) * up
    up0 = math.cos(p) * up - math.sin(p) * flat
    right = math.cos(r) * right0 - math.sin(r) * up0
    return torch.stack([right, forward, math.cos(r) * up0 + math.sin(r) * right0])


def equirect_directions(
    height: int, width: int, hfov: float = 360.0, vfov: float = 180.0, elevation: float = 0.0
) -> Tensor:
    """Unit directions (H, W, 3) of an equirectangular picture's pixels, in its own frame.

    Args:
        height, width: pixels.
        hfov, vfov: degrees covered by the whole picture.
        elevation: degrees of the picture's middle row above the horizon of its frame.
    """
    azimuth = ((torch.arange(width, dtype=torch.float64) + 0.5) / width - 0.5) * math.radians(hfov)
    tilt = (0.5 - (torch.arange(height, dtype=torch.float64) + 0.5) / height) * math.radians(vfov)
    tilt = (tilt + math.radians(elevation))[:, None]
    flat = tilt.cos()
    return torch.stack([flat * azimuth.sin(), flat * azimuth.cos(), tilt.sin().expand(height, width)], -1)


def perspective_directions(height: int, width: int, hfov: float) -> Tensor:
    """Unit directions (H, W, 3) of a photograph's pixels in the camera's frame; square pixels, centred axis."""
    focal = 0.5 * width / math.tan(math.radians(hfov) / 2)  # pixels
    x = (torch.arange(width, dtype=torch.float64) + 0.5 - width / 2).expand(height, width)
    z = (height / 2 - torch.arange(height, dtype=torch.float64) - 0.5)[:, None].expand(height, width)
    rays = torch.stack([x, torch.full_like(x, focal), z], -1)
    return rays / rays.norm(dim=-1, keepdim=True)


def direction_grid(directions: Tensor, hfov: float = 360.0, vfov: float = 180.0, elevation: float = 0.0) -> Tensor:
    """Where unit directions (…, 3) fall on an equirectangular picture: grid (…, 2) float32.

    Args:
        directions: in the picture's own frame (its centre column is straight ahead).
        hfov, vfov: degrees covered by the picture.
        elevation: degrees of its middle row above its horizon.

    Returns:
        Grid values; beyond ±1 the direction is not on the picture. With hfov 360 use padding "wrap".
    """
    azimuth = torch.atan2(directions[..., 0], directions[..., 1])
    tilt = torch.atan2(directions[..., 2], directions[..., :2].norm(dim=-1)) - math.radians(elevation)
    return torch.stack([azimuth / math.radians(hfov / 2), -tilt / math.radians(vfov / 2)], -1).float()


def equirect_grid(
    height: int,
    width: int,
    hfov: float = 360.0,
    vfov: float = 90.0,
    *,
    source_hfov: float = 360.0,
    source_vfov: float = 180.0,
    source_elevation: float = 0.0,
    heading: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
) -> Tensor:
    """Grid (H, W, 2) that cuts a level equirectangular window out of an equirectangular source.

    Args:
        height, width, hfov, vfov: the window, in pixels and degrees, its middle row on the true horizon.
        source_hfov, source_vfov: degrees covered by the source.
        source_elevation: degrees of the source's middle row above its own horizon (a crop off its middle).
        heading: degrees; the window's centre looks this far to the right of the source's.
        pitch, roll: degrees, how the source's camera was tilted; the window is level.
    """
    level = equirect_directions(height, width, hfov, vfov)
    own = level @ _turned(heading, pitch, roll).T
    return direction_grid(own, source_hfov, source_vfov, source_elevation)


def perspective_grid(
    height: int,
    width: int,
    hfov: float,
    *,
    source_hfov: float = 360.0,
    source_vfov: float = 180.0,
    source_elevation: float = 0.0,
    heading: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
) -> Tensor:
    """Grid (H, W, 2) that takes a photograph inside a level equirectangular source.

    Args:
        height, width, hfov: the photograph, pixels and degrees (square pixels).
        source_hfov, source_vfov, source_elevation: degrees, as in `equirect_grid`.
        heading: degrees; the photograph looks this far to the right of the source's centre.
        pitch, roll: degrees, the photograph's camera.

    Raises:
        ValueError: `hfov` is not between 0 and 180.
    """
    _check_hfov(hfov)
    rays = perspective_directions(height, width, hfov)
    level = rays @ camera_matrix(pitch, roll, heading)
    return direction_grid(level, source_hfov, source_vfov, source_elevation)


def photo_grid(
    height: int,
    width: int,
    hfov: float = 360.0,
    vfov: float = 90.0,
    *,
    photo_hfov: float,
    photo_aspect: float,
    heading: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
) -> Tensor:
    """Grid (H, W, 2) that lays a photograph into a level equirectangular window: the inverse of `perspective_grid`.

    Args:
        height, width, hfov, vfov: the window, pixels and degrees.
        photo_hfov: degrees across the photograph.
        photo_aspect: the photograph's height / width.
        heading: degrees; the window's centre looks this far to the right of the photograph's.
        pitch, roll: degrees, the photograph's camera.

    Returns:
        Grid; directions beside or behind the photograph have values beyond ±1 (padding "zeros", or `inside`).
    """
    _check_hfov(photo_hfov)
    own = equirect_directions(height, width, hfov, vfov) @ _turned(heading, pitch, roll).T
    tangent = math.tan(math.radians(photo_hfov) / 2)
    forward = own[..., 1].clamp_min(1e-9)
    grid = torch.stack([own[..., 0] / forward / tangent, -own[..., 2] / forward / (tangent * photo_aspect)], -1)
    return torch.where((own[..., 1:2] > 1e-6), grid, torch.full_like(grid, OUTSIDE)).float()


def _turned(heading: float, pitch: float, roll: float) -> Tensor:
    """Rotation from a level frame that looks `heading` degrees right of the camera into the camera's frame."""
    return camera_matrix(pitch, roll, -heading)


def _check_hfov(hfov: float) -> None:
    if not 0 < hfov < 180:
        raise ValueError(f"a photograph's hfov is {hfov}: give degrees between 0 and 180, or use a panorama")
