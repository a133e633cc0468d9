"""From the tile to the metre: how far a correct match is from the truth before and after its position is found."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xview_demo import metrics
from xview_demo.evaluation.position import position_protocol
from xview_demo.evaluation.protocol import Progress, Protocol, model_of, spread
from xview_demo.geometry import density

STRIDE = 32.0  # metres between the tiles of the grid
RENDERED = 256  # pixels of a tile


@torch.inference_mode()
def evaluate_refinement(
    matcher: Any = "azimuth-world", model: Any = "mst-world", *, n: int = 200, stride: float = STRIDE,
    protocol: Protocol | None = None, progress: Progress | None = None, world: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """Panoramas north up against a grid of tiles over each test world; a match is correct when no tile is nearer.

    Args:
        matcher, model: names, folders or repositories, or the models themselves.
        n: panoramas in all.
        stride: metres between tiles: the camera is up to stride / √2 off its tile's centre.
        protocol: other worlds.
        progress: called with (worlds done, worlds in all).
        world: stand-in for `World`.
    """
    (finder, finder_name), (net, name) = model_of(matcher, "matching"), model_of(model, "position")
    protocol = protocol or position_protocol(n)
    if world is None:
        from xview_demo.world import World as world
    count, before, after = 0, [], []
    for number in range(protocol.worlds):
        seed = protocol.first_seed + number
        place = world(seed, size=protocol.size, resolution=protocol.resolution)
        centres = _grid(protocol.size, net.metres, stride)
        tiles = _rendered(place, centres, net.metres)
        sites = spread(place, protocol.queries)
        camera = np.array([(s.east, s.north) for s in sites])
        strips = place.panoramas(sites).colour
        gallery = torch.cat([finder.encode_aerial(part) for part in tiles.split(32)])
        best = finder.aligned(finder.encode_ground(strips), gallery).argmax(1).numpy()
        away = np.hypot(*(camera[:, None] - centres[None]).transpose(2, 0, 1))
        right = np.flatnonzero(away[np.arange(len(best)), best] <= away.min(1) + 1e-6)
        count += len(best)
        if len(right):
            before += away[right, best[right]].tolist()
            found = _positions(net, strips[right], tiles[best[right]])
            after += np.hypot(*(camera[right] - centres[best[right]] - found).T).tolist()
        if progress is not None:
            progress(number + 1, protocol.worlds)
    return {
        "model": name, "matcher": finder_name, "seeds": protocol.seeds, "n": count, "stride_m": stride,
        "correct": len(before), "centre": _errors(before), "refined": _errors(after),
        "factor": float(np.median(before) / max(1e-9, np.median(after))) if before else None,
    }  # fmt: skip


def _errors(metres: list[float]) -> dict[str, float] | None:
    return metrics.metre_errors(metres) if metres else None


def _grid(size: float, metres: float, stride: float) -> np.ndarray:
    """(N, 2) centres of tiles that lie wholly within the world, metres east and north."""
    steps = int((size - metres) // stride) + 1
    line = (np.arange(steps) - (steps - 1) / 2) * stride
    return np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)


def _rendered(place: Any, centres: np.ndarray, metres: float) -> Tensor:
    parts = [
        place.aerials([tuple(c) for c in centres[n : n + 16].tolist()], metres=metres, pixels=RENDERED, seed=n).colour
        for n in range(0, len(centres), 16)
    ]
    return torch.cat(parts)


def _positions(net: Any, strips: Tensor, tiles: Tensor) -> np.ndarray:
    """(B, 2) metres east and north of the most probable place from the tile's centre."""
    probability, _ = net.predict(strips, F.adaptive_avg_pool2d(tiles, (net.size, net.size)))
    cell, half = net.metres / probability.shape[-1], probability.shape[-1] / 2
    best = np.array([density.peak(p) for p in probability.double().cpu().numpy()])
    return np.stack((best[:, 0] - half, half - best[:, 1]), 1) * cell
