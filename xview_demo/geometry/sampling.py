"""Reading a picture through a grid: the one place where pixels are interpolated."""

import torch
import torch.nn.functional as F
from torch import Tensor

MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("border", "zeros", "wrap")


def sample(image: Tensor, grid: Tensor, mode: str = "bilinear", padding: str = "border") -> Tensor:
    """Read `image` at the places of `grid`.

    Args:
        image: (C, H, W) or (B, C, H, W); an integer image (labels) needs mode "nearest".
        grid: (h, w, 2) or (B, h, w, 2), x right and y down, −1 and 1 at the outer edges of the picture (the
            centre of pixel column c of W is (2c + 1)/W − 1).
        mode: "bilinear", "nearest" or "bicubic".
        padding: beyond the edges "border" repeats the last pixel, "zeros" gives 0, "wrap" joins the left edge
            to the right one, as in a full panorama (any x is allowed; rows beyond the edges repeat the last).

    Returns:
        (C, h, w), or (B, C, h, w) when either argument has a batch; differentiable in both arguments.

    Raises:
        ValueError: unknown mode or padding, or interpolation between labels.
    """
    if mode not in MODES or padding not in PADDINGS:
        raise ValueError(f"mode {mode!r} must be one of {MODES} and padding {padding!r} one of {PADDINGS}")
    if not image.is_floating_point() and mode != "nearest":
        raise ValueError(f"a {image.dtype} image holds labels: sample it with mode 'nearest', not {mode!r}")
    batched = image.dim() == 4 or grid.dim() == 4
    source = image if image.dim() == 4 else image[None]
    places = grid if grid.dim() == 4 else grid[None]
    size = max(len(source), len(places))
    source, places = source.expand(size, -1, -1, -1), places.expand(size, -1, -1, -1)
    values = source if source.is_floating_point() else source.to(torch.float32)
    places = places.to(values.dtype)
    if padding == "wrap":
        values, places = _wrapped(values, places)
    out = F.grid_sample(
        values,
        places,
        mode=mode,
        padding_mode="zeros" if padding == "zeros" else "border",
        align_corners=False,
    )
    out = out if image.is_floating_point() else out.round().to(image.dtype)
    return out if batched else out[0]


def _wrapped(image: Tensor, grid: Tensor, margin: int = 2) -> tuple[Tensor, Tensor]:
    """Repeat `margin` columns beyond both edges and bring every x into the picture."""
    width = image.shape[-1]
    columns = torch.arange(-margin, width + margin, device=image.device) % width
    x = torch.remainder(grid[..., 0] + 1, 2) - 1
    return image[..., columns], torch.stack([x * (width / (width + 2 * margin)), grid[..., 1]], -1)


def inside(grid: Tensor) -> Tensor:
    """Where a grid (…, h, w, 2) falls on the picture: bool (…, h, w)."""
    return (grid.abs() <= 1 + 1e-6).all(-1)


def pixel_grid(height: int, width: int, device: torch.device | str | None = None) -> Tensor:
    """The identity grid (H, W, 2): the centre of each pixel, so that sampling through it changes nothing."""
    y = (torch.arange(height, device=device, dtype=torch.float32) * 2 + 1) / height - 1
    x = (torch.arange(width, device=device, dtype=torch.float32) * 2 + 1) / width - 1
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1)


def resize(image: Tensor, height: int, width: int, wrap: bool = False) -> Tensor:
    """Resize a float picture (…, C, H, W) to (…, C, height, width) with anti-aliasing; values stay in range.

    With `wrap` the left and right edges are neighbours, so that a panorama keeps its seam invisible.
    """
    if image.shape[-2:] == (height, width):
        return image
    batch = image.reshape(-1, *image.shape[-3:])
    if wrap:
        scale = max(1, round(image.shape[-1] / width))
        margin = min(image.shape[-1], 2 * scale)
        extra = max(1, round(margin * width / image.shape[-1]))
        margin = round(extra * image.shape[-1] / width)
        columns = torch.arange(-margin, image.shape[-1] + margin, device=image.device) % image.shape[-1]
        out = _interpolate(batch[..., columns], height, width + 2 * extra)[..., extra : extra + width]
    else:
        out = _interpolate(batch, height, width)
    return out.reshape(*image.shape[:-2], height, width)


def _interpolate(image: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(image, (height, width), mode="bilinear", antialias=True, align_corners=False)


def columns_within(width: int, fov: float | Tensor) -> Tensor:
    """Which columns of a full panorama lie within a field of view around its middle: float, (W,), 1 or 0.

    `fov` is degrees, or a tensor (…, 1) of them, which gives (…, W).
    """
    away = (torch.arange(width) + 0.5 - width / 2).abs() * (360.0 / width)
    return (away <= fov / 2).float()


def roll_columns(image: Tensor, degrees: float | Tensor) -> Tensor:
    """Turn a full panorama (B, C, H, W) or (C, H, W): its new centre looks `degrees` further to the right.

    `degrees` is a number or (B,). Whole columns are moved exactly, fractions of a column are interpolated.
    """
    batch = image if image.dim() == 4 else image[None]
    width = batch.shape[-1]
    shift = torch.as_tensor(degrees, dtype=torch.float64, device=image.device).reshape(-1) * (width / 360)
    whole = shift.round()
    if torch.equal(shift.sub(whole).abs() < 1e-6, torch.ones_like(shift, dtype=torch.bool)):
        columns = torch.arange(width, device=image.device)
        index = (columns + whole.long()[:, None]) % width
        index = index[:, None, None].expand(len(batch), *batch.shape[1:3], width)
        out = torch.gather(batch, 3, index)
    else:
        grid = pixel_grid(batch.shape[-2], width, image.device).repeat(len(shift), 1, 1, 1)
        grid[..., 0] += (2 / width * shift).float()[:, None, None]
        out = sample(batch, grid, padding="wrap")
    return out if image.dim() == 4 else out[0]
