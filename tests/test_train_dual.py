"""The modern recipe on real pairs: true neighbours on the ground, pairs of one place, and runs that go on as they were.

Places and tiles are made up where no picture is looked at, and miniatures in the real layouts elsewhere.
"""

import json
import math
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from test_readers import six_places, write_cvact, write_vigor
from test_train import TINY, FakeWorld

from train import cache, recipes
from train.__main__ import main
from train.data import apart
from train.dual import DualMethod
from train.engine import Average, cosine, generator_of, resume, save_checkpoint, train
from train.geography import places as places_of
from train.matching import AzimuthMethod
from train.pairs import PairCache
from xview_demo import zoo
from xview_demo.data import AerialItem, GroundItem, PairIndex, read_vigor
from xview_demo.errors import ModelError, XViewError
from xview_demo.geometry.geodesy import distance_m, enu_to_latlon
from xview_demo.models.matching.dual_encoder import DualEncoder

NEW_YORK, SEATTLE = (40.75, -73.98), (47.61, -122.33)
SMALL = cache.CacheConfig(height=32, width=128, tile_pixels=64)


def invented(ground, tiles=None, positives=None, semi=()):
    """The cache of pairs whose pictures are never opened: where cameras and tiles are, which tiles are right."""
    tiles = ground if tiles is None else tiles
    positives = tuple((n,) for n in range(len(ground))) if positives is None else positives
    cameras = tuple(GroundItem(str(n), "none.jpg", latlon=place) for n, place in enumerate(ground))
    aerial = tuple(AerialItem(str(n), "none.jpg", latlon=place) for n, place in enumerate(tiles))
    return PairCache(PairIndex("made", "train", cameras, aerial, tuple(positives), semi), SMALL)


def method_of(data, **options):
    settings = recipes.get("dual-encoder-vigor").small().settings
    return DualMethod(replace(settings, options=settings.options | options), data)


def in_line(origin, metres):
    """Places that many metres east of another."""
    return [tuple(map(float, enu_to_latlon(float(m), 0.0, origin))) for m in metres]


def test_places_are_metres_on_the_ground():
    latlon = in_line(NEW_YORK, (0, 15, 9_000)) + [None] + in_line(SEATTLE, (0, -40)) + [None]
    place = torch.from_numpy(places_of(latlon))
    assert place.shape == (7, 4) and place.dtype == torch.float64 and (place[:, 3] == 2.5).all()
    for a, b in ((0, 1), (0, 2), (4, 5)):
        metres = (place[a, 1:3] - place[b, 1:3]).norm().item()
        assert metres == pytest.approx(distance_m(latlon[a], latlon[b]), abs=0.02) and place[a, 0] == place[b, 0]
    assert len(place[:, 0].unique()) == 4  # two cities, two unknown places
    assert torch.cdist(place[:3, 1:3], place[3:, 1:3]).min() > 90  # whoever looks at metres alone sees them apart
    assert torch.equal(apart(place, 20.0)[:2, :2], torch.zeros(2, 2, dtype=torch.bool))
    assert apart(place, 10.0).sum() == 7 * 6


def test_a_long_way_from_the_origin_near_places_are_still_near():
    place = torch.zeros(40, 4, dtype=torch.float64)  # as `places_of` gives them
    place[:, 1:3] = 20_000.3 + 2.9 * torch.arange(40.0)[:, None]
    assert torch.equal(apart(place, 12.0), (place[:, None, 1] - place[None, :, 1]).abs() * 2**0.5 > 12)


def test_hard_negatives_are_the_neighbours_on_the_ground():
    """Listed out of order, two cities mixed, and two cameras at one spot, which are no negatives of each other."""
    cities = {0: (NEW_YORK, (0, 600, 150, 2_000, 0)), 1: (SEATTLE, (0, 90, 250, 4_000, 900))}
    order = [(city, n) for n in range(5) for city in cities]
    data = invented([in_line(cities[city][0], cities[city][1])[n] for city, n in order])
    near = method_of(data, neighbours=2).near
    row = {pair: number for number, pair in enumerate(order)}
    assert near[row[0, 0]].tolist() == [row[0, 2], row[0, 1]]
    assert near[row[0, 3]].tolist()[0] == row[0, 1]
    assert near[row[1, 0]].tolist() == [row[1, 1], row[1, 2]]
    assert all(order[n][0] == order[row_][0] for row_ in range(10) for n in near[row_])


