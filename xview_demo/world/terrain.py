"""Relief and water of a world: smooth hills, a river, a lake, a sea; every shape in local metres (east, north).

Water lies at elevation 0 and land rises from it, so that a water surface is level everywhere.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from . import steady
from .biome import Character

STEP = 4.0  # metres per cell of the coarse grids
FLIP = np.array([1.0, -1.0])  # from north up to rows down


def curve(
    rng: np.random.Generator, start: np.ndarray, end: np.ndarray, wiggle: float, step: float = 12.0
) -> np.ndarray:
    """A smooth wandering line (n, 2) from `start` to `end`; `wiggle` is the sideways amplitude as a share of length."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    length = float(steady.length(end - start))
    n = max(int(length / step), 2)
    t = np.linspace(0.0, 1.0, n + 1)
    side = np.zeros(n + 1)
    for k in range(1, 6):
        side += rng.normal() / k**1.3 * steady.sin(np.pi * k * t) * length * wiggle
    along = (end - start) / max(length, 1e-9)
    return start + t[:, None] * (end - start) + side[:, None] * np.array([-along[1], along[0]])


def blob(rng: np.random.Generator, centre: np.ndarray, radius: float, rough: float = 0.25, n: int = 48) -> np.ndarray:
    """A rounded irregular outline (n, 2) around `centre`."""
    angle = np.linspace(0.0, 2 * np.pi, n, endpoint=False)
    r = np.ones(n)
    for k in range(1, 7):
        r += rough / k * rng.normal() * 0.6 * steady.cos(k * angle + rng.uniform(0, 2 * np.pi))
    r = radius * np.clip(r, 0.35, 2.0)
    return np.asarray(centre, float) + r[:, None] * steady.bearing(angle)


@dataclass
class Grid:
    """A scalar field over the square ±`half` metres, `values[0, 0]` at the north-west, cell centred."""

    values: np.ndarray  # (n, n) float32
    half: float

    def at(self, points: np.ndarray) -> np.ndarray:
        """Bilinear values (…,) at points (…, 2) in metres; outside, the edge value."""
        n = self.values.shape[0]
        place = (np.asarray(points, float) * FLIP + self.half) / (2 * self.half / n) - 0.5  # column, row
        place = np.minimum(np.maximum(place, 0), n - 1.001)
        cell = place.astype(np.intp)
        right, down = np.moveaxis(place - cell, -1, 0)
        first, flat = cell[..., 1] * n + cell[..., 0], self.values.reshape(-1)
        top = flat[first] * (1 - right) + flat[first + 1] * right
        bottom = flat[first + n] * (1 - right) + flat[first + n + 1] * right
        return top * (1 - down) + bottom * down


@dataclass
class Terrain:
    """Elevation and water of one world."""

    elevation: Grid  # metres, without the river bed
    distance: Grid  # metres to the nearest water, negative inside it
    rivers: list[np.ndarray]  # outlines (n, 2)
    lakes: list[np.ndarray]
    seas: list[np.ndarray]
    beaches: list[np.ndarray]
    river_width: float  # metres, 0 none

    def height(self, points: np.ndarray) -> np.ndarray:
        """Ground elevation in metres (…,) at points (…, 2)."""
        return self.elevation.at(points)


