"""A surface at one moment, on a device, ready to be looked at: baked colours, shadows and lookup tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import appearance
from .appearance import Moment
from .materials import MATERIAL_ID, MATERIALS, B
from .sky import bake_sky
from .surface import Surface
from .town import Plan

LEVELS = 5  # mip levels of the ground colours
NOTHING = -500.0  # canopy rasters hold less than this where no crown is
RASTERS = (
    "ground", "height", "canopy", "canopy_base", "material", "cover", "canopy_material", "instance", "crown",
)  # fmt: skip


@dataclass
class Scene:
    """Rasters are (S, S), or flat where they are gathered from; heights in metres, colours in [0, 1]."""

    resolution: float  # metres per pixel
    size: int  # pixels a side
    moment: Moment
    height: Tensor  # (S·S,) top of what is solid
    ground: Tensor  # (S·S,) terrain
    canopy: Tensor  # (S·S,) top of the crowns, ≤ NOTHING where none
    canopy_base: Tensor  # (S·S,)
    material: Tensor  # (S·S,) uint8
    cover: Tensor  # (S·S,) uint8, the material that gives a pixel its class from above
    instance: Tensor  # (S·S,) int32, 0 none
    crown: Tensor  # (S·S,) int32, 0 none
    canopy_material: Tensor  # (S·S,) uint8
    ceiling: Tensor  # (S·S,) shadow ceiling
    atlas: Tensor  # (1, 3, S, 2 S) lit colours of solid tops, mip level l beside level l − 1
    overhead: Tensor  # (1, 3, S, S) lit colours seen from straight above, crowns included
    buildings: Tensor  # (columns, N + 1) number 0 unused
    crowns: Tensor  # (4, T + 1) colour and leaf density, number 0 unused
    labels: Tensor  # (materials,) uint8 class of each material
    grain: Tensor  # (materials,) texture strength
    colours: Tensor  # (3, materials)
    noise: Tensor  # (512·512,) fine texture
    backdrop: Tensor  # (720,) tangent of the far skyline's elevation by azimuth

    @cached_property
    def sky(self) -> Tensor:
        """Table of the sky's colours, see `bake_sky`."""
        return bake_sky(self.moment, self.noise)

    @cached_property
    def marked_height(self) -> Tensor:
        """(S·S,) the heights; the last bit of each says whether a crown hangs there, so one look-up tells both."""
        bits = self.height.view(torch.int32) & -2
        return bits.bitwise_or_(self.canopy_material > 0).view(torch.float32)

    @property
    def half(self) -> float:
        """Half the side in metres."""
        return self.size * self.resolution / 2

    def index(self, east: Tensor, north: Tensor) -> Tensor:
        """Flat raster index (int32) of positions in metres; positions outside take the nearest edge pixel."""
        return self.cell((east + self.half).div_(self.resolution), (self.half - north).div_(self.resolution))

    def cell(self, column: Tensor, row: Tensor) -> Tensor:
        """Flat raster index (int32) of fractional pixels, which it overwrites; those outside take the edge."""
        last = self.size - 1
        return row.clamp_(0, last).int().mul_(self.size).add_(column.clamp_(0, last).int())

    def texture(self, x: Tensor, y: Tensor) -> Tensor:
        """The fine texture, repeated, at positions in its pixels."""
        row, column = (t.floor().int().bitwise_and_(511) for t in (y, x))
        return look_up(self.noise, row.bitwise_left_shift_(9).add_(column))


def look_up(raster: Tensor, index: Tensor) -> Tensor:
    """Values of a flat raster (P,) or of the channels of one (C, P) at `index`: (…) or (C, …), as `index`."""
    values = raster.index_select(-1, index.reshape(-1))
    return values.view(*raster.shape[:-1], *index.shape)


def places(mask: Tensor) -> Tensor:
    """Flat int64 indices of the true pixels of a mask."""
    if mask.is_cuda:
        return mask.view(-1).nonzero()[:, 0]
    return torch.from_numpy(mask.numpy().reshape(-1).nonzero()[0])  # three times as fast as torch's


def put(raster: Tensor, at: Tensor, values: Tensor) -> None:
    """Write values (N,) or (C, N) into the pixels `at` of a flat raster (P,) or (C, P)."""
    raster.scatter_(-1, at.expand(values.shape), values)


