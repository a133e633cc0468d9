"""How long a world takes: the numbers of `xview bench world`."""

import time

import torch

from .world import World


def bench_world(
    seed: int = 3, *, size: float = 1000.0, panoramas: int = 240, batch: int = 40, device: str = "cpu"
) -> dict:
    """Build one world and render panoramas of 128 × 512 with colour, depth and class.

    Returns:
        `world_seconds` (plan, rasters and baked scene of `size` × `size` metres), `panoramas_per_second`,
        `tiles_per_second` (256 × 256), `threads`, `device`.
    """
    World(seed, size=220, resolution=1.0).ground_scene  # noqa: B018  imports and allocators, once
    start = time.perf_counter()
    world = World(seed, size=size, exact=True, device=device)
    scene = world.ground_scene
    _wait(device)
    world_seconds = time.perf_counter() - start
    sites = world.sites(batch)
    world.panoramas(sites[:8])
    start = time.perf_counter()
    for number in range(panoramas // batch):
        world.panoramas(sites, seed=number)
    _wait(device)
    rate = panoramas // batch * batch / (time.perf_counter() - start)
    start = time.perf_counter()
    world.aerials(sites)
    _wait(device)
    tile_rate = batch / (time.perf_counter() - start)
    return {
        "world_seconds": round(world_seconds, 3),
        "panoramas_per_second": round(rate, 1),
        "tiles_per_second": round(tile_rate, 1),
        "size_metres": size,
        "resolution": scene.resolution,
        "threads": torch.get_num_threads(),
        "device": device,
        "seed": seed,
    }


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
