"""Training: the cache, the loop and its resumption, the losses, and every recipe in its one-minute version."""

import json
import math
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from train import augment, cache, losses
from train.__main__ import main
from train.data import rarity
from train.depth import DepthMethod
from train.engine import (
    Average,
    Settings,
    autocast,
    cosine,
    generator_of,
    muon,
    resume,
    save_checkpoint,
    step_of,
    train,
)
from train.memory import TileMemory
from train.recipes import RECIPES, get
from xview_demo.errors import DataError, XViewError
from xview_demo.world import World

TINY = cache.CacheConfig(worlds=2, per_world=6, size=240.0, dense_every=2, tile_pixels=80)


class FakeWorld:
    """Noise that remembers its seed."""

    built: list[int] = []

    def __init__(self, seed, *, size, resolution):
        self.seed = seed
        FakeWorld.built.append(seed)

    def sites(self, n, seed=0):
        if n > 20:
            raise XViewError("fewer")
        return [SimpleNamespace(east=3.0 * i, north=0.0) for i in range(n)]

    def panoramas(self, sites, *, height, width, seed=0):
        b = len(sites)
        generator = torch.Generator().manual_seed(self.seed * 100 + seed)
        depth = torch.full((b, height, width), 7.0)
        depth[:, 0] = math.inf
        return SimpleNamespace(
            colour=torch.rand(b, 3, height, width, generator=generator), depth=depth,
            labels=torch.ones(b, height, width, dtype=torch.uint8), camera_height=torch.full((b,), 2.5),
        )  # fmt: skip

    def aerials(self, sites, *, metres, pixels, seed=0):
        b = len(sites)
        return SimpleNamespace(
            colour=torch.full((b, 3, pixels, pixels), 0.5),
            labels=torch.full((b, pixels, pixels), 4, dtype=torch.uint8), height=torch.zeros(b, pixels, pixels),
        )  # fmt: skip


def test_a_cache_is_rendered_once_and_resumed(tmp_path):
    FakeWorld.built = []
    folder = cache.build(TINY, tmp_path, workers=0, factory=FakeWorld)
    assert FakeWorld.built == [0, 1]
    np.load(folder / "done.npy", mmap_mode="r+")[1] = 0
    assert cache.build(TINY, tmp_path, workers=0, factory=FakeWorld) == folder
    assert FakeWorld.built == [0, 1, 1]
    data = cache.Cache(folder)
    assert data["ground"].shape == (12, 128, 512, 3) and data["depth"].shape == (6, 128, 512)
    assert data.samples().tolist() == list(range(12)) and data.dense().tolist() == list(range(0, 12, 2))
    assert np.isinf(data["depth"][0, 0]).all() and (data["depth"][0, 1] == 7).all()
    assert data["place"][7].tolist()[0] == 1


def test_sites_of_a_cache_are_apart():
    places = [SimpleNamespace(east=e, north=0.0) for e in (0, 1, 2, 20, 21, 40)]
    chosen = cache.spread_sites(SimpleNamespace(seed=0, sites=lambda n: places[:n] if n <= 6 else _fewer()), 3)
    assert [s.east for s in chosen] == [0, 20, 40]


def _fewer():
    raise XViewError("fewer")


def test_other_caches_have_other_folders(tmp_path):
    assert TINY.fingerprint != replace(TINY, worlds=3).fingerprint
    with pytest.raises(DataError, match="python -m train cache"):
        cache.Cache(tmp_path)


def test_turning_a_tile_fits_turning_the_panorama():
    """A mark that bears 90° lies up in the tile and in the centre of the panorama after both turn by 90°."""
    tile = torch.zeros(1, 3, 80, 80)
    tile[..., 38:42, 60:64] = 1  # east
    strip = torch.zeros(1, 1, 1, 512)
    strip[..., 384] = 1  # bearing 90°
    turn = torch.tensor([90.0])
    grid = augment.tile_grid(torch.Generator(), turn, 80, share=1.0)
    turned = augment.cut(tile, grid)
    assert turned[0, 0, 18:20, 38:42].mean() > 0.9
    assert augment.roll(strip, torch.tensor([128])).argmax() == 256


