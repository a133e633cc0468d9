"""Training of the generators: batches, losses that act where they should, real pairs, presets."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from train import recipes
from train.__main__ import main
from train.cache import SMOKE, CacheConfig
from train.contest import Reader, contest_classes, dissimilarity, distance, partly_true
from train.diffusion import DiffusionMethod
from train.engine import Settings, cosine, generator_of
from train.pairs import PairCache, open_pairs
from train.recipes import PRESETS
from train.recipes_synthesis import SYNTHESIS
from train.synthesis import GanMethod, draw_views, wear
from xview_demo import metrics, zoo
from xview_demo.classes import PALETTE
from xview_demo.data import read
from xview_demo.errors import DataError, XViewError
from xview_demo.models.synthesis.bird_eye import BirdEye
from xview_demo.models.synthesis.interface import Query
from xview_demo.models.synthesis.layers import ClassDiscriminator
from xview_demo.models.synthesis.xfork import XForkGenerator


class Fake:
    """A cache of eight random pairs, smooth enough that turning them can be checked."""

    config = CacheConfig(worlds=1, per_world=8, dense_every=1, tile_pixels=80, tile_metres=64.0, height=64, width=256)

    def __init__(self):
        rng = np.random.default_rng(0)
        tile = torch.rand(8, 3, 5, 5, generator=torch.Generator().manual_seed(0))
        tile = torch.nn.functional.interpolate(tile, (80, 80), mode="bilinear")
        aerial = (tile * 255).byte().permute(0, 2, 3, 1).numpy()
        self.arrays = {
            "aerial": aerial, "ground": rng.integers(0, 255, (8, 64, 256, 3), np.uint8),
            "ground_labels": rng.integers(0, 8, (8, 64, 256), np.uint8),
            "aerial_labels": (aerial[..., 0] // 32), "depth": rng.uniform(1, 40, (8, 64, 256)).astype(np.float16),
            "place": np.zeros((8, 4), np.float32),
        }  # fmt: skip

    def __getitem__(self, name):
        return self.arrays[name]

    def dense(self):
        return np.arange(8)


def method_of(name, **options):
    settings = SYNTHESIS[name].small().settings
    kind = SYNTHESIS[name].small().load()
    return kind(replace(settings, options=settings.options | options), Fake())


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def state_of(whole, part):
    return {name.removeprefix(part): value for name, value in whole.items() if name.startswith(part)}


def moved(module, before):
    return any(not torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_dissimilarity_is_one_less_ssim_and_moves_what_is_drawn():
    generator = torch.Generator().manual_seed(0)
    image, target = torch.rand(2, 2, 3, 32, 32, generator=generator)
    assert dissimilarity(image, target).item() == pytest.approx(1 - metrics.ssim(image, target).mean(), abs=1e-5)
    assert dissimilarity(target, target).item() == pytest.approx(0, abs=1e-5)
    reports = []
    for weight in (0.0, 50.0):
        torch.manual_seed(0)
        method = method_of("xfork-world", structure=weight, finish=2, beside=3, reader=0, alone=False)
        method.step(method.batch(generator_of(0, 0)))
        reports.append((state(method.generator), method.step(method.batch(generator_of(0, 1)))))
    assert "structure" not in reports[0][1] and 0.5 < reports[1][1]["structure"] < 3
    assert moved(method.generator, reports[0][0])


def test_what_is_read_and_what_is_drawn_are_turned_together():
    """The bird's-eye view of a strip that shows the tile's ground fits the tile, whatever the heading."""
    cache = Fake()
    from xview_demo.models.synthesis.street_eye import StreetEye

    tiles = torch.from_numpy(cache["aerial"]).permute(0, 3, 1, 2).float() / 255
    strips, _ = StreetEye(64, 256)(tiles)
    cache.arrays["ground"] = (strips * 255).byte().permute(0, 2, 3, 1).numpy()
    net = XForkGenerator(size=64, width=8)
    views = draw_views(cache, net, 4, generator_of(0, 1), colour=0.0)
    seen, mask = BirdEye(pixels=64, surface="flat")(views.query.image)
    middle = torch.zeros(64, 64)
    middle[20:44, 20:44] = 1
    where = (mask[:, 0] * middle).bool()[:, None].expand_as(seen)
    assert (seen - views.target)[where].abs().mean() < 0.03
    assert (seen - views.target.flip(-1))[where].abs().mean() > 0.06
    assert ((views.target[:, 0] * 255 / 32).floor() - views.truth).abs().le(1).float().mean() > 0.95


def test_a_reverse_generator_gets_tiles_and_strips():
    net = XForkGenerator(size=32, width=8, reads="aerial", draws="ground")
    views = draw_views(Fake(), net, 3, generator_of(0, 0), colour=0.4)
    assert views.query.image.shape == (3, 3, 32, 32) and views.target.shape == (3, 3, 16, 64)
    assert views.truth.shape == (3, 16, 64)


def test_without_turning_strips_stay_as_they_are():
    cache, net = Fake(), XForkGenerator(size=32, width=8)
    views = draw_views(cache, net, 8, generator_of(0, 0), colour=0.0, turn=False)
    found = {strip.numpy().tobytes() for strip in (views.query.image * 255).round().byte().permute(0, 2, 3, 1)}
    assert found == {strip.tobytes() for strip in cache["ground"]}


def test_worn_estimates_are_wrong_here_and_there():
    query = Query(torch.rand(2, 3, 64, 256), depth=torch.full((2, 64, 256), 10.0), labels=torch.full((2, 64, 256), 4))
    worn = wear(query, generator_of(0, 0))
    assert 0 < (worn.labels != 4).float().mean() < 0.2 and 0.02 < worn.depth.log().std() < 0.6
    assert wear(Query(query.image), generator_of(0, 0)).depth is None


@pytest.mark.parametrize("name", [name for name in SYNTHESIS if name != "clip-diffusion-world"])
def test_every_part_of_a_gan_learns(name):
    method = method_of(name)
    before = {key: state(module) for key, module in method.modules.items()}
    report = method.step(method.batch(generator_of(0, 0)))
    assert all(moved(module, before[key]) for key, module in method.modules.items())
    assert all(p.requires_grad for module in method.modules.values() for p in module.parameters())
    assert all(np.isfinite(list(report.values()))) and (report["classes"] > 0) == (name != "pix2pix-world")


def test_a_picture_is_judged_beside_its_source():
    model = {"size": 32, "width": 8, "heads": ["image"]}
    plain, conditional = (
        GanMethod(Settings("x", 1, 2, 1e-4, model=model, options={"discriminator": 8, "conditional": c}), Fake())
        for c in (False, True)
    )
    assert plain.modules["discriminator"].condition == 0 and conditional.modules["discriminator"].condition == 3
    assert np.isfinite(list(conditional.step(conditional.batch(generator_of(0, 0))).values())).all()
    assert method_of("xseq-world").modules["label_discriminator"].condition == 3


def test_a_painter_learns_apart_from_its_sketch():
    torch.manual_seed(0)
    method = method_of("xfork-world", adversarial=0.0, segmentation=0.0)
    assert isinstance(method.modules["discriminator"], ClassDiscriminator)
    batch = method.batch(generator_of(0, 0))
    sketch, logits = method.generator.sketch(batch.query.image, method.generator.hint(batch.query))
    image, kinds = method._paint(sketch.detach(), logits.detach(), batch.truth)
    _, fooled = method._judge(image, kinds, None, batch.target, batch)
    (fooled + distance(image, batch.target)).backward()
    moving = {name.split(".")[0] for name, p in method.generator.named_parameters() if p.grad is not None}
    assert moving == {"painter"}
    method.modules["discriminator"].requires_grad_(True)
    report = method.step(batch)
    assert np.isfinite(list(report.values())).all()
    assert all(p.requires_grad for p in method.modules["discriminator"].parameters())


def test_a_painter_without_classes_is_judged_by_the_true_ones(monkeypatch):
    torch.manual_seed(0)
    method = method_of("pix2pix-world", finish=1, alone=True)
    asked = []
    monkeypatch.setattr("train.synthesis.contest_classes", lambda *g: asked.append(g[3]) or contest_classes(*g))
    method.step(method.batch(generator_of(0, 0)))
    assert not asked  # the sketch learns from the picture alone
    before, batch = state(method.generator), method.batch(generator_of(0, 1))
    report = method.step(batch)
    assert len(asked) == 1 and torch.equal(asked[0], batch.truth)
    still = {name for name, part in method.generator.named_children() if not moved(part, state_of(before, f"{name}."))}
    assert still == {name for name, _ in method.generator.named_children()} - {"painter"}
    assert report["classes"] == 0 and report["fooled"] > 0


def test_in_the_end_only_the_painter_learns():
    torch.manual_seed(0)
    method = method_of("xfork-world", finish=1, beside=None, squares=4)
    for step, moving in ((0, {"encoder", "painter"}), (1, {"painter"})):
        before = {k: v.clone() for k, v in method.generator.state_dict().items()}
        method.step(method.batch(generator_of(0, step)))
        moved = {k.split(".")[0] for k, v in method.generator.state_dict().items() if not torch.equal(v, before[k])}
        assert moved >= moving and (step == 0 or moved == moving)
    settings = Settings("x", steps=30, batch=2, learning_rate=1e-4, warmup=0.0, restarts=(5,))
    method.options["finish"] = 10
    rates = [method.schedule(step, settings) for step in range(30)]
    assert rates[:10] == [cosine(step, replace(settings, steps=10)) for step in range(10)]
    assert rates[9] < 0.05 < 0.9 < rates[10] and rates[29] < 0.05


def test_at_last_the_sketch_learns_from_what_is_said_of_the_painted_picture():
    torch.manual_seed(0)
    method = method_of("pix2pix-world", finish=1, joint=2, alone=True, l1=0.0)
    for step, moving in ((1, False), (2, True)):
        before = state(method.generator)
        method.step(method.batch(generator_of(0, step)))
        assert moved(method.painter, state_of(before, "painter."))
        assert moved(method.generator.overhead, state_of(before, "overhead.")) == moving
        assert not any(part.training for part in method.generator.overhead.modules())
        assert all(of["step"] == 1 for of in method.optimisers["generator"].state.values())  # it began anew


def test_sketch_and_painter_learn_beside_each_other():
    torch.manual_seed(0)
    method = method_of("rgbds-world", finish=1, beside=2, reader=0, estimated=0.0)
    memory = method.optimisers["generator"].state
    for step, moving in ((1, False), (2, True)):
        before = state(method.generator)
        method.step(method.batch(generator_of(0, step)))
        assert moved(method.painter, state_of(before, "painter."))
        assert moved(method.generator.overhead, state_of(before, "overhead.")) == moving
        assert all(of["step"] == 1 for of in memory.values()) and (len(memory) > 20) == moving  # it began anew
    method.options |= {"l1": 0.0, "segmentation": 0.0}  # what is said of the painted picture is left
    method.optimisers["generator"].state.clear()
    before = state(method.generator)
    method.step(method.batch(generator_of(0, 3)))
    still = {name for name, part in method.generator.named_children() if not moved(part, state_of(before, f"{name}."))}
    assert still == {name for name, _ in method.generator.named_children()} - {"painter"}
    method.options |= {"finish": 10, "beside": 120}
    settings = Settings("x", steps=400, batch=2, learning_rate=1e-4, warmup=0.0)
    rates = [method.schedule(step, settings) for step in range(400)]
    assert 0.5 < rates[119] and rates[120] < 0.01 and rates[219] > 0.4 and rates[399] < 0.02


def test_a_reader_learns_from_true_pictures_and_a_painter_from_what_it_reads():
    readers, painters = [], []
    for reading in (0.0, 60.0):
        torch.manual_seed(0)
        method = method_of("rgbds-world", finish=2, reader=1, beside=None, estimated=0.0, alone=True, reading=reading)
        for step, learns in ((0, True), (1, False), (2, True)):
            before, batch = state(method.reader), method.batch(generator_of(0, step))
            torch.manual_seed(step)
            report = method.step(batch)
            assert moved(method.reader, before) == (report["read"] > 0) == learns
        readers.append(state(method.reader))
        painters.append(state(method.painter))
    assert not moved(method.reader, readers[0]) and moved(method.painter, painters[0])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("xfork-world", {"finish": None, "beside": None}),
        ("xfork-world", {"finish": None, "beside": None, "reader": 0, "joint": 2}),
        ("rgbds-world", {"finish": None, "reader": 0}),
        ("clip-diffusion-world", {"finish": None}),
    ],
)
def test_what_happens_while_the_painter_finishes_needs_a_finish(name, options):
    with pytest.raises(XViewError, match="(reader|joint|beside|reading) needs the option finish"):
        method_of(name, **options)


def test_a_reader_finds_the_classes_of_colours():
    torch.manual_seed(0)
    reader = Reader(8)
    optimiser = torch.optim.Adam(reader.parameters(), 1e-2)
    truth = torch.randint(8, (4, 4, 4)).repeat_interleave(16, 1).repeat_interleave(16, 2)
    picture = torch.from_numpy(PALETTE).float().div(255)[truth].permute(0, 3, 1, 2)
    losses = [reader.learn(optimiser, picture, truth).item() for _ in range(25)]
    assert losses[-1] < 0.5 * losses[0]
    assert reader.eval()(picture, truth) < reader(picture, (truth + 1) % 8)


def test_depth_and_classes_of_a_share_of_the_strips_are_estimated():
    method = method_of("rgbds-world", finish=0, beside=0, estimated=0.5, wear=0.0)
    views = method.batch(generator_of(0, 0))
    again = method_of("rgbds-world", finish=0, beside=None, wear=0.0).batch(generator_of(0, 0))
    assert torch.equal(views.query.image, again.query.image)
    for kind in ("depth", "labels"):
        mixed, true = getattr(views.query, kind), getattr(again.query, kind)
        assert mixed.shape == true.shape and torch.equal(mixed[1], true[1]) and not torch.equal(mixed[0], true[0])
    depth, labels = method.estimate.depth.predict(views.query.image[:1]), views.query.labels[:1]
    seen = depth.isfinite() & views.query.depth[:1].isfinite()
    assert ((views.query.depth[:1] / depth)[seen].log().abs().median() < 0.05).all()  # in half precision
    assert (method.estimate.labels.predict(views.query.image[:1])[0] == labels).float().mean() > 0.95


def test_nothing_is_judged_before_the_end():
    method = method_of("rgbds-world", finish=1, beside=None, reader=0, alone=True)
    for step, judged in ((0, False), (1, True)):
        before = {name: state(module) for name, module in method.modules.items()}
        report = method.step(method.batch(generator_of(0, step)))
        assert moved(method.generator, before["generator"]) and (report["judge"] > 0) == judged
        assert moved(method.painter, state_of(before["generator"], "painter.")) == judged
        assert moved(method.modules["discriminator"], before["discriminator"]) == judged


def test_photographs_are_shown_late():
    method = method_of("pix2pix-world", narrow=1.0, narrow_after=3)
    assert method.batch(generator_of(0, 2)).query.mask is None
    views = method.batch(generator_of(0, 3))
    image, mask = views.query.image, views.query.mask
    assert (mask.amax(2).mean((1, 2)) < 1).all() and (mask.amax(2).mean((1, 2)) >= 70 / 360 - 1 / 256).all()
    assert (image * (1 - mask)).abs().max() == 0 and mask[:, :, :, 128].amax() == 1


def test_the_published_segmentation_is_a_picture():
    method = GanMethod(Settings("x", 1, 2, 1e-4, model={"size": 32, "width": 8}, options={"discriminator": 8}), Fake())
    truth = torch.tensor([[[0, 1], [7, 3]]])
    assert torch.allclose(method._painted(truth)[0, :, 0, 1], torch.tensor(PALETTE[1]) / 255.0)
    assert method._segmentation(method._painted(truth), truth) == 0
    assert np.isfinite(list(method.step(method.batch(generator_of(0, 0))).values())).all()


def test_what_a_painter_paints_upon_is_partly_true():
    torch.manual_seed(0)
    logits, truth = torch.randn(64, 3, 4, 4), torch.randint(3, (64, 4, 4))
    assert torch.equal(partly_true(logits, truth, 0.0), logits.argmax(1))
    assert torch.equal(partly_true(logits, truth, 1.0), truth)
    same = (partly_true(logits, truth, 0.5) == truth).flatten(1).all(1)
    assert 20 < same.sum() < 44


def test_a_model_without_a_painter_is_told_so_before_the_run():
    for name, method in (("clip-diffusion-world", DiffusionMethod), ("xfork-world", GanMethod)):
        settings = recipes.get(name).small().settings
        with pytest.raises(XViewError, match="finish=2 needs a model with painted=True"):
            method(replace(settings, model=settings.model | {"painted": False}, options={"finish": 2}), Fake())


# Real pairs


@pytest.fixture(scope="module")
def cvusa(tmp_path_factory):
    """A miniature in CVUSA's layout: lists of three columns, 1232×224 panoramas, tiles, annotations, segmentations."""
    folder, rng = tmp_path_factory.mktemp("cvusa"), np.random.default_rng(1)
    rows = []
    for number in range(1, 5):
        names = {
            "aerial": f"bingmap/19/{number:07d}.jpg", "ground": f"streetview/panos/{number:07d}.jpg",
            "note": f"streetview/annotations/{number:07d}.png", "segmap": f"segmap/{number:07d}.png",
        }  # fmt: skip
        sizes = {"aerial": (750, 750), "ground": (224, 1232), "note": (224, 1232), "segmap": (750, 750)}
        for kind, name in names.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            coarse = rng.integers(0, 8, (4, 8))
            picture = PALETTE[coarse] if kind in ("note", "segmap") else rng.integers(0, 255, (4, 8, 3), np.uint8)
            size = sizes[kind][::-1]
            Image.fromarray(picture).resize(size, Image.Resampling.NEAREST).save(folder / name)
        rows.append(f"{names['aerial']},{names['ground']},{names['note']}")
    (folder / "splits").mkdir()
    for name in ("train-19zl.csv", "val-19zl.csv"):
        (folder / "splits" / name).write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def helpers(tmp_path, monkeypatch):
    """Tiny random helpers in the place of the bundled ones."""
    torch.manual_seed(0)
    for name in ("depth-world", "unet-ground-world", "unet-aerial-world"):
        zoo.get(name).load_class()(**zoo.get(name).tiny).eval().save_pretrained(tmp_path / "weights" / name)
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path / "weights")


