"""What a model costs: parameters, operations and time for one picture of the usual size."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from xview_demo import zoo
from xview_demo.models.hub import count_parameters
from xview_demo.models.synthesis.interface import GROUND, Query

STRIP, TILE = (128, 512), (256, 256)  # pixels
REPEATS = 3  # the quickest counts


@torch.inference_mode()
def cost(name: str, model: Any = None) -> dict[str, Any]:
    """Cost of one picture: of a matcher one query and one tile (of a verifier the pair), of the others one output.

    Nothing is composed.

    Args:
        name: of the zoo; decides what is counted.
        model: the model itself; loaded by its name when left out.

    Returns:
        `parameters` (trainable), `gflop` (billions of multiplications and additions of
        convolutions and products of matrices), `milliseconds` (on this machine, with the threads that torch has now).
    """
    net = zoo.load(name) if model is None else model
    work = _work(zoo.get(name).task, net)
    counter = FlopCounterMode(display=False)
    with counter:
        work()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return {
        "parameters": count_parameters(net) if isinstance(net, torch.nn.Module) else 0,
        "gflop": counter.get_total_flops() / 1e9,
        "milliseconds": 1e3 * min(times),
    }


def _work(task: str, net: Any) -> Callable[[], Any]:
    """What a model does for one picture."""
    strip, tile = torch.full((1, 3, *STRIP), 0.5), torch.full((1, 3, *TILE), 0.5)
    if task == "matching":
        needs = {"synthetic": tile, "segmentation": tile}
        if not getattr(net, "searches", True):
            return lambda: net.aligned(net.encode_ground(strip), net.encode_aerial(tile))
        given = {need: needs[need] for need in getattr(net, "needs", ())}
        return lambda: (net.encode_ground(strip, torch.ones_like(strip[:, :1]), **given), net.encode_aerial(tile))
    if task == "synthesis":
        return lambda: net.draw(_query(net, strip if net.reads == GROUND else tile))
    if task == "position":
        small = torch.nn.functional.interpolate(tile, (net.size, net.size))
        return lambda: net.predict(strip, small)
    if task == "places":
        photograph = torch.full((1, 3, *net.size), 0.5)
        return lambda: net.compare(photograph, net.encode(photograph)[1], photograph, net.local(photograph))
    read = tile if getattr(net, "view", GROUND) == "aerial" else strip
    return lambda: net.predict(read)


def _query(net: Any, image: Tensor) -> Query:
    depth, labels = torch.full_like(image[:, 0], 10.0), torch.zeros_like(image[:, 0], dtype=torch.long)
    return Query(image, depth=depth, labels=labels) if net.needs else Query(image)
