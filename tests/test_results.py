"""Errors, files, classes, results and metrics."""

import json
import math

import numpy as np
import pytest
import torch

from xview_demo import metrics
from xview_demo.classes import ADE20K_GROUPS, CLASSES, PALETTE, colourize, from_ade20k, label_colours
from xview_demo.errors import DataError, GalleryError, ImageError, ModelError, XViewError
from xview_demo.files import atomic_path, write_json
from xview_demo.outputs import Depth, Localization, Match, Pose, Region, Segmentation, Synthesis
from xview_demo.views import AerialView


def test_errors_are_value_errors():
    for error in (ImageError, GalleryError, DataError, ModelError):
        assert issubclass(error, XViewError) and issubclass(error, ValueError)


# Files


def test_file_is_whole_or_absent(tmp_path):
    target = tmp_path / "deep" / "a.txt"
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(target.parent.iterdir()) == []
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".txt" and not target.exists()
        temporary.write_text("whole")
    assert target.read_text() == "whole" and len(list(target.parent.iterdir())) == 1


def test_folder_replaces_folder(tmp_path):
    target = tmp_path / "g"
    for text in ("old", "new"):
        with atomic_path(target) as folder:
            folder.mkdir()
            (folder / text).touch()
    assert [p.name for p in target.iterdir()] == ["new"] and [p.name for p in tmp_path.iterdir()] == ["g"]


def test_json_round_trip(tmp_path):
    content = {"ü": [1, None, 2.5]}
    assert json.loads(write_json(tmp_path / "a.json", content).read_text()) == content


# Classes


def test_ade20k_maps_eighteen_ids():
    labels = np.arange(150)
    mapped = from_ade20k(labels)
    assert (mapped > 0).sum() == 18 == sum(len(ids) for ids in ADE20K_GROUPS.values())
    assert mapped[[0, 1, 2, 4, 6, 9, 21, 46, 149]].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0]
    np.testing.assert_array_equal(from_ade20k(labels + 1, zero_based=False), mapped)
    assert from_ade20k(np.array([255])).tolist() == [0] and from_ade20k(np.array([0]), zero_based=False).tolist() == [0]


def test_colours_tell_the_classes_apart():
    labels = np.random.default_rng(0).integers(0, 8, (20, 30)).astype(np.uint8)
    painted = colourize(labels)
    assert painted.shape == (20, 30, 3) and len(np.unique(PALETTE, axis=0)) == len(CLASSES)
    np.testing.assert_array_equal(label_colours(painted), labels)
    noisy = np.clip(painted.astype(int) + np.random.default_rng(1).integers(-9, 10, painted.shape), 0, 255)
    np.testing.assert_array_equal(label_colours(noisy.astype(np.uint8)), labels)


# Results


def test_segmentation_areas_and_overlay():
    labels = np.zeros((4, 8), np.uint8)
    labels[:, :2] = 4
    result = Segmentation(labels)
    assert result.areas["road"] == 0.25 and result.areas["water"] == 0 and sum(result.areas.values()) == 1
    picture = torch.ones(3, 4, 8)
    np.testing.assert_array_equal(result.overlay(picture, 1.0), result.colours())
    assert (result.overlay(picture, 0.0) == 255).all()
    assert result.overlay(AerialView(picture)).dtype == np.uint8
    with pytest.raises(ValueError, match="resize"):
        result.overlay(torch.ones(3, 5, 8))


def test_results_become_json():
    segmentation = Segmentation(np.zeros((4, 4), np.uint8))
    matches = (Match(1, 0.9, "a", (1.0, 2.0), 3.5, 90.0), Match(2, 0.5, "b", None))
    place = Localization(matches, 90.0, 0.7, np.array([0.7, 0.3], np.float32), (1.0, 2.001))
    results = [
        segmentation,
        Synthesis(AerialView(torch.zeros(3, 16, 16), 0.25), segmentation, "bird-eye"),
        Depth(np.array([[1.0, 3.0, np.inf]], np.float32)),
        Depth(np.full((2, 2), np.inf, np.float32)),
        place,
        Pose(np.full((2, 2), 0.25), (1.0, -1.0), None, None, 0.5, (Region(0.5, 0.25, (0.0, 1.0)),)),
    ]
    for result in results:
        assert json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert results[2].to_dict()["metres"] == {"min": 1.0, "median": 2.0, "max": 3.0}
    points = place.to_geojson()
    assert [f["properties"]["kind"] for f in points["features"]] == ["match", "query"]
    assert points["features"][0]["geometry"]["coordinates"] == [2.0, 1.0]  # longitude first
    json.dumps(points, allow_nan=False)


# Metrics


def test_rank_counts_strictly_better_items():
    scores = np.array([[0.9, 0.5, 0.1], [0.2, 0.8, 0.9], [0.1, 0.2, 0.3], [0.5, 0.5, 0.5]])
    rank = metrics.ranks(scores, [0, 1, 0, 2])
    assert rank.tolist() == [0, 1, 2, 0]
    assert metrics.ranks(scores, [0, 1, 0, 2], ties="half").tolist() == [0, 1, 2, 1]
    assert metrics.recall_at(rank, 1) == 50 and metrics.recall_at(rank, 2) == 75 and metrics.recall_at(rank, 3) == 100


