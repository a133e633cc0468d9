"""Pictures of results: sizes, colours and boxes where they belong."""

import numpy as np
import pytest
import torch
from PIL import Image

from xview_demo import viz
from xview_demo.classes import PALETTE
from xview_demo.errors import XViewError
from xview_demo.outputs import Match, Segmentation


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 160, 3), dtype=np.uint8)


def matches(*metres: float | None) -> list[Match]:
    return [Match(rank, 0.9 / rank, f"t{rank}", (51.5, 0.1 * rank), m) for rank, m in enumerate(metres, 1)]


def test_any_picture_becomes_one_kind(picture):
    tensor = torch.from_numpy(picture).permute(2, 0, 1) / 255
    for other in (tensor, tensor[None], Image.fromarray(picture), picture.astype(np.float32) / 255):
        assert np.array_equal(viz.to_array(other), picture)
    assert viz.to_array(picture[..., 0]).shape == picture.shape
    with pytest.raises(XViewError, match="no picture"):
        viz.to_array(np.zeros((4, 5, 7)))


def test_overlay_runs_from_the_picture_to_the_classes(picture):
    found = Segmentation(np.full((20, 80), 3, np.uint8))
    assert np.array_equal(viz.overlay_view(picture, found, 0.0), picture)
    assert (viz.overlay_view(picture, found, 1.0) == PALETTE[3]).all()


def test_legend_shows_only_what_occurs(picture):
    full, some = viz.with_legend(picture), viz.with_legend(picture, {"road": 0.7, "sky": 0.3, "water": 0.001})
    colours = {tuple(c) for c in some.reshape(-1, 3)}
    assert tuple(PALETTE[4]) in colours and tuple(PALETTE[6]) not in colours
    assert full.shape[0] >= some.shape[0] > picture.shape[0]
    assert np.array_equal(some[:40, :160], picture)


def test_depth_darkens_with_distance():
    metres = np.linspace(2, 60, 40, dtype=np.float32)[:, None].repeat(240, 1)
    metres[:5] = np.inf
    drawn = viz.depth_map(metres, bar=False).astype(int)
    assert drawn.shape == (40, 240, 3)
    assert (drawn[:5] == drawn[0, 0]).all()
    assert (np.diff(drawn[5:, 0].sum(-1)) <= 3).all() and drawn[5, 0].sum() > drawn[-1, 0].sum() + 300
    assert viz.depth_map(metres).shape[0] > 40


def test_true_match_is_the_nearest_that_covers_the_position():
    assert viz.true_match(matches(300.0, 12.0, 30.0)) == 1
    assert viz.true_match(matches(300.0, 80.0)) is None
    assert viz.true_match(matches(None, None)) is None


def test_only_the_true_match_is_boxed(picture):
    tiles = [picture[:, :40]] * 3
    drawn = viz.match_tiles(tiles, matches(300.0, 12.0, 30.0), size=64)
    assert [tuple(tile[0, 0]) == viz.TRUTH for tile in drawn] == [False, True, False]
    strip = viz.match_strip(tiles, matches(300.0, 12.0, 30.0), size=64, columns=2)
    assert strip.shape[1] == 2 * 64 + 8 and strip.shape[0] > 2 * 64


def test_a_veil_fades_what_is_not_shown():
    dark = np.zeros((40, 60, 3), np.uint8)
    veiled = viz.veiled(dark, np.array([[True, False]]))
    assert (veiled[:, :30] == 0).all() and (veiled[:, 30:] > 100).all()


def test_compass_marks_north_where_the_camera_looks(picture):
    wide = picture.repeat(4, 1)
    ruler = viz.compass(wide, heading=0.0)[40:].astype(int)
    red = (ruler[..., 0] - ruler[..., 1] > 80).any(0)
    assert abs(np.flatnonzero(red).mean() - wide.shape[1] / 2) < 6
    unknown = viz.compass(wide, heading=None)[40:].astype(int)
    assert not (unknown[..., 0] - unknown[..., 1] > 80).any()


def test_charts_are_pictures():
    latlons = np.stack(np.meshgrid(51.5 + np.arange(4) * 6e-4, np.arange(4) * 9e-4), -1).reshape(-1, 2)
    chart = viz.area_map(latlons, np.full(16, 1 / 16), matches(10.0)[:0], truth=(51.5, 0.0))
    curve = viz.recall_curve({"ours": {1: 50.0, 5: 80.0}}, chance=100)
    for drawn in (chart, curve, viz.area_map(latlons[:1], np.ones(1))):
        assert drawn.dtype == np.uint8 and drawn.ndim == 3 and drawn.shape[-1] == 3 and drawn.std() > 5


def test_pairs_have_one_size(picture):
    first, second = viz.slider_pair(picture, torch.rand(3, 9, 9), 64)
    assert first.shape == second.shape == (64, 64, 3)


def test_files_are_whole_and_of_a_known_kind(picture, tmp_path):
    path = viz.save(picture, tmp_path / "new" / "a.png")
    assert np.array_equal(np.asarray(Image.open(path)), picture)
    assert viz.save(picture, tmp_path / "plain").suffix == ".png"
    with pytest.raises(XViewError, match=".xyz"):
        viz.save(picture, tmp_path / "a.xyz")


@pytest.mark.parametrize("metres, text", [(12.4, "12 m"), (1400, "1.4 km"), (321_000, "321 km")])
def test_distances_for_people(metres, text):
    assert viz.metres_text(metres) == text
