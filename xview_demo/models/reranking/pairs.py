"""GeoWarp's self-supervised pairs: two warps of one photograph, and where they overlap on each.

Section 3.2 of Berton et al. (ICCV 2021). t_x and t_y are random trapezoids with vertical sides on the photograph,
t_z the largest such trapezoid on their common columns; I_a and I_b show t_x and t_y, t_a and t_b are t_z on them.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from xview_demo.geometry import apply_homography, find_homography
from xview_demo.models.reranking.geowarp import rectangle_like, warp

LEAST = 0.05  # half width and half height that a trapezoid keeps, in units of half a picture


@dataclass(frozen=True)
class WarpedPairs:
    """Pairs made of B photographs; corners run top left, top right, bottom right, bottom left, in [−1, 1]."""

    a: Tensor  # (B, 3, H, W)
    b: Tensor  # (B, 3, H, W)
    t_x: Tensor  # (B, 4, 2) on the photograph, what a shows
    t_y: Tensor  # (B, 4, 2) on the photograph, what b shows
    t_z: Tensor  # (B, 4, 2) on the photograph, what both show
    t_a: Tensor  # (B, 4, 2) on a, what both show
    t_b: Tensor  # (B, 4, 2) on b, what both show


def random_trapezoids(count: int, k: float, generator: Generator) -> Tensor:
    """`count` trapezoids (B, 4, 2) with vertical sides around the middle; k from 0 (the whole picture) to 1 (any).

    Every distance from the middle is 1 − U·k, at least 0.05, so that none is degenerate even with k = 1.

    Raises:
        ValueError: k outside 0 to 1.
    """
    if not 0 <= k <= 1:
        raise ValueError(f"k is {k:g}: give 0 (no warp) to 1 (the strongest).")
    left, right, *tall = (1 - k * torch.rand((6, count), generator=generator)).clamp_min(LEAST)
    x = torch.stack((-left, right, right, -left), 1)
    y = torch.stack((-tall[0], -tall[1], tall[2], tall[3]), 1)
    return torch.stack((x, y), 2)


def shared_trapezoid(first: Tensor, second: Tensor) -> Tensor:
    """The trapezoid (B, 4, 2) over the common columns of two that lies inside both."""
    left = torch.maximum(first[:, 0, 0], second[:, 0, 0])
    right = torch.minimum(first[:, 1, 0], second[:, 1, 0])
    edges = [[_height_at(t, x) for x in (left, right)] for t in (first, second)]
    (first_left, first_right), (second_left, second_right) = edges
    top = [torch.maximum(p[0], q[0]) for p, q in ((first_left, second_left), (first_right, second_right))]
    bottom = [torch.minimum(p[1], q[1]) for p, q in ((first_left, second_left), (first_right, second_right))]
    x = torch.stack((left, right, right, left), 1)
    return torch.stack((x, torch.stack((top[0], top[1], bottom[1], bottom[0]), 1)), 2)


def _height_at(trapezoid: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """y (B,) of the upper and the lower edge at columns x (B,)."""
    left, right = trapezoid[:, 0, 0], trapezoid[:, 1, 0]
    share = (x - left) / (right - left)
    return torch.lerp(trapezoid[:, 0, 1], trapezoid[:, 1, 1], share), torch.lerp(
        trapezoid[:, 3, 1], trapezoid[:, 2, 1], share
    )


def warped_pairs(image: Tensor, k: float, generator: Generator) -> WarpedPairs:
    """Make a pair of each photograph (B, 3, H, W) in [0, 1]; `generator` is on the CPU, `image` anywhere."""
    t_x, t_y = (random_trapezoids(len(image), k, generator).to(image) for _ in range(2))
    t_z = shared_trapezoid(t_x, t_y)
    whole = rectangle_like(t_x)
    t_a, t_b = (apply_homography(find_homography(t, whole), t_z) for t in (t_x, t_y))
    return WarpedPairs(warp(image, t_x), warp(image, t_y), t_x, t_y, t_z, t_a, t_b)
