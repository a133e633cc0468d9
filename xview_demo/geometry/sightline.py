"""Sightline maps: what of a tile can be seen from where the camera stands, as the target of a position heat map.

A map is a Gaussian around the camera (σ a quarter of the tile: 64 of 256 pixels), zero behind the first obstacle of
each ray. The obstacle's first cell is still seen. Trees do not block; what blocks is for the caller to say. The cell
the camera stands in never blocks.
"""

import math
import time

import numpy as np
import torch
from torch import Tensor

SIGMA = 0.25  # of the tile's width


def visible_cells(blocked: Tensor, camera: Tensor) -> Tensor:
    """Which cells a straight line reaches from the camera: bool (B, H, W).

    Every line from the camera to the middle of a cell is walked in steps of one cell, all lines at once.

    Args:
        blocked: (B, H, W) bool, where nothing is seen through.
        camera: (B, 2) column and row in pixels; the middle of the first pixel is (0.5, 0.5).
    """
    batch, height, width = blocked.shape
    x = torch.arange(width, device=blocked.device) + 0.5 - camera[:, 0, None]  # (B, W)
    y = torch.arange(height, device=blocked.device) + 0.5 - camera[:, 1, None]  # (B, H)
    distance = torch.hypot(x[:, None], y[:, :, None])
    toward_x, toward_y = x[:, None] / distance.clamp_min(1e-9), y[:, :, None] / distance.clamp_min(1e-9)
    cells = blocked.reshape(batch, -1)
    own = _cell(camera[:, 0], camera[:, 1], height, width)[:, None]
    target = torch.arange(height * width, device=blocked.device)
    free = torch.ones(batch, height * width, dtype=torch.bool, device=blocked.device)
    for step in range(1, math.ceil(float(distance.max()))):
        column = camera[:, 0, None, None] + toward_x * step
        row = camera[:, 1, None, None] + toward_y * step
        index = _cell(column, row, height, width).view(batch, -1)
        on_the_way = (distance > step).view(batch, -1) & (index != target) & (index != own)
        free &= ~(on_the_way & cells.gather(1, index))
    return free.view(batch, height, width)


def sightline_maps(blocked: Tensor, camera: Tensor, sigma: float | None = None) -> Tensor:
    """Sightline maps (B, H, W) in [0, 1], float32.

    Args:
        blocked: (B, H, W) bool.
        camera: (B, 2) column and row in pixels.
        sigma: pixels; a quarter of the width when None, as published (64 of 256).
    """
    _, height, width = blocked.shape
    sigma = sigma or SIGMA * width
    x = torch.arange(width, device=blocked.device) + 0.5 - camera[:, 0, None]
    y = torch.arange(height, device=blocked.device) + 0.5 - camera[:, 1, None]
    near = torch.exp(-(x[:, None].square() + y[:, :, None].square()) / (2 * sigma**2))
    return near * visible_cells(blocked, camera)


def visible_by_loop(blocked: np.ndarray, camera: tuple[float, float]) -> np.ndarray:
    """What `visible_cells` computes, for one map (H, W), cell by cell and step by step: for tests and `xview bench`."""
    height, width = blocked.shape
    found = np.ones((height, width), dtype=bool)
    own = (min(max(int(camera[1]), 0), height - 1), min(max(int(camera[0]), 0), width - 1))
    for row in range(height):
        for column in range(width):
            x, y = column + 0.5 - camera[0], row + 0.5 - camera[1]
            distance = math.hypot(x, y)
            step = 1
            while step < distance and found[row, column]:
                r = min(max(math.floor(camera[1] + y / distance * step), 0), height - 1)
                c = min(max(math.floor(camera[0] + x / distance * step), 0), width - 1)
                if blocked[r, c] and (r, c) != own and (r, c) != (row, column):
                    found[row, column] = False
                step += 1
    return found


def bench_sightline(pixels: int = 256, share: float = 0.02, seed: int = 0) -> dict[str, float | int]:
    """Time one sightline map made at once and by the loop.

    Args:
        pixels: side of the map.
        share: of the cells that block.
        seed: of where they are.

    Returns:
        `pixels`, `milliseconds` (best of five), `loop_milliseconds`, `speedup`, `threads`, and `agree`, the share of
        cells on which both agree (rounding may decide a grazing line otherwise).
    """
    generator = torch.Generator().manual_seed(seed)
    blocked = torch.rand(1, pixels, pixels, generator=generator) < share
    camera = torch.rand(1, 2, generator=generator) * pixels / 2 + pixels / 4
    times = []
    for _ in range(5):
        start = time.perf_counter()
        found = visible_cells(blocked, camera)
        times.append(time.perf_counter() - start)
    start = time.perf_counter()
    expected = visible_by_loop(blocked[0].numpy(), (float(camera[0, 0]), float(camera[0, 1])))
    loop = time.perf_counter() - start
    return {
        "pixels": pixels, "milliseconds": 1000 * min(times), "loop_milliseconds": 1000 * loop,
        "speedup": loop / min(times), "threads": torch.get_num_threads(),
        "agree": float((found[0].numpy() == expected).mean()),
    }  # fmt: skip


def _cell(column: Tensor, row: Tensor, height: int, width: int) -> Tensor:
    """Flat index of the cell that holds a position; positions outside take the nearest cell."""
    return row.floor().long().clamp(0, height - 1) * width + column.floor().long().clamp(0, width - 1)
