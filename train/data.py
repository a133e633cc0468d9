"""Batches out of a cache: which samples, and their arrays as float tensors."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from train.cache import Cache


@dataclass
class Pairs:
    """A batch of ground and aerial pictures of the same places."""

    ground: Tensor  # (B, 3, H, W) in [0, 1], centre column north
    aerial: Tensor  # (B, 3, P, P) in [0, 1], north up, wider than a tile
    place: Tensor  # (B, 4): world seed, east, north (metres), camera height (metres)


def draw(choices: np.ndarray, count: int, generator: Generator) -> np.ndarray:
    """`count` of the choices without repetition (with, when there are too few)."""
    if count > len(choices):
        return choices[torch.randint(len(choices), (count,), generator=generator).numpy()]
    return choices[torch.randperm(len(choices), generator=generator)[:count].numpy()]


def neighbours(cache: Cache, worlds: int, batch: int, generator: Generator) -> np.ndarray:
    """Indices of a batch taken from few worlds, so that it holds places that look alike."""
    per = cache.config.per_world
    chosen = draw(cache.worlds, worlds, generator)
    share = -(-batch // worlds)
    parts = [w * per + draw(np.arange(per), share, generator) for w in chosen]
    return np.concatenate(parts)[:batch]


def images(array: np.ndarray, rows: np.ndarray, reduce: tuple[int, int] = (1, 1)) -> Tensor:
    """Rows of a uint8 (N, H, W, 3) array as float (B, 3, H, W) in [0, 1], averaged over `reduce` pixels."""
    x = torch.from_numpy(array[rows]).permute(0, 3, 1, 2).float().div_(255)
    return F.avg_pool2d(x, reduce) if reduce != (1, 1) else x


def pairs(cache: Cache, rows: np.ndarray, ground: tuple[int, int] = (1, 1), aerial: int = 1) -> Pairs:
    """Both views of samples, reduced by whole factors."""
    return Pairs(
        images(cache["ground"], rows, ground),
        images(cache["aerial"], rows, (aerial, aerial)),
        torch.from_numpy(cache["place"][rows]),
    )


def labels(array: np.ndarray, rows: np.ndarray) -> Tensor:
    """Rows of a label or depth array as they are, float32 for depth."""
    x = torch.from_numpy(array[rows])
    return x.float() if x.dtype == torch.float16 else x


def class_shares(cache: Cache, name: str, classes: int = 8) -> np.ndarray:
    """Share of each class in each row of a label array (M, classes), counted on every second pixel each way."""
    array = cache[name]
    rows = np.flatnonzero(np.isin(np.arange(len(array)) * cache.config.dense_every, cache.dense()))
    shares = np.zeros((len(array), classes))
    for row in rows:
        shares[row] = np.bincount(array[row, ::2, ::2].ravel(), minlength=classes)[:classes]
    return shares / shares.sum(1, keepdims=True).clip(1)


def rarity(shares: np.ndarray, least: float = 0.003) -> np.ndarray:
    """(M,) weights with which rows are drawn, so that classes found in few pictures are seen more often."""
    present = shares > least
    often = present.mean(0).clip(1 / len(shares))
    return (present / often).sum(1)


def apart(place: Tensor, metres: float, other: Tensor | None = None) -> Tensor:
    """(B, B) True where two places (B, 4: world seed, east, north, …) are of different worlds or that far apart.

    With `other` (M, 4): the places against those, (B, M). Both may have further dimensions before these.
    """
    other = place if other is None else other
    far = torch.cdist(place[..., 1:3], other[..., 1:3]) > metres
    return far | (place[..., :, None, 0] != other[..., None, :, 0])
