"""The matchers of the source systems: published sizes, losses and composition."""

import math
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision.models.vgg import make_layers

from train import losses
from train.pictures import tiny_model
from train.recipes_ladder import LADDER
from xview_demo import Gallery, GeoLocalizer, GroundView, zoo
from xview_demo.classes import PALETTE
from xview_demo.composed import composed
from xview_demo.errors import GalleryError, ModelError
from xview_demo.gallery import Tile
from xview_demo.geometry import roll_columns
from xview_demo.models.matching.feature_fusion import FeatureFusion
from xview_demo.models.matching.gasc_fusion import GascFusion
from xview_demo.models.matching.joint_feature import JointFeature
from xview_demo.models.matching.joint_fusion_vgg import JointFusionVGG
from xview_demo.models.matching.two_stream import MultiScaleEncoder, TwoStream
from xview_demo.models.matching.vgg import VGG16, VGGEncoder
from xview_demo.models.synthesis.bird_eye import BirdEye

REDUCED = {"aerial_size": 64, "ground_size": (32, 128)}  # pixels, with every published width
PUBLISHED = {
    "two-stream": (TwoStream, {}, REDUCED),
    "two-stream on synthetic views": (TwoStream, {"query": "synthetic"}, REDUCED),
    "joint features, shared": (JointFeature, {}, REDUCED),
    "joint features, unshared": (JointFeature, {"shared": False, "query": "synthetic"}, REDUCED),
    "feature fusion": (FeatureFusion, {}, {"joint": REDUCED}),
    "joint fusion": (JointFusionVGG, {}, REDUCED),
    "gasc fusion": (GascFusion, {}, REDUCED),
}


def made_for(model, picture):
    return {kind: picture for kind in model.needs}


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_published_sizes(name):
    cls, keywords, _ = PUBLISHED[name]
    with torch.device("meta"):
        model = cls(**keywords).eval()
        tile = torch.empty(2, 3, 512, 512)
        query, reference = model(torch.empty(2, 3, 224, 1232), tile, **made_for(model, tile))
    assert query.shape == reference.shape == (2, 256 if cls in (JointFusionVGG, GascFusion) else 1000)