def ribbon(points: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """The outline (2n, 2) of a line of the given width (scalar or (n,))."""
    half = np.asarray(width, float) / 2
    return np.concatenate([offset(points, half), offset(points, -half)[::-1]])


def offset(points: np.ndarray, distance: float | np.ndarray) -> np.ndarray:
    """The line (n, 2) shifted sideways to its left by `distance` metres (mitred)."""
    points = np.asarray(points, float)
    d = np.diff(points, axis=0)
    d = d / np.maximum(steady.length(d), 1e-9)[:, None]
    normal = np.stack([-d[:, 1], d[:, 0]], -1)
    joint = np.concatenate([normal[:1], normal[:-1] + normal[1:], normal[-1:]])
    joint[1:-1] /= np.maximum((joint[1:-1] ** 2).sum(-1, keepdims=True) / 2, 0.35)
    return points + joint * np.broadcast_to(np.asarray(distance, float), points.shape[:1])[:, None]


def _shapes(rng: np.random.Generator, c: Character, half: float) -> tuple[list[list[np.ndarray]], float]:
    rivers: list[np.ndarray] = []
    lakes: list[np.ndarray] = []
    seas: list[np.ndarray] = []
    beaches: list[np.ndarray] = []
    far = half * 1.5 + 80
    angle = rng.uniform(0, 2 * np.pi)
    along = steady.bearing(angle)
    across = np.array([-along[1], along[0]])
    width = c.river if c.river > 3 else 0.0
    if width:
        shift = across * rng.uniform(-0.35, 0.35) * half
        line = curve(rng, -along * far + shift, along * far - shift * rng.uniform(-1, 1), 0.05, 10.0)
        n = len(line)
        wide = width * (1 + 0.18 * steady.sin(np.arange(n) * 0.13 + rng.uniform(0, 6)) + 0.06 * rng.normal(size=n))
        rivers.append(ribbon(line, np.maximum(wide, 4)))
    if c.lake > 15:
        turn = rng.uniform(0, 2 * np.pi)
        centre = steady.bearing(turn) * half * rng.uniform(0.3, 0.8)
        lakes.append(blob(rng, centre, c.lake, 0.35, 72))
    if c.sea:
        level = rng.uniform(0.15, 0.55) * half
        t = np.arange(-far, far, 8.0)
        shore = np.zeros_like(t)
        for k in range(9):
            wave = 60.0 + 90 * k
            shore += rng.normal() * wave * 0.03 * steady.sin(2 * np.pi * t / wave + rng.uniform(0, 6.28))
        coast = t[:, None] * along + (level + shore)[:, None] * across
        seas.append(
            np.concatenate([coast, (along * far + across * 3 * far)[None], (-along * far + across * 3 * far)[None]])
        )
        beach = rng.uniform(14, 42) * (1 + 0.3 * steady.sin(t / rng.uniform(60, 160)))
        beaches.append(np.concatenate([coast + across * 4, (coast - beach[:, None] * across)[::-1]]))
    return [rivers, lakes, seas, beaches], width


def _noise(rng: np.random.Generator, n: int, half: float) -> np.ndarray:
    axis = (np.arange(n) + 0.5) / n * 2 * half - half
    total = np.zeros((n, n), np.float32)
    norm = 0.0
    for k in range(10):
        wave = 950.0 / (1 + 0.45 * k)
        angle, phase = rng.uniform(0, 2 * np.pi, 2)
        kx, ky = steady.bearing(angle) * 2 * np.pi / wave
        weight = (1 + 0.45 * k) ** -1.5
        total += (weight * steady.sin(kx * axis[None] + ky * axis[::-1, None] + phase)).astype(np.float32)
        norm += weight**2 / 2
    return total / np.float32(2.2 * np.sqrt(norm))


def build_terrain(rng: np.random.Generator, c: Character, size: float) -> Terrain:
    """Relief and water for a world of `size` metres, from one generator."""
    half = size / 2
    (rivers, lakes, seas, beaches), width = _shapes(rng, c, half)
    n = int(np.ceil(size / STEP))
    fine = 2 * n
    mask = np.zeros((fine, fine), np.uint8)
    scale = fine / size
    for outline in [*rivers, *lakes, *seas]:
        pixels = np.stack([(outline[:, 0] + half) * scale, (half - outline[:, 1]) * scale], -1) - 0.5
        cv2.fillPoly(mask, [np.round(pixels * 16).astype(np.int32)], 1, shift=4)
    if mask.any():
        land = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5) / scale
        wet = cv2.distanceTransform(mask, cv2.DIST_L2, 5) / scale
        signed = (land - wet).astype(np.float32).reshape(n, 2, n, 2).mean((1, 3))
    else:
        signed = np.full((n, n), 1e4, np.float32)
    away = np.clip(np.maximum(signed - 12, 0) / 190, 0, 1)
    rise = away * away * (3 - 2 * away)
    bank = np.clip(signed / 18, 0.08, 1.0) * 2.0 if seas else np.full_like(signed, 1.3)
    relief = (_noise(rng, n, half) + 1.0) * np.float32(c.relief)
    elevation = (bank + rise * relief).astype(np.float32)
    return Terrain(Grid(elevation, half), Grid(signed, half), rivers, lakes, seas, beaches, width)