def test_without_places_hard_negatives_are_any_others():
    data = invented([None] * 40)
    place = torch.from_numpy(data["place"][data.samples()])
    assert torch.equal(apart(place, 12.0), ~torch.eye(40, dtype=torch.bool))
    assert torch.cdist(place[:, 1:3], place[:, 1:3]).add(torch.eye(40) * 100).min() >= 100
    near = method_of(data, neighbours=4).near
    assert near.shape == (40, 4) and (near != np.arange(40)[:, None]).all()
    steps = (near - np.arange(40)[:, None]) % 40
    assert len(np.unique(steps)) > 20  # from the whole list, not from beside it
    assert (method_of(data, neighbours=4).near == near).all()


def test_a_lonely_pair_of_a_known_place_gets_others_too():
    data = invented(in_line(NEW_YORK, (0, 100, 200)) + [SEATTLE] + [None])
    near = method_of(data, neighbours=2).near
    assert set(near[0]) == {1, 2} and 3 not in near[3] and 4 not in near[4]


def test_pairs_in_one_another_s_tiles_are_one_place():
    """Cameras 30 m apart: 0 and 1 share a tile, 2 lies within the tile of 1 and 0, 3 is elsewhere."""
    cameras = in_line(NEW_YORK, (0, 30, 60, 400))
    tiles = in_line(NEW_YORK, (10, 45, 410))
    data = invented(cameras, tiles, [(0,), (0,), (1,), (2,)], semi=((), (), (0,), ()))
    method = method_of(data, neighbours=3)
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[3, :3] = expected[:3, 3] = True
    everyone = np.arange(4)
    assert torch.equal(method._apart(everyone, everyone), expected)
    assert (method.near[:3, 0] == 3).all()


@pytest.fixture
def pictures(monkeypatch):
    """Noise in the place of the pictures of invented pairs."""
    rng = np.random.default_rng(0)
    strips, tiles = (torch.from_numpy(rng.integers(0, 255, (12, *size, 3), np.uint8)) for size in ((32, 128), (64, 64)))
    monkeypatch.setattr(PairCache, "_ground", lambda self, row: strips[row])
    monkeypatch.setattr(PairCache, "_aerial", lambda self, row: tiles[row])


def test_neither_the_loss_nor_the_mining_takes_one_place_for_two(pictures):
    """Eleven pairs share one tile, so that each has a single wrong one, which is all that there is to find."""
    data = invented(in_line(NEW_YORK, range(0, 480, 40)), positives=[(0,)] * 11 + [(11,)])
    method = method_of(data, neighbours=1)
    batch = method.batch(generator_of(0, 3))
    assert 0 < batch.valid.sum() <= 6 and torch.equal(batch.valid, batch.valid.T)
    assert (method._similar()[:11] == 11).all()


class Killed(Exception):
    """Stands for what ends a process."""


def ended(run, settings, method, at=None):
    """The state of all that a method keeps after its run; one that is killed before the step `at` has none."""
    if at is None:
        train(settings, method, run)
        return {f"{name}.{k}": v for name, part in method.modules.items() for k, v in part.state_dict().items()}
    step, left = method.step, list(range(at))

    def dying(batch):
        if not left:
            raise Killed
        left.pop()
        return step(batch)

    method.step = dying
    with pytest.raises(Killed):
        train(settings, method, run, checkpoint_minutes=0.0)
    return {}


def goes_on(build, settings, folder, at):
    """Whether a run killed before the step `at` ends like an unbroken one, tensor by tensor."""
    whole = ended(folder / "whole", settings, build())
    ended(folder / "broken", settings, build(), at)
    resumed = ended(folder / "broken", settings, build())
    assert whole.keys() == resumed.keys()
    return all(torch.equal(whole[k], resumed[k]) for k in whole)


def started(method, settings, data):
    torch.manual_seed(settings.seed)
    return method(settings, data)


def test_a_run_killed_after_mining_ends_like_an_unbroken_one(pictures, tmp_path):
    small = recipes.get("dual-encoder-cvusa").small().settings
    settings = replace(small, steps=6, options=small.options | {"refresh": 3})
    assert goes_on(lambda: started(DualMethod, settings, invented([None] * 12)), settings, tmp_path, 4)


@pytest.mark.slow
def test_a_killed_run_of_the_bundled_matcher_ends_like_an_unbroken_one(tmp_path):
    """The last of its steps, after the kill, looks at tiles that the second remembered."""
    data = cache.Cache(cache.build(TINY, tmp_path, workers=0, factory=FakeWorld))
    settings = replace(recipes.get("azimuth-world").small().settings, steps=3)
    assert settings.options["later"] == {"after": 1, "hard": 2}
    assert goes_on(lambda: started(AzimuthMethod, settings, data), settings, tmp_path, 2)


def test_a_run_that_did_not_keep_its_neighbours_says_so(tmp_path):
    settings = recipes.get("dual-encoder-cvusa").small().settings
    method = DualMethod(settings, invented([None] * 4))
    average = Average(method.model, 0.0)
    kept = SimpleNamespace(modules={"model": method.model}, optimisers=method.optimisers)
    save_checkpoint(tmp_path / "c.pt", 1, settings, kept, average)
    with pytest.raises(XViewError, match="did not keep its neighbours: start over with --fresh"):
        resume(tmp_path / "c.pt", settings, method, average)


