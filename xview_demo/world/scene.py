"""A surface at one moment, on a device, ready to be looked at: baked colours, shadows and lookup tables."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import appearance
from .appearance import Moment
from .cores import on_all_cores
from .materials import MATERIALS, B
from .sky import bake_sky
from .surface import Surface
from .town import Plan
from .vehicles import car_tops, vehicle_table

UNDER_CARS = 0.6  # share of the ground's colour lost beneath cars
LEVELS = 5  # mip levels of the ground colours
BAND = 64  # rows baked at once: keeps the temporaries in the cache; a multiple of 2 ** (LEVELS − 1)
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
    height: Tensor  # (S·S,) top of what is solid, cars aside
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
    cars: Tensor  # (columns of `vehicles.VEHICLE`, C)
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
    surface: Surface,
    plan: Plan,
    moment: Moment,
    place_seed: int,
    device: torch.device | str = "cpu",
    cars: np.ndarray | None = None,
) -> Scene:
    """Bake a surface for one moment, with the cars (n, 9) of that moment (see `town.Cars`) standing on it."""
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
    vehicles = vehicle_table(surface, np.zeros((0, 9)) if cars is None else cars)
    looks = _Looks(moment, resolution, colours, grain, buildings, crowns)
    atlas, overhead, ceiling = _bake(_layers(surface, rasters, vehicles, looks, place_seed), looks)
    flat = {name: raster.reshape(-1) for name, raster in rasters.items()}
    return Scene(
        resolution=resolution, size=size, moment=moment, **flat, ceiling=ceiling.reshape(-1),
        atlas=atlas, overhead=overhead, buildings=buildings, crowns=crowns,
        cars=torch.from_numpy(vehicles.T.copy()).to(device),
        labels=torch.tensor([m.label for m in MATERIALS], dtype=torch.uint8, device=device),
        grain=grain, colours=colours,
        noise=appearance.fine_noise(place_seed % 9973).reshape(-1).to(device),
        backdrop=_backdrop(place_seed).to(device),
    )  # fmt: skip


@dataclass
class _Looks:
    """What the colours of a scene depend on besides its rasters; tables as in `Scene`."""

    moment: Moment
    resolution: float
    colours: Tensor
    grain: Tensor
    buildings: Tensor
    crowns: Tensor


Layers = dict[str, Tensor]  # rasters (R, S) by name


def _layers(surface: Surface, rasters: Layers, vehicles: np.ndarray, looks: _Looks, place_seed: int) -> Layers:
    """Everything that is read when colours are baked: the rasters, paint, noises, and what needs a wide view."""
    layers = dict(rasters)
    device = layers["height"].device
    for name in ("pattern", "marking", "marking_yellow"):
        layers[name] = torch.from_numpy(getattr(surface, name)).to(device)
    solid, layers["beneath"] = (torch.from_numpy(t).to(device) for t in car_tops(surface, vehicles))
    generator = torch.Generator().manual_seed(place_seed % (1 << 31))
    size = layers["height"].shape[0]
    for name, metres in (("fine", 1.2), ("middle", 6.0), ("coarse", 45.0)):
        noise = appearance.smooth_noise(size, metres / looks.resolution, generator)
        layers[name] = noise.to(device)
    layers["top"] = torch.maximum(solid, layers["canopy"])
    layers["ceiling"] = appearance.shadow_ceiling(layers["top"], looks.moment, looks.resolution)
    layers["around"] = appearance.surroundings(layers["top"])
    return layers


def _bake(layers: Layers, looks: _Looks) -> tuple[Tensor, Tensor, Tensor]:
    """The atlas, the overhead colours and the shadow ceiling of a `Scene`."""
    size, device = layers["height"].shape[0], layers["height"].device
    atlas = torch.zeros(1, 3, size, 2 * size, device=device)
    overhead = torch.empty(1, 3, size, size, device=device)
    rows = BAND if device.type == "cpu" else size

    def bake(start: int) -> None:
        first = max(start - 1, 0)  # a row more on each side: light and shadow depend on the neighbours
        band = {name: layer[first : start + rows + 1] for name, layer in layers.items()}
        inner = slice(start - first, start - first + rows)
        solid = _lit_solids(band, looks)
        overhead[0, :, start : start + rows] = _under_crowns(solid, band, looks)[:, inner]
        _fill_mips(atlas, solid[None, :, inner], start)

    on_all_cores(bake, range(0, size, rows), device)
    return atlas, overhead, layers["ceiling"]


def _solid_albedo(band: Layers, looks: _Looks) -> Tensor:
    """(3, R, S) unlit colours of the solid tops: palette × texture × pattern, roofs, paint, dark under cars."""
    snow = looks.moment.snow
    material, instance = band["material"].int(), band["instance"]
    roofs = looks.buildings[B["roof_r"] : B["roof_b"] + 1] * (1 - 0.9 * snow) + 0.9 * snow * 0.9
    colours = torch.cat([looks.colours, roofs], 1)
    albedo = look_up(colours, torch.where(instance > 0, instance + len(MATERIALS), material))
    texture = (0.45 * band["fine"]).add_(band["middle"] + band["coarse"], alpha=0.55)
    texture.mul_(look_up(looks.grain, material)).add_(1)
    pattern = band["pattern"].float().div_(128)
    if snow > 0:
        pattern.sub_(1).mul_(1 - 0.7 * snow).add_(1)
    albedo *= texture.mul_(pattern).clamp_(0.35, 1.7)
    fade = 0.85 * (1 - 0.6 * snow)
    flat, middle = albedo.view(3, -1), band["middle"].reshape(-1)
    for name, paint in (("marking", (0.88, 0.88, 0.86)), ("marking_yellow", (0.86, 0.68, 0.22))):
        at = places(band[name] > 0)
        worn = (0.8 + 0.12 * look_up(middle, at)).clamp_(0.3, 1).mul_(fade)
        cover = worn.mul_(look_up(band[name].reshape(-1), at).float() / 255)
        put(flat, at, look_up(flat, at) * (1 - cover) + cover * torch.tensor(paint, device=at.device)[:, None])
    return albedo.mul_(1 - UNDER_CARS * band["beneath"])


def _shadow(heights: Tensor, ceiling: Tensor) -> Tensor:
    """(R, S) share of the sun that arrives, with a soft edge of about a pixel."""
    dark = (ceiling - heights).sub_(0.15).div_(0.6).clamp_(0, 1)
    return _blurred(dark.neg_().add_(1))


def _blurred(image: Tensor) -> Tensor:
    """(R, S) mean over 3 × 3 pixels, 0 outside."""
    wide = F.pad(image, (1, 1))
    rows = (wide[:, :-2] + wide[:, 1:-1]).add_(wide[:, 2:])
    tall = F.pad(rows, (0, 0, 1, 1))
    return (tall[:-2] + tall[1:-1]).add_(tall[2:]).div_(9)


def _lit_solids(band: Layers, looks: _Looks) -> Tensor:
    """(3, R, S) lit colours of the solid tops."""
    heights, moment = band["height"], looks.moment
    lit = _shadow(heights, band["ceiling"])
    lit *= appearance.surface_normal_light(heights, moment, looks.resolution)
    brightness = appearance.light(lit, appearance.openness(band["around"], heights), moment)
    return tint_light(_solid_albedo(band, looks).mul_(brightness), lit, moment)


def tint_light(colour: Tensor, lit: Tensor, moment: Moment) -> Tensor:
    """Warm sunlight, blue shadows, the moment's colour temperature: changes `colour` (3, …) in place; `lit` (…)."""
    warm = (lit - 0.6).mul_(0.05 * (1 - moment.overcast)).add_(0.05 * moment.warmth)
    colour[0] *= 1 + warm
    colour[2] *= 1 - warm
    return colour.clamp_(0, 1)


