"""How long a world takes: the numbers of `xview bench world`."""

import time
from collections.abc import Callable

import torch

from .world import World

ROUNDS = 3  # worlds built
BATCHES = 8  # of panoramas, and of tiles


def bench_world(seed: int = 3, *, size: float = 1000.0, batch: int = 40, device: str = "cpu") -> dict:
    """Build a world and render panoramas of 128 × 512 with colour, depth and class; the best of several rounds each.

    Returns:
        `world_seconds` (plan, rasters and baked scene of `size` × `size` metres), `panoramas_per_second`,
        `tiles_per_second` (256 × 256), `threads`, `device`.
    """
    World(seed, size=220, resolution=1.0).ground_scene  # noqa: B018  imports and allocators, once
    world = World(seed, size=size, exact=True, device=device)

    def build(number: int) -> None:
        World(seed, size=size, exact=True, device=device).ground_scene  # noqa: B018

    sites = world.sites(batch)
    return {
        "world_seconds": round(_fastest(build, ROUNDS, device), 3),
        "panoramas_per_second": round(batch / _fastest(lambda k: world.panoramas(sites, seed=k), BATCHES, device), 1),
        "tiles_per_second": round(batch / _fastest(lambda k: world.aerials(sites, seed=k), BATCHES, device), 1),
        "size_metres": size,
        "resolution": world.resolution,
        "threads": torch.get_num_threads(),
        "device": device,
        "seed": seed,
    }


def _fastest(work: Callable[[int], object], rounds: int, device: str) -> float:
    """Seconds of the fastest round: what other programs take of a shared machine is not the renderer's."""
    seconds = []
    for number in range(rounds):
        start = time.perf_counter()
        work(number)
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
