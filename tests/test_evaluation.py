"""Evaluation: protocols, and numbers whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from train.pictures import tiny_model, with_helpers
from xview_demo import evaluation, metrics, zoo
from xview_demo.composed import composed
from xview_demo.data import read_world
from xview_demo.errors import XViewError
from xview_demo.evaluation.cost import cost
from xview_demo.evaluation.describing import Descriptors, describe, describe_both, seen
from xview_demo.evaluation.protocol import places
from xview_demo.evaluation.reranking import reranked
from xview_demo.evaluation.retrieval import match, search
from xview_demo.evaluation.synthesis import frechet
from xview_demo.models.depth.unet import UNetDepth
from xview_demo.models.matching.azimuth import AzimuthMatcher
from xview_demo.models.matching.bird_eye_correlation import BirdEyeCorrelation
from xview_demo.models.segmentation.unet import UNetSegmenter
from xview_demo.world import World, split_of

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
    columns = torch.nn.functional.normalize(torch.randn(40, matcher.channels * matcher.bins), dim=1)
    gallery = columns.repeat(1, len(matcher.centres)) / len(matcher.centres) ** 0.5  # alike from each place within
    north = gallery[:10]
    headings = np.arange(10) * 360 / matcher.bins * 5
    own = torch.stack([g.view(-1, matcher.bins).roll(-5 * n, -1).flatten() for n, g in enumerate(north)])
    found = Descriptors(north, own, gallery, headings, np.eye(10, 40, dtype=bool))
    known, unknown = match(matcher, found, "known"), match(matcher, found, "unknown")
    assert known["r@1"] == unknown["r@1"] == 100 and known["chance"] == 2.5
    assert known["heading_error_deg"] is None and unknown["heading_error_deg"] < 1e-3
    assert known["interval"] == [100, 100] and known["median_rank"] == 1
    covers = np.roll(np.eye(10, 40, dtype=bool), 1, 1)
    covers[0, 0] = True
    overlapping = match(matcher, replace(found, covers=covers), "known")
    assert overlapping["hit_rate"] == 10 and "hit_rate" not in known
    assert "listed" not in known and unknown["listed"] == unknown["listed_of_right"] == 100
    assert match(composed(matcher), found, "unknown")["listed"] == 100
    lost = Descriptors(north.flip(0), own.flip(0), gallery, headings, np.eye(10, 40, dtype=bool))
    assert match(matcher, lost, "known")["r@1"] == 0
    missed = match(matcher, lost, "unknown")
    assert missed["listed"] < 60 and missed["listed_of_right"] is None
    with pytest.raises(XViewError, match="known or unknown"):
        match(matcher, found, "north")


def test_the_temperature_is_recovered():
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 0.3, (4000, 20))
    weight = np.exp(scores / 0.1)
    truth = np.array([rng.choice(20, p=w / w.sum()) for w in weight])
    assert evaluation.fit_temperature(scores, truth) == pytest.approx(0.1, rel=0.06)


def test_what_is_always_right_is_not_taken_to_be_certain():
    scores = np.random.default_rng(0).normal(0, 1, (48, 20))
    truth = scores.argmax(1)
    temperature = evaluation.fit_temperature(scores, truth)
    mass = np.exp((scores - scores.max(1, keepdims=True)) / temperature)
    assert (mass.max(1) / mass.sum(1)).mean() == pytest.approx(49 / 50, abs=2e-3)


def test_frechet_distance_of_shifted_gaussians():
    a = np.random.default_rng(0).normal(size=(500, 3))
    assert frechet(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet(a, a + [2.0, 0, 0]) == pytest.approx(4, abs=1e-6)


@pytest.mark.parametrize("view", ["ground", "aerial"])
def test_segmentation_reports_every_class_and_draws_them(view, tmp_path):
    result = evaluation.evaluate_segmentation(
        UNetSegmenter(view, channels=(16, 16, 8, 8)).eval(), protocol=TINY, sheet=tmp_path / "sheet.png"
    )
    assert result["n"] == 3 and result["view"] == view and 0 <= result["miou"] <= 1 and 0 < result["chance"] < 1
    assert list(result["iou"]) == list(evaluation.dense.CLASSES)
    assert np.asarray(Image.open(tmp_path / "sheet.png")).std() > 20


def test_calibrated_classes_are_no_worse():
    torch.manual_seed(0)
    net = UNetSegmenter("ground", channels=(16, 16, 8, 8)).eval()
    before = evaluation.evaluate_segmentation(net, protocol=TINY)["miou"]
    shift = evaluation.calibrate_classes(net, TINY)
    assert evaluation.evaluate_segmentation(net, protocol=TINY)["miou"] > before and any(shift)


def test_depth_is_measured_and_drawn(tmp_path):
    class Oracle(UNetDepth):
        def predict(self, image, panorama=None, rows=None, camera_height=None):
            return torch.full((1, 128, 512), 10.0 if camera_height is None else 1e3)

    result = evaluation.evaluate_depth(Oracle(channels=(16, 16, 8, 8)), protocol=TINY, sheet=tmp_path / "sheet.png")
    assert result["abs_rel_known_height"] > 5 * result["abs_rel"]
    assert result["abs_rel"] > result["chance"] > 0 and result["n"] == 3
    assert Image.open(tmp_path / "sheet.png").width > 3 * 512


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


def test_tiles_of_worlds_stand_among_the_real_ones(real_pairs, matcher):
    def world(seed, **_):
        assert split_of(seed) == "validation"
        return World(seed, size=260, resolution=1.0)

    alone = evaluation.evaluate_real_pairs(real_pairs, matcher)
    among = evaluation.evaluate_real_pairs(
        real_pairs, matcher, rerank=BirdEyeCorrelation(resolution=1.6), distractors=7, world=world
    )
    assert (alone["gallery"], among["gallery"], among["distractors"]) == (15, 22, 7)
    assert among["chance"] == pytest.approx(100 / 22) and among["rerank"] == "BirdEyeCorrelation"
    plain = evaluation.evaluate_real_pairs(real_pairs, matcher, distractors=7, world=world)
    assert plain["r@1"] <= alone["r@1"]


def test_a_folder_without_pairs_is_told(tmp_path):
    with pytest.raises(XViewError, match="<set>/ground"):
        evaluation.real_pairs(tmp_path)


def test_an_honest_confidence_has_no_calibration_error():
    rng = np.random.default_rng(0)
    stated = rng.uniform(0, 1, 20_000)
    right = rng.uniform(0, 1, len(stated)) < stated
    assert metrics.reliability(stated, right)["ece"] < 0.02
    boast = metrics.reliability(np.ones(10), np.arange(10) < 4)
    assert boast["ece"] == pytest.approx(0.6) and boast["count"] == [10] and boast["accuracy"] == [0.4]
    curve = metrics.abstention(stated, right)
    assert curve["10"] > curve["50"] > curve["100"] and curve["10"] == pytest.approx(95, abs=2)


def test_a_narrow_view_is_masked_and_still_matched(matcher):
    mask = seen(torch.zeros(2, 3, 8, 360), 90)
    assert mask.shape == (2, 1, 8, 360) and mask[0, 0, 0].sum() == 90 and mask[0, 0, 0, 135:225].all()
    wide = describe(matcher, TINY)
    narrow = describe(matcher, TINY, fov=90)
    assert torch.equal(wide.gallery, narrow.gallery) and not torch.equal(wide.own, narrow.own)
    assert wide.away.shape == (3, 5) and wide.away[0, 0] <= 3
    result = evaluation.evaluate_matching(matcher, heading="unknown", fov=90, protocol=TINY)
    assert result["fov"] == 90 and result["n"] == 3 and "metre_error" in result and "listed" not in result
    with pytest.raises(XViewError, match="field of view"):
        evaluation.evaluate_matching(matcher, fov=0, protocol=TINY)


def test_a_data_set_is_measured_and_drawn(matcher, tmp_path):
    index = read_world(2, "test", per_world=4, size=260.0, resolution=1.0, exact=True)
    result = evaluation.evaluate_matching(matcher, index=index, figures=tmp_path / "figures")
    assert (result["n"], result["gallery"], result["data"], result["seeds"]) == (8, 8, "world", None)
    assert set(result["abstention"]) == {"10", "25", "50", "75", "100"}
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"recall.png", "confidence.png", "matches.png", "worst.png", "descriptors.png"}
    assert Image.open(tmp_path / "figures" / "worst.png").width > 600


def test_a_narrow_view_has_a_temperature_of_its_own(tmp_path):
    matcher = AzimuthMatcher(channels=4, widths=(8, 8, 16, 16)).eval()
    fitted = evaluation.calibrate(matcher, TINY)
    assert list(fitted)[:2] == ["known, 360°", "unknown, 360°"] and len(fitted) == 2 * len(matcher.fields)
    matcher.calibrate({360.0: (0.1, 0.2), 180.0: (0.3, 0.4), 90.0: (0.5, 0.6)})
    matcher.save_pretrained(tmp_path)
    matcher = AzimuthMatcher.from_pretrained(tmp_path)
    query = torch.ones(5, matcher.dimension // matcher.bins, matcher.bins)
    for row, bins in enumerate((64, 32, 16, 8, 48)):  # 360, 180, 90, 45 and 270°
        query[row, :, bins:] = 0
    assert matcher.temperature(query.flatten(1), True)[:4].tolist() == pytest.approx([0.1, 0.3, 0.5, 0.5])
    between = matcher.temperature(query.flatten(1), False)
    assert between[:4].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.6]) and 0.2 < between[4] < 0.4
    other = BirdEyeCorrelation(calibration=(0.1, 0.2))
    assert other.temperature(query, False).tolist() == pytest.approx([0.2] * 5)


def test_few_queries_are_turned_where_each_turn_takes_a_synthetic_view(matcher):
    costly = with_helpers(tiny_model("joint-fusion-vgg-world"), tiny=True)
    known, unknown = describe_both(costly, TINY, few=2)
    assert len(known[360.0].north) == 3 and not len(known[360.0].own)
    assert len(unknown[360.0].own) == 2 and not len(unknown[360.0].north)
    assert len(known[360.0].gallery) == len(unknown[360.0].gallery) == 5
    assert match(costly, known[360.0], "known")["n"] == 3 and match(costly, unknown[360.0], "unknown")["n"] == 2
    known, unknown = describe_both(matcher, TINY, few=2)
    assert known is unknown and set(known) == set(matcher.fields) and len(known[90.0].own) == 3


def test_reranking_keeps_the_rest_in_its_place(matcher):
    dense = BirdEyeCorrelation(headings=8)
    found = describe(matcher, TINY)
    for heading in ("known", "unknown"):
        first = search(matcher, found, heading)
        again = reranked(dense, first, describe(dense, TINY), heading, k=2)
        before, after = (np.argsort(-s.scores, 1, kind="stable") for s in (first, again))
        assert np.array_equal(before[:, 2:], after[:, 2:]) and np.array_equal(np.sort(before), np.sort(after))
        assert ((again.confidence > 0) & (again.confidence <= 1)).all()
    fitted = evaluation.calibrate_fusion(dense, matcher, TINY)
    assert dense.fusion == tuple(fitted.values()) and dense.fusion[:2] == (3.0, 8.0)


@pytest.mark.parametrize("name", [name for name in zoo.list_models() if zoo.get(name).tiny])
def test_every_model_has_a_cost(name):
    entry = zoo.get(name)
    found = cost(name, entry.load_class()(**entry.tiny).eval())
    assert found["parameters"] > 0 and found["gflop"] > 0 and found["milliseconds"] > 0