def test_a_cut_at_full_resolution_keeps_every_pixel():
    image = torch.rand(2, 3, 80, 80)
    grid = augment.tile_grid(torch.Generator(), torch.zeros(2), 40, share=0.5)
    assert torch.allclose(augment.cut(image, grid), image[..., 20:60, 20:60], atol=1e-5)
    whole = augment.tile_grid(torch.Generator(), torch.zeros(2), 40, share=1.0)
    assert torch.allclose(augment.cut(image, whole), torch.nn.functional.avg_pool2d(image, 2), atol=1e-5)


def test_augmentation_stays_in_range_and_follows_its_generator():
    image = torch.rand(6, 3, 16, 32)

    def run(seed):
        generator = torch.Generator().manual_seed(seed)
        return augment.roughen(augment.jitter_colour(image, generator), generator)

    assert torch.equal(run(1), run(1)) and not torch.equal(run(1), run(2))
    assert 0 <= run(1).min() and run(1).max() <= 1
    grey = augment.jitter_colour(image, torch.Generator().manual_seed(0), strength=0.0, grey=1.0)
    assert torch.allclose(grey[:, 0], grey[:, 1], atol=1e-5)


def test_info_nce_is_log_of_the_batch_for_equal_scores():
    assert losses.info_nce(torch.zeros(8, 8)).item() == pytest.approx(math.log(8))
    near = torch.ones(8, 8, dtype=torch.bool)
    near[:4, :4] = False  # these do not count as wrong
    assert losses.info_nce(torch.zeros(8, 8), near).item() == pytest.approx((math.log(5) + math.log(8)) / 2)


def test_heading_nce_counts_every_heading_but_the_neighbours():
    valid = torch.ones(4, 4, dtype=torch.bool)
    loss = losses.heading_nce(torch.zeros(4, 4, 16), valid)
    assert loss.item() == pytest.approx(math.log(4 * 16 - 2))


def test_remembered_tiles_count_as_wrong_but_for_the_same_place():
    scores, further = torch.zeros(8, 8), torch.zeros(8, 5)
    further[:, 3:] = -torch.inf  # the same places
    expected = (math.log(8 + 3) + math.log(8)) / 2
    assert losses.info_nce(scores, further=further).item() == pytest.approx(expected)
    valid = torch.ones(4, 4, dtype=torch.bool)
    beside = torch.zeros(4, 3, 16)
    beside[:, 2] = -torch.inf
    expected = (math.log(6 * 16 - 2) + math.log(4 * 16 - 2)) / 2
    assert losses.heading_nce(torch.zeros(4, 4, 16), valid, further=beside).item() == pytest.approx(expected)


def test_a_memory_forgets_the_oldest_and_survives_a_checkpoint():
    memory = TileMemory(4, 2)
    assert [len(x) for x in memory.read()] == [0, 0]
    for first in (0, 3):
        rows = torch.arange(first, first + 3.0)
        memory.write(rows[:, None].expand(3, 2), rows[:, None].expand(3, 4))
    again = TileMemory(4, 2)
    again.load_state_dict(memory.state_dict())
    for kept in (memory, again):
        descriptors, place = kept.read()
        assert descriptors[:, 0].tolist() == place[:, 0].tolist() == [4, 5, 2, 3]


def test_narrow_views_can_be_made_more_frequent():
    def seen(lean):
        masks = augment.blinkers(generator_of(0, 0), 400, 8, 360, narrow=1.0, fov=70.0, lean=lean)
        return masks.amax((1, 2)).sum(1)

    even, leaning = seen(1.0), seen(2.0)
    assert even.min() >= 69 and leaning.min() >= 69
    assert even.mean() == pytest.approx(215, abs=15) and leaning.mean() == pytest.approx(167, abs=15)


def test_depth_loss_is_zero_for_the_truth():
    metres = torch.tensor([[[2.0, 30.0, math.inf]]])
    sky = torch.tensor([[[-50.0, -50.0, 50.0]]])
    assert losses.depth_loss(metres.clamp_max(250).log(), sky, metres).item() == pytest.approx(0, abs=1e-5)


