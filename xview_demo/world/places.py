"""Place-recognition folders of generated worlds: photographs along streets, named by UTM.

The gallery is taken at one moment, looking along and across the streets; the queries at another (other sun, often
another season, other cars), elsewhere on the same streets, with other headings, lenses and camera heights. The layout
and the names are those of the field's data sets: `images/{train,val,test}/{gallery,queries}/world…/@east@north@….jpg`.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import XViewError
from ..files import atomic_path
from ..geometry.geodesy import latlon_to_utm
from ..images import write_image
from .world import VERSION, Site, World

FIRST_SEEDS = {"train": 0, "val": 901_000, "test": 951_000}
BANDS = "CDEFGHJKLMNPQRSTUVWX"  # MGRS latitude bands of 8° from 80° S
BATCH = 8
QUALITY = 90
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PlaceWorlds:
    """What a folder holds. Two folders with equal values hold equal pictures."""

    train: int = 20  # worlds
    val: int = 3
    test: int = 6
    sites: int = 80  # places of the gallery in each world, at most
    views: int = 4  # photographs at each, evenly around
    queries: int = 60  # in each world, at most
    height: int = 192  # pixels
    width: int = 256
    size: float = 500.0  # metres, side of a world
    resolution: float = 0.5  # metres per pixel of the world's rasters
    version: int = VERSION

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that identify the values."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    def seeds(self, split: str) -> list[int]:
        """Seeds of the worlds of "train", "val" or "test"."""
        return [FIRST_SEEDS[split] + n for n in range(getattr(self, split))]


SMOKE = PlaceWorlds(
    train=1, val=1, test=1, sites=6, views=2, queries=4, height=64, width=96, size=260.0, resolution=1.0
)


def write_places(
    folder: str | os.PathLike[str], config: PlaceWorlds | None = None, progress: Progress | None = None
) -> Path:
    """Write a place-recognition folder; worlds that are there already are left as they are.

    Args:
        folder: gets `images/{train,val,test}/{gallery,queries}/world<seed>/*.jpg`.
        config: how many worlds and photographs.
        progress: called with (worlds done, worlds in all).

    Raises:
        XViewError: a world without enough streets for a single photograph.
    """
    config = config or PlaceWorlds()
    root = Path(folder) / "images"
    work = [(split, seed) for split in FIRST_SEEDS for seed in config.seeds(split)]
    for done, (split, seed) in enumerate(work, start=1):
        homes = {side: root / split / side / f"world{seed}" for side in ("gallery", "queries")}
        if not all(home.is_dir() for home in homes.values()):
            world = World(seed, size=config.size, resolution=config.resolution)
            sites = _sites(world, config.sites + config.queries)
            share = max(1, round(len(sites) * config.sites / (config.sites + config.queries)))
            for side, chosen in (("gallery", sites[:share]), ("queries", sites[share:])):
                with atomic_path(homes[side]) as home:
                    home.mkdir(parents=True)
                    _photographs(world, chosen, home, config, side == "gallery")
        if progress is not None:
            progress(done, len(work))
    return Path(folder)


def _sites(world: World, count: int) -> list[Site]:
    """`count` places to stand, or half as many, and so on, where the world has fewer."""
    while count >= 2:
        try:
            return world.sites(count)
        except XViewError:
            count //= 2
    raise XViewError(f"World {world.seed} has no two places to stand: enlarge it or take another seed.")


def _photographs(world: World, sites: list[Site], home: Path, config: PlaceWorlds, gallery: bool) -> None:
    rng = np.random.default_rng([world.seed, 17, int(gallery)])
    turns = range(config.views) if gallery else (None,)
    shots: list[tuple[Site, float]] = []
    for site in sites:
        for turn in turns:
            turned = rng.integers(config.views) if turn is None else turn
            off = rng.uniform(-5, 5) if gallery else rng.uniform(-25, 25)
            shots.append((site, float((site.heading + 360.0 / config.views * turned + off) % 360)))
    for start in range(0, len(shots), BATCH):
        part = shots[start : start + BATCH]
        batch = world.photos(
            [site for site, _ in part], headings=[heading for _, heading in part],
            hfov=70.0 if gallery else float(rng.uniform(60, 80)), height=config.height, width=config.width,
            seed=start + (100_000 if gallery else 200_000), later=gallery,
        )  # fmt: skip
        for number, ((site, heading), picture) in enumerate(zip(part, batch.colour.cpu(), strict=True), start=start):
            write_image(home / _name(site, f"world{world.seed}-{number:04d}", heading), picture, quality=QUALITY)


def _name(site: Any, label: str, heading: float) -> str:
    """`@east@north@zone@band@latitude@longitude@label@@heading@@@@@@.jpg`, the order of the field's data sets."""
    latitude, longitude = site.latlon
    east, north, zone, _ = latlon_to_utm(latitude, longitude)
    band = BANDS[min(int((latitude + 80) // 8), len(BANDS) - 1)]
    place = f"@{east:.2f}@{north:.2f}@{zone:02d}@{band}@{latitude:.7f}@{longitude:.7f}"
    return f"{place}@{label}@@{heading:.1f}@@@@@@.jpg"
