"""The verifier: what it lays upon what, and that it asks the first matcher where the view was taken."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from train import augment, cache
from train.engine import Settings, generator_of
from train.verification import VerifierMethod, described
from xview_demo import evaluation, zoo
from xview_demo.evaluation.protocol import fit_fusion
from xview_demo.models.matching.azimuth import AzimuthMatcher, polar_pictures
from xview_demo.models.matching.azimuth_verifier import AzimuthVerifier


@pytest.fixture(scope="module")
def verifier():
    torch.manual_seed(0)
    net = AzimuthVerifier(**zoo.get("azimuth-verifier-world").tiny).eval()
    for part in net.modules():  # a block starts as the identity
        if isinstance(part, torch.nn.GroupNorm):
            torch.nn.init.ones_(part.weight)
    torch.nn.init.normal_(net.evidence.weight, std=3.0)
    return net


@pytest.fixture(scope="module")
def view():
    generator = torch.Generator().manual_seed(2)
    strip = F.interpolate(torch.rand(1, 3, 16, 64, generator=generator), (128, 256), mode="bilinear")
    tile = F.interpolate(torch.rand(1, 3, 16, 16, generator=generator), (128, 128), mode="bilinear")
    return strip, tile


def middle(fov):
    mask = torch.zeros(1, 1, 128, 256)
    half = round(fov / 360 * 128)
    mask[..., 128 - half : 128 + half] = 1
    return mask


@torch.no_grad()
def judged(net, strip, mask, tile, heading=0.0, place=(0.0, 0.0)):
    return net.verify(strip, mask, tile[:, None], torch.tensor([[heading]]), torch.tensor([[place]])).item()


def test_turning_the_camera_and_the_heading_together_changes_nothing(verifier, view):
    strip, tile = view
    before = judged(verifier, strip, middle(360), tile)
    assert judged(verifier, strip.roll(-64, -1), middle(360), tile, 90.0) == pytest.approx(before, rel=1e-3)
    assert judged(verifier, strip, middle(360), tile, 90.0) != pytest.approx(before, rel=1e-2)


def test_turning_the_tile_against_the_heading_changes_nothing(verifier, view):
    strip, tile = view
    before = judged(verifier, strip, middle(90), tile, 30.0, (2.0, 0.0))
    turned = tile.rot90(1, (2, 3))  # north is now on the left, so what lay in the east lies in the north
    assert judged(verifier, strip, middle(90), turned, 300.0, (0.0, 2.0)) == pytest.approx(before, rel=1e-3)


def test_only_what_a_narrow_view_shows_counts(verifier, view):
    strip, tile = view
    before = judged(verifier, strip, middle(90), tile)
    elsewhere = strip.clone()
    elsewhere[..., :80] = 0.3
    assert judged(verifier, elsewhere, middle(90), tile) == pytest.approx(before, rel=1e-5)
    assert judged(verifier, elsewhere, middle(180), tile) != pytest.approx(judged(verifier, strip, middle(180), tile))


def test_a_view_turned_to_north_is_judged_as_it_was_taken(verifier, view):
    strip, tile = view
    mask = middle(90)
    reference = verifier.encode_aerial(tile)
    own = verifier.encode_ground(strip * mask, mask)[0]
    north = verifier.encode_ground((strip * mask).roll(100, -1), mask.roll(100, -1))[0]
    heading = 100 * 360 / 256
    taken = verifier.judge(own, reference, torch.tensor([heading]))
    assert verifier.judge(north, reference, torch.zeros(1)) == pytest.approx(taken, rel=1e-3)


def test_reranking_adds_the_first_score_with_its_weight(verifier, view):
    strip, tile = view
    reference, query = verifier.encode_aerial(tile).expand(3, -1), verifier.encode_ground(strip)[0]
    first, places = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 0.0]])
    scores, temperature, fit = verifier.rerank(query, reference, first, torch.tensor([0.0, 0.0, 45.0]), places)
    assert temperature == verifier.fusion[3] and torch.equal(fit.east_north, places)
    assert torch.allclose(scores, fit.score + verifier.fusion[1] * first)
    assert len(fit.score.unique()) == 3
    alone, _, _ = verifier.rerank(query, reference, first, None)
    assert torch.allclose(alone - verifier.fusion[0] * first, fit.score[:1].expand(3), atol=1e-4)


def test_all_pairs_can_be_compared(verifier, view):
    strip, tile = view
    query, reference = verifier.encode_ground(strip), verifier.encode_aerial(torch.cat((tile, tile.flip(3))))
    scores, headings = verifier.score(query, reference)
    assert scores.shape == headings.shape == (1, 2)
    assert (scores >= verifier.aligned(query, reference)).all()
    assert (headings % (360 / verifier.headings) == 0).all()


@pytest.mark.parametrize("place", (0, 3))
@pytest.mark.parametrize("known", (False, True))
def test_the_matcher_says_from_where_and_looking_where(place, known):
    torch.manual_seed(1)
    net = AzimuthMatcher(channels=4, widths=(8, 8, 16, 16))
    shape = (2, len(net.centres), net.channels * net.bins)
    tiles = F.normalize(torch.randn(shape), dim=2)
    turn = 0 if known else 9
    seen = tiles[1, place].view(net.channels, net.bins).roll(-turn, 1).flatten()
    query, reference = (x / math.sqrt(shape[1]) for x in (seen.repeat(shape[1]), tiles.flatten(1)))
    headings, places = net.poses(query, reference, known)
    assert headings[1] == turn * 360 / net.bins
    assert places[1].tolist() == pytest.approx(net.centres[place])


def test_the_fusion_of_two_judgements_is_fitted():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 20, 3000)
    scores, others = generator.normal(0, 1, (2, 3000, 20))
    logits = (scores + 0.4 * others) / 0.5
    drawn = (logits + generator.gumbel(size=logits.shape)).argmax(1)  # the right one, as a softmax would have it
    weight, temperature = fit_fusion(scores, others, drawn)
    assert weight == pytest.approx(0.4, rel=0.1) and temperature == pytest.approx(0.5, rel=0.1)
    assert fit_fusion(scores, others, truth)[1] > 5  # nothing tells which is right


def test_the_weights_are_fitted_and_kept(verifier):
    torch.manual_seed(3)
    matcher = AzimuthMatcher(channels=4, widths=(8, 8, 16, 16)).eval()
    sizes = {"worlds": 1, "queries": 3, "tiles": 4, "size": 260.0, "resolution": 1.0}
    protocol = evaluation.Protocol(first_seed=evaluation.VALIDATION, **sizes)
    fitted = evaluation.calibrate_verifier(verifier, matcher, protocol)
    assert list(fitted.values()) == list(verifier.fusion) == verifier._hub_mixin_config["fusion"]
    assert all(value > 0 for value in fitted.values())


@pytest.fixture(scope="module")
def method(tmp_path_factory):
    folder = cache.build(cache.SMOKE, tmp_path_factory.mktemp("cache"), 1)
    options = {"first": "tiny", "worlds": 2, "among": 4, "candidates": 3, "colour": 0.0, "turn": 0.0, "offset": 0.0}
    settings = Settings("azimuth-verifier-world", 4, 4, 1e-3, zoo.get("azimuth-verifier-world").tiny, options=options)
    return VerifierMethod(settings, cache.Cache(folder))


def test_the_right_tile_of_a_batch_lies_as_the_view_does(method, monkeypatch):
    monkeypatch.setattr(augment, "roughen", lambda image, generator: image)
    method.options["scale"] = 0.0
    batch = method.batch(generator_of(0, 0))
    assert batch.tiles.shape[:2] == batch.headings.shape == (4, 3) and batch.places.shape == (4, 3, 2)
    whole = slice(0, method.model.columns)
    ground = polar_pictures(batch.strip, batch.mask, method.model.rows, method.model.columns)[1][:, :3]
    alike = []
    for heading in (0.0, 90.0, 180.0, 270.0):
        turned = batch.headings[:, 0] + heading
        above = method.model._unrolled(batch.tiles[:, 0], turned, batch.places[:, 0], whole)
        near = slice(method.model.rows // 2, -8)
        alike.append(F.cosine_similarity(ground[..., near, :].flatten(1), above[..., near, :].flatten(1)))
    assert torch.stack(alike).mean(1).argmax() == 0


def test_wrong_tiles_are_of_other_places_and_resampled_alike(method):
    for step in range(4):
        batch = method.batch(generator_of(0, step))
        off = batch.headings % 90
        assert ((off > 1e-3) & (off < 90 - 1e-3)).all()  # none is cut along its pixels
        assert not torch.isclose(batch.tiles[:, :1], batch.tiles[:, 1:], atol=1e-3).flatten(2).all(2).any()


def test_tiles_are_described_once(method, monkeypatch):
    monkeypatch.setattr(method.first, "encode_aerial", lambda tile: pytest.fail("described again"))
    again = described(method.cache, method.first)
    assert torch.equal(again, method.described)