def test_depth_learns_from_whole_panoramas_in_turn(tmp_path):
    data = cache.Cache(cache.build(TINY, tmp_path, workers=0, factory=FakeWorld))
    model = {"channels": (16, 16, 8, 8)}
    settings = Settings("s", steps=4, batch=4, learning_rate=1e-3, model=model, options={"whole": 1})
    method = DepthMethod(settings, data)
    batches = [method.batch(generator_of(0, step)) for step in range(4)]
    window, whole = (4, 3, 96, 256), (2, 3, 128, 512)
    assert [tuple(image.shape) for image, *_ in batches] == [window, whole, window, whole]
    assert batches[1][2][0] == pytest.approx(45, abs=0.4) and method.step(batches[1])["loss"] > 0


def test_tiles_are_cut_along_their_pixels_and_turned_together_with_their_classes():
    tile = torch.rand(3, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    truth = (tile[:, 0] * 8).long()
    image, classes = augment.crop_tiles(tile, truth, generator_of(0, 1), 12)
    assert image.shape == (3, 3, 12, 12) and torch.equal((image[:, 0] * 8).long(), classes.long())
    for cut, whole in zip(image, tile, strict=True):
        views = [v for k in range(4) for v in (cut.rot90(k, (1, 2)), cut.flip(-1).rot90(k, (1, 2)))]
        places = [whole[:, r : r + 12, c : c + 12] for r in range(9) for c in range(9)]
        assert sum(torch.equal(view, place) for view in views for place in places) == 1
    assert not torch.equal(augment.crop_tiles(tile, truth, generator_of(0, 2), 12)[0], image)


def test_pictures_with_rare_classes_are_drawn_more_often():
    shares = np.tile([0.5, 0.5, 0.0], (10, 1))
    shares[3] = [0.4, 0.5, 0.1]
    weights = rarity(shares)
    assert weights[3] == 12 and (np.delete(weights, 3) == 2).all()


@dataclass
class Line:
    """A method that learns a line, with noise of its own."""

    def __post_init__(self):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(2, 1)
        self.modules = {"model": self.model}
        self.optimisers = {"model": torch.optim.Adam(self.model.parameters(), 0.05)}
        self.averaged = "model"
        self.stop = None

    def batch(self, generator):
        return torch.rand(16, 2, generator=generator)

    def step(self, batch):
        if self.stop is not None and self.stop == 0:
            raise KeyboardInterrupt
        self.stop = None if self.stop is None else self.stop - 1
        target = batch.sum(1, keepdim=True) + 0.1 * torch.randn(16, 1)
        loss = (self.model(batch) - target).square().mean()
        self.optimisers["model"].zero_grad()
        loss.backward()
        self.optimisers["model"].step()
        return {"loss": loss.item(), "one": 1.0}


SETTINGS = Settings("line", steps=30, batch=16, learning_rate=0.05, average=0.9)


class Layers(Line):
    """The same through layers that Muon moves."""

    def __post_init__(self):
        super().__post_init__()
        self.model = torch.nn.Sequential(*(torch.nn.Linear(a, b) for a, b in ((2, 4), (4, 4), (4, 1))))
        self.modules, self.optimisers = {"model": self.model}, {"model": muon(self.model, SETTINGS)}


@pytest.mark.parametrize("method", [Line, Layers])
def test_an_interrupted_run_ends_like_an_unbroken_one(method, tmp_path):
    whole = train(SETTINGS, method(), tmp_path / "a").state_dict()
    broken = method()
    broken.stop = 17
    with pytest.raises(KeyboardInterrupt):
        train(SETTINGS, broken, tmp_path / "b", checkpoint_minutes=0.0)
    resumed = train(SETTINGS, method(), tmp_path / "b").state_dict()
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
    for run in ("a", "b"):
        log = [json.loads(line) for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in log] == [20, 30] and log[0]["loss"] > 0
        assert [line["one"] for line in log] == [1.0, 1.0]


def test_a_run_without_a_finite_loss_stops_at_once(tmp_path):
    method = Line()
    with torch.no_grad():
        method.model.weight.fill_(math.nan)
    with pytest.raises(XViewError, match=r"Step 1 of line has no finite loss.*lower learning rate"):
        train(SETTINGS, method, tmp_path)


def test_resuming_refuses_other_settings_and_shows_both(tmp_path):
    method = Line()
    average = Average(method.model, 0.9)
    save_checkpoint(tmp_path / "c.pt", 5, SETTINGS, method, average)
    assert resume(tmp_path / "c.pt", SETTINGS, method, average) == 5
    with pytest.raises(XViewError, match=r"'learning_rate': 0.05.*'learning_rate': 0.1"):
        resume(tmp_path / "c.pt", replace(SETTINGS, learning_rate=0.1), method, average)


def test_the_schedule_rises_and_falls():
    factors = [cosine(s, Settings("x", steps=100, batch=1, learning_rate=1.0, warmup=0.1)) for s in range(100)]
    assert max(factors) == 1 and factors.index(1.0) == 9 and factors[-1] < 0.02
    twice = Settings("x", steps=150, batch=1, learning_rate=1.0, warmup=0.1, restarts=(100,))
    assert [cosine(s, twice) for s in range(100)] == factors
    assert cosine(100, twice) == pytest.approx(0.34) and cosine(149, twice) < 0.02
    brief = replace(twice, steps=80)
    assert [cosine(s, brief) for s in range(80)] == [cosine(s, replace(brief, restarts=())) for s in range(80)]
    assert generator_of(0, 3).initial_seed() != generator_of(0, 4).initial_seed()
    assert step_of(generator_of(2, 7), 2) == 7


def test_muon_moves_a_layer_in_all_directions_alike_and_all_of_it_follows_the_schedule():
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(3, 8, 3)
    before = {k: v.detach().clone() for k, v in layer.named_parameters()}
    optimiser = muon(layer, Settings("x", steps=1, batch=1, learning_rate=0.1, weight_decay=0.0))
    layer(torch.randn(2, 3, 9, 9)).square().mean().backward()
    optimiser.param_groups[0]["lr"] = optimiser.param_groups[1]["lr"] = 0.0
    optimiser.step()
    assert all(torch.equal(v, before[k]) for k, v in layer.named_parameters())
    optimiser.param_groups[0]["lr"] = optimiser.param_groups[1]["lr"] = 0.1
    optimiser.step()
    moved = (layer.weight - before["weight"]).detach().flatten(1)
    assert torch.linalg.svdvals(moved) / (0.1 * 0.2 * 27**0.5) == pytest.approx(1.0, abs=0.35)
    assert (layer.bias - before["bias"]).abs().detach() == pytest.approx(0.1, rel=0.5)


def test_the_list_and_unknown_recipes(capsys):
    assert main(["--list"]) == 0
    assert all(name in capsys.readouterr().out for name in ["azimuth-world"])
    assert main(["xfrok-world"]) == 2
    assert "Available: azimuth-world" in capsys.readouterr().err
    with pytest.raises(XViewError, match="Available"):
        get("nothing")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_runs_small(name, root, tmp_path):
    assert main([name, "--smoke", "--cache", str(root), "--weights", str(tmp_path), "--threads", "1"]) == 0
    run = root / "runs" / f"{name}-smoke"
    assert {"config.json", "model.safetensors"} <= {p.name for p in (tmp_path / name).iterdir()}
    assert f"# {name}" in (run / "card.md").read_text()
    assert (run / "evaluation.json").is_file()


def test_a_real_world_fills_a_cache():
    sites = cache.spread_sites(World(0, size=240.0, resolution=1.0), 8)
    assert len(sites) == 8


def test_smoothed_labels_are_torch_s():
    torch.manual_seed(0)
    scores = torch.randn(6, 6) * 3
    target = torch.arange(6)
    for smoothing in (0.0, 0.1):
        both = [torch.nn.functional.cross_entropy(s, target, label_smoothing=smoothing) for s in (scores, scores.t())]
        assert losses.info_nce(scores, smoothing=smoothing).item() == pytest.approx(float(sum(both)) / 2, rel=1e-5)
    near = ~torch.eye(6, dtype=torch.bool)
    near[0, 1] = near[1, 0] = False
    assert (
        losses.info_nce(scores, near, 0.1).isfinite()
        and losses.info_nce(scores, near) <= losses.info_nce(scores) + 1e-6
    )


@pytest.mark.parametrize(("capability", "kind"), [("AVX2", torch.float32), ("AVX512", torch.bfloat16)])
def test_half_precision_is_for_processors_that_have_it(capability, kind, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    with autocast():
        assert (torch.rand(2, 2) @ torch.rand(2, 2)).dtype == kind
