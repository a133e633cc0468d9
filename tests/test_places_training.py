"""Training place recognition: mining, the three losses, both phases, resumption."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from train import places as training
from train.engine import Settings, generator_of, train
from train.places import PlaceData, PlacesMethod, Triples, Warps, load_imagenet, mined_pairs, mirror
from xview_demo.models.reranking.features import NetVLAD, build_encoder
from xview_demo.models.reranking.geowarp import GeoWarp, rectangle_like
from xview_demo.world.places import SMOKE, write_places

SMALL = {"backbone": "alexnet", "pooling": "gem", "width": 0.0625, "channels": (8,) * 6, "size": (64, 96)}
OPTIONS = {
    "refresh": 2, "validate": 2, "validation": 2, "queries": 4, "pool": 8, "negatives": 2, "hardest": 3,
    "optimiser": "adam", "rate": 1e-3, "limit": 4.0,
}  # fmt: skip
SETTINGS = Settings(
    "geowarp-alexnet-gem-world", steps=6, batch=3, learning_rate=1e-3, average=0.0, model=SMALL, options=OPTIONS
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = write_places(tmp_path_factory.mktemp("places"), replace(SMOKE, sites=10, queries=8))
    return PlaceData.open(folder)


def method(data, **changes):
    torch.manual_seed(0)
    return PlacesMethod(replace(SETTINGS, **changes), data)


def warps(step, count=3):
    generator = torch.Generator().manual_seed(step)
    source, query, positive = torch.rand(3, count, 3, 64, 96, generator=generator)
    return Warps(source, query, positive, generator)


def test_pairs_are_right_predictions_that_are_near():
    ranking = np.array([[3, 1, 0], [2, 0, 1]])
    squared = np.array([[0.1, 0.5, 1.3], [0.2, 1.1, 1.19]])
    found = mined_pairs(ranking, squared, [np.array([0, 1]), np.array([0, 1])], 1.2)
    assert found.tolist() == [[0, 1], [1, 0], [1, 1]]
    assert mined_pairs(ranking, squared, [np.array([], int)] * 2, 1.2).shape == (0, 2)


def test_mirrored_corners():
    corners = torch.rand(2, 8, 2) * 2 - 1
    assert torch.equal(mirror(mirror(corners)), corners)
    whole = rectangle_like(torch.zeros(1, 2, 4, 2)).reshape(1, 8, 2)
    assert torch.equal(mirror(whole), whole)
    left = torch.tensor([[-1.0, -1], [-0.5, -1], [-0.5, 1], [-1, 1]]).repeat(2, 1)[None]
    assert mirror(left)[0, :4].tolist() == [[0.5, -1], [1, -1], [1, 1], [0.5, 1]]


def test_triples_hold_the_nearest_right_and_the_nearest_wrong_photographs(data):
    learner = method(data)
    batch = learner.batch(generator_of(0, 0))
    assert isinstance(batch, Triples) and batch.image.shape == (3 * (2 + 2), 3, 64, 96)
    assert not batch.wrong[torch.arange(3), torch.arange(3)].any()  # itself
    assert not batch.wrong[torch.arange(3), 3 + torch.arange(3)].any()  # its positive
    place = {q: data.train.query_utm[q] for q, *_ in learner._triples}
    for query, positive, negatives in learner._triples:
        assert positive in learner.positives[query]
        assert all(np.hypot(*(data.train.gallery_utm[n] - place[query])) > 25 for n in negatives)
    learner.miner.eval()
    q, p, (n, *_) = learner._triples[0]
    train = data.train
    described = learner._described([train.queries[q], train.gallery[p], train.gallery[n]]).detach()
    others = learner._described([train.gallery[i] for i in learner.positives[q]]).detach()
    assert (described[0] - described[1]).norm() <= (described[0] - others).norm(dim=1).min() + 1e-6


def test_losses_of_an_untrained_regressor(data):
    """It says that both photographs show all of both: right for k = 0, and the same in either order and mirrored."""
    learner = method(data, options=OPTIONS | {"k": 0.0})
    batch = warps(0)
    learner.model.regressor.eval()
    learner.model.extractor.eval()
    assert learner._supervised(batch).item() == pytest.approx(0, abs=1e-10)
    q, p = learner._local(batch.query), learner._local(batch.positive)
    assert learner._consistency(batch, q, p).item() == pytest.approx(0, abs=1e-10)
    same = Warps(batch.source, batch.query, batch.query.clone(), batch.generator)
    assert learner._feature_wise(same, q, q).item() == pytest.approx(0, abs=1e-10)
    assert learner._feature_wise(batch, q, p).item() > 1e-5
    learner.options["k"] = 0.8
    assert learner._supervised(batch).item() > 0.01


def test_consistency_pulls_four_predictions_to_their_mean(data):
    learner = method(data)
    learner.model.regressor.linear.weight.data.normal_(0, 0.1)
    learner.model.eval()
    batch = warps(1)
    q, p = learner._local(batch.query), learner._local(batch.positive)
    reg, sim = learner.model.regressor, training.similarity
    mq, mp = learner._local(batch.query.flip(-1)), learner._local(batch.positive.flip(-1))
    four = [reg(sim(q, p))[:, [4, 5, 6, 7, 0, 1, 2, 3]], reg(sim(p, q))]
    four += [mirror(reg(sim(mq, mp))[:, [4, 5, 6, 7, 0, 1, 2, 3]]), mirror(reg(sim(mp, mq)))]
    mean = sum(four) / 4
    expected = sum(((f - mean) ** 2).mean() for f in four)
    assert learner._consistency(batch, q, p).item() == pytest.approx(expected.item(), rel=1e-5)


def test_only_the_regressor_learns_from_warps(data):
    learner = method(data)
    before = {k: v.clone() for k, v in learner.model.state_dict().items()}
    learner.progress.step.fill_(learner.switch)
    report = learner.step(warps(2))
    assert set(report) == {"supervised", "consistency", "features"} and all(np.isfinite(v) for v in report.values())
    after = learner.model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before if k.startswith("extractor"))
    assert not torch.equal(before["regressor.linear.bias"], after["regressor.linear.bias"])


def test_the_supervised_loss_falls(data):
    learner = method(data, options=OPTIONS | {"k": 0.5, "consistency": 0.0, "features": 0.0, "validate": 1000})
    learner.progress.step.fill_(learner.switch + 1)
    batches = [warps(n, 8) for n in range(2)]
    first = []
    for step in range(24):
        batch = batches[step % 2]
        batch.generator.manual_seed(step % 2)
        first.append(learner.step(replace(batch, query=batch.query[:0], positive=batch.positive[:0]))["supervised"])
    assert np.mean(first[-4:]) < 0.8 * np.mean(first[:2])


def test_a_run_has_two_phases_and_ends_the_same_when_interrupted(data, tmp_path):
    torch.manual_seed(0)
    whole = train(SETTINGS, PlacesMethod(SETTINGS, data), tmp_path / "a").state_dict()
    for stop in (1, 4):
        torch.manual_seed(0)
        broken = PlacesMethod(SETTINGS, data)
        step, done = broken.step, []

        def breaking(batch, step=step, done=done, stop=stop):
            if len(done) == stop:
                raise KeyboardInterrupt
            done.append(type(batch).__name__)
            return step(batch)

        broken.step = breaking
        with pytest.raises(KeyboardInterrupt):
            train(SETTINGS, broken, tmp_path / str(stop), checkpoint_minutes=0.0)
        assert done == ["Triples", "Triples", "Triples", "Warps"][:stop]
        torch.manual_seed(1)
        resumed = train(SETTINGS, PlacesMethod(SETTINGS, data), tmp_path / str(stop)).state_dict()
        assert all(torch.equal(whole[k], resumed[k]) for k in whole), stop


def test_the_validation_split_chooses(data, monkeypatch):
    learner = method(data)
    scores = iter([10.0, 5.0])
    monkeypatch.setattr(learner, "_retrieval_score", lambda: next(scores))
    learner._validate(0)
    kept = learner.best.extractor.encoder[0].weight.clone()
    learner.model.extractor.encoder[0].weight.data.add_(1)
    learner._validate(0)
    assert torch.equal(learner.best.extractor.encoder[0].weight, kept)
    assert float(learner.progress.best[0]) == 10.0


def test_netvlad_starts_from_clusters_of_the_features(data):
    learner = method(data, model=SMALL | {"pooling": "netvlad"})
    head = learner.model.extractor.pool
    assert isinstance(head, NetVLAD)
    learner._start_netvlad(head)
    assert torch.allclose(head.centroids.norm(dim=1), torch.ones(64), atol=1e-4)
    assert torch.allclose(head.conv.weight[:, :, 0, 0] / head.conv.weight.norm(dim=1)[:, 0], head.centroids, atol=1e-4)


def test_imagenet_weights_can_be_the_start(monkeypatch):
    encoder = build_encoder("alexnet")
    net = SimpleNamespace(features=torch.nn.Sequential(*encoder, torch.nn.ReLU(), torch.nn.MaxPool2d(3, 2)))
    asked = []
    monkeypatch.setattr("torchvision.models.get_model", lambda name, weights=None: asked.append((name, weights)) or net)
    with torch.device("meta"):
        model = GeoWarp("alexnet").to_empty(device="cpu")
    asked.clear()
    load_imagenet(model)
    assert asked == [("alexnet", "IMAGENET1K_V1")]
    assert torch.equal(model.extractor.encoder[10].weight, encoder[10].weight)


def test_unknown_options_are_told(data):
    with pytest.raises(ValueError, match="No option named 'k2'"):
        method(data, options={"k2": 1})