def build_scene(
    surface: Surface, plan: Plan, moment: Moment, place_seed: int, device: torch.device | str = "cpu"
) -> Scene:
    """Bake a surface (with its cars stamped) for one moment."""
    device = torch.device(device)
    resolution = float(surface.resolution)
    rasters = {name: torch.from_numpy(np.ascontiguousarray(getattr(surface, name))).to(device) for name in RASTERS}
    size = rasters["height"].shape[0]
    palette = appearance.palette(place_seed, moment)
    trees = np.asarray(plan.trees, dtype=np.float32).reshape(-1, 6)
    leaves = appearance.crown_colours(trees[:, 5].astype(int), palette, moment, place_seed)
    rows = np.asarray(plan.buildings, dtype=np.float32).reshape(-1, len(B))
    colours, crowns, buildings = (torch.from_numpy(t.T.copy()).to(device) for t in (palette, leaves, rows))
    buildings = F.pad(buildings, (1, 0))
    grain = torch.tensor([m.grain for m in MATERIALS], device=device)
    generator = torch.Generator().manual_seed(place_seed % (1 << 31))
    noises = tuple(
        appearance.smooth_noise(size, metres / resolution, generator).to(device) for metres in (1.2, 6.0, 45.0)
    )
    top = torch.maximum(rasters["height"], rasters["canopy"])
    ceiling = appearance.shadow_ceiling(top, moment, resolution)
    albedo = solid_albedo(surface, rasters, colours, buildings, grain, noises, moment, device)
    atlas = _baked(albedo, rasters["height"], ceiling, top, moment, resolution)
    overhead = _overhead(atlas, rasters, crowns, top, ceiling, noises, moment, resolution)
    flat = {name: raster.reshape(-1) for name, raster in rasters.items()}
    return Scene(
        resolution=resolution, size=size, moment=moment, **flat, ceiling=ceiling.reshape(-1),
        atlas=_mip_atlas(atlas), overhead=overhead[None], buildings=buildings, crowns=crowns,
        labels=torch.tensor([m.label for m in MATERIALS], dtype=torch.uint8, device=device),
        grain=grain, colours=colours,
        noise=appearance.fine_noise(place_seed % 9973).reshape(-1).to(device),
        backdrop=_backdrop(place_seed).to(device),
    )  # fmt: skip


def solid_albedo(
    surface: Surface,
    rasters: dict[str, Tensor],
    colours: Tensor,
    buildings: Tensor,
    grain: Tensor,
    noises: Sequence[Tensor],
    moment: Moment,
    device: torch.device,
) -> Tensor:
    """(3, S, S) unlit colours of the solid tops: palette × texture × pattern, roofs, paint and cars."""
    material = rasters["material"].int()
    albedo = look_up(colours, material)
    roof = rasters["instance"] > 0
    own = buildings[B["roof_r"] : B["roof_b"] + 1]
    snow = 0.9 * moment.snow
    albedo = torch.where(roof, look_up(own * (1 - snow) + snow * 0.9, rasters["instance"]), albedo)
    strength = look_up(grain, material)
    fine, middle, coarse = noises
    texture = 1 + strength * (0.45 * fine + 0.55 * middle + 0.55 * coarse)
    pattern = torch.from_numpy(surface.pattern).to(device).float() / 128
    if moment.snow > 0:
        pattern = 1 + (pattern - 1) * (1 - 0.7 * moment.snow)
    albedo *= (texture * pattern).clamp_(0.35, 1.7)
    fade = 0.85 * (1 - 0.6 * moment.snow)
    worn = (0.8 + 0.12 * middle).clamp(0.3, 1) * fade
    flat = albedo.view(3, -1)
    for name, paint in (("marking", (0.88, 0.88, 0.86)), ("marking_yellow", (0.86, 0.68, 0.22))):
        marking = torch.from_numpy(getattr(surface, name)).to(device).view(-1)
        at = places(marking > 0)
        cover = look_up(marking, at).float() / 255 * look_up(worn.view(-1), at)
        put(flat, at, look_up(flat, at) * (1 - cover) + cover * torch.tensor(paint, device=device)[:, None])
    if surface.car_colour is not None:
        at = places(material == MATERIAL_ID["car"])
        put(flat, at, torch.from_numpy(surface.car_colour.reshape(-1, 3)).to(device)[at].T.float() / 255)
    return albedo