def test_real_pairs_stand_in_for_a_cache(cvusa, helpers):
    cache = PairCache(read("cvusa", cvusa, split="train"), CacheConfig(height=32, width=128, tile_pixels=64))
    assert len(cache.samples()) == 4 and cache["ground"][np.array([2, 0])].shape == (2, 32, 128, 3)
    assert cache["aerial"][1].shape == (64, 64, 3) and cache["aerial"][1].dtype == np.uint8
    assert cache["depth"][np.arange(2)].shape == (2, 32, 128) and cache["depth"][0].dtype == np.float16
    painted = np.asarray(Image.open(cvusa / "segmap/0000001.png"))[94, 47]
    assert (PALETTE[cache["aerial_labels"][0][8, 4]] == painted).all()
    note = np.asarray(Image.open(cvusa / "streetview/annotations/0000001.png"))[28, 77]
    assert (PALETTE[cache["ground_labels"][0][4, 8]] == note).all()  # the strip is filled by the picture


def test_a_data_set_needs_its_root():
    with pytest.raises(DataError, match="--data cvusa needs --root"):
        open_pairs("cvusa", None, "train", SMOKE)
    assert main(["xfork-cvusa", "--smoke"]) == 2


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_run_on_cvusa(name, cvusa, helpers, tmp_path):
    words = [name, "--smoke", "--data", "cvusa", "--root", str(cvusa), "--cache", str(tmp_path), "--threads", "1"]
    assert main(words) == 0
    assert zoo.is_folder_of_weights(tmp_path / "runs" / f"{name}-smoke" / "model")


