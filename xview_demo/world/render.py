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
from .scene import LEVELS, Scene, look_up, mip_offset, places, put

REACH = 260.0  # metres a ray is followed
FAR = 1000.0  # depth given to the far skyline; the sky is at infinity
SKY, VEGETATION = 2, 3
CHUNK = 5  # cameras marched at once: keeps the temporaries in the cache


@dataclass
class Rays:
    """Column-wise rays of B cameras with W columns and H rows."""

    east: Tensor  # (B,) metres
    north: Tensor  # (B,)
    height: Tensor  # (B,) absolute metres
    azimuth: Tensor  # (B, W) radians clockwise from north
    tangent: Tensor  # (B, W, H) tangent of the elevation, decreasing with the row
    pixel: float  # radians a pixel spans
    kind: str  # "equirectangular": rows even in angle; "perspective": rows even in tangent
    top: float  # angle (radians) or tangent (on the axis) of the picture's upper edge
    column_scale: Tensor | None = None  # (B, W) perspective: tangent per unit of the image plane

    def row_of(self, tangent: Tensor, ray: Tensor) -> Tensor:
        """Fractional row (pixel centres are whole numbers) of tangents (N,) in columns `ray` (N,) of all B·W."""
        rows = self.tangent.shape[-1]
        if self.kind == "equirectangular":
            return (self.top - torch.atan(tangent)) / (2 * self.top) * rows - 0.5
        assert self.column_scale is not None
        return (self.top - tangent / look_up(self.column_scale.reshape(-1), ray)) / (2 * self.top) * rows - 0.5


def equirectangular_rays(
    east: Tensor, north: Tensor, height: Tensor, heading: Tensor, rows: int, columns: int, vfov: float
) -> Rays:
    """Rays of upright panoramas; `heading` (B,) and `vfov` in degrees, the centre column looks along `heading`."""
    device = east.device
    offset = ((torch.arange(columns, device=device) + 0.5) / columns - 0.5) * 2 * math.pi
    elevation = (0.5 - (torch.arange(rows, device=device) + 0.5) / rows) * math.radians(vfov)
    azimuth = torch.deg2rad(heading)[:, None] + offset
    tangent = torch.tan(elevation.clamp(-1.5690, 1.5690)).expand(len(east), columns, rows)
    return Rays(east, north, height, azimuth, tangent, 2 * math.pi / columns, "equirectangular", math.radians(vfov) / 2)


def perspective_rays(
    east: Tensor, north: Tensor, height: Tensor, heading: Tensor, rows: int, columns: int, hfov: float
) -> Rays:
    """Rays of upright pinhole cameras with square pixels; `heading` (B,) and `hfov` in degrees."""
    device = east.device
    half = math.tan(math.radians(hfov) / 2)
    x = ((torch.arange(columns, device=device) + 0.5) / columns * 2 - 1) * half
    top = half * rows / columns
    y = (1 - (torch.arange(rows, device=device) + 0.5) / rows * 2) * top
    scale = (1 / torch.sqrt(1 + x**2)).expand(len(east), columns)
    return Rays(
        east, north, height, torch.deg2rad(heading)[:, None] + torch.atan(x), y * scale[..., None],
        2 * half / columns, "perspective", top, scale,
    )  # fmt: skip


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
    batch, columns, rows = rays.tangent.shape
    colour = torch.empty(batch, 3, rows, columns, device=rays.east.device)
    depth = torch.empty(batch, rows, columns, device=rays.east.device)
    label = torch.empty(batch, rows, columns, device=rays.east.device, dtype=torch.uint8)

    def draw(start: int) -> None:
        cut = slice(start, start + CHUNK)
        colour[cut], depth[cut], label[cut] = _render(scene, _part(rays, cut))

    on_all_cores(draw, range(0, batch, CHUNK), rays.east.device)
    return colour, depth, label


def _part(rays: Rays, cut: slice) -> Rays:
    scale = None if rays.column_scale is None else rays.column_scale[cut]
    return Rays(
        rays.east[cut], rays.north[cut], rays.height[cut], rays.azimuth[cut], rays.tangent[cut],
        rays.pixel, rays.kind, rays.top, scale,
    )  # fmt: skip