def _shadow(heights: Tensor, ceiling: Tensor) -> Tensor:
    """(S, S) share of the sun that arrives, with a soft edge of about a pixel."""
    lit = 1 - ((ceiling - heights - 0.15) / 0.6).clamp(0, 1)
    return F.avg_pool2d(lit[None, None], 3, stride=1, padding=1)[0, 0]


def _baked(albedo: Tensor, heights: Tensor, ceiling: Tensor, top: Tensor, moment: Moment, resolution: float) -> Tensor:
    lit = _shadow(heights, ceiling) * appearance.surface_normal_light(heights, moment, resolution)
    return tint_light(albedo * appearance.light(lit, appearance.openness(top, heights), moment), lit, moment)


def tint_light(colour: Tensor, lit: Tensor, moment: Moment) -> Tensor:
    """Warm sunlight, blue shadows, and the moment's colour temperature; `colour` (3, …), `lit` (…)."""
    warm = 0.05 * moment.warmth + 0.05 * (1 - moment.overcast) * (lit - 0.6)
    colour = colour.clone()
    colour[0] *= 1 + warm
    colour[2] *= 1 - warm
    return colour.clamp_(0, 1)


def _overhead(
    atlas: Tensor,
    rasters: dict[str, Tensor],
    crowns: Tensor,
    top: Tensor,
    ceiling: Tensor,
    noises: Sequence[Tensor],
    moment: Moment,
    resolution: float,
) -> Tensor:
    """(3, S, S) the lit colours from straight above: crowns over the solid tops, bare crowns half transparent."""
    leaves = look_up(crowns, rasters["crown"])
    canopy = rasters["canopy"].clamp(min=NOTHING)
    covered = canopy > torch.maximum(rasters["height"], torch.full_like(canopy, NOTHING + 1))
    rough = 1 + 0.22 * noises[0] + 0.12 * noises[1]
    lit = _shadow(canopy, ceiling) * appearance.surface_normal_light(top, moment, resolution)
    shaded = leaves[:3] * (appearance.light(lit, torch.ones_like(lit), moment) * rough.clamp(0.4, 1.6))
    opacity = torch.where(covered, (leaves[3] * 1.1).clamp(0, 1), torch.zeros_like(leaves[3]))
    opacity = F.avg_pool2d(opacity[None, None], 3, stride=1, padding=1)[0, 0] * covered
    return (atlas * (1 - opacity)).add_(tint_light(shaded, lit, moment).mul_(opacity)).clamp_(0, 1)


def _mip_atlas(image: Tensor) -> Tensor:
    """(1, 3, S, 2 S): level l (side S / 2^l) starts at column S·(2 − 2^(1−l)), row 0."""
    size = image.shape[-1]
    atlas = torch.zeros(1, 3, size, 2 * size, device=image.device)
    level, column = image[None], 0
    for _ in range(LEVELS):
        side = level.shape[-1]
        atlas[..., :side, column : column + side] = level
        column += side
        level = F.avg_pool2d(level, 2)
    return atlas


def mip_offset(size: int) -> list[int]:
    """First column of each mip level in the atlas of a raster with `size` pixels a side."""
    offsets, side = [0], size
    for _ in range(LEVELS - 1):
        offsets.append(offsets[-1] + side)
        side //= 2
    return offsets


def _backdrop(place_seed: int) -> Tensor:
    """Tangent of the far skyline (hills, tree lines) at 720 azimuths, 0–0.07."""
    rng = np.random.default_rng((place_seed, 5))
    azimuth = np.arange(720) * np.pi / 360
    line = np.zeros(720)
    for frequency in (1, 2, 3, 5, 8, 13, 29, 61):
        line += rng.normal() * frequency**-0.8 * np.cos(frequency * azimuth + rng.uniform(0, 2 * np.pi))
    scale = rng.choice((0.003, 0.012, 0.03))
    return torch.from_numpy(np.clip(scale * (0.6 + 0.7 * line), 0, 0.07).astype(np.float32))
