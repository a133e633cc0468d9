"""The geometry against reality: a real panorama's bird's-eye view lies on its real tile, with nothing learned."""

import numpy as np
import pytest
import torch

from xview_demo.data import read_folder
from xview_demo.geometry import bird_eye_grid, sample
from xview_demo.images import read_image

STREET = ((128, 64, 128), (244, 35, 232), (0, 0, 142), (0, 60, 100), (250, 170, 160))  # Cityscapes: road, pavement, …
PAVED = ((128, 64, 127),)  # the aerial labels' road and other


def painted(path, colours) -> torch.Tensor:
    """Where a label picture has one of the colours: (1, H, W) float."""
    picture = (read_image(path)[0] * 255).round()
    hits = [(picture - torch.tensor(c).view(3, 1, 1)).abs().amax(0) < 12 for c in colours]
    return torch.stack(hits).any(0)[None].float()


@pytest.fixture(scope="module")
def agreement(real_pairs):
    """Function of tile width (metres) and heading error (degrees): mean correlation over the ten London pairs."""
    index = read_folder(real_pairs / "london")
    pairs = [(g.heading, painted(g.also["label"], STREET), painted(a.also["label"], PAVED)[0])
             for g, a in zip(index.ground, index.aerial, strict=True)]  # fmt: skip

    def measure(metres: float, error: float) -> float:
        values = []
        for heading, street, paved in pairs:
            seen = sample(street, bird_eye_grid(256, metres, heading=heading + error), padding="wrap")[0]
            values.append(np.corrcoef(seen.flatten(), paved.flatten())[0, 1])
        return float(np.mean(values))

    return measure


def test_orientation_is_right(agreement):
    truth = agreement(128, 0)
    assert truth > 0.25
    assert truth > max(agreement(128, error) for error in (-15, 15, 180))
    assert max(agreement(128, error) for error in (90, 270)) < 0  # streets run both ways, not across


def test_scale_and_camera_height_are_right(agreement):
    """Overlapping tiles with known places give 0.50 m per pixel, 128 m a tile; the projection agrees."""
    widths = [64, 90, 128, 180, 256]
    values = [agreement(width, 0) for width in widths]
    assert widths[int(np.argmax(values))] == 128, values