@dataclass
class _March:
    """What the rays of N = B·W columns meet; `distance` (K,), the others as noted."""

    distance: Tensor
    height: Tensor  # (N, K) tops along each ray
    index: Tensor  # (N, K) flat raster index
    solid: Tensor  # (N·H,) int32 first sample that reaches the pixel, K where none does
    crown: Tensor  # (N·H,) int32 first crown sample over the pixel, K where none is


def _march(scene: Scene, rays: Rays) -> _March:
    batch, columns, rows = rays.tangent.shape
    distance = ray_distances(scene.resolution, rays.east.device)
    samples = len(distance)
    east = rays.east[:, None, None] + torch.sin(rays.azimuth)[..., None] * distance
    north = rays.north[:, None, None] + torch.cos(rays.azimuth)[..., None] * distance
    index = scene.index(east, north)
    height = look_up(scene.height, index)
    tangent = (height - rays.height[:, None, None]) / distance
    horizon = torch.cummax(tangent.view(-1, samples), -1).values
    solid = torch.searchsorted(horizon, rays.tangent.reshape(-1, rows).contiguous(), out_int32=True)
    crown = _first_crown(scene, rays, distance, index)
    return _March(distance, height.view(-1, samples), index.view(-1, samples), solid.view(-1), crown.view(-1))


def _first_crown(scene: Scene, rays: Rays, distance: Tensor, index: Tensor) -> Tensor:
    batch, columns, rows = rays.tangent.shape
    samples = len(distance)
    hanging = places(look_up(scene.canopy_material, index) > 0)
    if not len(hanging):
        return torch.full((batch * columns, rows), samples, dtype=torch.int32, device=index.device)
    ray, sample = torch.div(hanging, samples, rounding_mode="floor"), hanging % samples
    eye = look_up(rays.height, torch.div(ray, columns, rounding_mode="floor"))
    away = look_up(distance, sample)
    at = look_up(index.view(-1), hanging)
    top, base = look_up(scene.canopy, at), look_up(scene.canopy_base, at)
    upper = torch.ceil(rays.row_of((top - eye) / away, ray)).clamp_(min=0)
    lower = torch.floor(rays.row_of((base - eye) / away, ray)).clamp_(max=rows - 1)
    seen = places(lower >= upper)
    ray, sample, start, stop = (look_up(t, seen) for t in (ray, sample, upper.long(), lower.long()))
    level = torch.log2((stop - start + 1).float()).floor().long()
    levels = rows.bit_length()
    table = torch.full((levels * batch * columns * rows,), samples, dtype=torch.int32, device=index.device)
    offset = (level * (batch * columns) + ray) * rows
    value = sample.int()
    table.scatter_reduce_(0, offset + start, value, "amin")
    table.scatter_reduce_(0, offset + stop + 1 - (1 << level), value, "amin")
    table = table.view(levels, batch * columns, rows)
    for upper_level in range(levels - 1, 0, -1):
        half = 1 << (upper_level - 1)
        source, target = table[upper_level], table[upper_level - 1]
        torch.minimum(target, source, out=target)
        if half < rows:
            torch.minimum(target[:, half:], source[:, : rows - half], out=target[:, half:])
    return table[0]


def _render(scene: Scene, rays: Rays) -> tuple[Tensor, Tensor, Tensor]:
    batch, columns, rows = rays.tangent.shape
    march = _march(scene, rays)
    samples = len(march.distance)
    pixels = _Pixels.of(rays)
    colour = torch.empty(3, len(pixels.tangent), device=pixels.tangent.device)
    depth = torch.full_like(pixels.tangent, math.inf)
    label = torch.full_like(pixels.tangent, SKY, dtype=torch.uint8)

    skyline = look_up(scene.backdrop, (pixels.azimuth * (360 / math.pi)).int() % 720)
    below = (rays.tangent.view(-1, rows) < skyline[:, None]).view(-1)
    crown_at = _crown_hits(scene, march, pixels)
    open_sky = march.solid == samples
    far, crowned = open_sky & below, crown_at < march.solid
    above = places(open_sky & ~below & ~crowned)
    sky = sky_colour(scene, look_up(pixels.azimuth, look_up(pixels.ray, above)), look_up(pixels.tangent, above))
    put(colour, above, sky)
    beyond = places(far)
    put(colour, beyond, _far_colour(scene, look_up(pixels.azimuth, look_up(pixels.ray, beyond))))
    depth.masked_fill_(far, FAR)
    label.masked_fill_(far, VEGETATION)
    _draw_solid(scene, march, pixels, places(~open_sky & ~crowned), rays.pixel, colour, depth, label)
    _draw_crowns(scene, march, pixels, places(crowned), crown_at, colour, depth, label)
    draw_cars(scene, rays, colour, depth, label)

    _haze(scene, colour, depth)
    shape = (batch, columns, rows)
    ray_depth = depth * torch.sqrt(1 + pixels.tangent**2)
    ray_depth = torch.where(depth == FAR, depth, ray_depth)
    return (
        colour.view(3, *shape).permute(1, 0, 3, 2),
        ray_depth.view(shape).transpose(1, 2),
        label.view(shape).transpose(1, 2),
    )


