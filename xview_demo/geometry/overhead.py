"""From above: polar pictures of an aerial tile, the bird's-eye view of a panorama, and the street's view of a tile.

All use an aerial tile that is square, north up, with the camera over its centre.
"""

import math

import torch
from torch import Tensor

from xview_demo.geometry.panorama import OUTSIDE, direction_grid
from xview_demo.geometry.sampling import pixel_grid

CAMERA_HEIGHT = 2.5  # metres, H: the camera of a mapping car
TILE_METRES = 64.0  # width of a tile, as the bundled models read it
CURVATURE = 3.0  # metres, λ: how high the curved ground has risen at the tile's corner
SURFACES = ("flat", "curved")


def polar_grid(
    height: int,
    width: int,
    *,
    heading: float = 0.0,
    near: float = 0.0,
    far: float = 1.0,
    hfov: float = 360.0,
) -> Tensor:
    """Grid (H, W, 2) that unrolls an aerial tile around its centre.

    Column c looks along the bearing `heading + ((c + .5)/W − .5)·hfov`, as in a panorama; rows run from `far`
    (top) to `near` (bottom), linear in the distance from the centre.

    Args:
        height, width: pixels of the polar picture.
        heading: degrees clockwise from north, the bearing of the centre column.
        near, far: distances at the bottom and top edges, in half widths of the tile (1 = its edge).
        hfov: degrees covered by the columns.
    """
    bearing = math.radians(heading) + ((torch.arange(width) + 0.5) / width - 0.5) * math.radians(hfov)
    distance = far + (near - far) * (torch.arange(height) + 0.5) / height
    return torch.stack([distance[:, None] * bearing.sin(), -distance[:, None] * bearing.cos()], -1)


def bird_eye_grid(
    pixels: int,
    metres: float,
    *,
    surface: str = "flat",
    camera_height: float = CAMERA_HEIGHT,
    curvature: float = CURVATURE,
    heading: float = 0.0,
    hfov: float = 360.0,
    vfov: float = 180.0,
    elevation: float = 0.0,
) -> Tensor:
    """Grid (P, P, 2) that looks down on a level panorama's surroundings: north up, camera over the centre.

    The overhead pixel (x, y) metres from the camera, r = √(x² + y²), lies on a surface of height z above the
    ground and is seen along azimuth atan2(x, y) − heading, elevation atan2(z − H, r), where H is the camera's
    height. Flat: z = 0. Curved: z = λ·d⁴ with d = r / (half diagonal of the tile): far pixels climb façades
    and trees instead of smearing the horizon.

    Args:
        pixels: P, pixels per side.
        metres: width of the tile on the ground.
        surface: "flat" or "curved".
        camera_height: metres, H.
        curvature: metres, λ.
        heading: degrees clockwise from north, the panorama's centre column (0: the picture is heading up).
        hfov, vfov, elevation: degrees, the panorama's coverage and its middle row above the horizon.

    Returns:
        Grid; sample it with padding "wrap" when hfov is 360. Values beyond ±1 in y (the blind disc under the
        camera when vfov < 180) or in x (hfov < 360) are not on the panorama; beyond the half turn of a partial
        panorama they are set far outside.

    Raises:
        ValueError: unknown surface, or a camera that is not above the ground.
    """
    if surface not in SURFACES:
        raise ValueError(f"surface {surface!r} is unknown: use one of {', '.join(SURFACES)}")
    if camera_height <= 0:
        raise ValueError(f"camera_height is {camera_height} m: give a height above the ground, such as 2.5")
    offset = pixel_grid(pixels, pixels).double() * (metres / 2)
    east, north = offset[..., 0], -offset[..., 1]
    distance = torch.hypot(east, north)
    z = torch.zeros_like(distance)
    if surface == "curved":
        z = curvature * (distance / (metres / 2 * math.sqrt(2))) ** 4
    turn = math.radians(heading)
    right = east * math.cos(turn) - north * math.sin(turn)
    forward = east * math.sin(turn) + north * math.cos(turn)
    grid = direction_grid(torch.stack([right, forward, z - camera_height], -1), hfov, vfov, elevation)
    if hfov < 360:
        outside = (grid[..., :1].abs() > 1).expand_as(grid)
        grid = torch.where(outside, torch.full_like(grid, OUTSIDE), grid)
    return grid


def street_grid(
    height: int,
    width: int,
    metres: float,
    *,
    camera_height: float = CAMERA_HEIGHT,
    vfov: float = 90.0,
    heading: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Grid (H, W, 2) that reads an aerial tile along the rays of a level panorama from its centre, and where it may.

    The inverse of `bird_eye_grid` on flat ground: a ray of elevation e < 0 meets the ground r = H / tan(−e) metres
    away. Rays that leave the tile, among them all at or above the horizon, read its edge (the inscribed circle).

    Args:
        height, width: pixels of the panorama.
        metres: width of the tile on the ground.
        camera_height: metres, H.
        vfov: degrees from top to bottom, half above the horizon.
        heading: degrees clockwise from north of the centre column.

    Returns:
        Grid (H, W, 2), and mask (1, H, W) bool, true where the ray meets the ground inside the circle.

    Raises:
        ValueError: a camera that is not above the ground.
    """
    if camera_height <= 0:
        raise ValueError(f"camera_height is {camera_height} m: give a height above the ground, such as 2.5")
    falls = ((torch.arange(height) + 0.5) / height - 0.5) * math.radians(vfov)  # −e of each row
    distance = torch.where(falls > 0, camera_height / falls.clamp_min(1e-9).tan(), math.inf) / (metres / 2)
    bearing = math.radians(heading) + ((torch.arange(width) + 0.5) / width - 0.5) * 2 * math.pi
    radius = distance.clamp_max(1.0)[:, None]
    seen = (distance <= 1.0)[None, :, None].expand(1, height, width)
    return torch.stack([radius * bearing.sin(), -radius * bearing.cos()], -1), seen
