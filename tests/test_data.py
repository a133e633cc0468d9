"""Data sets: what pairs with what, and what is opened."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from xview_demo.data import READERS, PairDataset, PairIndex, read, read_folder, read_world
from xview_demo.data.dataset import open_aerial, open_ground
from xview_demo.data.index import SPLITS
from xview_demo.errors import DataError
from xview_demo.images import write_image
from xview_demo.metrics import ranks


def fill(root, names, ground="jpg", aerial="png"):
    for name in names:
        shade = int(name.split("_")[-1]) / 100
        write_image(root / "ground" / f"{name}.{ground}", torch.full((3, 32, 128), shade))
        write_image(root / "aerial" / f"{name}.{aerial}", torch.full((3, 64, 64), shade))
    return root


def test_folder_pairs_by_name_not_by_order(tmp_path):
    fill(tmp_path, ["a_10", "a_9", "b_50"])
    write_image(tmp_path / "ground" / "extra_1.jpg", torch.zeros(3, 32, 128))
    write_image(tmp_path / "aerial" / "0_first.png", torch.zeros(3, 64, 64))
    index = read_folder(tmp_path, heading=90, metres_per_pixel=0.25)
    assert len(index) == 3 and index.truth.tolist() == [0, 1, 2]
    assert [item.id for item in index.ground] == ["a_10", "a_9", "b_50"]
    for item, tiles in zip(index.ground, index.positives, strict=True):
        tile = index.aerial[tiles[0]]
        assert tile.id == item.id
        assert abs(open_ground(item).image.mean() - open_aerial(tile).image.mean()) < 0.01
    assert open_aerial(index.aerial[0]).metres_per_pixel == 0.25 and open_ground(index.ground[0]).heading == 90


def test_folder_splits_are_disjoint_and_stay(tmp_path):
    fill(tmp_path, [f"p_{i}" for i in range(60)])
    parts = {split: {item.id for item in read_folder(tmp_path, split).ground} for split in SPLITS}
    assert sum(map(len, parts.values())) == 60 and all(not a & b for a, b in pairwise([*parts.values()] * 2))
    fill(tmp_path, [f"q_{i}" for i in range(10)])
    assert parts["train"] <= {item.id for item in read_folder(tmp_path, "train").ground}
    with pytest.raises(DataError, match="train, validation, test"):
        read_folder(tmp_path, "val")


def test_list_pairs_what_it_says(tmp_path):
    fill(tmp_path, ["a_10", "b_50"])
    (tmp_path / "pairs.csv").write_text(
        "ground,aerial,heading,lat,lon,east,north,metres_per_pixel,split\n"
        "ground/a_10.jpg,aerial/b_50.png,45,40.7,-73.9,3,-4,0.2,test\n"
        "ground/b_50.jpg,aerial/b_50.png,,,,,,0.2,train\n"
    )
    index = read_folder(tmp_path)
    assert len(index.ground) == 2 and len(index.aerial) == 1 and index.truth.tolist() == [0, 0]
    item = index.ground[0]
    assert (item.heading, item.latlon, item.offset) == (45, (40.7, -73.9), (3, -4))
    assert index.ground[1].heading is None and index.aerial[0].metres_per_pixel == 0.2
    assert [i.id for i in read_folder(tmp_path, "train").ground] == ["b_50"]


def test_names_give_place_and_heading_and_labels_are_found(tmp_path):
    name = "51.5092,-0.0873,12.5"
    write_image(tmp_path / "ground" / f"{name}.png", torch.rand(3, 64, 128))
    write_image(tmp_path / "aerial" / f"{name}.png", torch.rand(3, 64, 64))
    write_image(tmp_path / "ground_label" / f"{name}.png", torch.rand(3, 64, 128))
    item = read_folder(tmp_path).ground[0]
    assert item.heading == 12.5 and item.latlon == (51.5092, -0.0873) and item.id == name
    assert list(item.also) == ["label"] and item.also["label"].is_file()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "no folder ground/"),
        (
            lambda root: (fill(root, ["a_1"]), (root / "aerial" / "a_1.png").rename(root / "aerial" / "b.png")),
            "same name",
        ),
        (lambda root: (root / "pairs.csv").write_text("ground,aerial\nx.jpg,y.jpg\n"), "2 files that do not exist"),
        (lambda root: (root / "pairs.csv").write_text("left,right\n"), "at least ground,aerial"),
    ],
)
def test_folder_refusals(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(DataError, match=message):
        read_folder(tmp_path)


def test_items_have_canonical_shapes_and_collate(tmp_path):
    index = read_folder(fill(tmp_path, ["a_10", "b_50", "c_30"]), heading=270)
    batch = next(iter(DataLoader(PairDataset(index), batch_size=3)))
    assert batch["ground"].shape == (3, 3, 128, 512) and batch["ground_mask"].shape == (3, 1, 128, 512)
    assert batch["aerial"].shape == (3, 3, 256, 256) and batch["heading"].tolist() == [270] * 3
    assert batch["offset"].isnan().all() and batch["tile"].tolist() == [0, 1, 2]


def test_heading_modes(tmp_path):
    write_image(tmp_path / "ground" / "a.png", torch.linspace(0, 1, 512).expand(3, 128, 512))
    write_image(tmp_path / "aerial" / "a.png", torch.rand(3, 64, 64))
    index = read_folder(tmp_path, heading=90)
    plain = PairDataset(index)[0]
    north = PairDataset(index, heading="north")[0]
    torch.testing.assert_close(north["ground"], plain["ground"].roll(128, -1), atol=1e-3, rtol=0)
    assert north["heading"] == 0
    data = PairDataset(index, heading="random", seed=3)
    first = data[0]
    turn = round((float(first["heading"]) - 90) % 360 * 512 / 360)
    torch.testing.assert_close(first["ground"], plain["ground"].roll(-turn, -1))
    assert torch.equal(data[0]["ground"], first["ground"])
    data.epoch = 1
    assert data[0]["heading"] != first["heading"]
    unknown = PairDataset(read_folder(tmp_path), heading="random")[0]
    assert math.isnan(unknown["heading"])
    narrow = PairDataset(index, fov=90)[0]
    assert narrow["ground_mask"].sum() == 128 * 128 and narrow["ground"][..., :192].max() == 0
    with pytest.raises(DataError, match="as_is, north, random"):
        PairDataset(index, heading="south")
    with pytest.raises(DataError, match="field of view"):
        PairDataset(index, fov=0)


def test_world_pairs_are_listed_then_rendered():
    index = read_world([950_000], "test", per_world=3, size=200, resolution=1.0, offset_metres=5.0)
    assert len(index) == 3 and index.truth.tolist() == [0, 1, 2]
    assert all(max(map(abs, item.offset)) <= 5 for item in index.ground)
    again = read_world([950_000], "test", per_world=3, size=200, resolution=1.0, offset_metres=5.0)
    assert again == index
    item = PairDataset(index)[1]
    assert item["ground"].shape == (3, 128, 512) and item["aerial"].shape == (3, 256, 256) and item["heading"] == 0
    assert item["ground"].std() > 0.03 and torch.allclose(item["offset"], torch.tensor(index.ground[1].offset))
    assert np.isfinite(open_aerial(index.aerial[1]).latlon).all()
    with pytest.raises(DataError, match="950000 to 999999"):
        read_world([5], "test")


def test_registry_teaches():
    assert set(READERS) >= {"folder", "world"}
    with pytest.raises(DataError, match="Available: .*folder"):
        read("cvusaa")


def test_index_serves_metrics(tmp_path):
    index = read("folder", fill(tmp_path, [f"a_{i}" for i in range(6)]))
    part = index.subset(3, seed=1)
    assert len(part) == 3 and len(part.aerial) == 6 and part.truth_mask().sum() == 3
    assert ranks(part.truth_mask().astype(float), part.truth_mask()).tolist() == [0, 0, 0]
    with pytest.raises(DataError, match="0 ground"):
        PairIndex("x", None, (), (), ())


def test_real_pairs_are_read(real_pairs):
    london = read_folder(real_pairs / "london", metres_per_pixel=0.5)
    nyc = read_folder(real_pairs / "nyc", heading=0.0, metres_per_pixel=58 / 512)
    assert (len(london), len(nyc)) == (10, 5)
    assert all(item.heading is not None and item.latlon is not None for item in london.ground)
    assert set(london.ground[0].also) == {"label"} and set(london.aerial[0].also) == {"label", "depth"}
    for index in (london, nyc):
        item = PairDataset(index, heading="north")[0]
        assert item["heading"] == 0 and item["ground_mask"].min() == 1
