"""Brooklyn & Queens in its real layout, written here from a generated world."""

import numpy as np
import pytest
from PIL import Image
from scipy import sparse

from xview_demo import data
from xview_demo.classes import LANDCOVER
from xview_demo.data.brooklyn_queens import read_brooklyn_queens, read_label
from xview_demo.errors import DataError
from xview_demo.geometry.geodesy import enu_to_latlon, tile_latlon, tile_metres, tile_of
from xview_demo.world import World

PLACE = {"brooklyn": (40.65, -73.95), "queens": (40.72, -73.80)}
OFFSET = (9.0, -14.0)  # metres of the panorama from its tile's centre


def write(root, borough, world):
    x, y = tile_of(*PLACE[borough], 19)
    home, names = root / borough, []
    lists = {"overhead": [[], [], []], "streetview": [[], []]}
    tiles = world.aerials([(0.0, 0.0), (40.0, 0.0)], pixels=64)
    strips = world.panoramas(world.sites(2), height=16, width=64)
    for n in range(2):
        name = f"19/{x + n}/{y}"
        path = home / "overhead" / "images" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((tiles.colour[n].permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(path)
        north, west = tile_latlon(x + n, y, 19)
        south, east = tile_latlon(x + n + 1, y + 1, 19)
        lists["overhead"][0].append(f"{name}.jpg")
        lists["overhead"][1].append(f"{(north + south) / 2} {(west + east) / 2}")
        lists["overhead"][2].append(f"{name}.jpg,{north},{west},{south},{east}")
        values = {"landcover": [1, 2, 3, 4, 5, 6, 7, 8], "landuse": [3] * 8, "age": [9] * 8, "function": [1] * 8}
        for kind, row in values.items():
            label = home / "labels" / kind / f"19_{x + n}_{y}.png"
            label.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.array([row] * 2, np.uint8)).save(label)
        (home / "labels" / "height").mkdir(exist_ok=True)
        heights = sparse.coo_matrix(([12.5], ([3], [4])), shape=(8, 8)).tocsr()
        sparse.save_npz(home / "labels" / "height" / f"19_{x + n}_{y}.npz", heights)
        lat, lon = enu_to_latlon(*OFFSET, tile_latlon(x + n + 0.5, y + 0.5, 19))
        street = f"{lat:.4f}/{lon:.4f}/{lat:.6f}_{lon:.6f}"
        path = home / "streetview" / "images" / f"{street}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((strips.colour[n].permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(path)
        lists["streetview"][0].append(f"{street}.jpg")
        lists["streetview"][1].append(f"{lat:.7f} {lon:.7f}")
        depth = home / "labels" / "depth" / f"{lat:.6f}_{lon:.6f}.png"
        depth.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 8), 7, np.uint8)).save(depth)
        names.append(name)
    for side, columns in lists.items():
        for file, lines in zip(("images", "locations", "bboxes"), columns, strict=False):
            (home / side / f"{file}.txt").write_text("\n".join(lines) + "\n")
    return names


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder, world = tmp_path_factory.mktemp("bq"), World(950_004, size=260.0, resolution=1.0)
    for borough in PLACE:
        write(folder, borough, world)
    return folder


def test_panoramas_are_paired_with_the_tile_that_holds_them(root):
    index = data.read("brooklyn-queens", root, "train")
    assert len(index) == 2 and len(index.aerial) == 2 and index.truth.tolist() == [0, 1]
    assert index.ground[1].heading == 0 and index.ground[1].hfov == 360
    assert index.ground[1].offset == pytest.approx(OFFSET, abs=0.1)
    assert index.aerial[0].id.startswith("brooklyn/19/")
    both = read_brooklyn_queens(root)
    assert len(both) == 4 and both.truth.tolist() == [0, 1, 2, 3]
    assert read_brooklyn_queens(root, "test").ground[0].id.startswith("queens/")


def test_the_pictures_open_with_place_and_scale(root):
    index = read_brooklyn_queens(root, "validation")
    view = data.dataset.open_aerial(index.aerial[0])
    assert view.metres == pytest.approx(tile_metres(PLACE["queens"][0], 19), rel=1e-3)
    item = data.PairDataset(index)[0]
    assert item["ground"].shape == (3, 128, 512) and item["offset"].tolist() == pytest.approx(OFFSET, abs=0.1)


def test_every_kind_of_labels_is_found_and_read(root):
    index = read_brooklyn_queens(root)
    for tile in index.aerial:
        assert set(tile.also) == {"landcover", "landuse", "age", "function", "height"}
    assert all(set(item.also) == {"depth"} for item in index.ground)
    cover = read_label(index.aerial[0].also["landcover"], "landcover")
    assert cover[0].tolist() == [0, 0, 255, 255, 1, 2, 3, 255]
    assert [LANDCOVER[c] for c in cover[0, [1, 4, 5, 6]]] == ["tree", "building", "road", "other paved"]
    height = read_label(index.aerial[1].also["height"], "height")
    assert height.shape == (8, 8) and height.dtype == np.float32 and height[3, 4] == 12.5 and height.sum() == 12.5
    assert (read_label(index.ground[0].also["depth"], "depth") == 7).all()
    assert (read_label(index.aerial[0].also["age"], "age") == 9).all()


def test_heights_may_be_plain_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", np.full((2, 3), 4.0))
    assert read_label(tmp_path / "a.npz", "height").tolist() == [[4.0] * 3] * 2


def test_what_does_not_fit_is_told(root, tmp_path):
    with pytest.raises(DataError, match="no borough 'bronx'"):
        read_brooklyn_queens(root, boroughs=("bronx",))
    with pytest.raises(DataError, match="No kind of labels named 'colour'"):
        read_label(tmp_path, "colour")
    (tmp_path / "broken.png").write_text("no picture")
    with pytest.raises(DataError, match="cannot be read"):
        read_label(tmp_path / "broken.png", "age")
    with pytest.raises(DataError, match="has no brooklyn/overhead/images.txt"):
        read_brooklyn_queens(tmp_path, "train")
    world = World(950_004, size=260.0, resolution=1.0)
    write(tmp_path, "brooklyn", world)
    lines = tmp_path / "brooklyn" / "streetview" / "locations.txt"
    lines.write_text(lines.read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match=r"images.txt has 2, locations.txt has 1"):
        read_brooklyn_queens(tmp_path, "train")


def test_missing_pictures_are_told_or_skipped(tmp_path):
    write(tmp_path, "queens", World(950_004, size=260.0, resolution=1.0))
    next((tmp_path / "queens" / "overhead" / "images").rglob("*.jpg")).unlink()
    with pytest.raises(DataError, match="skip_missing=True"):
        read_brooklyn_queens(tmp_path, "test")
    index = read_brooklyn_queens(tmp_path, "test", skip_missing=True)
    assert len(index.aerial) == 1 and sorted(index.truth.tolist()) == [-1, 0]
