"""Contact sheets: what a row of methods made of the same places, to look at."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xview_demo import viz

HEIGHT = 192  # pixels of a row
SHOWN = 8  # places on a sheet of dense predictions


def painted(picture: np.ndarray) -> Tensor:
    """A drawn picture (H, W, 3) uint8 as a sheet takes it (3, H, W)."""
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)


def sheet(rows: Sequence[Mapping[str, Tensor]]) -> np.ndarray:
    """Pictures (3, H, W), uint8 or in [0, 1], one row for each place, as (height, width, 3) uint8.

    Args:
        rows: column name → picture, the same columns in each row; every row is scaled to one height.

    Raises:
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("there are no rows to show: give at least one")
    drawn = []
    for row in rows:
        pictures = [picture.float() / 255 if not picture.is_floating_point() else picture for picture in row.values()]
        arrays = [viz.to_array(picture) for picture in pictures]
        drawn.append([viz.resize(a, HEIGHT, round(a.shape[1] * HEIGHT / a.shape[0])) for a in arrays])
    drawn[0] = [viz.captioned(picture, name) for picture, name in zip(drawn[0], rows[0], strict=True)]
    return viz.stack([viz.beside(pictures, gap=6) for pictures in drawn], gap=6)


def write_sheet(path: str | Path, rows: Sequence[Mapping[str, Tensor]]) -> Path:
    """Write `sheet(rows)` as a picture; the suffix chooses the format."""
    return viz.save(sheet(rows), path)
