"""Where things are: projections as sampling grids, and places on Earth.

Angles given as numbers (`heading`, `hfov`, `vfov`, `pitch`, `roll`) are degrees; tensors of directions
(`azimuth`, `elevation`) are radians. Grids are (H, W, 2), x right and y down, −1 and 1 at the picture's outer
edges; `sample` is the only function that reads a picture through one.
"""

from xview_demo.geometry.homography import apply_homography, find_homography, homography_grid
from xview_demo.geometry.overhead import bird_eye_grid, polar_grid, street_grid
from xview_demo.geometry.panorama import (
    direction_grid,
    equirect_directions,
    equirect_grid,
    perspective_directions,
    perspective_grid,
    photo_grid,
    wrap_degrees,
)
from xview_demo.geometry.sampling import columns_within, inside, pixel_grid, resize, roll_columns, sample

__all__ = [
    "apply_homography",
    "bird_eye_grid",
    "columns_within",
    "direction_grid",
    "equirect_directions",
    "equirect_grid",
    "find_homography",
    "homography_grid",
    "inside",
    "perspective_directions",
    "perspective_grid",
    "photo_grid",
    "pixel_grid",
    "polar_grid",
    "resize",
    "roll_columns",
    "sample",
    "street_grid",
    "wrap_degrees",
]
