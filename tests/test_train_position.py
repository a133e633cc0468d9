"""Training of the position models and of SegFormer: what a batch holds, the losses, pseudo-labels."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_train import TINY, FakeWorld

from train import cache
from train.engine import Settings, generator_of
from train.position import IGNORE, REACH, PositionBatch, PositionMethod, position_losses, turned, window
from train.recipes_position import POSITION
from train.segformer import SegFormerMethod, pseudo_labels
from xview_demo import zoo
from xview_demo.errors import ModelError
from xview_demo.models.position.heatmap import Placement
from xview_demo.models.segmentation.unet import UNetSegmenter


class Scene:
    """A cache of one world: a red cross marks every camera in every tile, north is a red column of the panorama."""

    def __init__(self, pixels=160):
        places = np.array([(0.0, 0.0), (15.0, -6.0), (-4.0, 22.0), (60.0, 60.0)])
        self.config = SimpleNamespace(
            per_world=4, dense_every=1, tile_metres=80.0, tile_pixels=pixels, width=512, height=128, worlds=1
        )
        self.worlds = np.array([0])
        ground = np.full((4, 128, 512, 3), 60, np.uint8)
        ground[:, :, 250:262, 0] = 255
        aerial = np.full((4, pixels, pixels, 3), 60, np.uint8)
        labels = np.full((4, pixels, pixels), 4, np.uint8)
        for tile, centre in enumerate(places):
            for east, north in places - centre:
                column, row = (np.array([east, -north]) / 80 + 0.5) * pixels
                if 0 <= column < pixels and 0 <= row < pixels:
                    aerial[tile, int(row) - 1 : int(row) + 2, int(column) - 1 : int(column) + 2, 0] = 255
                    labels[tile, int(row) - 1 : int(row) + 2, int(column) - 1 : int(column) + 2] = 1
        place = np.concatenate((np.zeros((4, 1)), places, np.full((4, 1), 2.0)), 1).astype(np.float32)
        self.arrays = {"ground": ground, "aerial": aerial, "aerial_labels": labels, "place": place}

    def __getitem__(self, name):
        return self.arrays[name]

    def dense(self):
        return np.arange(4)


def method(**options):
    recipe = POSITION["mst-world"]
    settings = Settings("mst-world", steps=2, batch=8, learning_rate=1e-3, model=recipe.small().settings.model)
    return PositionMethod(Settings(**{**vars(settings), "options": {"colour": 0.0, "noise": 0.0} | options}), Scene())


def test_the_detail_starts_from_a_trained_unet(tmp_path):
    net = UNetSegmenter("aerial", depth=2, channels=zoo.get("mst-world").tiny["detail"])
    net.save_pretrained(tmp_path)
    started, fresh = (method(start=start).model.detail.encoder.conv1.weight for start in (str(tmp_path), None))
    saved = net.unet.encoder.conv1.weight.half().float()
    assert torch.equal(started, saved) and not torch.allclose(fresh, saved, atol=0.01)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    return method()


def test_pairs_reach_as_far_as_twenty_metres(trained):
    rows = {(int(a), int(b)) for a, b, *_ in trained.pairs}
    assert {(0, 0), (1, 1), (2, 2), (3, 3), (0, 1), (1, 0), (0, 2), (2, 0)} <= rows and (0, 3) not in rows
    mine = np.array([a == b for a, b, *_ in trained.pairs])
    assert trained.weights[torch.from_numpy(mine)].sum().item() == pytest.approx(0.25)


@pytest.mark.parametrize("seed", range(3))
def test_the_camera_is_where_the_batch_says(trained, seed):
    batch = trained.batch(torch.Generator().manual_seed(seed))
    assert batch.strip.shape == (8, 3, 128, 512) and batch.tile.shape == (8, 3, 64, 64)
    away = (batch.camera / trained.cells - 0.5) * 64
    assert away.norm(dim=1).max() <= REACH + 0.01
    for n in range(8):
        column, row = (batch.camera[n] * 64 / trained.cells).long().tolist()
        assert (batch.landcover[n, row - 2 : row + 3, column - 2 : column + 3] == 1).any()
    assert set(batch.landcover.unique().tolist()) <= {0, 1, 2, 3, IGNORE} and batch.blocked.shape == (8, 16, 16)


def test_tile_and_panorama_turn_together(trained):
    """A mark north of the tile's centre lies in the panorama's column of that bearing."""
    turn = torch.tensor([90.0])
    tile = torch.zeros(1, 1, 80, 80)
    tile[..., 38:42, 58:62] = 1  # 20 m east
    seen = torch.nn.functional.grid_sample(tile, window(turn, torch.zeros(1, 2), 64, 64.0, 80.0), align_corners=False)
    row, column = divmod(int(seen.argmax()), 64)
    assert abs(column - 32) <= 3 and abs(row - 12) <= 3  # up
    assert turned(torch.tensor([[20.0, 0.0]]), turn)[0].tolist() == pytest.approx([0.0, -20.0], abs=1e-4)
    moved = window(torch.zeros(1), torch.tensor([[8.0, 4.0]]), 64, 64.0, 80.0)
    assert moved[0].mean((0, 1)).tolist() == pytest.approx([0.2, -0.1], abs=1e-5)


def test_the_losses_are_least_for_the_truth():
    camera = torch.tensor([[10.5, 20.5]])
    cover = torch.randint(4, (1, 32, 32), generator=torch.Generator().manual_seed(0))
    batch = PositionBatch(None, None, cover, torch.zeros(1, 32, 32, dtype=torch.bool), camera)
    logits = torch.nn.functional.one_hot(cover, 4).permute(0, 3, 1, 2) * 20.0
    x, y = torch.arange(32) + 0.5 - 10.5, torch.arange(32) + 0.5 - 20.5
    near = -(x[None, None] ** 2 + y[None, :, None] ** 2)
    sight = torch.logit(torch.exp(near / (2 * 8**2)).clamp(1e-4, 1 - 1e-4))
    right = position_losses(Placement(logits, sight, near / (2 * 0.7**2)), batch)
    assert right["landcover"] < 0.01 and right["position"] < 1e-3
    wrong = position_losses(Placement(-logits, -sight, torch.zeros(1, 32, 32)), batch)
    assert all(wrong[name] > right[name] + 0.1 for name in right)
    density = torch.zeros(1, 32, 32, requires_grad=True)
    position_losses(Placement(logits, sight, density), batch)["position"].backward()
    assert density.grad[0, 20, 10] < 0 < density.grad[0, 5, 28]  # towards the camera


def test_a_few_steps_learn_something(trained):
    batch = trained.batch(torch.Generator().manual_seed(0))
    first = trained.step(batch)
    for _ in range(6):
        last = trained.step(batch)
    assert last["landcover"] < first["landcover"] and last["density"] < first["density"]


def test_pseudo_labels_are_the_teacher_s():
    class Teacher:
        def predict(self, image, panorama):
            assert panorama is False
            return (image[:, 0] > 0.5).to(torch.uint8) * 3, None

    pictures = np.zeros((6, 4, 4, 3), np.uint8)
    pictures[2, :2] = 200
    found = pseudo_labels(Teacher(), pictures, np.array([0, 2, 4]), every=2)
    assert found.shape == (3, 4, 4) and found[1, :2].min() == 3 and found.sum() == 24


def test_a_unet_starts_from_imagenet(monkeypatch):
    import segmentation_models_pytorch as smp

    torch.manual_seed(0)
    plain = smp.encoders.get_encoder("resnet18", depth=3)
    monkeypatch.setattr(smp.encoders, "get_encoder", lambda name, inputs, depth, weights: plain)
    net = UNetSegmenter("aerial", depth=3, channels=(8, 8, 8)).unet
    net.start_from_imagenet()
    assert torch.equal(net.encoder.layer2[0].conv1.weight, plain.layer2[0].conv1.weight)

    def unreachable(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(smp.encoders, "get_encoder", unreachable)
    with pytest.raises(ModelError, match="ImageNet weights of resnet18 are not in the local cache"):
        net.start_from_imagenet()


def test_settled_statistics_are_those_that_predict(tmp_path):
    folder = cache.build(TINY, tmp_path, workers=0, factory=FakeWorld)
    tiny = zoo.get("segformer-world").tiny
    method = SegFormerMethod(
        Settings("s", steps=4, batch=4, learning_rate=1e-2, model=tiny, options={"settled": 1, "crop": 64}),
        cache.Cache(folder),
    )
    norm = next(m for m in method.model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    seen = []
    for step in range(3):
        method.model.train()
        method.step(method.batch(generator_of(0, step)))
        seen.append((norm.running_mean.clone(), norm.weight.detach().clone()))
    assert seen[0][0].abs().max() > 0 and torch.equal(seen[0][0], seen[1][0]) and torch.equal(seen[1][0], seen[2][0])
    assert not torch.equal(seen[1][1], seen[2][1])  # it goes on learning
