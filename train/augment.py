"""Augmentation in batches: colour, blur, noise, and tiles cut out of wider ones. Every draw comes from a generator."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from xview_demo.geometry import columns_within


def uniform(generator: Generator, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
    """Uniform numbers in [low, high)."""
    return torch.rand(shape, generator=generator) * (high - low) + low


def normal(generator: Generator, shape: tuple[int, ...], scale: float) -> Tensor:
    """Normal numbers with standard deviation `scale`."""
    return torch.randn(shape, generator=generator) * scale


def _hue_matrices(angle: Tensor, saturation: Tensor) -> Tensor:
    """(B, 3, 3) matrices that turn the hue by `angle` radians and scale the saturation, keeping the grey axis."""
    grey = torch.full((3, 3), 1 / 3)
    k = 1 / math.sqrt(3)
    cross = torch.tensor([[0.0, -k, k], [k, 0.0, -k], [-k, k, 0.0]])
    rest = torch.eye(3) - grey
    turn = angle.cos()[:, None, None] * rest + angle.sin()[:, None, None] * cross
    return grey + saturation[:, None, None] * turn


def jitter_colour(image: Tensor, generator: Generator, strength: float = 1.0, grey: float = 0.1) -> Tensor:
    """Another camera for each picture: gain and offset per channel, hue, saturation, contrast, gamma.

    Args:
        image: (B, 3, H, W) in [0, 1].
        generator: source of randomness.
        strength: scale of every change.
        grey: share of pictures that lose their colour altogether.
    """
    b = len(image)
    saturation = normal(generator, (b,), 0.35 * strength).exp()
    saturation = saturation * (uniform(generator, (b,)) >= grey)
    matrix = _hue_matrices(normal(generator, (b,), 0.25 * strength), saturation)
    gain = (normal(generator, (b, 1), 0.2 * strength) + normal(generator, (b, 3), 0.12 * strength)).exp()
    matrix = gain[:, :, None] * matrix
    middle = image.mean((1, 2, 3))[:, None]
    contrast = normal(generator, (b, 1), 0.2 * strength).exp()
    offset = middle * gain * (1 - contrast) + normal(generator, (b, 3), 0.04 * strength)
    x = torch.matmul(matrix * contrast[:, :, None], image.flatten(2)) + offset[:, :, None]
    gamma = normal(generator, (b, 1, 1), 0.25 * strength).exp()
    return x.clamp(1e-3, 1).pow(gamma).view_as(image)


def roughen(image: Tensor, generator: Generator, share: float = 0.5, noise: float = 0.06) -> Tensor:
    """Blur some pictures and add noise to some: (B, 3, H, W) → the same."""
    b = len(image)
    blurred = (uniform(generator, (b,)) < share).nonzero()[:, 0]
    if len(blurred):
        soft = F.avg_pool2d(F.pad(image[blurred], (1, 1, 1, 1), mode="replicate"), 3, 1)
        weight = uniform(generator, (len(blurred), 1, 1, 1))
        image = image.index_copy(0, blurred, torch.lerp(image[blurred], soft, weight))
    noisy = (uniform(generator, (b,)) < share).nonzero()[:, 0]
    if len(noisy):
        scale = uniform(generator, (len(noisy), 1, 1, 1), 0.0, noise)
        grain = torch.randn((len(noisy), *image.shape[1:]), generator=generator)
        image = image.index_copy(0, noisy, (image[noisy] + scale * grain).clamp(0, 1))
    return image


def tile_grid(
    generator: Generator,
    turn: Tensor,
    pixels: int,
    *,
    share: float | Tensor,
    offset: float = 0.0,
    scale: float = 0.0,
) -> Tensor:
    """Grids (B, P, P, 2) that cut tiles out of wider pictures.

    Args:
        generator: source of randomness.
        turn: (B,) degrees; the direction that bears `turn` in the picture points up in the tile.
        pixels: P.
        share: width of the tile over the width of the picture, one for all or (B,).
        offset: largest shift, in widths of the picture.
        scale: largest relative change of the scale.
    """
    b = len(turn)
    size = share * (1 + uniform(generator, (b,), -scale, scale))
    angle = turn * (math.pi / 180)
    shift = uniform(generator, (b, 2), -2 * offset, 2 * offset)
    theta = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), 1).view(-1, 2, 2) * size[:, None, None]
    return F.affine_grid(torch.cat((theta, shift[:, :, None]), 2), [b, 3, pixels, pixels], align_corners=False)


def roll(image: Tensor, columns: Tensor) -> Tensor:
    """Turn panoramas (B, …, W): the new centre column is the one `columns` (B,) to the right of the old."""
    width = image.shape[-1]
    index = (torch.arange(width) + columns[:, None]) % width
    return image.gather(-1, index.view(len(image), *[1] * (image.dim() - 2), width).expand_as(image))


def cut(image: Tensor, grid: Tensor, mode: str = "bilinear") -> Tensor:
    """Read (B, C, H, W) through a grid; pictures read at much less than their resolution are halved first."""
    across = (grid[:, 0, -1] - grid[:, 0, 0]).norm(dim=-1).mean() / 2 * image.shape[-1]  # pixels of the picture
    if mode == "bilinear" and across > 1.5 * grid.shape[2] and image.shape[-1] % 2 == 0:
        image = F.avg_pool2d(image, 2)
    return F.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=False)


def blinkers(
    generator: Generator,
    count: int,
    height: int,
    width: int,
    *,
    narrow: float,
    fov: float,
    low: float = 0.3,
    lean: float = 1.0,
) -> Tensor:
    """Masks (B, 1, H, W) of what cameras with a smaller field of view show of a panorama, 1 where they show something.

    Args:
        generator: source of randomness.
        count, height, width: B, H, W; the strip spans ±45°.
        narrow: share of the masks that show less than a full turn, as photographs do: only what is around the middle.
        fov: degrees that they show at least.
        low: share of the masks that show less sky and ground.
        lean: above 1, more of the narrow ones are very narrow: the width above `fov` is a uniform share to this power.
    """
    half = uniform(generator, (count, 1), 0.55, 1.0) * (height / 2)
    half = torch.where(uniform(generator, (count, 1)) < low, half, torch.tensor(float(height)))
    rows = ((torch.arange(height) + 0.5 - height / 2).abs() < half).float()
    across = fov + (360.0 - fov) * uniform(generator, (count, 1)) ** lean
    across = across.masked_fill(uniform(generator, (count, 1)) >= narrow, 360.0)
    return rows[:, None, :, None] * columns_within(width, across)[:, None, None]


def crop_strip(
    image: Tensor, truth: Tensor, generator: Generator, rows: int, columns: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Cut the same window out of panoramas, at a bearing of its own for each, perhaps mirrored.

    Args:
        image: (B, 3, H, W), ±45°.
        truth: (B, H, W).
        generator: source of randomness.
        rows, columns: size of the window.

    Returns:
        image (B, 3, rows, columns), truth (B, rows, columns), and the elevation of the rows in degrees (rows,).
    """
    height, width = image.shape[-2:]
    turn = torch.randint(width, (len(image),), generator=generator)
    top = int(torch.randint(max(0, height - rows) + 1, (), generator=generator))
    flip = bool(torch.rand((), generator=generator) < 0.5)
    parts = [roll(x, turn)[..., top : top + rows, :columns] for x in (image, truth)]
    image, truth = (x.flip(-1) if flip else x for x in parts)
    elevation = 45.0 - (top + torch.arange(image.shape[-2]) + 0.5) * (90.0 / height)
    return image, truth, elevation


def crop_tiles(image: Tensor, truth: Tensor, generator: Generator, side: int) -> tuple[Tensor, Tensor]:
    """Cut a square out of each tile along its pixels, perhaps mirrored, turned by quarters.

    Args:
        image: (B, 3, P, P).
        truth: (B, P, P).
        generator: source of randomness.
        side: pixels of the square, at most P.

    Returns:
        image (B, 3, side, side) and truth (B, side, side).
    """
    both = torch.cat((image, truth[:, None].to(image)), 1)
    room = image.shape[-1] - side + 1
    squares = []
    for tile in both:
        row, column, turns, flip = (int(torch.randint(n, (), generator=generator)) for n in (room, room, 4, 2))
        square = tile[:, row : row + side, column : column + side].rot90(turns, (1, 2))
        squares.append(square.flip(-1) if flip else square)
    both = torch.stack(squares)
    return both[:, :-1], both[:, -1]
