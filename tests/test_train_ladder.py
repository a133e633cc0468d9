"""How the matchers of the source systems are trained: pictures made beforehand, batches, what builds on what."""

import json
import shutil
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from test_ladder import PUBLISHED, REDUCED
from test_train import TINY, FakeWorld

from train import cache, losses
from train.__main__ import main
from train.engine import Settings, generator_of
from train.ladder import FeatureBatch, FeatureFusionMethod, JointFeatureMethod, LadderBatch, LadderMethod
from train.pictures import fingerprint, pictures, tiny_model, with_helpers
from train.recipes import get
from train.recipes_ladder import LADDER
from train.recipes_matching import ABOVE, MATCHING_PRESETS, PLAIN
from xview_demo import zoo
from xview_demo.errors import ModelError
from xview_demo.models.matching.aligned import KINDS
from xview_demo.models.matching.feature_fusion import FeatureFusion
from xview_demo.models.matching.joint_feature import JointFeature
from xview_demo.models.matching.two_stream import TwoStream
from xview_demo.models.synthesis.xfork import XForkGenerator


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return cache.Cache(cache.build(TINY, tmp_path_factory.mktemp("cache"), workers=0, factory=FakeWorld))


def test_pictures_are_paired_by_number_and_made_once(data):
    helpers = with_helpers(None, tiny=True)
    made = pictures(data, helpers, ("synthetic", "segmentation"), 16)
    assert made["synthetic"].shape == made["segmentation"].shape == (12, 16, 16, 3)
    single = helpers.pictures(
        ("synthetic",), torch.from_numpy(data["ground"][7:8].copy()).permute(0, 3, 1, 2).float() / 255
    )
    expected = torch.nn.functional.avg_pool2d(single["synthetic"], 16)[0].permute(1, 2, 0) * 255
    assert (torch.from_numpy(made["synthetic"][7]).float() - expected).abs().max() <= 1
    made["synthetic"][7] = 0
    again = pictures(data, helpers, ("synthetic", "segmentation"), 16)
    assert again["synthetic"][7].max() == 0 and np.array_equal(again["segmentation"], made["segmentation"])
    assert pictures(data, helpers, (), 16) == {}


def test_pictures_of_other_weights_or_another_strength_are_others():
    torch.manual_seed(0)
    keywords = {"size": 32, "width": 8, "bird_eye": True, "classes": 8, "painted": True}
    nets = [XForkGenerator(**keywords, strength=strength) for strength in (1.0, 0.3, 0.3, 0.3)]
    for net in nets[:3]:
        net.load_state_dict(nets[0].state_dict())
    names = [fingerprint(net) for net in nets]
    assert names[1] == names[2] and len(set(names)) == 3


def settings(name, **options):
    recipe = LADDER[name].small().settings
    return Settings(**{**vars(recipe), "options": recipe.options | options})


def test_batches_turn_every_picture_together(data):
    """Constant colours of the four quarters of a panorama must come to lie as those of the synthetic view do."""
    method = LadderMethodOfTwo(settings("two-stream-synthetic-world", colour=0.0, offset=0.0, scale=0.0), data)
    method.made = {"synthetic": np.zeros((12, 32, 32, 3), np.uint8)}
    method.made["synthetic"][:, :16] = 255  # north half is white
    batch = method.batch(generator_of(0, 1))
    white = batch.made["synthetic"].mean(1)
    sides = torch.stack((white[:, :8].mean((1, 2)), white[:, :, :8].mean((1, 2)), white[:, -8:].mean((1, 2))), 1)
    quarters = torch.randint(4, (4,), generator=after_rows(method, generator_of(0, 1)))
    expected = {0: (1, 0.5, 0), 1: (0.5, 1, 0.5), 2: (0, 0.5, 1), 3: (0.5, 0, 0.5)}  # looking east, north is left
    for found, quarter in zip(sides, quarters.tolist(), strict=True):
        assert torch.allclose(found, torch.tensor(expected[quarter], dtype=torch.float32), atol=0.02)
    assert batch.valid.shape == (4, 4) and not batch.valid.diagonal().any()


