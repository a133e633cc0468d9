"""Aerial tiles of a `Scene`, straight from above or a little from the side (leaning buildings)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .cars import draw_cars_from_above
from .facade import Rows
from .render import VEGETATION
from .scene import Scene, look_up

LEAN_STEPS = 40  # most height levels searched under a leaning line of sight


def render_overhead(
    scene: Scene, east: Tensor, north: Tensor, metres: float, pixels: int, lean: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """North-up tiles centred on (east, north) (B,) metres, `metres` wide, `pixels` a side.

    Args:
        lean: (B, 2) metres east and north that each metre of height moves in the picture (off-nadir view);
            None looks straight down. The ground at the tile's centre stays in place.

    Returns:
        colour (B, 3, P, P) in [0, 1], bilinear; class (B, P, P) uint8 and height above the ground (B, P, P) in
        metres, nearest.
    """
    step = ((torch.arange(pixels, device=east.device) + 0.5) / pixels - 0.5) * metres
    x, y = torch.broadcast_tensors(east[:, None, None] + step, north[:, None, None] - step[:, None])
    side = level = None
    datum = look_up(scene.ground, scene.index(east, north))
    if lean is not None:
        x, y, side, level = _under_leaning_sight(scene, x, y, lean, datum)
    colour = _sampled(scene, x, y, metres / pixels)
    index = scene.index(x, y)
    material = look_up(scene.material, index).int()
    crown, solid = look_up(scene.canopy, index), look_up(scene.height, index)
    covered = crown > solid
    label = look_up(scene.labels, look_up(scene.cover, index).int()).masked_fill(covered, VEGETATION)
    height = torch.where(covered, crown, solid) - look_up(scene.ground, index)
    grain = look_up(scene.grain, material).masked_fill(covered, 0.3)
    sharp = max(0.0, 1 - metres / pixels)
    colour = colour * (1 + 0.35 * sharp * grain * scene.texture(x * 7, y * 7))[:, None]
    if side is not None:
        colour = _walls_in_sight(scene, colour, index, side & ~covered)
    level = torch.maximum(crown, solid) - datum[:, None, None] if level is None else level
    shift = torch.zeros(len(east), 2, device=east.device) if lean is None else lean
    draw_cars_from_above(scene, (east, north, metres / pixels), shift, datum, level, colour, label, height)
    return colour.clamp(0, 1), label, height


def _sampled(scene: Scene, x: Tensor, y: Tensor, metres_per_pixel: float) -> Tensor:
    image = scene.overhead
    factor = round(metres_per_pixel / scene.resolution)
    if factor > 1:
        image = F.avg_pool2d(image, factor, stride=1, padding=factor // 2)[..., : scene.size, : scene.size]
    grid = torch.stack([x / scene.half, -y / scene.half], -1)
    flat = grid.reshape(1, -1, grid.shape[-2], 2)
    colour = F.grid_sample(image, flat, align_corners=False, padding_mode="border")
    return colour[0].view(3, *x.shape).transpose(0, 1)


def _under_leaning_sight(
    scene: Scene, x: Tensor, y: Tensor, lean: Tensor, datum: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Positions seen at pixels (x, y): the highest level that is solid; whether a vertical side is seen there.

    And the level in metres above the datum, −inf where none is found.
    """
    tallest = float((torch.maximum(scene.height, scene.canopy) - scene.ground).max())
    reach = tallest * float(lean.norm(dim=1).max())
    steps = min(LEAN_STEPS, max(2, math.ceil(reach / scene.resolution)))
    east, north = lean[:, 0, None, None], lean[:, 1, None, None]
    found = torch.zeros_like(x, dtype=torch.bool)
    height, side = torch.zeros_like(x), torch.zeros_like(found)
    for level in torch.linspace(tallest, 0, steps + 1, device=x.device)[:-1]:
        index = scene.index(x - level * east, y - level * north)
        top = torch.maximum(look_up(scene.height, index), look_up(scene.canopy, index)) - datum[:, None, None]
        hit = (top >= level) & ~found
        height = torch.where(hit, level, height)
        side |= hit & (top - level > 1.5 * tallest / steps + 0.5)
        found |= hit
    return x - height * east, y - height * north, side, height.masked_fill(~found, -math.inf)


def _walls_in_sight(scene: Scene, colour: Tensor, index: Tensor, side: Tensor) -> Tensor:
    """Paint the façades that a leaning line of sight shows, a little darker than in full light."""
    wall = Rows(scene.buildings, look_up(scene.instance, index)).colour("wall").transpose(0, 1)
    wall = torch.where(wall.sum(1, keepdim=True) > 0, wall * 0.72, colour * 0.8)
    return torch.where(side[:, None], wall, colour)
