"""The shapes of cars, vans and lorries: three convex parts each, as a table that the renderer intersects.

A vehicle's own frame: u metres ahead of its middle, v metres to its left, w metres above the slope that it stands on.
"""

import cv2
import numpy as np

from .draft import rectangle
from .surface import SHIFT, Raster, Surface

VAN, LORRY = 1, 2
# A part is |v| + side_lean·w ≤ side, u + front_lean·w ≤ front, −u + back_lean·w ≤ back, low ≤ w ≤ high and
# w + hood_lean·u ≤ hood.
PARTS: tuple[str, ...] = ("body", "cabin", "under")  # of a lorry: cab, box, chassis
PLANES: tuple[str, ...] = (
    "front", "front_lean", "back", "back_lean", "side", "side_lean", "low", "high", "hood", "hood_lean",
)  # fmt: skip
VEHICLE: tuple[str, ...] = (
    "east", "north", "cos", "sin",  # metres, unit vector ahead
    "base", "rise_u", "rise_v",  # absolute metres of the ground at the middle, its slopes
    "half_length", "half_width", "height", "belt",  # metres; the belt is where windows begin
    "radius",  # metres, of the circle about it
    "red", "green", "blue",
    "lorry", "van",  # 1 or 0
    "glass_low", "glass_high", "glass_front", "glass_front_lean", "glass_back", "glass_back_lean",  # as of a part,
    "glass_side", "glass_side_lean", "pillar",  # and u of the pillar between the side windows
    "front_axle", "rear_axle", "wheel",  # u, u, radius in metres
    *(f"{part}_{plane}" for part in PARTS for plane in PLANES),
)  # fmt: skip
V: dict[str, int] = {name: index for index, name in enumerate(VEHICLE)}
STEEPEST = 0.3  # slope on which a vehicle still stands flush


def vehicle_table(surface: Surface, cars: np.ndarray) -> np.ndarray:
    """(n, len(VEHICLE)) float32 of cars (n, 9), see `town.Cars`; those inside buildings are left out."""
    cars = cars.reshape(-1, 9).astype(np.float64)
    cars = cars[_at(surface, surface.instance, cars[:, 0], cars[:, 1]) == 0]
    east, north, heading, length, width, height = cars[:, :6].T
    angle = np.radians(heading)
    cos, sin = np.sin(angle), np.cos(angle)
    kind = np.where(height > 2.6, LORRY, np.where(height > 2.0, VAN, 0))
    columns = {
        "east": east, "north": north, "cos": cos, "sin": sin, "half_length": length / 2, "half_width": width / 2,
        "height": height, "red": cars[:, 6], "green": cars[:, 7], "blue": cars[:, 8],
        "lorry": kind == LORRY, "van": kind == VAN,
    }  # fmt: skip
    columns["radius"] = np.sqrt(length**2 + width**2) / 2
    columns |= _stance(surface, east, north, cos, sin, length / 2, width / 2)
    columns |= _wheels(kind, length, height)
    columns |= _parts(kind, length, width, height)
    columns |= _windows(kind, columns)
    return np.column_stack([columns[name] for name in VEHICLE]).astype(np.float32)