def _under_crowns(solid: Tensor, band: Layers, looks: _Looks) -> Tensor:
    """(3, R, S) the lit colours from straight above: crowns over the solid tops, bare crowns half transparent."""
    moment, canopy = looks.moment, band["canopy"]
    at = places(canopy > band["height"])
    result = solid.clone()
    if not len(at):
        return result

    def here(raster: Tensor) -> Tensor:
        return look_up(raster.reshape(-1), at)

    leaves = look_up(looks.crowns, here(band["crown"]))
    opacity = torch.zeros_like(canopy)
    put(opacity.view(-1), at, (leaves[3] * 1.1).clamp_(0, 1))
    cover = here(_blurred(opacity))
    lit = here(_shadow(canopy, band["ceiling"]))
    lit *= here(appearance.surface_normal_light(band["top"], moment, looks.resolution))
    rough = (1 + 0.22 * here(band["fine"])).add_(here(band["middle"]), alpha=0.12).clamp_(0.4, 1.6)
    shaded = leaves[:3] * rough.mul_(appearance.light(lit, torch.ones_like(lit), moment))
    flat = result.view(3, -1)
    put(flat, at, (look_up(flat, at) * (1 - cover)).add_(tint_light(shaded, lit, moment).mul_(cover)).clamp_(0, 1))
    return result


def _fill_mips(atlas: Tensor, level: Tensor, row: int) -> None:
    """Write rows (1, 3, R, S) from `row` into the atlas: level l (side S / 2^l) starts at column S·(2 − 2^(1−l))."""
    for column in mip_offset(atlas.shape[-2]):
        rows, columns = level.shape[-2:]
        atlas[..., row : row + rows, column : column + columns] = level
        if rows < 2:
            return
        level, row = F.avg_pool2d(level, 2), row // 2


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
