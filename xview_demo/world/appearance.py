"""How a world looks at one moment: sun, sky, season, colours, cast shadows.

Two pictures of a place are rarely of the same moment, so a world has two: that of the panoramas and that of the
aerial pictures. Everything here is a function of the surface and of a `Moment`; colours are display values in [0, 1].
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .materials import MATERIAL_ID, MATERIALS

SEASONS = ("spring", "summer", "autumn", "winter")

# Mean colours, sunlit, in temperate summer.
_PALETTE = {
    "none": (0.5, 0.5, 0.5), "asphalt": (0.36, 0.36, 0.37), "worn_asphalt": (0.50, 0.49, 0.47),
    "concrete": (0.64, 0.62, 0.58), "paving": (0.60, 0.57, 0.53), "dirt_track": (0.56, 0.47, 0.36),
    "gravel": (0.60, 0.56, 0.50), "lawn": (0.37, 0.47, 0.23), "meadow": (0.45, 0.50, 0.27),
    "dry_grass": (0.64, 0.58, 0.39), "soil": (0.50, 0.41, 0.31), "crop_green": (0.31, 0.46, 0.20),
    "crop_yellow": (0.76, 0.68, 0.34), "crop_young": (0.44, 0.52, 0.27), "stubble": (0.70, 0.62, 0.43),
    "ploughed": (0.43, 0.34, 0.26), "sand": (0.84, 0.77, 0.62), "river": (0.24, 0.31, 0.29),
    "sea": (0.14, 0.30, 0.38), "pool": (0.36, 0.69, 0.78), "roof_tile": (0.55, 0.33, 0.25),
    "roof_metal": (0.62, 0.64, 0.66), "roof_flat": (0.55, 0.54, 0.53), "roof_shingle": (0.40, 0.37, 0.35),
    "roof_equipment": (0.62, 0.62, 0.61), "hedge": (0.23, 0.35, 0.16), "broadleaf": (0.26, 0.38, 0.16),
    "conifer": (0.16, 0.27, 0.17), "palm": (0.33, 0.43, 0.21), "shrub": (0.35, 0.40, 0.22),
    "trunk": (0.34, 0.28, 0.22), "fence": (0.52, 0.44, 0.36), "wall": (0.62, 0.59, 0.54),
    "pole": (0.45, 0.46, 0.47), "sign": (0.80, 0.80, 0.82), "car": (0.5, 0.5, 0.5),
    "rail": (0.43, 0.38, 0.34), "rock": (0.54, 0.51, 0.47),
}  # fmt: skip
_GRASSES = ("lawn", "meadow", "crop_young")
_LEAVES = ("broadleaf", "hedge", "shrub")
_SNOWY = ("lawn", "meadow", "dry_grass", "soil", "crop_green", "crop_yellow", "crop_young", "stubble", "ploughed",
          "sand", "dirt_track", "gravel", "roof_tile", "roof_metal", "roof_flat", "roof_shingle", "roof_equipment",
          "hedge", "shrub", "paving", "rock")  # fmt: skip


@dataclass(frozen=True)
class Moment:
    """When, and under which sky, a picture is taken."""

    sun_azimuth: float  # degrees clockwise from north
    sun_elevation: float  # degrees
    season: str  # one of SEASONS
    overcast: float  # 0 clear … 1 no shadows
    clouds: float  # share of the sky covered
    haze: float  # metres of visibility (1/e)
    dryness: float  # 0 lush … 1 parched
    snow: float  # share of the ground under snow
    warmth: float  # −1 blue … 1 yellow light
    palette_seed: int  # small colour changes between moments
    noise_seed: int


def draw_moment(rng: np.random.Generator, *, latitude: float, dryness: float, snow: float) -> Moment:
    """A plausible moment at `latitude` (degrees): the sun is where it can be, snow only where `snow` > 0."""
    season = "winter" if snow > 0.3 else str(rng.choice(SEASONS, p=(0.25, 0.42, 0.2, 0.13)))
    toward = 180.0 if latitude >= 0 else 0.0
    overcast = float(np.clip(rng.beta(0.5, 0.75), 0, 1))
    return Moment(
        sun_azimuth=float((toward + rng.uniform(-95, 95)) % 360),
        sun_elevation=float(rng.uniform(14, 38) if season == "winter" else rng.uniform(22, 68)),
        season=season,
        overcast=overcast,
        clouds=float(np.clip(overcast + rng.normal(0, 0.25), 0, 1)),
        haze=float(math.exp(rng.uniform(math.log(250), math.log(4000)))),
        dryness=float(np.clip(dryness + rng.normal(0, 0.2), 0, 1)),
        snow=float(np.clip(snow * rng.uniform(0.6, 1.1), 0, 1)) if snow > 0 else 0.0,
        warmth=float(rng.normal(0, 0.4)),
        palette_seed=int(rng.integers(1 << 31)),
        noise_seed=int(rng.integers(1 << 31)),
    )


def drift(moment: Moment, rng: np.random.Generator, *, latitude: float, dryness: float, snow: float) -> Moment:
    """Another moment at the same place: other sun and sky, often the same season, the same local materials."""
    other = draw_moment(rng, latitude=latitude, dryness=dryness, snow=snow)
    season = moment.season if rng.random() < 0.6 else other.season
    keep = rng.random() < 0.5
    return replace(
        other,
        season=season,
        palette_seed=other.palette_seed,
        noise_seed=moment.noise_seed,
        dryness=moment.dryness if keep else other.dryness,
        snow=0.0 if (moment.snow > 0 and rng.random() < 0.3) else other.snow,
    )


def palette(place_seed: int, moment: Moment) -> np.ndarray:
    """(materials, 3) colours in [0, 1] of a place (`place_seed`: its soils and greens) at a moment."""
    place, now = np.random.default_rng(place_seed), np.random.default_rng(moment.palette_seed)
    colours = np.array([_PALETTE[m.name] for m in MATERIALS])
    hue = np.array([0.4 if m.label in (0, 4) else 1.0 for m in MATERIALS])[:, None]  # streets and poles stay grey
    colours *= np.exp(place.normal(0, 0.13, (len(colours), 1)) + hue * place.normal(0, 0.055, colours.shape))
    colours *= np.exp(now.normal(0, 0.06, (len(colours), 1)) + hue * now.normal(0, 0.025, colours.shape))
    soil = np.array(
        [(0.58, 0.36, 0.24), (0.50, 0.41, 0.31), (0.70, 0.62, 0.48), (0.34, 0.29, 0.24), (0.66, 0.52, 0.36)]
    )
    soil_colour = soil[place.integers(len(soil))] * np.exp(place.normal(0, 0.1))
    for name, share in (("soil", 0.8), ("ploughed", 0.6), ("dirt_track", 0.6), ("rock", 0.4), ("dry_grass", 0.2)):
        row = colours[MATERIAL_ID[name]]
        row[:] = (1 - share) * row + share * soil_colour * (0.85 if name == "ploughed" else 1.0)
    for name in _GRASSES:
        row = colours[MATERIAL_ID[name]]
        dry = moment.dryness * (0.9 if name == "lawn" else 1.0)
        row[:] = (1 - dry) * row + dry * colours[MATERIAL_ID["dry_grass"]]
    if moment.season == "winter":
        for name in (*_GRASSES, "crop_green"):
            row = colours[MATERIAL_ID[name]]
            row[:] = 0.6 * row + 0.4 * np.array((0.48, 0.45, 0.34))
    leaves = {"spring": (1.15, 1.18, 1.0), "summer": (1, 1, 1), "autumn": (1.25, 1.0, 0.9), "winter": (1.2, 0.95, 1.1)}
    for name in _LEAVES:
        colours[MATERIAL_ID[name]] *= leaves[moment.season]
    for name in _SNOWY:
        row = colours[MATERIAL_ID[name]]
        share = moment.snow * (0.45 if name in ("hedge", "shrub", "paving", "gravel") else 0.95)
        row[:] = (1 - share) * row + share * np.array((0.90, 0.92, 0.95))
    for name, share in (
        ("asphalt", 0.35),
        ("worn_asphalt", 0.45),
        ("concrete", 0.5),
        ("conifer", 0.35),
        ("broadleaf", 0.3),
    ):
        row = colours[MATERIAL_ID[name]]
        row[:] = (1 - share * moment.snow) * row + share * moment.snow * np.array((0.86, 0.88, 0.91))
    return np.clip(colours, 0.02, 0.98).astype(np.float32)


def crown_colours(kinds: np.ndarray, colours: np.ndarray, moment: Moment, place_seed: int) -> np.ndarray:
    """(T + 1, 4) colour and leaf density of each tree (row 0: none); `kinds` are material ids.

    Every tree differs a little; in autumn broadleaves turn, in winter they are bare.
    """
    rng = np.random.default_rng((place_seed, 77))
    table = colours[kinds] * np.exp(rng.normal(0, 0.13, (len(kinds), 1)) + rng.normal(0, 0.06, (len(kinds), 3)))
    density = np.clip(rng.normal(0.975, 0.03, len(kinds)), 0.8, 1.0)
    broad = kinds == MATERIAL_ID["broadleaf"]
    if moment.season == "autumn":
        turned = np.array([(0.72, 0.50, 0.16), (0.70, 0.34, 0.14), (0.62, 0.56, 0.22), (0.50, 0.34, 0.18)])
        share = np.clip(rng.normal(0.5, 0.35, (len(kinds), 1)), 0, 0.9) * broad[:, None]
        table = (1 - share) * table + share * turned[rng.integers(len(turned), size=len(kinds))]
    if moment.season == "winter":
        bare = broad & (rng.random(len(kinds)) < 0.85)
        table[bare] = 0.3 * table[bare] + 0.7 * np.array((0.40, 0.36, 0.32)) + 0.25 * moment.snow
        density[bare] = rng.uniform(0.28, 0.5, int(bare.sum()))
    rows = np.concatenate([np.clip(table, 0.02, 0.95), density[:, None]], 1)
    return np.concatenate([np.zeros((1, 4)), rows]).astype(np.float32)


def sun_vector(moment: Moment) -> tuple[float, float, float]:
    """Unit vector (east, north, up) towards the sun."""
    azimuth, elevation = math.radians(moment.sun_azimuth), math.radians(moment.sun_elevation)
    return (
        math.cos(elevation) * math.sin(azimuth),
        math.cos(elevation) * math.cos(azimuth),
        math.sin(elevation),
    )


def shadow_ceiling(top: Tensor, moment: Moment, resolution: float, reach: float = 160.0) -> Tensor:
    """(S, S) height in metres below which a point is in the cast shadow of something else.

    The maximum of the tops towards the sun, each lowered by distance × tan(elevation), in log₂ steps by doubling.
    """
    azimuth = math.radians(moment.sun_azimuth)
    drop = math.tan(math.radians(moment.sun_elevation)) * resolution
    east, south = math.sin(azimuth), -math.cos(azimuth)
    scale = 1 / max(abs(east), abs(south))
    east, south, drop = east * scale, south * scale, drop * scale

    def moved(steps: float) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Where the raster lands when it moves away from the sun, and the part of it that stays inside."""
        columns, rows = round(steps * east), round(steps * south)
        size = top.shape[-1]
        into = slice(max(0, -rows), size - max(0, rows)), slice(max(0, -columns), size - max(0, columns))
        source = slice(max(0, rows), size + min(0, rows)), slice(max(0, columns), size + min(0, columns))
        return into, source

    ceiling, steps = torch.full_like(top, -1e4), 1
    into, source = moved(steps)
    torch.sub(top[source], drop, out=ceiling[into])
    while steps * resolution * scale < reach:
        into, source = moved(steps)
        torch.maximum(ceiling[into], ceiling[source] - steps * drop, out=ceiling[into])
        steps *= 2
    return ceiling


