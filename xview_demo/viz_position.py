"""Pictures of positions: heat map, regions, star and land cover over the tile. Every picture is (H, W, 3) uint8."""

from collections.abc import Collection
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from xview_demo import viz
from xview_demo.geometry import density

STAR = (244, 63, 94)
OUTLINE = (255, 255, 255)
SIDE = 512  # pixels


def window(aerial: Any, pose: Any, side: int = SIDE) -> np.ndarray:
    """The part of an aerial view that a pose's heat map covers, north up."""
    metres = None if aerial.metres_per_pixel is None else pose.heatmap.shape[-1] * pose.cell_metres
    return viz.to_array(aerial.tile(metres, side))


def heat_picture(
    aerial: Any, pose: Any, *, opacity: float = 0.75, sightline: bool = False, truth: Any = None, side: int = SIDE
) -> np.ndarray:
    """The heat map in inferno over the tile, its regions outlined and numbered by mass, a star at the estimate.

    Args:
        aerial: the view that was searched.
        pose: what `GeoLocalizer.locate` found in it.
        opacity: of the hottest cell, 0–1; colder cells are more transparent.
        sightline: draw the sightline map instead of the probability.
        truth: (lat, lon) of the camera where known; a green star.
        side: pixels.
    """
    from matplotlib import colormaps

    heat = pose.sightline if sightline and pose.sightline is not None else pose.heatmap
    level = np.asarray(heat, dtype=np.float64) / max(float(heat.max()), 1e-12)
    level = np.sqrt(level) if heat is pose.heatmap else level  # faint cells of a sharp probability stay visible
    level = _enlarged(level, side)
    colour = colormaps["inferno"](level)[..., :3] * 255
    weight = (opacity * np.clip(1.5 * level, 0, 1))[..., None]
    picture = (weight * colour + (1 - weight) * window(aerial, pose, side) + 0.5).astype(np.uint8)
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    scale = side / heat.shape[-1]
    for number, part in enumerate(density.parts(np.asarray(pose.heatmap, np.float64), pose.mass), 1):
        _outline(draw, part.cells, scale)
        if number <= 5:
            x, y = (value * scale for value in part.pixel)
            draw.text(
                (x, y), f"{number}", fill=OUTLINE, font=viz.font(18), anchor="mm", stroke_width=2, stroke_fill=viz.INK
            )
    _star(draw, _pixel(pose.east_north, pose, side), STAR)
    if truth is not None and aerial.latlon is not None:
        _star(draw, _pixel(east_north_of(aerial, truth), pose, side), viz.TRUTH)
    return np.asarray(image)


def landcover_picture(
    aerial: Any, pose: Any, *, opacity: float = 0.55, shown: Collection[str] | None = None, side: int = SIDE
) -> np.ndarray:
    """The land cover over the tile.

    Args:
        aerial, pose: as in `heat_picture`.
        opacity: of the classes, 0–1.
        shown: names of the classes to paint; None paints all.
        side: pixels.
    """
    picture = window(aerial, pose, side)
    return painted(picture, pose.landcover, opacity, shown)


def painted(picture: Any, segmentation: Any, opacity: float, shown: Collection[str] | None = None) -> np.ndarray:
    """Classes of a segmentation over the picture they were found in; pixels of classes not `shown` stay as they are."""
    plain = viz.to_array(picture)
    over = viz.overlay_view(plain, segmentation, opacity)
    if shown is None:
        return over
    kept = np.isin(segmentation.labels, [n for n, name in enumerate(segmentation.classes) if name in shown])
    height, width = plain.shape[:2]
    wide = np.asarray(Image.fromarray(kept).resize((width, height), Image.Resampling.NEAREST))
    return np.where(wide[..., None], over, plain)


def east_north_of(aerial: Any, latlon: Any) -> tuple[float, float]:
    """Metres east and north of a place from the centre of an aerial view whose place is known."""
    from xview_demo.geometry.geodesy import latlon_to_enu

    east, north = latlon_to_enu(latlon[0], latlon[1], aerial.latlon)
    return float(east), float(north)


def _pixel(east_north: tuple[float, float], pose: Any, side: int) -> tuple[float, float]:
    scale = side / (pose.heatmap.shape[-1] * pose.cell_metres)
    return side / 2 + east_north[0] * scale, side / 2 - east_north[1] * scale


def _enlarged(values: np.ndarray, side: int) -> np.ndarray:
    image = Image.fromarray(values.astype(np.float32))
    return np.clip(np.asarray(image.resize((side, side), Image.Resampling.BILINEAR)), 0, 1)


def _outline(draw: ImageDraw.ImageDraw, cells: np.ndarray, scale: float) -> None:
    wide = np.pad(cells, 1)
    for down, right in ((0, 1), (1, 0)):  # every edge between a cell inside and one outside
        other = wide[1:, :] if down else wide[:, 1:]
        edges = np.nonzero((wide[:-1, :] if down else wide[:, :-1]) != other)
        for row, column in zip(*edges, strict=True):
            x, y = (column - 1 + right) * scale, (row - 1 + down) * scale
            end = (x + scale * (1 - right), y + scale * (1 - down))
            draw.line((x, y, *end), fill=OUTLINE, width=2)


def _star(draw: ImageDraw.ImageDraw, centre: tuple[float, float], colour: tuple[int, int, int], size: int = 13) -> None:
    angles = np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2 == 0, size, size * 0.42)
    points = [(centre[0] + r * np.sin(a), centre[1] - r * np.cos(a)) for a, r in zip(angles, radii, strict=True)]
    draw.polygon(points, fill=colour, outline=OUTLINE, width=2)
