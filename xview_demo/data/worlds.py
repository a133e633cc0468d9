"""Pairs of the procedural world: as many as wanted, listed here, rendered when asked for."""

from collections.abc import Iterable

import numpy as np

from xview_demo.data.index import AerialItem, GroundItem, PairIndex, WorldPlace, check_split
from xview_demo.errors import DataError
from xview_demo.world import SPLITS, World


def read_world(
    seeds: int | Iterable[int] = 1,
    split: str | None = "train",
    *,
    per_world: int = 16,
    offset_metres: float = 0.0,
    biome: str | None = None,
    size: float = 1000.0,
    resolution: float = 0.5,
    exact: bool = False,
    seed: int = 0,
) -> PairIndex:
    """List pairs of generated worlds; the tile of a pair is `offset_metres` wide of the camera at most.

    Args:
        seeds: how many worlds, the first of the split, or the seeds themselves.
        split: whose range of seeds they come from; None accepts any seeds.
        per_world: pairs in each world.
        offset_metres: the tile's centre is drawn uniformly from the square of that half width around the camera.
        biome: one biome for every world; None = drawn from its seed.
        size, resolution, exact: of the worlds, metres, metres per cell, and without nuisance.
        seed: of the choice of sites and offsets.

    Raises:
        DataError: seeds outside their split.
    """
    check_split(split)
    if isinstance(seeds, int):
        allowed = SPLITS[split or "train"]
        numbers = list(allowed[:seeds])
    else:
        numbers = [int(s) for s in seeds]
    if split is not None and any(s not in SPLITS[split] for s in numbers):
        low, high = SPLITS[split][0], SPLITS[split][-1]
        raise DataError(f"Seeds {numbers[:3]}… are not all of the {split} split: use {low} to {high}.")
    ground, aerial = [], []
    for number in numbers:
        world = World(number, biome=biome, size=size, resolution=resolution, exact=exact)
        generator = np.random.default_rng([seed, number])
        for count, site in enumerate(world.sites(per_world, seed=seed)):
            east, north = generator.uniform(-offset_metres, offset_metres, 2)
            camera = WorldPlace(number, site.east, site.north, biome, size, resolution, exact)
            centre = WorldPlace(number, site.east + east, site.north + north, biome, size, resolution, exact)
            name = f"world{number}-{count:04d}"
            ground.append(GroundItem(name, camera, 0.0, 360.0, site.latlon, (-float(east), -float(north))))
            aerial.append(AerialItem(name, centre, None, world.latlon_of(centre.east, centre.north)))
    return PairIndex("world", split, tuple(ground), tuple(aerial), tuple((i,) for i in range(len(ground))))
