"""The renderer: panoramas, photographs and aerial tiles of a `Scene`, in batched torch on any device.

A camera's columns are vertical planes, so one march along each column's azimuth serves all its rows: the running
maximum of the elevation's tangent along the ray is sorted, and a search in it finds the first surface of every row.
Tree crowns hang in the air: each sample of a crown covers an interval of rows, and the nearest interval over each
row comes from a table of minima over power-of-two blocks (filled by scatter, pushed down level by level).
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .appearance import light, sun_vector
from .cars import draw_cars
from .cores import on_all_cores
from .facade import enter_walls, roof_edge, shade_walls
from .materials import MATERIAL_ID
from .rays import Rays, Slopes
from .scene import LEVELS, Scene, look_up, mip_offset, places, put
from .sky import hazed, horizon_colour

REACH = 260.0  # metres a ray is followed
FAR = 1000.0  # depth given to the far skyline; the sky is at infinity
SKY, VEGETATION = 2, 3
CHUNK = 10  # cameras marched at once, at most: fewer cost more calls, more leave the cache


@cache
def ray_distances(resolution: float, device: torch.device) -> Tensor:
    """(K,) distances along the ground in metres at which a ray is sampled: steps of 0.8 pixels, then of 1.25 %."""
    distances, distance = [0.05, 0.3, 0.6], 0.9
    while distance < REACH:
        distances.append(distance)
        distance += max(0.8 * resolution, 0.0125 * distance)
    return torch.tensor(distances, device=device)


def render(scene: Scene, rays: Rays) -> tuple[Tensor, Tensor, Tensor]:
    """Colour (B, 3, H, W) in [0, 1], depth (B, H, W) in metres along the ray (sky: inf), class (B, H, W) uint8."""
    batch, columns, rows = rays.shape
    _ = scene.sky, scene.marked_height  # baked once, before the cores share them
    colour = torch.empty(batch, 3, rows, columns, device=rays.east.device)
    depth = torch.empty(batch, rows, columns, device=rays.east.device)
    label = torch.empty(batch, rows, columns, device=rays.east.device, dtype=torch.uint8)

    cores = torch.get_num_threads()
    rounds = max(1, math.ceil(batch / (cores * CHUNK)))
    chunk = max(1, math.ceil(batch / (cores * rounds)))  # as many for every core

    pixels = _Pixels.of(rays.part(slice(0, chunk)))

    def draw(start: int) -> None:
        cut = slice(start, start + chunk)
        colour[cut], depth[cut], label[cut] = _render(scene, rays.part(cut), pixels)

    on_all_cores(draw, range(0, batch, chunk), rays.east.device)
    return colour, depth, label


@dataclass
class _Pixels:
    """The P = B·W·H pixels of a picture, flat, column by column: what does not depend on where its cameras are."""

    slopes: Slopes  # each (P,)
    ray: Tensor  # (P,) int32, a pixel's column

    @staticmethod
    def of(rays: Rays) -> "_Pixels":
        batch, columns, rows = rays.shape
        ray = torch.arange(batch * columns, dtype=torch.int32, device=rays.east.device).repeat_interleave(rows)
        return _Pixels(Slopes(*(t.reshape(-1) for t in vars(rays.slopes).values())), ray)

    def first(self, count: int) -> "_Pixels":
        """Those of fewer cameras."""
        return _Pixels(Slopes(*(t[:count] for t in vars(self.slopes).values())), self.ray[:count])


@dataclass
class _March:
    """What the rays of N = B·W columns meet at K samples along each."""

    distance: Tensor  # (K,) metres along the ground
    height: Tensor  # (N·K,) tops along each ray
    index: Tensor  # (N·K,) int32 flat raster index
    solid: Tensor  # (N·H,) int32 first sample that reaches the pixel, K where none does
    crown: Tensor  # (N·H,) int32 first crown sample over the pixel, K where none is


def _march(scene: Scene, rays: Rays) -> _March:
    batch, columns, rows = rays.shape
    distance = ray_distances(scene.resolution, rays.east.device)
    samples = len(distance)
    index = _index_along(scene, rays, distance)
    height = look_up(scene.marked_height, index)
    tangent = (height - rays.height[:, None, None]).mul_(1 / distance)
    horizon = torch.cummax(tangent.view(-1, samples), -1).values
    sought = rays.slopes.tangent.reshape(-1, rows).contiguous()
    solid = torch.searchsorted(horizon, sought, out_int32=True).view(-1)
    crowned = places(height.view(torch.int32).bitwise_and(1) > 0)
    crown = _first_crown(scene, rays, distance, index.view(-1), horizon.view(-1), crowned)
    return _March(distance, height.view(-1), index.view(-1), solid, crown)


def _index_along(scene: Scene, rays: Rays, distance: Tensor) -> Tensor:
    """(B, W, K) int32 flat raster index of the samples at `distance` along each ray."""
    steps = distance / scene.resolution
    east, north = torch.sin(rays.azimuth)[..., None], torch.cos(rays.azimuth)[..., None]
    column = ((rays.east + scene.half) / scene.resolution)[:, None, None]
    row = ((scene.half - rays.north) / scene.resolution)[:, None, None]
    return scene.cell(torch.addcmul(column, east, steps), torch.addcmul(row, north, steps, value=-1))


def _first_crown(scene: Scene, rays: Rays, distance: Tensor, index: Tensor, horizon: Tensor, crowned: Tensor) -> Tensor:
    """(N·H,) int32 first sample whose crown covers the pixel, K where none does or something solid hides it."""
    batch, columns, rows = rays.shape
    samples, count = len(distance), batch * columns
    if not len(crowned):
        return torch.full((count * rows,), samples, dtype=torch.int32, device=index.device)
    ray, sample, top, base = _hanging(scene, rays, distance, index, horizon, crowned)
    upper = torch.ceil(rays.row_of(top, ray)).clamp_(min=0).int()
    lower = torch.floor(rays.row_of(base, ray)).clamp_(max=rows - 1).int()
    seen = places(lower >= upper)
    ray, sample, upper, lower = (look_up(t, seen) for t in (ray, sample, upper, lower))
    levels = rows.bit_length()
    level_of = torch.log2(torch.arange(1, rows + 1, device=index.device)).floor().int()
    level = look_up(level_of, lower - upper)
    table = torch.full((levels * count * rows,), samples, dtype=torch.int32, device=index.device)
    offset = (level * count + ray) * rows
    table.scatter_reduce_(0, (offset + upper).long(), sample, "amin")
    table.scatter_reduce_(0, (offset + lower + 1 - (1 << level)).long(), sample, "amin")
    table = table.view(levels, count, rows)
    for upper_level in range(levels - 1, 0, -1):
        half = 1 << (upper_level - 1)
        source, target = table[upper_level], table[upper_level - 1]
        torch.minimum(target, source, out=target)
        if half < rows:
            torch.minimum(target[:, half:], source[:, : rows - half], out=target[:, half:])
    return table[0].view(-1)


def _hanging(
    scene: Scene, rays: Rays, distance: Tensor, index: Tensor, horizon: Tensor, at: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Column, sample (int32) and tangents of the crown's top and base of the crown samples `at` that may be seen.

    Left out is what the solid horizon hides, and what the crown's sample just before covers from top to base.
    """
    samples = len(distance)
    ray = torch.div(at, samples, rounding_mode="trunc").int()
    sample = at.int() - ray * samples
    eye, nearness = look_up(rays.columns[2], ray), look_up(1 / distance, sample)
    cell = look_up(index, at)
    top = look_up(scene.canopy, cell).sub_(eye).mul_(nearness)
    base = look_up(scene.canopy_base, cell).sub_(eye).mul_(nearness)
    kept = top > look_up(horizon, at)
    kept[1:] &= (top[1:] > top[:-1]) | (base[1:] < base[:-1]) | (ray[1:] != ray[:-1])
    chosen = places(kept)
    return look_up(ray, chosen), look_up(sample, chosen), look_up(top, chosen), look_up(base, chosen)


