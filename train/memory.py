"""What a run remembers beside its weights, saved with them: wrong tiles from earlier batches, and look-alikes.

A gallery holds far more look-alikes than one batch does. As the cross-batch memory of Wang et al. (CVPR 2020,
https://arxiv.org/abs/1912.06798): while the weights move slowly, descriptors of some steps ago are still good
negatives.
"""

import numpy as np
import torch
from torch import Tensor, nn


class TileMemory(nn.Module):
    """The last `length` tile descriptors and where they are; saved with a checkpoint as any module.

    Args:
        length: descriptors kept.
        dimension: of a descriptor.
    """

    descriptors: Tensor
    place: Tensor
    written: Tensor

    def __init__(self, length: int, dimension: int) -> None:
        super().__init__()
        self.register_buffer("descriptors", torch.zeros(length, dimension))
        self.register_buffer("place", torch.zeros(length, 4))
        self.register_buffer("written", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def write(self, descriptors: Tensor, place: Tensor) -> None:
        """Put (B, D) descriptors of tiles at places (B, 4) in the place of the oldest."""
        rows = (self.written + torch.arange(len(place))) % len(self.place)
        self.descriptors[rows], self.place[rows] = descriptors.detach().float(), place.float()
        self.written += len(place)

    def read(self) -> tuple[Tensor, Tensor]:
        """Descriptors (M, D) and places (M, 4) of what has been written."""
        known = min(int(self.written), len(self.place))
        return self.descriptors[:known], self.place[:known]


class Neighbours(nn.Module):
    """From which pairs the hard negatives of each pair are drawn; saved with a checkpoint as any module.

    Args:
        near: (N, K) rows of the pairs near each pair.
    """

    near: Tensor
    mined: Tensor

    def __init__(self, near: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("near", torch.from_numpy(near.astype(np.int32)))
        self.register_buffer("mined", torch.tensor(-1))

    def replace(self, near: np.ndarray, step: int) -> None:
        """Put what was mined before a step, (N, K), in the place of what was known."""
        self.near.copy_(torch.from_numpy(near))
        self.mined.fill_(step)