def test_published_encoders_have_the_documented_length():
    with torch.device("meta"):
        encoder, model = MultiScaleEncoder(), JointFeature()
        assert encoder(torch.empty(1, 3, 512, 512)).shape == (1, 43008)
        assert encoder(torch.empty(1, 3, 224, 1232)).shape == (1, 53760)
    assert (model.aerial_head.in_features, model.ground_head.in_features) == (43008, 53760)
    convolutions = [m for m in JointFusionVGG(**REDUCED).ground.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 13


@pytest.mark.parametrize("name", list(LADDER))
def test_references_do_not_depend_on_queries(name):
    model, tile = tiny_model(name), torch.rand(3, 3, 64, 64)
    query, reference = model(torch.rand(3, 3, 32, 128), tile, **made_for(model, tile.flip(0)))
    assert torch.allclose(model.encode_aerial(tile[1:2]), reference[1:2], atol=1e-5)
    for vectors in (query, reference):
        assert torch.allclose(vectors.norm(dim=1), torch.ones(3), atol=1e-5)


@pytest.mark.parametrize("name", ["two-stream-synthetic-world", "gasc-fusion-world"])
def test_what_a_query_lacks_is_named(name):
    with pytest.raises(ModelError, match="needs the synthetic.* of the query: use it in a GeoLocalizer"):
        tiny_model(name).encode_ground(torch.rand(1, 3, 32, 128))


def test_towers_are_shared_or_not():
    options = zoo.ZOO["joint-feature-world"].tiny
    shared, own = JointFeature(**options), JointFeature(**options, shared=False)
    picture = torch.rand(2, 3, 32, 32)
    assert torch.equal(shared.eval().synthetic_features(picture), shared.aerial_features(picture))
    assert not torch.allclose(own.eval().synthetic_features(picture), own.aerial_features(picture))
    baseline = TwoStream(**options)
    own.start_from(baseline)
    assert torch.equal(own.synthetic_features(picture), own.aerial_features(picture))
    strip = torch.rand(2, 3, 16, 64)
    assert torch.allclose(own.encode_ground(strip), baseline.eval().encode_ground(strip))
    with pytest.raises(ValueError, match="'ground' or 'synthetic'"):
        JointFeature(query="aerial")


def test_frozen_joint_features_stay_frozen():
    model = FeatureFusion(**zoo.ZOO["feature-fusion-world"].tiny).train()
    assert not model.joint.training and model.query_head.training
    assert not any(p.requires_grad for p in model.joint.parameters())


@pytest.mark.parametrize("cls", [JointFusionVGG, GascFusion])
def test_vgg_encoders_start_from_imagenet(cls, monkeypatch):
    torch.manual_seed(0)
    with torch.device("meta"):
        model = cls(**REDUCED).to_empty(device="cpu")
    asked, net = [], SimpleNamespace(features=make_layers(list(VGG16), batch_norm=False))
    monkeypatch.setattr("torchvision.models.get_model", lambda name, weights: asked.append((name, weights)) or net)
    model.start_from_imagenet()
    assert asked == [("vgg16", "IMAGENET1K_V1")]
    encoders = [part for part in model.children() if isinstance(part, VGGEncoder)]
    assert len(encoders) == (2 if cls is JointFusionVGG else 3)
    wanted = net.features.state_dict()
    for encoder in encoders:
        assert all(torch.equal(value, wanted[name]) for name, value in encoder.features.state_dict().items())


def test_encoders_that_cannot_start_from_imagenet_say_why(monkeypatch):
    net = SimpleNamespace(features=make_layers([8, "M"], batch_norm=False))
    monkeypatch.setattr("torchvision.models.get_model", lambda name, weights: net)
    with pytest.raises(ModelError, match="ImageNet's VGG16 does not fit the encoders"):
        tiny_model("gasc-fusion-world").start_from_imagenet()

    def unreachable(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr("torchvision.models.get_model", unreachable)
    with pytest.raises(ModelError, match="ImageNet weights of vgg16 are not in the local cache"):
        tiny_model("joint-fusion-vgg-world").start_from_imagenet()


# Losses


def test_weighted_soft_margin_is_the_loop_of_its_definition():
    generator = torch.Generator().manual_seed(0)
    q, r = (torch.nn.functional.normalize(torch.randn(5, 7, generator=generator), dim=1) for _ in range(2))
    total = 0.0
    for i in range(5):
        right = 2 - 2 * float(q[i] @ r[i])
        for j in range(5):
            if i != j:
                total += 0.5 * math.log1p(math.exp(10 * (right - (2 - 2 * float(q[i] @ r[j])))))
                total += 0.5 * math.log1p(math.exp(10 * (right - (2 - 2 * float(q[j] @ r[i])))))
    assert losses.weighted_soft_margin(q, r).item() == pytest.approx(total / (5 * 4), rel=1e-5)


def test_weighted_soft_margin_is_stable_and_leaves_neighbours_out():
    q = torch.eye(4)
    worst = losses.weighted_soft_margin(q, -q, alpha=1000.0)
    assert torch.isfinite(worst) and worst.item() == pytest.approx(2000, rel=1e-3)
    none = losses.weighted_soft_margin(q, q, valid=torch.zeros(4, 4, dtype=torch.bool))
    assert none.item() == 0
    valid = torch.zeros(4, 4, dtype=torch.bool)
    valid[0, 1] = True
    assert losses.weighted_soft_margin(q, q, valid=valid).item() == pytest.approx(math.log1p(math.exp(-20)))


def test_triplet_margin_is_zero_only_beyond_the_margin():
    q = torch.eye(3)
    assert losses.triplet_margin(q, q).item() == pytest.approx(0)
    assert losses.triplet_margin(q, q.roll(1, 0)).item() == pytest.approx((math.sqrt(2) + 0.2 + 0.2) / 2, rel=1e-3)


# Headings and composition


@pytest.fixture(scope="module")
def strip():
    coarse = torch.rand(2, 3, 16, 64, generator=torch.Generator().manual_seed(3))
    return torch.nn.functional.interpolate(coarse, (128, 512), mode="bilinear")


@pytest.mark.parametrize("name", ["two-stream-world", "joint-fusion-vgg-world"])
def test_turning_the_camera_turns_the_heading_found(name, strip):
    encoder = composed(tiny_model(name), BirdEye(pixels=32), tiny_model("unet-aerial-world"))
    reference = encoder.encode_aerial(torch.rand(5, 3, 64, 64))
    with torch.no_grad():
        first = encoder.score(encoder.encode_turned(strip), reference)
        second = encoder.score(encoder.encode_turned(roll_columns(strip, 90.0)), reference)
    assert torch.allclose(first[0], second[0], atol=2e-3)
    assert ((second[1] - first[1]) % 360 == 90).all() and set(first[1].flatten().tolist()) <= {0, 90, 180, 270}


def test_the_right_heading_is_the_one_whose_turn_is_the_reference():
    model = tiny_model("two-stream-world")
    reference = torch.nn.functional.normalize(torch.randn(3, 16), dim=1)
    query = torch.cat((torch.zeros(1, 16), reference[1:2], torch.zeros(1, 32)), 1)
    scores, headings = model.score(query, reference)
    assert scores.argmax() == 1 and scores[0, 1].item() == pytest.approx(1) and headings[0, 1] == 90


def test_made_pictures_show_the_query_from_above(strip):
    encoder = composed(tiny_model("gasc-fusion-world"), BirdEye(), tiny_model("unet-aerial-world"))
    made = encoder.pictures(("synthetic", "segmentation"), strip)
    assert torch.allclose(made["synthetic"], BirdEye()(strip)[0], atol=1e-5)
    colours = {tuple(c) for c in (made["segmentation"] * 255).round().permute(0, 2, 3, 1).reshape(-1, 3).int().tolist()}
    assert colours <= {tuple(c) for c in PALETTE.tolist()}
    assert encoder.pictures((), strip) == {}


@pytest.mark.parametrize("name", list(LADDER))
def test_geolocalizer_makes_what_the_matcher_needs(name, tiny_zoo, strip):
    geo = GeoLocalizer.from_zoo(matching=name)
    views = [GroundView(image, heading=h, hfov=360, vfov=90) for image, h in zip(strip, (90.0, None), strict=True)]
    descriptors = torch.nn.functional.normalize(torch.randn(6, 16), dim=1).numpy()
    gallery = Gallery(tuple(Tile(f"t{n}") for n in range(6)), descriptors, geo.fingerprint)
    known, unknown = (geo.localize(view, gallery, top_k=3) for view in views)
    assert known.heading == 90 and unknown.heading in (0, 90, 180, 270) and len(unknown.matches) == 3
    assert geo.embed_ground(views).shape == (2, 16) and 0 < unknown.confidence <= 1
    north = views[0].rotated(-90)
    assert np.allclose(geo.embed_ground(north), geo.embed_ground(views[0]), atol=2e-2)
    with pytest.raises(GalleryError, match="do not fit"):
        gallery.search(np.zeros((1, 17), np.float32))


def test_a_localizer_without_synthesis_says_so(tiny_zoo, strip):
    geo = GeoLocalizer.from_zoo(matching="two-stream-synthetic-world", synthesis=None)
    with pytest.raises(ModelError, match="has no synthesis: build it with from_zoo"):
        geo.embed_ground(GroundView(strip[0]))