@dataclass
class _Pixels:
    """The P = B·W·H pixels of a picture, flat, and the N = B·W columns that they stand in."""

    tangent: Tensor  # (P,)
    ray: Tensor  # (P,) int32, a pixel's column
    east: Tensor  # (N,) as the rest
    north: Tensor
    height: Tensor
    azimuth: Tensor

    @staticmethod
    def of(rays: Rays) -> "_Pixels":
        batch, columns, rows = rays.tangent.shape
        east, north, height = (t.repeat_interleave(columns) for t in (rays.east, rays.north, rays.height))
        azimuth = torch.remainder(rays.azimuth.reshape(-1), 2 * math.pi)
        ray = torch.arange(batch * columns, dtype=torch.int32, device=east.device).repeat_interleave(rows)
        return _Pixels(rays.tangent.reshape(-1), ray, east, north, height, azimuth)


def _draw_solid(
    scene: Scene,
    march: _March,
    pixels: _Pixels,
    at: Tensor,
    pixel: float,
    colour: Tensor,
    depth: Tensor,
    label: Tensor,
) -> None:
    """Ground, roofs, walls and other solid things at the pixels `at`, written in place."""
    ray, tangent, sample = (look_up(t, at) for t in (pixels.ray, pixels.tangent, march.solid))
    column = pixels.east, pixels.north, pixels.height, torch.sin(pixels.azimuth), torch.cos(pixels.azimuth)
    origin_east, origin_north, eye, sine, cosine = (look_up(t, ray) for t in column)
    along = ray * len(march.distance) + sample
    first = sample == 0
    reached = look_up(march.distance, sample)
    reached_before = look_up(march.distance, (sample - 1).clamp(min=0))
    top = look_up(march.height.view(-1), along)
    top_before = torch.where(first, top, look_up(march.height.view(-1), (along - 1).clamp(min=0)))
    excess_before = eye + tangent * reached_before - top_before
    excess = eye + tangent * reached - top
    share = (excess_before / (excess_before - excess).clamp(min=1e-6)).clamp(0, 1)
    step = (top - top_before) > 0.9 * (reached - reached_before) + 0.25
    distance = torch.where(step, reached, reached_before + share * (reached - reached_before))

    hit_index = look_up(march.index.view(-1), along)
    instance = look_up(scene.instance, hit_index)
    candidate = places((instance > 0) & step)
    walls = enter_walls(scene, *(look_up(t, candidate) for t in (instance, origin_east, origin_north, sine, cosine)))
    wall_height = look_up(eye, candidate) + look_up(tangent, candidate) * walls.distance
    candidate_reached = look_up(reached, candidate)
    near = (walls.distance - candidate_reached).abs() < 2.5 * scene.resolution + 0.03 * candidate_reached
    is_wall = near & (wall_height <= roof_edge(walls) + 0.05)
    put(distance, candidate, torch.where(is_wall, walls.distance, candidate_reached))

    east, north = origin_east + distance * sine, origin_north + distance * cosine
    here = torch.where(step, hit_index, scene.index(east, north))
    material = look_up(scene.material, here).int()
    seen = _ground_colour(scene, east, north, distance, tangent, material, pixel)
    upright = step & (instance == 0)
    seen = seen * (1 - 0.14 * upright.float())
    chosen = places(is_wall)
    picked = candidate[chosen]
    lit = shade_walls(
        scene, walls.at(chosen), look_up(wall_height, chosen), look_up(east, picked), look_up(north, picked), pixel
    )
    put(seen, picked, lit)
    put(colour, at, seen)
    put(depth, at, distance)
    put(label, at, look_up(scene.labels, material))