RAMP = np.linspace(0, 255, 512).astype(np.uint8)


def north(side):
    """Pictures (12, side, side, 3) whose northern half is white."""
    picture = np.zeros((12, side, side, 3), np.uint8)
    picture[:, : side // 2] = 255
    return picture


def shown(data, tile, synthetic, **options):
    """A batch of pairs without shifts and colours: a ramp along the columns of every strip, and those pictures."""
    given = settings("two-stream-synthetic-world", offset=0.0, scale=0.0, colour=PLAIN["colour"], **options)
    method = LadderMethodOfTwo(given, data)
    strip = np.broadcast_to(RAMP[:, None], (12, 128, 512, 3)).copy()
    method.cache = Shown({"ground": strip, "aerial": tile, "place": data["place"]}, data.config, data.worlds)
    method.made = {"synthetic": synthetic}
    return method.batch(generator_of(0, 1))


def is_as_it_was(strip):
    """Whether strips show the ramp from its first column on, two pixels averaged into one."""
    ramp = torch.from_numpy(RAMP.reshape(-1, 2).mean(1) / 255).float()
    return torch.allclose(strip, ramp.expand_as(strip), atol=1e-5)


@dataclass
class Shown:
    """Arrays in the place of a cache."""

    arrays: dict
    config: cache.CacheConfig
    worlds: np.ndarray

    def __getitem__(self, name):
        return self.arrays[name]


def up(picture):
    """Which way (0 north … 3 west) the white half of each picture (B, 3, S, S) lies."""
    grey, half = picture.mean(1), picture.shape[-1] // 2
    sides = (grey[:, :half], grey[..., half:], grey[:, half:], grey[..., :half])
    return torch.stack([side.mean((1, 2)) for side in sides], 1).argmax(1)


def test_published_pairs_turn_from_above_alone(data):
    batch = shown(data, north(80), north(32), turn=ABOVE["turn"], together=ABOVE["together"])
    assert is_as_it_was(batch.strip)
    assert len(up(batch.tile).unique()) > 1 and torch.equal(up(batch.tile), up(batch.made["synthetic"]))


def test_pairs_can_be_left_as_they_are(data):
    batch = shown(data, north(80), north(32), turn=PLAIN["turn"])
    assert is_as_it_was(batch.strip)
    for picture in (batch.tile, batch.made["synthetic"]):
        assert (picture[:, :, :15] == 1).all() and (picture[:, :, 17:] == 0).all()


def test_a_central_crop_is_the_same_for_tile_and_synthetic_view(data):
    tile, synthetic = (np.zeros((12, side, side, 3), np.uint8) for side in (320, 128))
    tile[:, 96:224, 96:224] = synthetic[:, 32:96, 32:96] = 255  # half of the 64 m of a tile, which lies in 80 m
    batch = shown(data, tile, synthetic, turn=False, crop=0.5)
    halves = [picture[:, 0].mean((1, 2)).sqrt() for picture in (batch.tile, batch.made["synthetic"])]
    assert torch.allclose(*halves, atol=0.05) and len(halves[0].unique()) > 1
    assert 0.5 <= halves[0].min() and halves[0].max() <= 1


def test_only_published_presets_leave_pairs_unaligned():
    for name, recipe in MATCHING_PRESETS.items():
        options = recipe.settings.options
        if recipe.method.startswith("ladder"):
            above = name.startswith(("two-stream", "joint-feature"))  # the others learn from pairs as they are
            assert (options["turn"], options.get("together", True)) == (above, not above)
            assert options["colour"] == 0 and (options.get("crop", 1.0) < 1) == above
    for recipe in LADDER.values():
        assert not {"turn", "together", "crop"} & set(recipe.settings.options)


def after_rows(method, generator):
    """The generator as it is when the batch's rows are drawn."""
    from train.data import neighbours

    neighbours(method.cache, 2, method.settings.batch, generator)
    return generator


class LadderMethodOfTwo(LadderMethod):
    def build(self):
        return TwoStream(**self.settings.model)


def test_joint_loss_weighs_ground_ten_times(data):
    method = JointFeatureMethod(settings("joint-feature-world"), data)
    batch = method.batch(generator_of(0, 0))
    method.model.eval()
    ground, aerial, synthetic = method.vectors(batch)
    parts = [losses.weighted_soft_margin(x, aerial, 10.0, batch.valid) for x in (ground, synthetic)]
    assert method.loss((ground, aerial, synthetic), batch.valid).item() == pytest.approx(
        (10 * parts[0].item() + parts[1].item()) / 11, rel=1e-4
    )
    start = tiny_model("two-stream-world")
    assert torch.equal(method.model.ground_head.weight, start.query_head.weight)


def test_fusion_learns_from_exported_features_of_the_training_split(data):
    method = FeatureFusionMethod(settings("feature-fusion-world", views=2), data)
    assert method.features.shape == (2, 12, 3, 16)
    lengths = np.linalg.norm(method.features, axis=-1)
    assert np.allclose(lengths, 1, atol=1e-4) and not np.allclose(method.features[0], method.features[1])
    again = FeatureFusionMethod(settings("feature-fusion-world", views=2), data)
    assert isinstance(again.features, np.memmap) and np.array_equal(again.features, method.features)
    joint = {k: v.clone() for k, v in method.model.joint.state_dict().items()}
    before = method.model.query_head.weight.clone()
    assert set(method.step(method.batch(generator_of(0, 0)))) == {"loss", "r1"}
    assert not torch.equal(before, method.model.query_head.weight)
    assert all(torch.equal(joint[k], v) for k, v in method.model.joint.state_dict().items())


@pytest.fixture
def runs(data):
    """Where the runs of presets are written by default."""
    folder = data.folder.parent / "runs"
    yield folder
    shutil.rmtree(folder)


def started(method, given, data, run, trained):
    """The method, once the model of the run that it starts from is there; before, it says which run it needs."""
    with pytest.raises(ModelError, match=f"holds no model for .*: run `python -m train {run.name}` first"):
        method(given, data)
    trained.save_pretrained(run / "model")
    return method(given, data)


def test_joint_features_start_from_the_run_of_the_two_stream_preset(tiny_zoo, data, runs):
    assert get("joint-feature-cvusa").settings.options["start"] == "two-stream-cvusa"
    given = settings("joint-feature-world", start="two-stream-cvusa", helpers="bundled")
    torch.manual_seed(7)
    trained = TwoStream(**zoo.ZOO["two-stream-world"].tiny)
    model = started(JointFeatureMethod, given, data, runs / "two-stream-cvusa", trained).model
    assert torch.allclose(model.ground_head.weight, trained.query_head.weight, atol=1e-4)
    assert torch.allclose(model.aerial_encoder.layers[0].weight, trained.reference_encoder.layers[0].weight, atol=1e-3)
    wider = replace(given, model=given.model | {"features": 20})
    with pytest.raises(ModelError, match="has another size than the joint features"):
        JointFeatureMethod(wider, data)


def test_feature_fusion_exports_from_the_run_of_the_joint_preset(tiny_zoo, data, runs):
    assert get("feature-fusion-cvusa").settings.options["joint"] == "joint-feature-cvusa"
    given = settings("feature-fusion-world", joint="joint-feature-cvusa", helpers="bundled")
    torch.manual_seed(8)
    trained = JointFeature(**zoo.ZOO["joint-feature-world"].tiny)
    joint = started(FeatureFusionMethod, given, data, runs / "joint-feature-cvusa", trained).model.joint
    assert torch.allclose(joint.aerial_head.weight, trained.aerial_head.weight, atol=1e-4)


def test_published_features_are_exported_without_dropout(data):
    assert get("feature-fusion-cvusa").settings.options["dropout"] is False
    method = FeatureFusionMethod(settings("feature-fusion-world", dropout=False, colour=0.0, views=2), data)
    rows = data.samples()
    generator = torch.Generator().manual_seed(int(rows[0]))
    batch = method.aligned(rows, generator)
    joint = method.model.joint.eval()
    assert torch.allclose(torch.from_numpy(method.features[0, :, 0]), joint.ground_features(batch.strip), atol=1e-5)
    assert torch.allclose(torch.from_numpy(method.features[0, :, 1]), joint.aerial_features(batch.tile), atol=1e-5)


def test_the_synthetic_stream_has_a_published_size():
    settings = get("two-stream-synthetic-cvusa").settings
    with torch.device("meta"):
        model = TwoStream(**settings.model)
    assert model.needs == ("synthetic",) and model.query_head.in_features == 43008


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("two-stream-synthetic-world", "compares synthetic views: start from one"),
        ("gasc-fusion-world", "builds on a TwoStream, but .* is a GascFusion: name another with --start"),
        (None, "holds no model for joint-feature-world to build on: give the folder `model` of such a run"),
    ],
)
def test_what_joint_features_cannot_start_from_is_told(name, message, tmp_path, data):
    if name:
        tiny_model(name).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=message):
        JointFeatureMethod(settings("joint-feature-world", start=str(tmp_path)), data)


