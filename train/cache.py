"""Training worlds rendered once: memory-mapped arrays on disk that every recipe reads.

Sample i belongs to world i // per_world. Panoramas look north; tiles are wider than the models need, so that shifts,
scales and rotations can be cut out of them. Depth and classes are kept for every `dense_every`-th sample.
"""

import hashlib
import json
import multiprocessing
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from xview_demo.errors import DataError
from xview_demo.files import cache_root, write_json
from xview_demo.world.world import VERSION

Factory = Callable[..., Any]


@dataclass(frozen=True)
class CacheConfig:
    """What is rendered. Two caches with equal configurations hold equal bytes."""

    split: str = "train"
    first_seed: int = 0
    worlds: int = 480
    per_world: int = 42
    size: float = 600.0  # metres, side of a world
    resolution: float = 0.5  # metres per pixel of the world's rasters
    tile_metres: float = 80.0
    tile_pixels: int = 320
    height: int = 128
    width: int = 512
    dense_every: int = 3
    version: int = VERSION

    def __post_init__(self) -> None:
        """Refuse per-world counts that would split a world's dense samples unevenly."""
        if self.per_world % self.dense_every and self.dense_every > 1:
            object.__setattr__(self, "per_world", self.per_world + self.dense_every - self.per_world % self.dense_every)

    @property
    def samples(self) -> int:
        """Number of pairs."""
        return self.worlds * self.per_world

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that identify the configuration."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    def arrays(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Name → shape and type of each array on disk."""
        n, dense = self.samples, self.samples // self.dense_every
        strip, tile = (self.height, self.width), (self.tile_pixels, self.tile_pixels)
        return {
            "ground": ((n, *strip, 3), "uint8"),
            "aerial": ((n, *tile, 3), "uint8"),
            "place": ((n, 4), "float32"),  # world seed, east, north, camera height in metres
            "depth": ((dense, *strip), "float16"),  # metres along the ray, inf = sky
            "ground_labels": ((dense, *strip), "uint8"),
            "aerial_labels": ((dense, *tile), "uint8"),
            "aerial_height": ((dense, *tile), "float16"),  # metres above the ground
            "done": ((self.worlds,), "uint8"),
        }


TRAIN = CacheConfig()
DENSE = CacheConfig(dense_every=1)  # the same pictures, all of them with depth and classes
VALIDATION = CacheConfig(split="validation", first_seed=900_000, worlds=24, per_world=42, dense_every=3)
SMOKE = CacheConfig(worlds=2, per_world=8, size=240.0, resolution=1.0, dense_every=1)


def default_root() -> Path:
    """The folder of all caches (see `files.cache_root`)."""
    return cache_root()


def _open(folder: Path, config: CacheConfig, mode: str) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for name, (shape, kind) in config.arrays().items():
        path = folder / f"{name}.npy"
        if mode == "w+" and not path.exists():
            np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape).flush()
        arrays[name] = np.lib.format.open_memmap(path, mode="r" if mode == "r" else "r+")
        if arrays[name].shape != shape:
            raise DataError(f"{path} has shape {arrays[name].shape}, not {shape}: delete the folder and render again.")
    return arrays


