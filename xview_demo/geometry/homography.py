"""Homographies from point pairs (direct linear transform) and the grids that apply them.

Points are (x, y) in any one unit; grids use x right, y down in [−1, 1]. Everything is batched and differentiable.
"""

import torch
from torch import Tensor

from xview_demo.geometry.sampling import pixel_grid


def find_homography(source: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """The homography that maps `source` onto `target`, by weighted least squares on normalised points.

    Args:
        source, target: (…, N, 2), N ≥ 4, no three of four points on one line.
        weights: (…, N) non-negative, or None for equal weights.

    Returns:
        (…, 3, 3) in the dtype of `source`, with unit norm; exact for four points (about 1e-6 in float32).

    Raises:
        ValueError: fewer than four points or different shapes.
    """
    if source.shape != target.shape or source.shape[-2] < 4 or source.shape[-1] != 2:
        raise ValueError(
            f"point sets of shape {tuple(source.shape)} and {tuple(target.shape)}: give two (…, N, 2), N ≥ 4"
        )
    to_source, p = _normalise(source.double())
    to_target, q = _normalise(target.double())
    x, y, u, v = p[..., 0], p[..., 1], q[..., 0], q[..., 1]
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    rows_u = torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], -1)
    rows_v = torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], -1)
    a, b = torch.cat([rows_u, rows_v], -2), torch.cat([u, v], -1)[..., None]
    if weights is not None:
        scale = weights.double().clamp_min(0).sqrt().repeat(*[1] * (weights.dim() - 1), 2)[..., None]
        a, b = a * scale, b * scale
    if a.shape[-2] == 8:
        solution = torch.linalg.solve(a, b)
    else:
        solution = torch.linalg.solve(a.mT @ a, a.mT @ b)
    h = torch.cat([solution[..., 0], one[..., :1]], -1).unflatten(-1, (3, 3))
    h = torch.linalg.solve(to_target, h @ to_source)
    return (h / h.flatten(-2).norm(dim=-1)[..., None, None]).to(source.dtype)


def apply_homography(homography: Tensor, points: Tensor) -> Tensor:
    """Map points (…, N, 2) by (…, 3, 3): (…, N, 2). A point on the horizon line comes out as inf."""
    homogeneous = torch.cat([points, torch.ones_like(points[..., :1])], -1) @ homography.mT
    return homogeneous[..., :2] / homogeneous[..., 2:]


def homography_grid(homography: Tensor, height: int, width: int) -> Tensor:
    """Grid (…, H, W, 2) that warps a picture: output place p shows the input at `homography` · p.

    `homography` (…, 3, 3) maps output places to input places, both in [−1, 1] (x right, y down).
    """
    places = pixel_grid(height, width, homography.device).to(homography.dtype)
    flat = apply_homography(homography, places.reshape(-1, 2).expand(*homography.shape[:-2], -1, 2))
    return flat.unflatten(-2, (height, width))


def _normalise(points: Tensor) -> tuple[Tensor, Tensor]:
    """Move the centroid to 0 and the mean distance to √2: the (…, 3, 3) transform and the moved points."""
    centre = points.mean(-2, keepdim=True)
    scale = 2**0.5 / (points - centre).norm(dim=-1).mean(-1).clamp_min(1e-12)
    moved = (points - centre) * scale[..., None, None]
    transform = torch.zeros(*points.shape[:-2], 3, 3, dtype=points.dtype, device=points.device)
    transform[..., 0, 0] = transform[..., 1, 1] = scale
    transform[..., :2, 2] = -scale[..., None] * centre[..., 0, :]
    transform[..., 2, 2] = 1
    return transform, moved