def test_the_command_line_says_which_run_a_recipe_builds_on(tmp_path, capsys):
    torch.manual_seed(7)
    trained = TwoStream(**zoo.ZOO["two-stream-world"].tiny)
    trained.save_pretrained(tmp_path / "start")
    words = ["--smoke", "--cache", str(tmp_path), "--threads", "1", "--no-evaluation"]
    words += ["--start", str(tmp_path / "start"), "--steps", "1"]
    assert main(["joint-feature-world", *words]) == 0
    out = tmp_path / "runs" / "joint-feature-world-smoke"
    assert json.loads((out / "settings.json").read_text())["options"]["start"] == str(tmp_path / "start")
    learned = zoo.load(out / "model").ground_head.weight
    assert (learned - trained.query_head.weight).abs().max() < 2e-3  # one step away from it
    assert main(["two-stream-world", *words]) == 2
    assert "two-stream-world builds on no other run: leave out --start." in capsys.readouterr().err


@pytest.mark.parametrize("name", ["joint-feature-world", "feature-fusion-world", "gasc-fusion-world"])
def test_model_and_batches_are_where_the_method_is(name, data):
    method = get(name).load()(settings(name), data)
    assert method.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert all(p.device.type == method.device.type for p in method.model.parameters())
    method.device = torch.device("meta")  # stands for a GPU: operators refuse to mix it with the CPU
    method.model.to("meta")
    batch = method.batch(generator_of(0, 0))
    vectors = method.vectors(batch)
    assert {x.device.type for x in (batch.valid, *vectors, method.loss(vectors, batch.valid))} == {"meta"}