@dataclass
class _Picture:
    """What is drawn so far on P pixels."""

    colour: Tensor  # (3, P) in [0, 1]
    depth: Tensor  # (P,) metres along the ground
    label: Tensor  # (P,) uint8 class

    def draw(self, at: Tensor, colour: Tensor, depth: Tensor, label: Tensor | int) -> None:
        """Put things onto the pixels `at`."""
        put(self.colour, at, colour)
        put(self.depth, at, depth)
        if isinstance(label, Tensor):
            put(self.label, at, label)
        else:
            self.label.scatter_(0, at, label)


def _render(scene: Scene, rays: Rays, pixels: _Pixels) -> tuple[Tensor, Tensor, Tensor]:
    batch, columns, rows = rays.shape
    march = _march(scene, rays)
    pixels = pixels.first(batch * columns * rows)
    colour = torch.empty(3, len(pixels.ray), device=pixels.ray.device)
    depth = torch.full_like(pixels.slopes.tangent, math.inf)
    label = torch.full_like(depth, SKY, dtype=torch.uint8)
    picture = _Picture(colour, depth, label)

    crowned = _draw_crowns(scene, rays, march, pixels, picture)
    free = (march.solid == len(march.distance)).logical_and_(~crowned)
    _draw_solid(scene, rays, march, pixels, places(~(free | crowned)), picture)
    skyline = look_up(scene.backdrop, (rays.bearing * (360 / math.pi)).int() % 720)
    below = (pixels.slopes.tangent.view(-1, rows) < skyline[:, None]).view(-1)
    above = places(free & ~below)
    beyond = places(free.logical_and_(below))
    put(colour, above, _sky(scene, rays, pixels, above))
    far = _far_colour(scene, look_up(rays.bearing, look_up(pixels.ray, beyond)))
    put(colour, beyond, hazed(scene.moment, far, torch.tensor(REACH, device=far.device)))
    label.scatter_(0, beyond, VEGETATION)
    depth.scatter_(0, beyond, FAR)
    draw_cars(scene, rays, pixels.slopes.tangent, colour, depth, label)
    beyond = look_up(beyond, places(look_up(depth, beyond) == FAR))
    depth.mul_(pixels.slopes.slant).scatter_(0, beyond, FAR)
    return (
        colour.view(3, batch, columns, rows).permute(1, 0, 3, 2),
        depth.view(rays.shape).transpose(1, 2),
        label.view(rays.shape).transpose(1, 2),
    )