def car_tops(surface: Surface, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What vehicles do to the light: tops of solid things with them and the share of each pixel beneath them.

    Both are (S, S) float32.
    """
    raster = Raster(surface.size, surface.resolution)
    rise = np.zeros((raster.n, raster.n), np.float32)
    cover = np.zeros((raster.n, raster.n), np.uint8)
    for row in table.astype(np.float64):
        car = dict(zip(VEHICLE, row.tolist(), strict=True))
        half = car["half_length"]
        whole, cabin = (
            _ground_plan(car, -half, half),
            _ground_plan(car, max(-half, -car["cabin_back"]), car["cabin_front"]),
        )
        cv2.fillConvexPoly(rise, raster.pixels(whole), car["body_high"], shift=SHIFT)
        cv2.fillConvexPoly(rise, raster.pixels(cabin), car["height"], shift=SHIFT)
        cv2.fillConvexPoly(cover, raster.pixels(whole), 255, cv2.LINE_AA, shift=SHIFT)
    stands = (rise > 0) & (surface.instance == 0)
    top = np.where(stands, np.maximum(surface.height, surface.ground + rise), surface.height)
    cover[surface.height > surface.ground + 0.05] = 0
    return top, cover.astype(np.float32) / 255


def _ground_plan(car: dict[str, float], back: float, front: float) -> np.ndarray:
    """Corners (4, 2) of the whole width of a vehicle between two values of u."""
    middle = (back + front) / 2
    east, north = car["east"] + middle * car["cos"], car["north"] + middle * car["sin"]
    return rectangle(east, north, car["cos"], car["sin"], (front - back) / 2, car["half_width"])


def _at(surface: Surface, raster: np.ndarray, east: np.ndarray, north: np.ndarray) -> np.ndarray:
    """Values of a raster (S, S) at positions in metres, those outside at the nearest edge."""
    n, half = len(raster), surface.size / 2
    row = np.clip(np.floor((half - north) / surface.resolution), 0, n - 1).astype(int)
    column = np.clip(np.floor((east + half) / surface.resolution), 0, n - 1).astype(int)
    return raster[row, column]


def _stance(
    surface: Surface, east: np.ndarray, north: np.ndarray, cos: np.ndarray, sin: np.ndarray, hl: np.ndarray,
    hw: np.ndarray,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Height and slopes of the ground beneath vehicles, from the four sides of their rectangles."""
    front, back, left, right = (
        _at(surface, surface.ground, east + u * cos - v * sin, north + u * sin + v * cos)
        for u, v in ((0.8 * hl, 0), (-0.8 * hl, 0), (0, hw), (0, -hw))
    )
    rise_u = np.clip((front - back) / (1.6 * hl), -STEEPEST, STEEPEST)
    rise_v = np.clip((left - right) / (2 * hw), -STEEPEST, STEEPEST)
    return {"base": (front + back + left + right) / 4, "rise_u": rise_u, "rise_v": rise_v}


def _wheels(kind: np.ndarray, length: np.ndarray, height: np.ndarray) -> dict[str, np.ndarray]:
    lorry = kind == LORRY
    return {
        "front_axle": np.where(lorry, length / 2 - 1.3, length * 0.31),
        "rear_axle": np.where(lorry, -length / 2 + 1.9, -length * 0.29),
        "wheel": np.where(lorry, 0.5, np.where(kind == VAN, 0.34, 0.2 * height)),
        "belt": height * np.where(lorry, 0.48, np.where(kind == VAN, 0.53, 0.58)),
    }


def _parts(kind: np.ndarray, length: np.ndarray, width: np.ndarray, height: np.ndarray) -> dict[str, np.ndarray]:
    """Planes of the three parts of each vehicle."""
    lorry, van = kind == LORRY, kind == VAN
    half, side = length / 2, width / 2
    belt = _wheels(kind, length, height)["belt"]
    glass = height - belt
    saloon = ~van & (np.mod(length * 37, 1) < 0.5)

    def of(car: np.ndarray | float, van_: np.ndarray | float, lorry_: np.ndarray | float) -> np.ndarray:
        return np.where(lorry, lorry_, np.where(van, van_, car))

    far = 1e3 + 0 * length  # a plane that cuts nothing
    foot, bonnet = of(0.24, 0.4, 0.0) * length, of(0.26, 0.2, 0.0) * belt  # the windscreen's foot; the bonnet's fall
    hood_lean = bonnet / (half - foot)
    front_lean = of(0.2, 0.16, 0.0) * length / glass
    back_lean = of(np.where(saloon, 0.17, 0.06) * length, 0.02 * length, 0.0) / glass
    side_lean = of(0.2 * side, 0.08, 0.0) / glass
    body_lean = of(0.03, 0.02, 0.0)
    cabin_side = side - body_lean * belt - of(0.03, 0.01, 0.0)
    return {
        "body_front": half, "body_front_lean": of(0.08, 0.08, 0.04),
        "body_back": of(half, half, 2.2 - half), "body_back_lean": of(0.06, 0.0, 0.0),
        "body_side": side, "body_side_lean": body_lean,
        "body_low": of(0.19, 0.22, 0.4), "body_high": of(belt, belt, 0.8 * height),
        "body_hood": of(belt + hood_lean * foot, belt + hood_lean * foot, far), "body_hood_lean": hood_lean,
        "cabin_front": of(foot + front_lean * belt, foot + front_lean * belt, half - 2.5),
        "cabin_front_lean": front_lean,
        "cabin_back": of(np.where(saloon, 0.41, 0.485) * length, 0.495 * length, half) + back_lean * belt,
        "cabin_back_lean": back_lean,
        "cabin_side": cabin_side + side_lean * belt, "cabin_side_lean": side_lean,
        "cabin_low": of(belt - 0.02, belt - 0.02, 1.0), "cabin_high": height,
        "cabin_hood": far, "cabin_hood_lean": 0 * length,
        "under_front": half - of(0.1, 0.1, 0.3), "under_front_lean": 0 * length,
        "under_back": half - of(0.1, 0.1, 0.2), "under_back_lean": 0 * length,
        "under_side": side - of(0.01, 0.01, 0.06), "under_side_lean": 0 * length,
        "under_low": 0 * length, "under_high": of(0.2, 0.23, 1.0),
        "under_hood": far, "under_hood_lean": 0 * length,
    }  # fmt: skip


def _windows(kind: np.ndarray, car: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Planes between which the sides have glass: the cabin's, the front doors' of a van, the cab's of a lorry."""
    lorry, van = kind == LORRY, kind == VAN
    half = car["half_length"]

    def of(plane: str) -> np.ndarray:
        return np.where(lorry, car[f"body_{plane}"], car[f"cabin_{plane}"])

    return {
        "glass_low": car["belt"] + 0.04, "glass_high": np.where(lorry, 0.74 * car["height"], car["height"] - 0.09),
        "glass_front": of("front") - 0.1, "glass_front_lean": of("front_lean"),
        "glass_back": np.where(van, -0.04 * half, of("back") - np.where(lorry, 0.5, 0.12)),
        "glass_back_lean": np.where(van, 0.0, of("back_lean")),
        "glass_side": of("side") - 0.07, "glass_side_lean": of("side_lean"),
        "pillar": np.where(lorry | van, half, -0.04 * half),
    }  # fmt: skip