def test_several_right_items_and_none():
    truth = np.array([[True, True, False], [False, False, False]])
    rank = metrics.ranks(np.array([[0.1, 0.5, 0.3], [1, 2, 3]]), truth)
    assert rank.tolist() == [0, math.inf] and metrics.recall_at(rank, 3) == 50


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        (np.zeros((2, 3)), [0, 3], "below 3"),
        (np.zeros((2, 3)), [0], "one index"),
        (np.full((1, 2), np.nan), [0], "NaN"),
        (np.zeros((2, 3)), np.zeros((2, 2), bool), "shape of the scores"),
    ],
)
def test_ranks_refuse(scores, truth, message):
    with pytest.raises(ValueError, match=message):
        metrics.ranks(scores, truth)


def test_one_percent_has_two_conventions():
    assert metrics.k_of_one_percent(8884) == 89 and metrics.k_of_one_percent(8884, "floor") == 88
    assert metrics.k_of_one_percent(15) == 1 == metrics.k_of_one_percent(15, "floor")
    with pytest.raises(ValueError, match="plus_one, floor"):
        metrics.k_of_one_percent(10, "ceil")


def test_recalls_name_what_they_hold():
    found = metrics.recalls(np.array([0, 1, 9, 10]), 1000)
    assert found == {"r@1": 25, "r@5": 50, "r@10": 75, "r@1%": 100, "median_rank": 6.0}
    assert metrics.chance_recall(1000, 10) == 1


def test_random_scores_are_at_chance():
    scores = np.random.default_rng(0).random((2000, 50))
    rank = metrics.ranks(scores, np.arange(2000) % 50)
    assert metrics.recall_at(rank, 5) == pytest.approx(10, abs=2)
    assert np.median(rank) == pytest.approx(24.5, abs=2)


def test_bootstrap_interval_holds_the_mean():
    hits = np.repeat([100.0, 0.0], [30, 70])
    low, high = metrics.bootstrap_interval(hits)
    assert low < 30 < high and high - low == pytest.approx(2 * 1.96 * math.sqrt(0.3 * 0.7 / 100) * 100, rel=0.15)
    assert metrics.bootstrap_interval(hits) == (low, high)
    assert metrics.bootstrap_interval(np.arange(9.0), np.median)[0] >= 0
    assert metrics.bootstrap_interval([7.0]) == (7, 7)
    with pytest.raises(ValueError, match="no values"):
        metrics.bootstrap_interval([])


@pytest.mark.parametrize(("a", "b", "error"), [(0, 0, 0), (359, 1, 2), (10, 190, 180), (-5, 355, 0), (90, 85, 5)])
def test_heading_error_goes_the_short_way(a, b, error):
    assert metrics.heading_error(a, b) == pytest.approx(error)


def test_metre_errors():
    found = metrics.metre_errors([0.0, 1.0, 5.0, 30.0])
    assert found == {"mean_m": 9.0, "median_m": 3.0, "r@1m": 50, "r@3m": 50, "r@5m": 75, "r@10m": 75}


def test_iou_counts_classes_that_occur():
    truth = np.array([[0, 0, 1, 1], [2, 2, 255, 255]])
    predicted = np.array([[0, 0, 1, 0], [2, 2, 7, 3]])
    matrix = metrics.confusion(predicted, truth)
    values = metrics.iou(matrix)
    np.testing.assert_allclose(values[:3], [2 / 3, 1 / 2, 1])
    assert np.isnan(values[3:]).all() and metrics.miou(matrix) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert metrics.iou_by_class(matrix, CLASSES)["sand"] is None
    both = metrics.confusion(np.stack([predicted, predicted]), np.stack([truth, truth]))
    np.testing.assert_array_equal(both, 2 * matrix)
    with pytest.raises(ValueError, match="8 classes"):
        metrics.confusion(np.array([9]), np.array([1]))
    with pytest.raises(ValueError, match="resize"):
        metrics.confusion(np.zeros(3, int), np.zeros(4, int))
    assert math.isnan(metrics.miou(metrics.confusion(np.array([1]), np.array([255]))))


def test_picture_metrics():
    a = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.8
    assert np.isinf(metrics.psnr(a, a)).all() and metrics.ssim(a, a) == pytest.approx([1, 1])
    np.testing.assert_allclose(metrics.psnr(a, a + 0.1), 20, atol=1e-3)
    assert (metrics.ssim(a, 1 - a) < 0.2).all()
    assert metrics.ssim(a[0], a[0]).shape == (1,)
    with pytest.raises(ValueError, match="resize"):
        metrics.psnr(a, a[:, :, :16])


def test_abs_rel_leaves_sky_and_far_out():
    truth = np.array([10.0, 20.0, np.inf, 100.0])
    assert metrics.abs_rel(np.array([11.0, 20.0, 5.0, 1.0]), truth) == pytest.approx(0.05)
    assert math.isnan(metrics.abs_rel(truth, np.full(4, np.inf)))
