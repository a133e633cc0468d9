"""Contact sheets: a world at a glance, for looking at."""

import numpy as np
import torch
import torch.nn.functional as F

from ..classes import PALETTE
from .world import World

DEPTH_SHOWN = 80.0  # metres at which the depth scale is black


def contact_sheet(world: World, sites: int = 4, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 picture: for each site the panorama, its depth and classes, and the aerial with its classes."""
    places = world.sites(sites, seed=seed)
    ground = world.panoramas(places, height=256, width=1024, supersample=2, seed=seed)
    aerial = world.aerials(places, metres=64, pixels=256, seed=seed)
    palette = torch.tensor(np.asarray(PALETTE), dtype=torch.float32) / 255
    rows = []
    for i in range(sites):
        nearness = 1 - (torch.log1p(ground.depth[i].clamp(max=DEPTH_SHOWN)) / np.log1p(DEPTH_SHOWN))
        depth = F.avg_pool2d(nearness[None, None], 2)[0].expand(3, -1, -1)
        labels = palette[ground.labels[i, ::2, ::2].long()].permute(2, 0, 1)
        column = torch.cat([depth, labels], 1)
        overhead = palette[aerial.labels[i].long()].permute(2, 0, 1)
        rows.append(torch.cat([ground.colour[i], column, aerial.colour[i], overhead], 2))
    sheet = torch.cat(rows, 1).clamp(0, 1).cpu()
    return (sheet * 255).round().byte().permute(1, 2, 0).numpy()