def render_world(number: int, folder: Path, config: CacheConfig, factory: Factory | None = None) -> int:
    """Render world `number` of the configuration into the arrays; returns the number."""
    torch.set_num_threads(1)
    if factory is None:
        from xview_demo.world import World

        factory = World
    arrays = _open(folder, config, "r+")
    seed = config.first_seed + number
    world = factory(seed, size=config.size, resolution=config.resolution)
    sites = spread_sites(world, config.per_world)
    first = number * config.per_world
    for start in range(0, config.per_world, 8):
        part = sites[start : start + 8]
        with torch.no_grad():
            ground = world.panoramas(part, height=config.height, width=config.width, seed=start)
            aerial = world.aerials(part, metres=config.tile_metres, pixels=config.tile_pixels, seed=start)
        rows = slice(first + start, first + start + len(part))
        arrays["ground"][rows] = _bytes(ground.colour)
        arrays["aerial"][rows] = _bytes(aerial.colour)
        heights = ground.camera_height.tolist()
        arrays["place"][rows] = [(seed, s.east, s.north, h) for s, h in zip(part, heights, strict=True)]
        every = [n for n in range(len(part)) if (first + start + n) % config.dense_every == 0]
        dense = [(first + start + n) // config.dense_every for n in every]
        if dense:
            arrays["depth"][dense] = ground.depth[every].half().numpy()
            arrays["ground_labels"][dense] = ground.labels[every].numpy()
            arrays["aerial_labels"][dense] = aerial.labels[every].numpy()
            arrays["aerial_height"][dense] = aerial.height[every].half().numpy()
    arrays["done"][number] = 1
    return number


def spread_sites(world: Any, count: int, apart: float = 10.0) -> list[Any]:
    """`count` sites, as far as possible `apart` metres from one another; a world with fewer repeats them."""
    candidates: list[Any] = []
    for n in (8 * count, 4 * count, 2 * count, count, count // 2, 4, 1):
        try:
            candidates = list(world.sites(n))
            break
        except ValueError:
            continue
    if not candidates:
        raise DataError(f"World {getattr(world, 'seed', '?')} has no place to stand.")
    points = np.array([(s.east, s.north) for s in candidates])
    chosen: list[int] = []
    rest: list[int] = []
    for n, point in enumerate(points):
        near = chosen and np.hypot(*(points[chosen] - point).T).min() < apart
        (rest if near else chosen).append(n)
    order = (chosen + rest)[:count]
    return [candidates[n] for n in (order * -(-count // len(order)))[:count]]


def _bytes(colour: torch.Tensor) -> np.ndarray:
    return (colour.permute(0, 2, 3, 1) * 255 + 0.5).clamp(0, 255).to(torch.uint8).numpy()


def build(config: CacheConfig, root: Path | None = None, workers: int = 2, factory: Factory | None = None) -> Path:
    """Render what is missing of a cache and return its folder; a finished cache is only opened.

    Args:
        config: what to render.
        root: folder of all caches (default: `default_root()`).
        workers: processes, each with one thread; 0 renders in this process.
        factory: called as `World` is (tests give a stand-in).
    """
    folder = (root or default_root()) / f"{config.split}-{config.fingerprint}"
    folder.mkdir(parents=True, exist_ok=True)
    arrays = _open(folder, config, "w+")
    write_json(folder / "config.json", asdict(config))
    pending = [n for n in range(config.worlds) if not arrays["done"][n]]
    if not pending:
        return folder
    work = partial(render_world, folder=folder, config=config, factory=factory)
    bar = partial(tqdm, total=config.worlds, initial=config.worlds - len(pending), unit="world", desc=config.split)
    if workers == 0:
        for _ in bar(map(work, pending)):
            pass
        return folder
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for _ in bar(pool.imap_unordered(work, pending)):
            pass
    return folder


class Cache:
    """A finished cache, opened for reading; arrays by name (`cache["ground"][i]`)."""

    def __init__(self, folder: Path) -> None:
        path = folder / "config.json"
        if not path.is_file():
            raise DataError(f"No cache in {folder}: run `python -m train cache` first.")
        self.folder = folder
        self.config = CacheConfig(**json.loads(path.read_text()))
        self.arrays = _open(folder, self.config, "r")
        self.worlds = np.flatnonzero(self.arrays["done"])
        if not len(self.worlds):
            raise DataError(f"The cache in {folder} holds no finished world: run `python -m train cache` again.")

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def samples(self) -> np.ndarray:
        """Indices of all samples of finished worlds."""
        per = self.config.per_world
        return (self.worlds[:, None] * per + np.arange(per)).ravel()

    def dense(self) -> np.ndarray:
        """Indices of samples of finished worlds that have depth and classes (row i // dense_every of those arrays)."""
        samples = self.samples()
        return samples[samples % self.config.dense_every == 0]