@dataclass
class _Hits:
    """Where M pixels' rays meet something solid; all (M,)."""

    at: Tensor  # int64, the pixels
    sample: Tensor  # int32, first sample that reaches the pixel
    tangent: Tensor
    east: Tensor  # metres, of the camera, as the next two
    north: Tensor
    height: Tensor
    sine: Tensor  # of the azimuth, as the next
    cosine: Tensor
    reached: Tensor  # metres along the ground, of the sample
    distance: Tensor  # metres along the ground, between the samples where the ground is no step
    step: Tensor  # bool, the tops rise steeply to this sample
    index: Tensor  # int32 flat raster index of the sample

    @staticmethod
    def of(rays: Rays, march: _March, pixels: _Pixels, at: Tensor) -> "_Hits":
        """Between its two samples a ray meets a gentle slope where it crosses the line that joins their tops."""
        ray, tangent, sample = (look_up(t, at) for t in (pixels.ray, pixels.slopes.tangent, march.solid))
        east, north, eye, sine, cosine = look_up(rays.columns, ray)
        along = (ray * len(march.distance)).add_(sample)
        before = march.distance[(torch.arange(len(march.distance), device=at.device) - 1).clamp(min=0)]
        reached, reached_before = look_up(march.distance, sample), look_up(before, sample)
        top = look_up(march.height, along)
        top_before = look_up(march.height, along - sample.clamp(max=1))
        apart, rise = reached - reached_before, top - top_before
        excess_before = torch.addcmul(eye, tangent, reached_before).sub_(top_before)
        share = (excess_before / torch.addcmul(rise, tangent, apart, value=-1).clamp_(min=1e-6)).clamp_(0, 1)
        step = rise > 0.9 * apart + 0.25
        distance = torch.maximum(share, step.float()).mul_(apart).add_(reached_before)
        index = look_up(march.index, along)
        return _Hits(at, sample, tangent, east, north, eye, sine, cosine, reached, distance, step, index)


