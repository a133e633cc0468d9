"""Sightline maps against a loop, and what a heat map says: sets, regions, entropy, expected error."""

import math

import numpy as np
import pytest
import torch

from xview_demo.geometry import density
from xview_demo.geometry.sightline import bench_sightline, sightline_maps, visible_by_loop, visible_cells


@pytest.mark.parametrize("seed", range(4))
def test_the_ray_cast_is_the_loop(seed):
    generator = torch.Generator().manual_seed(seed)
    blocked = torch.rand(2, 24, 32, generator=generator) < 0.05
    camera = torch.rand(2, 2, generator=generator) * torch.tensor([32.0, 24.0])
    found = visible_cells(blocked, camera).numpy()
    for n in range(2):
        expected = visible_by_loop(blocked[n].numpy(), (float(camera[n, 0]), float(camera[n, 1])))
        assert (found[n] == expected).mean() > 0.998 and not expected.all()


def test_a_wall_throws_a_shadow_and_is_seen_itself():
    blocked = torch.zeros(1, 21, 21, dtype=torch.bool)
    blocked[0, 5, 4:17] = True  # a wall north of the camera
    value = sightline_maps(blocked, torch.tensor([[10.5, 10.5]]), sigma=5.0)[0]
    assert value[10, 10] == 1 and value[5, 10] > 0  # the wall's face
    assert (value[:5, 8:13] == 0).all()  # behind it
    assert value[15, 10].item() == pytest.approx(math.exp(-25 / 50))
    assert value[6, 10] > 0 and value[10, 0] > 0


def test_the_cell_the_camera_stands_in_never_blocks():
    blocked = torch.zeros(1, 9, 9, dtype=torch.bool)
    blocked[0, 4, 4] = True
    assert visible_cells(blocked, torch.tensor([[4.2, 4.8]])).all()


def test_sigma_is_a_quarter_of_the_width():
    value = sightline_maps(torch.zeros(1, 8, 8, dtype=torch.bool), torch.tensor([[4.5, 4.5]]))[0]
    assert value[4, 6].item() == pytest.approx(math.exp(-0.5))


def test_the_benchmark_compares_the_same_thing():
    result = bench_sightline(pixels=24)
    assert result["agree"] > 0.998 and result["speedup"] == pytest.approx(
        result["loop_milliseconds"] / result["milliseconds"]
    )


def test_three_cells_whose_answer_is_known():
    heat = np.zeros((5, 7))
    heat[1, 1], heat[1, 2], heat[4, 6] = 3, 3, 2
    p = density.normalised(heat)
    assert p.sum() == pytest.approx(1) and density.smallest_set(p, 0.75).sum() == 2
    best, second = density.parts(p, 0.9)
    assert (best.mass, second.mass) == pytest.approx((0.75, 0.25))
    assert best.share == pytest.approx(2 / 35) and best.pixel == pytest.approx((2.0, 1.5))
    assert second.pixel == pytest.approx((6.5, 4.5))
    assert len(density.parts(p, 0.5)) == 1
    assert density.entropy_bits(p) == pytest.approx(-2 * 0.375 * math.log2(0.375) - 0.25 * math.log2(0.25))
    assert density.expected_distance(p, (1.5, 1.5)) == pytest.approx(0.375 * 0 + 0.375 * 1 + 0.25 * math.hypot(5, 3))
    assert density.holds(best.cells, (1.0, 1.99)) and not density.holds(best.cells, (-0.1, 1.5))


def test_corners_touch():
    p = density.normalised(np.eye(4))
    assert len(density.parts(p, 1.0)) == 1


def test_a_certain_and_an_even_map():
    one = np.zeros((4, 4))
    one[2, 3] = 1
    assert density.entropy_bits(one) == 0 and density.peak(one) == (3.5, 2.5)
    assert density.entropy_bits(np.full((4, 4), 1 / 16)) == pytest.approx(4)
    assert density.smallest_set(one, 0.95).sum() == 1


def test_the_peak_is_finer_than_a_cell():
    rows, columns = np.mgrid[:20, :20] + 0.5
    p = density.normalised(np.exp(-((columns - 8.3) ** 2 + (rows - 12.1) ** 2) / 1.0))
    assert density.peak(p) == pytest.approx((8.3, 12.1), abs=0.1)


@pytest.mark.parametrize("heat", [np.zeros((3, 3)), np.full((3, 3), -1.0), np.full((3, 3), np.nan), np.ones(3)])
def test_what_is_no_probability_is_refused(heat):
    with pytest.raises(ValueError, match="no probability"):
        density.normalised(heat)
    with pytest.raises(ValueError, match="mass of 0"):
        density.smallest_set(np.full((2, 2), 0.25), 0)