def test_two_processes_train_together(cvusa, tmp_path):
    """What `accelerate launch` does on two GPUs, here on the processor: one writes, the weights are one."""
    words = ["dual-encoder-cvusa", "--smoke", "--root", str(cvusa), "--out", str(tmp_path / "run"), "--threads", "1"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "train", *words]
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [*launch, "--cache", str(tmp_path), "--no-evaluation"], cwd=root, capture_output=True, text=True, timeout=300,
        env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("weights: ") == 1 and zoo.is_folder_of_weights(tmp_path / "run" / "model")
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert steps == [3]


def test_presets_carry_the_published_numbers():
    for name, batch, rate, weight in (
        ("xfork-cvusa", 4, 2e-4, 1.0), ("xfork-edges-cvusa", 16, 2e-4, 1.0), ("xfork-ground-cvusa", 4, 2e-4, 10.0),
        ("xseq-cvusa", 4, 2e-4, 100.0),
    ):  # fmt: skip
        settings = recipes.get(name).settings
        assert (settings.batch, settings.learning_rate, settings.options["segmentation"]) == (batch, rate, weight)
    method = GanMethod(Settings("x", 1, 2, 2e-4, model={"size": 32, "width": 8}), Fake())
    assert method.options["l1"] == 100 and method.options["real"] == 0.9
    assert method.optimisers["generator"].defaults["betas"] == (0.5, 0.999)
    assert recipes.get("xfork-cvusa").settings.steps == 100 * 35_532 // 4
    assert recipes.get("xfork-ground-cvusa").settings.steps == 30 * 35_532 // 4
    diffusion = recipes.get("clip-diffusion-cvusa").settings
    assert (diffusion.batch, diffusion.learning_rate) == (8, 1e-5)
    options = DiffusionMethod(replace(diffusion, **recipes.get("clip-diffusion-cvusa").smoke), Fake()).options
    assert (options["perceptual"], options["clip"], options["schedule"]) == (1.0, 2.0, "plateau")