def _draw_solid(scene: Scene, rays: Rays, march: _March, pixels: _Pixels, at: Tensor, picture: _Picture) -> None:
    """Ground, roofs, walls and other solid things at the pixels `at`, written in place."""
    hits = _Hits.of(rays, march, pixels, at)
    steep = places(hits.step)
    instance = look_up(scene.instance, look_up(hits.index, steep))
    candidate = look_up(steep, places(instance > 0))
    upright = look_up(steep, places(instance == 0))
    origin = (hits.east, hits.north, hits.sine, hits.cosine)
    building = look_up(scene.instance, look_up(hits.index, candidate))
    walls = enter_walls(scene, building, *(look_up(t, candidate) for t in origin))
    wall_height = look_up(hits.height, candidate) + look_up(hits.tangent, candidate) * walls.distance
    reached = look_up(hits.reached, candidate)
    near = (walls.distance - reached).abs() < 2.5 * scene.resolution + 0.03 * reached
    chosen = places(near & (wall_height <= roof_edge(walls) + 0.05))
    picked, walls = look_up(candidate, chosen), walls.at(chosen)
    put(hits.distance, picked, walls.distance)

    distance = hits.distance
    east, north = (torch.addcmul(a, distance, b) for a, b in ((hits.east, hits.sine), (hits.north, hits.cosine)))
    index = scene.index(east, north)
    put(index, candidate, look_up(hits.index, candidate))
    material = look_up(scene.material, index).int()
    tone = _grain(scene, east, north, distance, material)
    put(tone, upright, look_up(tone, upright) * (1 - 0.14))
    footprint = look_up(pixels.slopes.stretch, at).mul_(distance).mul_(rays.pixel / scene.resolution)
    seen = _ground_colour(scene, east, north, footprint).mul_(tone)
    place = look_up(east, picked), look_up(north, picked)
    put(seen, picked, shade_walls(scene, walls, look_up(wall_height, chosen), *place, rays.pixel))
    picture.draw(at, hazed(scene.moment, seen, distance), distance, look_up(scene.labels, material))


def _ground_colour(scene: Scene, east: Tensor, north: Tensor, footprint: Tensor) -> Tensor:
    """(3, N) lit colour of solid tops from the mip level that fits the `footprint` (raster pixels)."""
    level = (footprint * math.sqrt(2)).view(torch.int32) >> 23  # a float's exponent: log2 of footprint, rounded
    level = level.sub_(127).clamp_(0, LEVELS - 1)
    scale, first, last, offset = look_up(_mip_table(scene), level)
    x = torch.minimum((east + scene.half).mul_(scale).maximum(first), last).add_(offset)
    y = torch.minimum((scene.half - north).mul_(scale).maximum(first), last).mul_(2).sub_(1)
    return _sampled(scene.atlas, x, y)


