"""Which worlds are measured on, and what is taken from each. Rendered with every nuisance on: two cameras, two
moments, the tile off the camera by up to three metres.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xview_demo import zoo
from xview_demo.errors import XViewError
from xview_demo.geometry.overhead import TILE_METRES

TEST, VALIDATION = 950_000, 900_500  # first seeds; the caches of `train` use others
SITES_APART = 10.0  # metres between queries of one world
SAME_PLACE = 6.0  # metres between query and tile centre up to which the tile is right
OFFSET = 3.0  # metres by which the true tile is off the camera, at most
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Protocol:
    """Which worlds, and what is taken from each."""

    first_seed: int = TEST
    worlds: int = 40
    queries: int = 25  # per world
    tiles: int = 250  # per world, the true ones included
    size: float = 1000.0  # metres, side of a world
    resolution: float = 0.5  # metres per pixel of the world's rasters

    @property
    def seeds(self) -> list[int]:
        """First and last seed."""
        return [self.first_seed, self.first_seed + self.worlds - 1]

    def scaled(self, queries: int | None, gallery: int | None) -> "Protocol":
        """The same protocol with about as many queries and tiles in all, and no more worlds than that needs."""
        wanted = queries or self.worlds * self.queries
        worlds = min(self.worlds, max(1, wanted // min(self.queries, wanted)))
        per = -(-wanted // worlds)
        tiles = -(-(gallery or self.worlds * self.tiles) // worlds)
        if tiles < per:
            raise XViewError(f"A gallery of {gallery} cannot hold the tiles of {wanted} queries: ask for a larger one.")
        return Protocol(self.first_seed, worlds, per, tiles, self.size, self.resolution)


@dataclass
class Place:
    """What one world contributes."""

    ground: Any  # GroundBatch of the queries, at random headings
    aerial: Tensor  # (T, 3, 256, 256); tile q is the true one of query q
    right: np.ndarray  # (Q, T) bool
    away: np.ndarray  # (Q, T) metres from the camera to the tile's centre


def spread(world: Any, count: int, apart: float = SITES_APART) -> list[Any]:
    """`count` sites of a world, `apart` metres from one another where the world has that many."""
    candidates: list[Any] = []
    for n in (10 * count, 4 * count, count):
        try:
            candidates = list(world.sites(n))
            break
        except XViewError:
            if n == count:
                raise
    points = np.array([(s.east, s.north) for s in candidates])
    chosen: list[int] = []
    rest: list[int] = []
    for n, point in enumerate(points):
        near = bool(chosen) and np.hypot(*(points[chosen] - point).T).min() < apart
        (rest if near else chosen).append(n)
    return [candidates[n] for n in (chosen + rest)[:count]]


def places(protocol: Protocol, progress: Progress | None = None, world: Any = None) -> Iterator[Place]:
    """Render the queries and tiles of each world. `world` is called as `World` is (tests give a stand-in)."""
    if world is None:
        from xview_demo.world import World as world
    for number in range(protocol.worlds):
        seed = protocol.first_seed + number
        rng = np.random.default_rng([seed, 7])
        place = world(seed, size=protocol.size, resolution=protocol.resolution)
        sites = spread(place, protocol.queries)
        angle, radius = rng.uniform(0, 2 * np.pi, len(sites)), OFFSET * np.sqrt(rng.uniform(0, 1, len(sites)))
        own = [(s.east + r * np.sin(a), s.north + r * np.cos(a)) for s, a, r in zip(sites, angle, radius, strict=True)]
        centres = own + _grid(protocol, rng)[: protocol.tiles - len(own)]
        ground = [place.panoramas([s], headings=[h], seed=n) for n, (s, h) in enumerate(
            zip(sites, rng.uniform(0, 360, len(sites)), strict=True))]  # fmt: skip
        aerial = [place.aerials(centres[n : n + 16], seed=n).colour for n in range(0, len(centres), 16)]
        away = np.hypot(*(np.array([(s.east, s.north) for s in sites])[:, None] - np.array(centres)).transpose(2, 0, 1))
        right = away <= SAME_PLACE
        right[np.arange(len(sites)), np.arange(len(sites))] = True
        yield Place(_joined(ground), torch.cat(aerial), right, away)
        if progress is not None:
            progress(number + 1, protocol.worlds)


def _grid(protocol: Protocol, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Centres of tiles all over the world, at random within a square grid, in random order."""
    count = int(np.ceil(np.sqrt(protocol.tiles)))
    step = (protocol.size - TILE_METRES) / count
    index = (np.arange(count) + 0.5) * step - (protocol.size - TILE_METRES) / 2
    cells = np.stack(np.meshgrid(index, index), -1).reshape(-1, 2) + rng.uniform(-0.3, 0.3, (count * count, 2)) * step
    return [(float(e), float(n)) for e, n in rng.permutation(cells)]


def _joined(batches: list[Any]) -> Any:
    first = batches[0]
    names = ("colour", "depth", "labels", "headings", "camera_height")
    return type(first)(**{name: torch.cat([getattr(b, name) for b in batches]) for name in names})


def model_of(model: Any, task: str) -> tuple[Any, str]:
    """A model and its name, from either."""
    if isinstance(model, str | Path):
        return zoo.load(model, task=task), str(model)
    return model, type(model).__name__


def fit_temperature(scores: np.ndarray, truth: np.ndarray) -> float:
    """The temperature under which the softmax over scores (Q, N) gives the right items (Q,) the highest likelihood.

    Where every right item has the highest score that would be none at all. Then it is the one under which the first
    items' mean probability is what Laplace's rule of succession makes of Q hits in Q: (Q + 1) / (Q + 2).
    """
    from scipy.optimize import minimize_scalar

    target = torch.from_numpy(np.asarray(truth))
    values = torch.from_numpy(np.asarray(scores, np.float64))
    wanted = (len(target) + 1) / (len(target) + 2)

    def unlikely(log_temperature: float) -> float:
        return float(F.cross_entropy(values / np.exp(log_temperature), target))

    def unwanted(log_temperature: float) -> float:
        return abs(float((values / np.exp(log_temperature)).softmax(1).amax(1).mean()) - wanted)

    loss = unwanted if torch.equal(values.argmax(1), target) else unlikely
    return float(np.exp(minimize_scalar(loss, bounds=(np.log(2e-3), np.log(1.0)), method="bounded").x))


def fit_fusion(scores: np.ndarray, others: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """The weight w and temperature t under which the softmax of (scores + w · others) / t is most right.

    Args:
        scores, others: (Q, N), two judgements of the same pairs.
        truth: (Q,) the right items.
    """
    from scipy.optimize import minimize

    target = torch.from_numpy(np.asarray(truth))
    first, second = (torch.from_numpy(np.asarray(values, np.float64)) for values in (scores, others))

    def loss(logs: np.ndarray) -> float:
        weight, temperature = np.exp(logs)
        return float(F.cross_entropy((first + weight * second) / temperature, target))

    start = np.log((float(first.std() / second.std().clamp_min(1e-9)), 1.0))
    bounds = [tuple(np.log((1e-3, 1e5))), tuple(np.log((1e-2, 1e2)))]
    weight, temperature = np.exp(minimize(loss, start, method="Nelder-Mead", bounds=bounds).x)
    return float(weight), float(temperature)