def _ground_colour(
    scene: Scene, east: Tensor, north: Tensor, distance: Tensor, tangent: Tensor, material: Tensor, pixel: float
) -> Tensor:
    """(3, N) lit colour of solid tops: mip-mapped raster along the ray's footprint, plus fine grain near the eye."""
    size = scene.size
    across = distance * pixel
    along = across * torch.sqrt(1 + tangent**2) / tangent.abs().clamp(min=0.02)
    footprint = torch.sqrt(across * along.clamp(max=6 * across)) / scene.resolution
    level = torch.log2(footprint.clamp(min=1)).round().clamp(max=LEVELS - 1)
    shrink = torch.exp2(level)
    offset = look_up(torch.tensor(mip_offset(size), device=east.device, dtype=torch.float32), level.int())
    side = torch.floor(size / shrink)
    x = ((east + scene.half) / scene.resolution / shrink).clamp_(min=0.5)
    y = ((scene.half - north) / scene.resolution / shrink).clamp_(min=0.5)
    x, y = torch.minimum(x, side - 0.5) + offset, torch.minimum(y, side - 0.5)
    grid = torch.stack([x / size - 1, y / size * 2 - 1], -1)
    colour = F.grid_sample(scene.atlas, grid[None, :, None], align_corners=False)[0, :, :, 0]
    near = scene.texture(east * 16, north * 16) * (1 - distance / 22).clamp(0, 1) * 0.8
    middle = scene.texture(east * 3, north * 3) * (1 - distance / 70).clamp(0, 1) * 0.5
    return colour * (1 + look_up(scene.grain, material) * (near + middle)).clamp(0.5, 1.5)


def _crown_hits(scene: Scene, march: _March, pixels: _Pixels) -> Tensor:
    """(P,) first crown sample kept after leaf gaps, K where none: thin crowns let rays through."""
    samples = len(march.distance)
    at = places(march.crown < samples)
    ray, sample = look_up(pixels.ray, at), look_up(march.crown, at)
    tree = look_up(scene.crown, look_up(march.index.view(-1), ray * samples + sample))
    distance = look_up(march.distance, sample)
    height = look_up(pixels.height, ray) + look_up(pixels.tangent, at) * distance
    leaf = scene.texture(look_up(pixels.azimuth, ray) * distance * 8, height * 8)
    gap = 0.5 + 0.5 * torch.erf(leaf * 0.7071) > look_up(scene.crowns[3], tree)
    kept = march.crown.clone()
    put(kept, at, sample.masked_fill(gap, samples))
    return kept


def _draw_crowns(
    scene: Scene,
    march: _March,
    pixels: _Pixels,
    at: Tensor,
    crown_at: Tensor,
    colour: Tensor,
    depth: Tensor,
    label: Tensor,
) -> None:
    """Tree crowns at the pixels `at`, written in place: clumps of leaves, lit from the sun's side and from above."""
    ray, sample = look_up(pixels.ray, at), look_up(crown_at, at)
    index = look_up(march.index.view(-1), ray * len(march.distance) + sample)
    distance, azimuth = look_up(march.distance, sample), look_up(pixels.azimuth, ray)
    height = look_up(pixels.height, ray) + look_up(pixels.tangent, at) * distance
    leaves = look_up(scene.crowns[:3], look_up(scene.crown, index))
    top, base = look_up(scene.canopy, index), look_up(scene.canopy_base, index)
    inside = ((height - base) / (top - base).clamp(min=0.3)).clamp(0, 1)
    x, y, z = sun_vector(scene.moment)
    from_sun = -(torch.sin(azimuth) * x + torch.cos(azimuth) * y)
    shade = 1 - ((look_up(scene.ceiling, index) - height) / 2).clamp(0, 1)
    lit = shade * (0.6 + 0.4 * from_sun + 0.5 * inside).clamp(0, 1.35)
    side = azimuth * distance
    clump, fine = scene.texture(side * 4, height * 4), scene.texture(side * 11, height * 11)
    rough = 1 + 0.16 * clump + 0.14 * fine * (1 - distance / 60).clamp(0, 1)
    brightness = light(lit, 0.68 + 0.32 * inside, scene.moment) * rough.clamp(0.35, 1.6)
    put(colour, at, (leaves * brightness).clamp(0, 1))
    put(depth, at, distance)
    label.scatter_(0, at, VEGETATION)