def smooth_noise(size: int, cell: float, generator: torch.Generator) -> Tensor:
    """(size, size) smooth noise, mean 0, standard deviation about 1, with features of `cell` pixels."""
    cells = max(4, int(size / cell) + 3)
    grid = torch.randn(cells, cells, generator=generator) * 1.25
    between = _bicubic(size, cells)
    return between @ (between @ grid.T).T.contiguous()


def _bicubic(size: int, cells: int) -> Tensor:
    """Sparse (size, cells): as a factor it interpolates columns as `F.interpolate` does, in a third of the time."""
    place = torch.arange(size) * (torch.tensor(float(cells - 1)) / (size - 1))
    before = place.floor()
    t = place - before
    outer, inner = torch.stack([t + 1, 2 - t]), torch.stack([t, 1 - t])
    far, near = ((3.75 - 0.75 * outer) * outer - 6) * outer + 3, (1.25 * inner - 2.25) * inner * inner + 1
    column = (before.long() + torch.arange(-1, 3)[:, None]).clamp(0, cells - 1)
    weight = torch.stack([far[0], near[0], near[1], far[1]])
    row = torch.arange(size).expand(4, -1)
    at = torch.stack([row.reshape(-1), column.reshape(-1)])
    return torch.sparse_coo_tensor(at, weight.reshape(-1), (size, cells), check_invariants=False).coalesce()


