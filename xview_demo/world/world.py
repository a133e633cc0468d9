"""A seeded place on Earth: its town, its pictures from the street and from above, with exact coordinates."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..devices import device_of
from ..errors import XViewError
from ..geometry.geodesy import enu_to_latlon, latlon_to_enu
from ..views import AerialView, GroundView
from . import overhead, render, sensor, steady
from .appearance import Moment, draw_moment, drift
from .biome import BIOMES
from .cars import beside_cars
from .rays import equirectangular_rays, perspective_rays
from .scene import NOTHING, Scene, build_scene
from .surface import Surface, build_surface
from .town import Plan, build_plan

SPLITS = {"train": range(0, 900_000), "validation": range(900_000, 950_000), "test": range(950_000, 1_000_000)}
VERSION = 4  # of the worlds: raise it when a seed gives another place, or other looks (3: up to commit fe58259)
MARGIN = 100.0  # metres kept between a site and the world's edge


def split_of(seed: int) -> str:
    """The split ("train", "validation", "test") a world seed belongs to."""
    for name, seeds in SPLITS.items():
        if seed in seeds:
            return name
    raise XViewError(f"World seed {seed} is outside 0–999 999; choose one inside.")


@dataclass(frozen=True)
class Nuisance:
    """What keeps two pictures of a place from agreeing; every part can be switched off alone."""

    moments: bool = True  # the aerial picture is of another day: sun, sky, season, colours
    cars: bool = True  # other cars stand and drive in the aerial picture
    sensor: float = 1.0  # strength of the cameras' faults, 0 none
    tilt: float = 0.7  # degrees, standard deviation of a panorama's pitch and roll (at most 2)
    lean: float = 0.05  # metres a metre of height leans in aerial pictures, standard deviation per axis (at most 0.14)
    camera_height: tuple[float, float] = (1.6, 3.0)  # metres, least and most


EXACT = Nuisance(moments=False, cars=False, sensor=0.0, tilt=0.0, lean=0.0, camera_height=(2.5, 2.5))


@dataclass(frozen=True)
class Site:
    """A place to stand: on a street, path or track."""

    east: float  # metres from the world's centre
    north: float  # metres from the world's centre
    heading: float  # degrees clockwise from north, along the street
    latlon: tuple[float, float]  # degrees, WGS84


@dataclass
class GroundBatch:
    """Pictures from the street."""

    colour: Tensor  # (B, 3, H, W) in [0, 1]
    depth: Tensor  # (B, H, W) metres along the ray; far skyline 1000, sky inf
    labels: Tensor  # (B, H, W) uint8 class
    headings: Tensor  # (B,) degrees clockwise from north of the centre column
    camera_height: Tensor  # (B,) metres above the ground


@dataclass
class AerialBatch:
    """North-up pictures from above."""

    colour: Tensor  # (B, 3, P, P) in [0, 1]
    labels: Tensor  # (B, P, P) uint8 class
    height: Tensor  # (B, P, P) metres above the ground
    metres_per_pixel: float


class World:
    """A procedural place.

    Args:
        seed: 0–999 999; the range decides the split (`split_of`).
        biome: one of `World.BIOMES`; by default drawn from the seed.
        size: side in metres.
        resolution: metres per pixel of the rasters (0.25–0.5 for pictures; 1 is enough for quick tests).
        exact: no nuisance: both views see the same moment through perfect, level cameras.
        nuisance: which nuisances there are (default all); not together with `exact`.
        device: where pictures are rendered.

    Everything is a function of these arguments (and of the seeds given to the methods): the same call gives the
    same bytes. Every processor plans the same streets, houses, trees and sites; colours and depths may differ in their
    last bits, as sums do.
    """

    BIOMES: tuple[str, ...] = tuple(BIOMES)

    def __init__(
        self, seed: int, *, biome: str | None = None, size: float = 1000.0, resolution: float = 0.5,
        exact: bool = False, nuisance: Nuisance | None = None, device: str | torch.device = "cpu",
    ) -> None:  # fmt: skip
        split_of(seed)
        if biome is not None and biome not in self.BIOMES:
            raise XViewError(f"No biome named {biome!r}. Available: {', '.join(self.BIOMES)}.")
        if not 2 * MARGIN < size + 1 <= 4001:
            raise XViewError(f"A world of {size:g} m is not possible; choose a side of 200 to 4000 m.")
        if exact and nuisance is not None:
            raise XViewError("An exact world has no nuisance; give either exact=True or nuisance=….")
        self.nuisance = EXACT if exact else nuisance or Nuisance()
        self.seed, self.size, self.resolution = int(seed), float(size), float(resolution)
        self.device = device_of(device)
        self.plan: Plan = build_plan(self.seed, biome, self.size)
        self.biome: str = self.plan.biome
        self.surface: Surface = build_surface(self.plan, self.resolution)
        rng = self._rng("place")
        self.latlon: tuple[float, float] = _somewhere(rng, self.biome)
        climate = {
            "latitude": self.latlon[0],
            "dryness": float(np.clip(rng.beta(1.2, 1.8) + (0.5 if "desert" in self.biome else 0.0), 0, 1)),
            "snow": 1.0 if self.biome == "snow" else 0.0,
        }
        self.ground_moment = draw_moment(rng, **climate)
        later = drift(self.ground_moment, rng, **climate)
        self.aerial_moment = later if self.nuisance.moments else self.ground_moment

    def _rng(self, purpose: str, seed: int = 0) -> np.random.Generator:
        return np.random.default_rng([self.seed, seed, *purpose.encode()])

    def _scene(self, moment: Moment, cars: np.ndarray) -> Scene:
        return build_scene(self.surface, self.plan, moment, self.seed, self.device, cars)

    @cached_property
    def ground_scene(self) -> Scene:
        """The world when the panoramas are taken."""
        return self._scene(self.ground_moment, self.plan.cars.ground)

    @cached_property
    def aerial_scene(self) -> Scene:
        """The world when the aerial pictures are taken: other sun, often another season, cars moved."""
        if not (self.nuisance.moments or self.nuisance.cars):
            return self.ground_scene
        return self._scene(self.aerial_moment, self.plan.cars.aerial if self.nuisance.cars else self.plan.cars.ground)

    # Geography ------------------------------------------------------------------------------------------------

    def latlon_of(self, east: float, north: float) -> tuple[float, float]:
        """WGS84 degrees of a position in metres from the centre."""
        lat, lon = enu_to_latlon(east, north, self.latlon)
        return float(lat), float(lon)

    def local_of(self, lat: float, lon: float) -> tuple[float, float]:
        """Metres (east, north) from the centre of a position in WGS84 degrees."""
        east, north = latlon_to_enu(lat, lon, self.latlon)
        return float(east), float(north)

    def sites(self, n: int, seed: int = 0, margin: float | None = None) -> list[Site]:
        """`n` different places to stand, at least `margin` metres (default 100) from the edge.

        Raises:
            XViewError: the world has fewer.
        """
        limit = self.size / 2 - (min(MARGIN, 0.2 * self.size) if margin is None else margin)
        points = np.asarray(self.plan.viewpoints, dtype=float)
        points = points[(np.abs(points[:, :2]) <= limit).all(1)]
        points = points[self._open_air(points)]
        if len(points) < n:
            raise XViewError(f"World {self.seed} has {len(points)} sites, fewer than {n}; ask for fewer or enlarge it.")
        chosen = points[self._rng("sites", seed).permutation(len(points))[:n]]
        return [Site(float(e), float(k), float(h % 360), self.latlon_of(e, k)) for e, k, h in chosen]

    def _open_air(self, points: np.ndarray) -> np.ndarray:
        """(M,) whether a camera at each point sees out: no car, wall or low branch within arm's reach."""
        scene = self.ground_scene
        position = torch.from_numpy(points[:, :2].astype(np.float32)).to(self.device)
        around = torch.from_numpy(steady.bearing(np.arange(8) * (math.pi / 4)).astype(np.float32)).to(self.device)
        free = ~beside_cars(scene, position, 1.8)
        for radius in (0.0, 0.9, 1.8, 2.7):
            index = scene.index(position[:, :1] + radius * around[:, 0], position[:, 1:] + radius * around[:, 1]).long()
            ground = scene.ground[index]
            branch = (scene.canopy[index] > NOTHING) & (scene.canopy_base[index] < ground + 3.5)
            solid = (scene.height[index] > ground + 0.4) & (radius < 2.0)
            free &= ~(solid | branch).any(1)
        return free.cpu().numpy()

    # Pictures -------------------------------------------------------------------------------------------------

    def _cameras(
        self, sites: Sequence[Site], rng: np.random.Generator, camera_height: float | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """East, north, absolute height and height above the ground of the cameras, each (B,) metres."""
        position = torch.tensor([(s.east, s.north) for s in sites], device=self.device, dtype=torch.float32)
        low, high = self.nuisance.camera_height if camera_height is None else (camera_height, camera_height)
        heights = rng.uniform(low, high, len(sites))
        above = torch.from_numpy(heights.astype(np.float32)).to(self.device)
        scene = self.ground_scene
        ground = scene.ground.index_select(0, scene.index(position[:, 0], position[:, 1]))
        return position[:, 0], position[:, 1], ground + above, above

    def panoramas(
        self, sites: Sequence[Site], *, headings: Sequence[float] | None = None, height: int = 128, width: int = 512,
        vfov: float = 90.0, seed: int = 0, supersample: int = 1, camera_height: float | None = None,
    ) -> GroundBatch:  # fmt: skip
        """Equirectangular pictures, 360° × `vfov`, the centre column towards `headings` (default north)."""
        rng = self._rng("panorama", seed)
        heading = self._headings(sites, headings)
        east, north, eye, above = self._cameras(sites, rng, camera_height)
        rows, columns = height * supersample, width * supersample
        rays = equirectangular_rays(east, north, eye, heading, rows, columns, vfov)
        colour, depth, labels = render.render(self.ground_scene, rays)
        if self.nuisance.tilt > 0:
            tilt = rng.normal(0, self.nuisance.tilt, (2, len(sites))).clip(-2, 2)
            colour, depth, labels = _tilted(colour, depth, labels, tilt, vfov)
        return self._ground_batch(colour, depth, labels, heading, above, rng, supersample)

    def photos(
        self, sites: Sequence[Site], *, headings: Sequence[float] | None = None, hfov: float = 70.0,
        height: int = 384, width: int = 512, seed: int = 0, supersample: int = 1, camera_height: float | None = None,
        later: bool = False,
    ) -> GroundBatch:  # fmt: skip
        """Level pinhole pictures with square pixels, towards `headings` (default along the street).

        With `later` they are of the moment of the aerial pictures: other sun, often another season, cars moved.
        """
        rng = self._rng("photo", seed)
        heading = self._headings(sites, [s.heading for s in sites] if headings is None else headings)
        east, north, eye, above = self._cameras(sites, rng, camera_height)
        rays = perspective_rays(east, north, eye, heading, height * supersample, width * supersample, hfov)
        colour, depth, labels = render.render(self.aerial_scene if later else self.ground_scene, rays)
        return self._ground_batch(colour, depth, labels, heading, above, rng, supersample)

    def _headings(self, sites: Sequence[Site], headings: Sequence[float] | None) -> Tensor:
        values = [0.0] * len(sites) if headings is None else list(headings)
        if len(values) != len(sites):
            raise XViewError(f"{len(sites)} sites but {len(values)} headings; give one heading a site.")
        return torch.tensor(values, device=self.device, dtype=torch.float32)

    def _ground_batch(
        self,
        colour: Tensor,
        depth: Tensor,
        labels: Tensor,
        heading: Tensor,
        above: Tensor,
        rng: np.random.Generator,
        supersample: int,
    ) -> GroundBatch:
        if supersample > 1:
            colour = torch.nn.functional.avg_pool2d(colour, supersample)
            middle = supersample // 2
            depth = depth[:, middle::supersample, middle::supersample]
            labels = labels[:, middle::supersample, middle::supersample]
        if self.nuisance.sensor > 0:
            colour = sensor.expose(colour, rng, strength=self.nuisance.sensor)
        return GroundBatch(colour, depth, labels, heading, above)

    def aerials(
        self, centres: Sequence[Site | tuple[float, float]], *, metres: float = 64.0, pixels: int = 256, seed: int = 0,
    ) -> AerialBatch:  # fmt: skip
        """North-up tiles `metres` wide centred on sites or (east, north)."""
        points = [(c.east, c.north) if isinstance(c, Site) else c for c in centres]
        position = torch.tensor(points, device=self.device, dtype=torch.float32).view(-1, 2)
        rng = self._rng("aerial", seed)
        lean = None
        if self.nuisance.lean > 0:
            tilt = rng.normal(0, self.nuisance.lean, (len(points), 2)).clip(-0.14, 0.14).astype(np.float32)
            lean = torch.from_numpy(tilt).to(self.device)
        colour, labels, height = overhead.render_overhead(
            self.aerial_scene, position[:, 0], position[:, 1], metres, pixels, lean
        )
        if self.nuisance.sensor > 0:
            colour = sensor.expose(colour, rng, strength=self.nuisance.sensor)
        return AerialBatch(colour, labels, height, metres / pixels)

    # Views ----------------------------------------------------------------------------------------------------

    def panorama(
        self,
        site: Site,
        *,
        heading: float = 0.0,
        seed: int = 0,
        height: int = 256,
        width: int = 1024,
        vfov: float = 90.0,
    ) -> GroundView:
        """A supersampled panorama as a view that knows its geometry."""
        batch = self.panoramas(
            [site], headings=[heading], height=height, width=width, vfov=vfov, seed=seed, supersample=2
        )
        return GroundView(
            batch.colour[0].cpu(), "equirectangular", heading=heading % 360, hfov=360.0, vfov=vfov,
            latlon=site.latlon, camera_height=float(batch.camera_height[0]), source=self._source(site),
        )  # fmt: skip

    def photo(
        self,
        site: Site,
        *,
        heading: float | None = None,
        hfov: float = 70.0,
        seed: int = 0,
        height: int = 384,
        width: int = 512,
    ) -> GroundView:
        """A supersampled photograph as a view that knows its geometry."""
        heading = site.heading if heading is None else heading
        batch = self.photos([site], headings=[heading], hfov=hfov, height=height, width=width, seed=seed, supersample=2)
        vfov = 2 * math.degrees(math.atan(math.tan(math.radians(hfov) / 2) * height / width))
        return GroundView(
            batch.colour[0].cpu(), "perspective", heading=heading % 360, hfov=hfov, vfov=vfov,
            latlon=site.latlon, camera_height=float(batch.camera_height[0]), source=self._source(site),
        )  # fmt: skip

    def aerial(
        self, centre: Site | tuple[float, float], *, metres: float = 64.0, pixels: int = 256, seed: int = 0
    ) -> AerialView:
        """A tile as a view that knows its scale and place."""
        east, north = (centre.east, centre.north) if isinstance(centre, Site) else centre
        batch = self.aerials([(east, north)], metres=metres, pixels=pixels, seed=seed)
        return AerialView(
            batch.colour[0].cpu(), metres / pixels, self.latlon_of(east, north),
            name=f"world{self.seed}_{east:+.1f}_{north:+.1f}", source=f"world:{self.seed}",
        )  # fmt: skip

    def pair(
        self, site: Site, offset: tuple[float, float] = (0.0, 0.0), seed: int = 0
    ) -> tuple[GroundView, AerialView]:
        """Panorama at a site and the tile centred `offset` metres (east, north) from it."""
        centre = (site.east + offset[0], site.north + offset[1])
        return self.panorama(site, seed=seed), self.aerial(centre, seed=seed)

    def tiles(
        self, tile_metres: float = 64.0, stride_metres: float = 64.0, limit: int | None = None, pixels: int = 256
    ) -> Iterator[AerialView]:
        """Tiles of a square grid over the world, row by row from the north-west."""
        count = int((self.size - tile_metres) // stride_metres) + 1
        start = -(count - 1) / 2 * stride_metres
        cells = [(start + c * stride_metres, -start - r * stride_metres) for r in range(count) for c in range(count)]
        for number, centre in enumerate(cells[:limit]):
            yield self.aerial(centre, metres=tile_metres, pixels=pixels, seed=number + 1)

    def _source(self, site: Site) -> str:
        return f"world:{self.seed}@{site.east:.2f},{site.north:.2f}"


def _somewhere(rng: np.random.Generator, biome: str) -> tuple[float, float]:
    """A latitude and longitude where the biome is plausible; the ground itself is fictitious."""
    low, high = {"desert_town": (15, 33), "snow": (55, 68)}.get(biome, (28, 60))
    latitude = rng.uniform(low, high) * (1 if rng.random() < 0.75 or biome == "snow" else -0.7)
    return float(latitude), float(rng.uniform(-170, 170))


def _tilted(
    colour: Tensor, depth: Tensor, labels: Tensor, tilt: np.ndarray, vfov: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Panoramas seen by a camera pitched and rolled by `tilt` (2, B) degrees."""
    batch, _, rows, columns = colour.shape
    device = colour.device
    azimuth = ((torch.arange(columns, device=device) + 0.5) / columns - 0.5) * 2 * math.pi
    elevation = (0.5 - (torch.arange(rows, device=device) + 0.5) / rows) * math.radians(vfov)
    forward = torch.cos(elevation)[:, None] * torch.cos(azimuth)
    right = torch.cos(elevation)[:, None] * torch.sin(azimuth)
    up = torch.sin(elevation)[:, None].expand(rows, columns)
    pitch, roll = (torch.deg2rad(torch.from_numpy(t.astype(np.float32)).to(device))[:, None, None] for t in tilt)
    forward, up = forward * torch.cos(pitch) - up * torch.sin(pitch), forward * torch.sin(pitch) + up * torch.cos(pitch)
    right, up = right * torch.cos(roll) - up * torch.sin(roll), right * torch.sin(roll) + up * torch.cos(roll)
    x = torch.atan2(right, forward) / math.pi
    y = -torch.asin(up.clamp(-1, 1)) / math.radians(vfov) * 2
    grid = torch.stack([x.expand(batch, -1, -1), y], -1)
    wrapped = torch.nn.functional.pad(colour, (1, 1, 0, 0), mode="circular")
    inner = grid * torch.tensor([columns / (columns + 2), 1.0], device=device)
    colour = torch.nn.functional.grid_sample(wrapped, inner, align_corners=False, padding_mode="border")
    column = (((grid[..., 0] + 1) / 2 * columns).floor().long() % columns).view(batch, -1)
    row = ((grid[..., 1] + 1) / 2 * rows).floor().long().clamp(0, rows - 1).view(batch, -1)
    index = row * columns + column
    depth = depth.reshape(batch, -1).gather(1, index).view(batch, rows, columns)
    labels = labels.reshape(batch, -1).gather(1, index).view(batch, rows, columns)
    return colour, depth, labels
