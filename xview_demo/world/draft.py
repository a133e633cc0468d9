"""The plan while it grows: layered areas, strips, paint, buildings, trees, cars, and a map of what is taken."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from .biome import Character, Style
from .materials import BUILDING, MATERIAL_ID
from .terrain import FLIP, Terrain

# Painting order of the areas, from the bottom up.
LAND, PLOT, BEACH, RAILWAY, YARD, WATER, BASIN, WALK, VERGE, ROAD, ISLAND = range(11)
TAKEN_ROAD, TAKEN_WATER, TAKEN_BUILDING, TAKEN_OTHER = 1, 2, 4, 8


Look = dict[str, Any]  # the appearance of one building, see `look_of`


@dataclass(frozen=True)
class Pattern:
    """Rows or stripes over an area: dark and light lines across `angle`, plus a constant `shift` (both of 128)."""

    angle: float = 0.0  # radians, direction of the normal of the rows
    spacing: float = 0.0  # metres, 0 none
    strength: float = 0.0  # amplitude, in units of the pattern raster
    shift: float = 0.0  # constant offset
    tramline: float = 0.0  # metres between tractor lanes, 0 none


@dataclass
class Area:
    """A polygon (outer ring, then holes) of one material."""

    layer: int
    material: int
    rings: list[np.ndarray]  # each (n, 2) metres
    pattern: Pattern | None = None


@dataclass
class Strip:
    """A thin upright thing along a line: hedge, fence, wall."""

    material: int
    height: float  # metres above ground
    width: float  # metres
    points: np.ndarray  # (n, 2)


@dataclass
class Line:
    """Something painted along a line: white, yellow, or a shade of the pattern raster."""

    colour: str  # "white", "yellow" or "shade"
    width: float  # metres
    points: np.ndarray  # (n, 2)
    value: float = 0.0  # offset of the pattern raster, for a shade


def rectangle(east: float, north: float, cos: float, sin: float, half_length: float, half_width: float) -> np.ndarray:
    """Corners (4, 2) of a rectangle, counter-clockwise, u along (cos, sin)."""
    ue, un, ve, vn = cos * half_length, sin * half_length, -sin * half_width, cos * half_width
    return np.array(
        [[east - ue - ve, north - un - vn], [east + ue - ve, north + un - vn],
         [east + ue + ve, north + un + vn], [east - ue + ve, north - un + vn]]
    )  # fmt: skip


def rectangles(rows: np.ndarray) -> np.ndarray:
    """`rectangle` for every row (n, ≥ 6) of a building table: (n, 4, 2)."""
    east, north, cos, sin, half_length, half_width = np.asarray(rows, float)[:, :6].T
    u = np.stack([cos, sin], -1) * half_length[:, None]
    v = np.stack([-sin, cos], -1) * half_width[:, None]
    centre = np.stack([east, north], -1)
    return np.stack([centre - u - v, centre + u - v, centre + u + v, centre - u + v], 1)


def turned(spot: Sequence[float], along: Sequence[float], half_length: float, half_width: float) -> np.ndarray:
    """`rectangle` around a point, u along the unit vector `along`."""
    return rectangle(float(spot[0]), float(spot[1]), float(along[0]), float(along[1]), half_length, half_width)


def stroke(start: Sequence[float], end: Sequence[float], width: float) -> np.ndarray:
    """The outline (4, 2) of a straight line of the given width; `terrain.ribbon` draws bent ones."""
    (e0, n0), (e1, n1) = start, end
    length = max(math.sqrt((e1 - e0) * (e1 - e0) + (n1 - n0) * (n1 - n0)), 1e-9)
    x, y = -((n1 - n0) / length) * (width / 2), (e1 - e0) / length * (width / 2)
    return np.array([[e0 + x, n0 + y], [e1 + x, n1 + y], [e1 - x, n1 - y], [e0 - x, n0 - y]])


@lru_cache(maxsize=256)
def _even(n: int) -> list[float]:
    return np.linspace(0, 1, n).tolist()


def _steps(length: float, inset: float) -> list[float]:
    """Shares of a length about 2 m apart, the first and the last `inset` metres from its ends."""
    length = max(length, 0.1)
    start = min(inset / length, 0.5)
    return [start + (1 - 2 * start) * share for share in _even(max(int(length / 2) + 1, 2))]


class Draft:
    """A growing plan. All positions are (east, north) in metres from the centre."""

    def __init__(self, character: Character, size: float, terrain: Terrain) -> None:
        self.character, self.size, self.terrain = character, size, terrain
        self.areas: list[Area] = []
        self.strips: list[Strip] = []
        self.lines: list[Line] = []
        self.rows: list[list[float]] = []
        self.roof_materials: list[int] = []
        self.trees: list[np.ndarray] = []  # (n, 5): east, north, radius, height, kind
        self.posts: list[tuple[float, float, float, int]] = []  # east, north, height, material
        self.parked: list[tuple[float, ...]] = []  # east, north, heading, lorry
        self.moving: list[tuple[float, ...]] = []
        self.viewpoints: list[np.ndarray] = []  # (n, 3)
        self.pad = 24.0
        self.cells = int(np.ceil(size + 2 * self.pad))
        self.taken = np.zeros((self.cells, self.cells), np.uint8)  # 1 m cells, bits TAKEN_*
        self.cell_bits = self.taken.data.cast("B")  # the same, row after row, quick to read one by one

    # Map of what is taken
    def cell(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of the 1 m cells of points (…, 2), clipped to the map."""
        half, last = self.size / 2 + self.pad, self.cells - 1
        cells = np.minimum(np.maximum(points * FLIP + half, 0), last).astype(np.intp)
        return cells[..., 1], cells[..., 0]

    def free(self, points: np.ndarray, bits: int = 255) -> bool:
        """Whether none of the points lies on something taken."""
        row, col = self.cell(points)
        return not (self.taken[row, col] & bits).any()

    def claim(self, rings: list[np.ndarray], bit: int) -> None:
        """Mark polygons (outer rings and holes, even-odd) as taken."""
        half = self.size / 2 + self.pad
        pixels = [np.rint((ring * FLIP + half - 0.5) * 16).astype(np.int32) for ring in rings]
        x, y, wide, high = cv2.boundingRect(np.concatenate(pixels))
        left, right = max(x // 16 - 1, 0), min((x + wide - 1) // 16 + 2, self.cells)
        top, bottom = max(y // 16 - 1, 0), min((y + high - 1) // 16 + 2, self.cells)
        if right <= left or bottom <= top:
            return
        view = self.taken[top:bottom, left:right]
        mask = np.zeros(view.shape, np.uint8)
        cv2.fillPoly(mask, pixels, bit, shift=4, offset=(-16 * left, -16 * top))
        view |= mask

    def room(self, corners: np.ndarray, bits: int = 255, inset: float = 0.4) -> bool:
        """Whether a rectangle (4, 2) lies on the map and is free, tested on a lattice of about 2 m."""
        half, cells, cell = self.size / 2 + self.pad, self.cells, self.cell_bits
        if not self.inside(corners, self.pad - 1):
            return False
        (east, north), (east_u, north_u), _, (east_v, north_v) = corners.tolist()
        ue, un, ve, vn = east_u - east, north_u - north, east_v - east, north_v - north
        across = _steps(math.sqrt(ve * ve + vn * vn), inset)
        for u in _steps(math.sqrt(ue * ue + un * un), inset):
            right, down = east + half + u * ue, half - north - u * un
            for v in across:
                if cell[int(down - v * vn) * cells + int(right + v * ve)] & bits:
                    return False
        return True

    def inside(self, points: np.ndarray, margin: float = 0.0) -> bool:
        """Whether all points are inside the world's square, widened by `margin`."""
        return bool(np.abs(points).max() <= self.size / 2 + margin)

    # Things
    def area(self, layer: int, material: str, *rings: np.ndarray, pattern: Pattern | None = None) -> None:
        """Add a polygon of one material."""
        self.areas.append(Area(layer, MATERIAL_ID[material], [np.asarray(r, float) for r in rings], pattern))

    def strip(self, material: str, height: float, width: float, points: np.ndarray) -> None:
        """Add a hedge, fence or wall along a line."""
        self.strips.append(Strip(MATERIAL_ID[material], height, width, np.asarray(points, float)))

    def line(self, colour: str, width: float, points: np.ndarray, value: float = 0.0) -> None:
        """Add paint or a shade along a line."""
        width *= self.character.line_scale if colour != "shade" and width < 0.25 else 1.0
        self.lines.append(Line(colour, width, np.asarray(points, float), value))

    def post(self, points: np.ndarray, height: float, material: str = "pole") -> None:
        """Add posts at points (n, 2)."""
        for east, north in np.atleast_2d(points):
            self.posts.append((float(east), float(north), height, MATERIAL_ID[material]))

    def plant(self, points: np.ndarray, radius: np.ndarray, height: np.ndarray, kind: np.ndarray | int) -> None:
        """Add trees: crown radius and total height in metres, kind a crown material id."""
        if len(points):
            table = np.empty((len(points), 5))
            table[:, :2] = points
            table[:, 2], table[:, 3], table[:, 4] = radius, height, kind
            self.trees.append(table)

    def building(
        self, rng: np.random.Generator, look: Look, place: tuple[float, float, float, float, float, float],
        height: float, *, roof: int = 0, rise: float = 0.0, lift: float = 0.0, ground_floor: int = 0,
        roof_material: str | None = None, claim: bool = True,
    ) -> float:  # fmt: skip
        """Add one box. `place` is (east, north, cos, sin, half_length, half_width); returns the absolute eave.

        `height` is from the ground (or, with `lift`, from that absolute elevation) to the eave.
        """
        east, north, cos, sin, hl, hw = place
        if roof and hw > hl:
            cos, sin, hl, hw = -sin, cos, hw, hl
        corners = rectangle(east, north, cos, sin, hl, hw)
        if lift:
            base, eave = lift, lift + height
        else:
            levels = self.terrain.height(np.concatenate([corners, [[east, north]]])).tolist()
            base, eave = min(levels), levels[-1] + height
        self.rows.append(
            [east, north, cos, sin, hl, hw, base, eave, rise if roof else 0.0, roof, look["storey"], look["bay"],
             *look["window"], ground_floor, *look["wall"], *look["trim"], *look["roof"], look["texture"], rng.random()]
        )  # fmt: skip
        self.roof_materials.append(MATERIAL_ID[roof_material or str(look["roof_material"])])
        if claim:
            self.claim([corners], TAKEN_BUILDING)
        return eave


assert len(BUILDING) == 27


def look_of(rng: np.random.Generator, style: Style, spread: float = 0.05) -> Look:
    """Draw the appearance of one building from a style."""

    draws = rng.standard_normal(9).tolist()
    chances = rng.random(11).tolist()
    picks, shares = chances[:5], chances[5:]

    def colour(choices: tuple[tuple[float, float, float], ...], k: int) -> list[float]:
        base = choices[int(picks[k] * len(choices))]
        light, warm, tint = draws[3 * k : 3 * k + 3]
        light, warm, tint = 1 + spread * light, 1 + 0.3 * spread * warm, 1 + 0.15 * spread * tint
        tone = (base[0] * light * warm, base[1] * light * tint, base[2] * light / warm)
        return [min(max(v, 0.03), 0.95) for v in tone]

    def between(low: float, high: float, share: float) -> float:
        return low + (high - low) * share

    return {
        "wall": colour(style.walls, 0),
        "roof": colour(style.roofs, 1),
        "trim": colour(style.trim, 2),
        "texture": float(style.textures[int(picks[3] * len(style.textures))]),
        "storey": between(*style.storey, shares[0]),
        "bay": between(*style.bay, shares[1]),
        "window": [
            min(max(v * between(0.88, 1.12, k), 0.05), 0.95) for v, k in zip(style.window, shares[2:5], strict=True)
        ],
        "roof_material": style.roof_material,
        "roof_type": int(style.roof_types[int(picks[4] * len(style.roof_types))]),
        "pitch": between(*style.pitch, shares[5]),
    }