def test_without_accelerate_the_extra_that_brings_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.delitem(sys.modules, "train.dual")
    method = recipes.get("dual-encoder-cvusa").load()
    with pytest.raises(ModelError, match=r'accelerate, which is not installed: run `pip install -e "\.\[train\]"`'):
        method(recipes.get("dual-encoder-cvusa").small().settings, invented([None] * 2))


# Presets


@pytest.fixture
def any_precision():
    """Lets runs of one process differ in precision, to which accelerate holds on otherwise."""
    reset = AcceleratorState._reset_state
    yield reset
    reset(reset_partial_state=True)


@pytest.mark.parametrize(("data", "write", "split"), [("cvact", write_cvact, "train"), ("vigor", write_vigor, "train"),
                                                      ("vigor", write_vigor, "cross-train")])  # fmt: skip
def test_presets_run_on_their_own_data(data, write, split, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    write(root, six_places())
    name = f"dual-encoder-{data}"
    words = [name, "--smoke", "--root", root, "--cache", tmp_path, "--split", split, "--threads", 1]
    assert main([str(word) for word in words]) == 0
    run = tmp_path / "runs" / f"{name}-smoke"
    assert zoo.is_folder_of_weights(run / "model")
    settings = json.loads((run / "settings.json").read_text())
    assert settings["recipe"] == name and settings["steps"] == 3
    assert math.isfinite(json.loads((run / "log.jsonl").read_text().splitlines()[-1])["loss"])


def test_pairs_of_a_vigor_city_share_their_tiles(tmp_path):
    """Either panorama of a city in the miniature lies within the tile of the other; the cities lie far apart."""
    data = PairCache(read_vigor(write_vigor(tmp_path, six_places()), None), SMALL)
    everyone = data.samples()
    city = np.array([item.id.split("/")[0] for item in data.index.ground])
    found = method_of(data)._apart(everyone, everyone).numpy()
    assert len(everyone) == 8 and np.array_equal(found, city[:, None] != city)


def test_memory_is_spared_and_half_the_bits_used_as_the_presets_ask(pictures, any_precision):
    """One step of each kind from the same weights: the same gradient, but for the rounding of half precision."""
    data, after = invented([None] * 6), {}
    seen = []
    for checkpointing, precision in ((False, "no"), (True, "no"), (True, "bf16")):
        any_precision(reset_partial_state=True)
        torch.manual_seed(0)
        method = method_of(data, checkpointing=checkpointing, precision=precision)
        assert method.model.encoder.grad_checkpointing == checkpointing
        method.model.encoder.conv1[0].register_forward_hook(lambda *given: seen.append(given[2].dtype))
        report = method.step(method.batch(generator_of(0, 0)))
        assert math.isfinite(report["loss"]) and seen[-1] == (torch.bfloat16 if precision == "bf16" else torch.float32)
        after[checkpointing, precision] = torch.cat([p.grad.flatten() for p in method.model.parameters()])
    plain, spared, half = after.values()
    assert torch.allclose(plain, spared, atol=1e-5)
    assert not torch.equal(plain, half) and torch.cosine_similarity(plain, half, dim=0) > 0.8


@pytest.mark.parametrize(("data", "count"), [("cvusa", 35_532), ("cvact", 35_532), ("vigor", 52_609)])
def test_presets_carry_sample4geo_s_numbers(data, count):
    recipe = recipes.get(f"dual-encoder-{data}")
    settings = recipe.settings
    assert settings.batch == 128 and settings.learning_rate == 1e-3 and settings.steps == 40 * count // 128
    assert settings.options["pretrained"] and settings.options["checkpointing"] and settings.options["refresh"] > 0
    epoch = count // 128
    rates = [cosine(step, settings) for step in (0, epoch - 2, epoch, settings.steps - 1)]
    assert rates[0] < 0.01 and 0.98 < rates[1] < 1 and rates[2] == pytest.approx(1, abs=1e-4) and rates[3] < 0.011
    with torch.device("meta"):
        model = DualEncoder(**settings.model)
    assert model.backbone.startswith("convnext_base") and model.encoder.num_features == 1024 and model.aerial is None
    assert model.aerial_size == 384 and model.ground_size == ((384, 768) if data == "vigor" else (140, 768))
    method = recipe.small().load()(recipe.small().settings, invented([None] * 2))
    assert method.options["smoothing"] == 0.1 and method.options["hard"] == 0.5
    assert isinstance(method.optimisers["model"].optimizer, torch.optim.AdamW)