def _colour(scene: Scene, red: float, green: float, blue: float) -> Tensor:
    """(3, 1) on the scene's device."""
    return torch.tensor([red, green, blue], device=scene.atlas.device)[:, None]


def _sun_tint(scene: Scene) -> Tensor:
    warmth = scene.moment.warmth
    return _colour(scene, 1 + 0.04 * warmth, 1.0, 1 - 0.04 * warmth)


def _horizon_colour(scene: Scene) -> Tensor:
    clear, grey = _colour(scene, 0.80, 0.86, 0.92), _colour(scene, 0.80, 0.81, 0.83)
    return ((1 - scene.moment.overcast) * clear + scene.moment.overcast * grey) * _sun_tint(scene)


def _far_colour(scene: Scene, azimuth: Tensor) -> Tensor:
    """(3, N) hills and tree lines beyond the ray's reach, half lost in the haze."""
    green = scene.colours[:, MATERIAL_ID["broadleaf"], None] * 0.8
    rough = 1 + 0.08 * look_up(scene.noise, (azimuth * 300).int() & 511)
    return (0.5 * green + 0.5 * _horizon_colour(scene)) * rough


def sky_colour(scene: Scene, azimuth: Tensor, tangent: Tensor) -> Tensor:
    """(3, N) sky: horizon to zenith gradient, glow about the sun, clouds on a plane overhead."""
    moment = scene.moment
    sine = tangent / torch.sqrt(1 + tangent**2)
    up = sine.clamp(0, 1)
    zenith = _colour(scene, 0.30, 0.50, 0.80) * (1 - moment.overcast)
    zenith = (zenith + moment.overcast * _colour(scene, 0.68, 0.71, 0.75)) * _sun_tint(scene)
    blend = up**0.55
    colour = _horizon_colour(scene) * (1 - blend) + zenith * blend
    x, y, z = sun_vector(moment)
    flat = torch.sqrt(1 - sine**2)
    toward = (torch.sin(azimuth) * x + torch.cos(azimuth) * y) * flat + sine * z
    glow = (toward.clamp(min=0) ** 60 * 0.5 + toward.clamp(min=0) ** 6 * 0.12) * (1 - 0.7 * moment.overcast)
    colour = colour + glow
    reach = 1 / (up + 0.12)
    cloud = torch.zeros_like(up)
    noise = scene.noise.view(1, 1, 512, 512)
    for scale, weight in ((0.02, 1.1), (0.07, 0.6)):
        east = torch.sin(azimuth) * flat * reach * scale + moment.noise_seed % 509 / 509
        north = torch.cos(azimuth) * flat * reach * scale
        grid = torch.stack([east - 2 * torch.round(east / 2), north - 2 * torch.round(north / 2)], -1)
        cloud = cloud + weight * F.grid_sample(noise, grid[None, :, None], align_corners=False)[0, 0, :, 0]
    cover = (
        torch.sigmoid((cloud - 2.2 * (0.55 - moment.clouds)) * 2.5)
        * (up / 0.15).clamp(0, 1)
        * min(1.0, moment.clouds * 2)
    )
    cloudy = (0.93 - 0.22 * moment.overcast + 0.035 * cloud) * _sun_tint(scene)
    colour = colour * (1 - 0.85 * cover) + 0.85 * cover * cloudy
    return colour.clamp(0, 1)


def _haze(scene: Scene, colour: Tensor, depth: Tensor) -> None:
    """Fade the colours with the distance, in place."""
    veil = 1 - torch.exp(-depth.clamp(max=REACH) / scene.moment.haze)
    veil = torch.where(torch.isinf(depth), torch.zeros_like(veil), veil)
    colour.mul_(1 - veil).add_(_horizon_colour(scene) * veil)