@pytest.mark.parametrize("name", ["joint-fusion-vgg", "gasc-fusion"])
def test_published_vgg_encoders_are_those_of_imagenet(name, data, monkeypatch):
    preset = get(f"{name}-cvusa")
    assert preset.settings.options["imagenet"] is True and preset.small().settings.options["imagenet"] is False
    cls, started = zoo.get(f"{name}-world").load_class(), []
    monkeypatch.setattr(cls, "start_from_imagenet", lambda self: started.append(self))
    options = preset.small().settings.options | {"imagenet": True}
    method = preset.load()(replace(preset.small().settings, options=options), data)
    assert started == [method.model]


def test_published_encoders_learn_at_a_tenth_of_the_rate_of_the_fusion(data):
    preset = get("gasc-fusion-cvusa").small()
    method = preset.load()(preset.settings, data)
    slow, rest = method.optimisers["model"].param_groups
    assert (slow["lr"], rest["lr"]) == (pytest.approx(1e-4), pytest.approx(1e-3))
    assert {id(p) for p in slow["params"]} == {id(p) for p in method.model.encoders()}
    assert len(slow["params"]) + len(rest["params"]) == len(list(method.model.parameters()))


def margin(query, reference, *_):
    return losses.weighted_soft_margin(query, reference, 10.0)