def _mip_table(scene: Scene) -> Tensor:
    """(4, LEVELS) atlas widths (half its sides) per metre, coordinates of the first and last pixel, start of a level.

    Coordinates are those of `grid_sample`, where the atlas is two units wide and a level starts at −1 or after it.
    """
    size, levels = scene.size, range(LEVELS)
    sides = [size // 2**level for level in levels]
    rows = [
        [1 / (scene.resolution * 2**level * size) for level in levels],
        [0.5 / size for _ in levels],
        [(side - 0.5) / size for side in sides],
        [offset / size - 1 for offset in mip_offset(size)],
    ]
    return torch.tensor(rows, device=scene.atlas.device)


def _sampled(image: Tensor, x: Tensor, y: Tensor, align_corners: bool = False) -> Tensor:
    """(C, N) bilinear samples of an image (1, C, H, W) at positions −1 … 1."""
    grid = torch.stack([x, y]).T[None, None]
    return F.grid_sample(image, grid, align_corners=align_corners, padding_mode="border")[0, :, 0]


def _grain(scene: Scene, east: Tensor, north: Tensor, distance: Tensor, material: Tensor) -> Tensor:
    """(N,) brightness of the fine grain near the eye."""
    near = scene.texture(east * 16, north * 16).mul_((distance * (-0.8 / 22)).add_(0.8).clamp_(min=0))
    middle = scene.texture(east * 3, north * 3).mul_((distance * (-0.5 / 70)).add_(0.5).clamp_(min=0))
    return near.add_(middle).mul_(look_up(scene.grain, material)).add_(1).clamp_(0.5, 1.5)


def _draw_crowns(scene: Scene, rays: Rays, march: _March, pixels: _Pixels, picture: _Picture) -> Tensor:
    """Tree crowns, written in place: clumps of leaves, lit from the sun's side and from above.

    Returns:
        (P,) bool, where a crown is: thin crowns have gaps that let rays through.
    """
    at = places(march.crown < march.solid)
    ray, sample = look_up(pixels.ray, at), look_up(march.crown, at)
    index = look_up(march.index, (ray * len(march.distance)).add_(sample))
    distance, tree = look_up(march.distance, sample), look_up(scene.crown, index)
    x, y, _ = sun_vector(scene.moment)
    from_sun = -(x * rays.columns[3] + y * rays.columns[4])
    eye, azimuth, from_sun = look_up(torch.stack([rays.columns[2], rays.bearing, from_sun]), ray)
    height = torch.addcmul(eye, look_up(pixels.slopes.tangent, at), distance)
    side = azimuth * distance
    thin = math.sqrt(2) * torch.erfinv(2 * scene.crowns[3] - 1)  # the texture is about normal
    kept = places(scene.texture(side * 8, height * 8) <= look_up(thin, tree))
    at, index, tree = (look_up(t, kept) for t in (at, index, tree))
    distance, height, side, from_sun = look_up(torch.stack([distance, height, side, from_sun]), kept)

    top, base = look_up(scene.canopy, index), look_up(scene.canopy_base, index)
    inside = ((height - base) / (top - base).clamp_(min=0.3)).clamp_(0, 1)
    shade = 1 - ((look_up(scene.ceiling, index) - height) / 2).clamp_(0, 1)
    lit = shade.mul_((0.6 + 0.4 * from_sun).add_(inside, alpha=0.5).clamp_(0, 1.35))
    clump, fine = scene.texture(side * 4, height * 4), scene.texture(side * 11, height * 11)
    rough = 1 + 0.16 * clump + 0.14 * fine * (1 - distance / 60).clamp_(0, 1)
    brightness = light(lit, 0.68 + 0.32 * inside, scene.moment) * rough.clamp_(0.35, 1.6)
    colour = (look_up(scene.crowns[:3], tree) * brightness).clamp_(0, 1)
    picture.draw(at, hazed(scene.moment, colour, distance), distance, VEGETATION)
    return torch.zeros_like(march.crown, dtype=torch.bool).scatter_(0, at, True)


def _sky(scene: Scene, rays: Rays, pixels: _Pixels, at: Tensor) -> Tensor:
    """(3, M) the sky at the pixels `at`."""
    azimuth = look_up(rays.bearing / math.pi - 1, look_up(pixels.ray, at))
    return _sampled(scene.sky, azimuth, look_up(pixels.slopes.sky_row, at), align_corners=True)


def _far_colour(scene: Scene, azimuth: Tensor) -> Tensor:
    """(3, N) hills and tree lines beyond the ray's reach, half lost in the haze."""
    green = scene.colours[:, MATERIAL_ID["broadleaf"], None] * 0.8
    rough = 1 + 0.08 * look_up(scene.noise, (azimuth * 300).int() & 511)
    return (0.5 * green + 0.5 * horizon_colour(scene.moment, scene.atlas.device)) * rough
