"""The frames in which models read views: their resolution, their rows' elevation, and what a camera looked towards."""

import numpy as np
import torch
from torch import Tensor

from xview_demo.geometry import pixel_grid, resize
from xview_demo.views import AerialView, GroundView

TILE_PIXELS = 256
STRIP = (128, 512)  # rows and columns of a synthetic panorama, ±45°
AERIAL_SCALE = 0.25  # metres per pixel at which tiles are segmented
LARGEST_SIDE = 2048  # pixels of an aerial picture that is segmented
PIXELS_PER_DEGREE = 512 / 360  # at which ground views are segmented and measured


def aerial_frame(view: AerialView) -> Tensor:
    """An aerial picture (3, H, W) at 0.25 m/px (unknown scale: taken to be one tile), at most 2048 pixels a side."""
    height, width = view.image.shape[-2:]
    factor = TILE_PIXELS / max(height, width) if view.metres_per_pixel is None else view.metres_per_pixel / AERIAL_SCALE
    factor = min(factor, LARGEST_SIDE / max(height, width))
    return resize(view.image, max(16, round(height * factor)), max(16, round(width * factor)))


def ground_frame(view: GroundView) -> tuple[Tensor, Tensor, bool]:
    """A ground picture at the models' resolution, its rows' elevation in degrees, and whether it is a full turn."""
    if view.projection == "equirectangular":
        width = max(16, round(view.hfov * PIXELS_PER_DEGREE))
        height = max(16, round(view.vfov * PIXELS_PER_DEGREE))
        rows = (0.5 - (torch.arange(height) + 0.5) / height) * view.vfov + view.elevation
        return resize(view.image, height, width, wrap=view.full_turn), rows, view.full_turn
    width = max(16, round(view.hfov * PIXELS_PER_DEGREE * 1.1))
    height = max(16, round(width * view.image.shape[-2] / view.image.shape[-1]))
    focal = 0.5 * width / np.tan(np.radians(view.hfov) / 2)
    rows = torch.rad2deg(torch.atan((height / 2 - torch.arange(height) - 0.5) / focal)) + view.pitch
    return resize(view.image, height, width), rows, False


def looked_towards(mask: Tensor, pixels: int) -> np.ndarray:
    """Which pixels of the tile around a camera lie in the directions that it looked in: (P, P) bool.

    Args:
        mask: (1, H, W) of a strip whose centre column is up in the tile, above 0 where the view shows something.
        pixels: P.
    """
    across = pixel_grid(pixels, pixels)
    turn = torch.atan2(across[..., 0], -across[..., 1]) / (2 * torch.pi) + 0.5  # of the strip's width
    columns = (mask[0] > 0).any(0).cpu()
    return columns[(turn * len(columns)).long() % len(columns)].numpy()