LEARNED = {  # the preset of each published size, and its loss of two pairs that are far apart
    "two-stream": ("two-stream-cvusa", margin),
    "two-stream on synthetic views": ("two-stream-synthetic-cvusa", margin),
    "joint features, shared": ("joint-feature-cvusa", lambda g, a, s: (10 * margin(g, a) + margin(s, a)) / 11),
    "joint features, unshared": ("joint-feature-cvusa", lambda g, a, s: (10 * margin(g, a) + margin(s, a)) / 11),
    "feature fusion": ("feature-fusion-cvusa", margin),
    "joint fusion": ("joint-fusion-vgg-cvusa", lambda q, r, s: margin(q, r) + 0.5 * margin(s, r)),
    "gasc fusion": ("gasc-fusion-cvusa", lambda q, r: losses.triplet_margin(q, r, 0.2)),
}


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_published_widths_learn_at_reduced_input(name, data, monkeypatch):
    torch.manual_seed(0)
    (cls, keywords, _), (preset, expected) = PUBLISHED[name], LEARNED[name]
    recipe = get(preset)
    model = keywords | ({} if cls is FeatureFusion else REDUCED)
    options = recipe.settings.options | {"size": 32, "helpers": "tiny", "imagenet": False}
    monkeypatch.setattr(LadderMethod, "helper", lambda self, name, wanted: wanted(**REDUCED))
    method = recipe.load()(replace(recipe.settings, batch=2, model=model, options=options), data)
    learned = {k: p for k, p in method.model.train().named_parameters() if p.requires_grad}
    batch = random_batch(cls, method.device)
    vectors = method.vectors(batch)  # in full precision: a step of bfloat16 takes the CPU some times as long
    loss = method.loss(vectors, batch.valid)
    assert loss.item() == pytest.approx(expected(*vectors).item(), rel=1e-5)
    loss.backward()
    torch.optim.SGD(learned.values(), 0.1).step()
    assert [k for k, p in learned.items() if p.grad is None or not p.grad.any()] == []
    assert all(p.isfinite().all() for p in learned.values())


def random_batch(cls, device):
    """Two pairs that are far apart, of pictures or, for the feature fusion, of features."""
    valid = torch.ones(2, 2, dtype=torch.bool)
    if cls is FeatureFusion:
        return FeatureBatch(*torch.rand(3, 2, 1000), valid).to(device)
    made = dict(zip(KINDS, torch.rand(2, 2, 3, 64, 64), strict=True))
    return LadderBatch(torch.rand(2, 3, 32, 128), torch.rand(2, 3, 64, 64), made, valid).to(device)


@pytest.mark.parametrize(
    ("name", "batch", "epochs", "rate"),
    [
        ("two-stream", 30, 100, 1e-5), ("two-stream-synthetic", 30, 100, 1e-5), ("joint-feature", 24, 100, 1e-5),
        ("feature-fusion", 100, 500, 1e-5), ("joint-fusion-vgg", 8, 50, 1e-4), ("gasc-fusion", 8, 50, 1e-3),
    ],
)  # fmt: skip
def test_matching_presets_carry_the_published_numbers(name, batch, epochs, rate):
    settings = get(f"{name}-cvusa").settings
    assert (settings.batch, settings.learning_rate, settings.steps) == (batch, rate, epochs * 35_532 // batch)
    assert settings.weight_decay == 0 and settings.average == 0  # Adam, and the last weights
    assert settings.options.get("slow", 1.0) * rate == pytest.approx(1e-4 if name == "gasc-fusion" else rate)
    assert not {"alpha", "margin", "auxiliary"} & set(settings.options)  # 10, 0.2 and 0.5, as in the losses above


def test_a_missing_helper_is_named_with_its_remedy(data, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    with pytest.raises(
        ModelError, match="'xfork-world' are not bundled here: make them with `python -m train xfork-world`"
    ):
        LadderMethodOfTwo(settings("two-stream-synthetic-world", helpers="bundled"), data)
    with pytest.raises(ModelError, match="'joint-feature-world' are not bundled here"):
        FeatureFusionMethod(settings("feature-fusion-world", helpers="bundled"), data)