def fine_noise(seed: int, size: int = 512) -> Tensor:
    """(size, size) tileable texture with detail at 1, 2, 4 … 32 pixels, mean 0, standard deviation 1."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(size, size)
    for octave, weight in enumerate((0.9, 0.8, 0.7, 0.6, 0.6, 0.5)):
        cells = size >> octave
        grid = torch.randn(1, 1, cells, cells, generator=generator)
        grid = F.pad(grid, (1, 1, 1, 1), mode="circular")
        up = F.interpolate(grid, scale_factor=1 << octave, mode="bilinear", align_corners=False)[0, 0]
        edge = 1 << octave
        total += weight * up[edge : edge + size, edge : edge + size]
    return (total - total.mean()) / total.std()


def surface_normal_light(top: Tensor, moment: Moment, resolution: float) -> Tensor:
    """(R, S) cosine between the surface's normal and the sun, relative to level ground; walls count as level."""
    steep = 4.4 * resolution
    east = F.pad(top[:, 2:] - top[:, :-2], (1, 1))
    north = F.pad(top[:-2] - top[2:], (0, 0, 1, 1))
    for slope in (east, north):
        slope.masked_fill_(slope.abs() > steep, 0).div_(2 * resolution)
    x, y, z = sun_vector(moment)
    length = (east * east).addcmul_(north, north).add_(1).sqrt_()
    return east.mul_(-x).add_(north, alpha=-y).add_(z).div_(length).div_(z).clamp_(0, 1.7)


def surroundings(top: Tensor, cells: int = 8) -> Tensor:
    """(S, S) mean height in metres of what stands within about `cells` pixels."""
    size = top.shape[-1]
    coarse = F.avg_pool2d(top[None, None], cells, ceil_mode=True)
    blurred = F.avg_pool2d(coarse, 3, stride=1, padding=1, count_include_pad=False)
    return F.interpolate(blurred, size=(size, size), mode="bilinear", align_corners=False)[0, 0]


def openness(around: Tensor, heights: Tensor) -> Tensor:
    """Ambient light in 0.45–1: less where the surroundings (`surroundings`) stand taller than `heights`."""
    return 1 - ((around - heights) / 22).clamp_(0, 0.5)


def light(lit: Tensor, ambient: Tensor, moment: Moment) -> Tensor:
    """Brightness of a surface from its sunlit share × cosine (`lit`) and its openness; level sunlit ground is 1."""
    direct = 0.58 * (1 - moment.overcast)
    return (1 - direct) * (0.9 + 0.1 * moment.overcast) * ambient + direct * lit * (1 + 0.1 * (1 - moment.overcast))
