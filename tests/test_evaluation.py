"""Evaluation: protocols, and numbers whose answer is known."""

import numpy as np
import pytest
import torch

from xview_demo import evaluation
from xview_demo.errors import XViewError
from xview_demo.evaluation.matching import Descriptors, match
from xview_demo.evaluation.protocol import places
from xview_demo.evaluation.synthesis import frechet
from xview_demo.models.depth.unet import UNetDepth
from xview_demo.models.matching.azimuth import AzimuthMatcher
from xview_demo.models.segmentation.unet import UNetSegmenter

TINY = evaluation.Protocol(worlds=1, queries=3, tiles=5, size=260.0, resolution=1.0)


@pytest.fixture(scope="module")
def matcher():
    return AzimuthMatcher(channels=4, widths=(8, 8, 16, 16)).eval()


def test_the_protocol_holds_a_thousand_queries_and_ten_thousand_tiles():
    protocol = evaluation.Protocol()
    assert protocol.worlds * protocol.queries == 1000 and protocol.worlds * protocol.tiles == 10_000
    assert protocol.seeds == [950_000, 950_039]
    small = protocol.scaled(50, 500)
    assert (small.worlds, small.queries, small.tiles) == (2, 25, 250)
    with pytest.raises(XViewError, match="ask for a larger one"):
        protocol.scaled(100, 50)


def test_places_hold_the_true_tile_first():
    (place,) = places(TINY)
    assert place.ground.colour.shape == (3, 3, 128, 512) and place.aerial.shape == (5, 3, 256, 256)
    assert place.right[[0, 1, 2], [0, 1, 2]].all() and place.ground.headings.unique().numel() == 3


def test_a_perfect_matcher_scores_perfectly(matcher):
    torch.manual_seed(0)
    gallery = torch.nn.functional.normalize(torch.randn(40, matcher.dimension), dim=1)
    north = gallery[:10]
    headings = np.arange(10) * 360 / matcher.bins * 5
    own = torch.stack([g.view(4, -1).roll(-5 * n, -1).flatten() for n, g in enumerate(north)])
    found = Descriptors(north, own, gallery, headings, np.eye(10, 40, dtype=bool))
    known, unknown = match(matcher, found, "known"), match(matcher, found, "unknown")
    assert known["r@1"] == unknown["r@1"] == 100 and known["chance"] == 2.5
    assert known["heading_error_deg"] is None and unknown["heading_error_deg"] < 1e-3
    assert known["interval"] == [100, 100] and known["median_rank"] == 1
    lost = Descriptors(north.flip(0), own.flip(0), gallery, headings, np.eye(10, 40, dtype=bool))
    assert match(matcher, lost, "known")["r@1"] == 0
    with pytest.raises(XViewError, match="known or unknown"):
        match(matcher, found, "north")


def test_the_temperature_is_recovered():
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 0.3, (4000, 20))
    weight = np.exp(scores / 0.1)
    truth = np.array([rng.choice(20, p=w / w.sum()) for w in weight])
    assert evaluation.fit_temperature(scores, truth) == pytest.approx(0.1, rel=0.06)


def test_frechet_distance_of_shifted_gaussians():
    a = np.random.default_rng(0).normal(size=(500, 3))
    assert frechet(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet(a, a + [2.0, 0, 0]) == pytest.approx(4, abs=1e-6)


@pytest.mark.parametrize("view", ["ground", "aerial"])
def test_segmentation_reports_every_class(view):
    result = evaluation.evaluate_segmentation(UNetSegmenter(view, channels=(16, 16, 8, 8)).eval(), protocol=TINY)
    assert result["n"] == 3 and result["view"] == view and 0 <= result["miou"] <= 1 and 0 < result["chance"] < 1
    assert list(result["iou"]) == list(evaluation.dense.CLASSES)


def test_calibrated_classes_are_no_worse():
    torch.manual_seed(0)
    net = UNetSegmenter("ground", channels=(16, 16, 8, 8)).eval()
    before = evaluation.evaluate_segmentation(net, protocol=TINY)["miou"]
    shift = evaluation.calibrate_classes(net, TINY)
    assert evaluation.evaluate_segmentation(net, protocol=TINY)["miou"] > before and any(shift)


def test_depth_of_the_truth_would_be_zero():
    class Oracle(UNetDepth):
        def predict(self, image, panorama=None, rows=None):
            return torch.full((1, 128, 512), 10.0)

    result = evaluation.evaluate_depth(Oracle(channels=(16, 16, 8, 8)), protocol=TINY)
    assert result["abs_rel"] > result["chance"] > 0 and result["n"] == 3


def test_synthesis_is_compared_with_the_mean_tile(matcher):
    torch.manual_seed(0)
    segmenter = UNetSegmenter("aerial", channels=(16, 16, 8, 8)).eval()
    result = evaluation.evaluate_synthesis(("bird-eye",), segmenter=segmenter, matcher=matcher, protocol=TINY)
    assert set(result["methods"]) == {"mean-tile", "bird-eye"} and result["n"] == 3
    for values in result["methods"].values():
        assert set(values) == {"psnr", "ssim", "perceptual", "frechet", "miou", "retrieval_r@1"}
        assert np.isfinite(list(values.values())).all()


def test_real_pairs_are_fifteen(real_pairs, matcher):
    pairs = evaluation.real_pairs(real_pairs)
    assert len(pairs) == 15 and all(view.heading is not None for view, _ in pairs)
    result = evaluation.evaluate_real_pairs(real_pairs, matcher, heading="unknown")
    assert result["n"] == 15 and result["chance"] == pytest.approx(100 / 15)


def test_a_folder_without_pairs_is_told(tmp_path):
    with pytest.raises(XViewError, match="<set>/ground"):
        evaluation.real_pairs(tmp_path)
