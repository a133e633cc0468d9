"""Readers of published data sets, each on a miniature that the world writes in the real layout."""

import numpy as np
import pytest
from scipy.io import savemat

from xview_demo.data import READERS, PairDataset, read, read_cvact, read_cvusa, read_lists, read_vigor
from xview_demo.data.dataset import open_aerial, open_ground
from xview_demo.data.listing import number_of, published
from xview_demo.errors import DataError
from xview_demo.geometry.geodesy import latlon_to_utm
from xview_demo.images import write_image
from xview_demo.world import World

COUNT = 6


def six_places():
    """Strips (65°), spheres and tiles of six places of a world, and where they are."""
    world = World(3, size=260.0, resolution=1.0)
    sites = world.sites(COUNT)
    strips = world.panoramas(sites, height=40, width=220, vfov=65.0).colour
    spheres = world.panoramas(sites, height=64, width=128, vfov=180.0).colour
    tiles = world.aerials(sites, metres=72.0, pixels=80).colour
    return strips, spheres, tiles, [site.latlon for site in sites]


@pytest.fixture(scope="module")
def places():
    return six_places()


def write_cvusa(root, places, ground="streetview/panos/{:07d}.jpg", aerial="bingmap/19/{:07d}.jpg", lists="splits/"):
    rows = []
    for n in range(COUNT):
        write_image(root / ground.format(n + 8), places[0][n])
        write_image(root / aerial.format(n + 8), places[2][n])
        rows.append(f"bingmap/19/{n + 8:07d}.jpg,streetview/panos/{n + 8:07d}.jpg")
    for name, part in (("train", rows[:4]), ("val", rows[4:])):
        (root / lists).mkdir(exist_ok=True)
        (root / lists / f"{name}-19zl.csv").write_text("\n".join(part) + "\n")
    return root


def looks_like(view, picture, error=0.06):
    return view.image.shape == picture.shape and (view.image - picture).abs().mean() < error


def test_cvusa_is_paired_by_number(tmp_path, places):
    root = write_cvusa(tmp_path, places)
    train, test = read("cvusa", root, split="train"), read("cvusa", root, split="test")
    assert (len(train), len(test)) == (4, 2) and test == read_cvusa(root, "test") and test.split == "test"
    assert read_cvusa(root, "validation").ground == test.ground and len(read_cvusa(root)) == 6
    assert [item.id for item in test.ground] == [item.id for item in test.aerial] == ["0000012", "0000013"]
    assert test.truth.tolist() == [0, 1]
    view = open_ground(test.ground[0])
    assert looks_like(view, places[0][4]) and (view.hfov, view.heading) == (360, 0) and 60 < view.vfov < 70
    assert looks_like(open_aerial(test.aerial[1]), places[2][5])
    item = PairDataset(train)[2]
    assert item["ground"].shape == (3, 128, 512) and item["aerial"].shape == (3, 256, 256) and item["heading"] == 0


def test_cvusa_with_annotations_prefixes_and_other_suffixes(tmp_path, places):
    """Three columns; pictures as `inputID.png`, lists beside the folders, the order on disk another one."""
    root = write_cvusa(tmp_path, places, aerial="bingmap/input{:07d}.png", ground="streetview/{:07d}.png", lists=".")
    list_file = root / "val-19zl.csv"
    rows = [f"{row},streetview/annotations/{row[11:18]}.png" for row in list_file.read_text().split()]
    list_file.write_text("\n".join(rows[::-1]))
    write_image(root / "streetview/annotations/0000012.png", places[0][4])
    write_image(root / "segmap/output0000013.png", places[2][5])
    write_image(root / "polarmap/input0000013.png", places[0][5])
    write_image(root / "bingmap/input0000001.png", places[2][0])  # listed nowhere
    index = read_cvusa(root, "test", metres_per_pixel=0.9)
    assert [item.id for item in index.ground] == ["0000013", "0000012"]
    assert looks_like(open_aerial(index.aerial[0]), places[2][5]) and looks_like(
        open_ground(index.ground[0]), places[0][5]
    )
    assert set(index.aerial[0].also) == {"label", "polar"} and index.aerial[1].also == {}
    assert set(index.ground[1].also) == {"label"} and index.ground[0].also == {}
    assert open_aerial(index.aerial[0]).metres == pytest.approx(72)


def test_cvusa_unpacked_into_itself(tmp_path, places):
    root = write_cvusa(tmp_path, places, "streetview/streetview/panos/{:07d}.jpg", "bingmap/bingmap/19/{:07d}.jpg")
    assert len(read_cvusa(root)) == 6


def test_cvusa_says_what_is_missing(tmp_path, places):
    with pytest.raises(DataError, match=r"no folder .*nowhere: give the one that holds splits/train-19zl.csv"):
        read_cvusa(tmp_path / "nowhere", "train")
    with pytest.raises(DataError, match=r"has no splits/val-19zl.csv and no val-19zl.csv: the layout is"):
        read_cvusa(tmp_path, "test")
    root = write_cvusa(tmp_path, places)
    (root / "bingmap/19/0000009.jpg").unlink()
    with pytest.raises(DataError, match=r"1 files .*first is bingmap/19/0000009.jpg: the layout is .*skip_missing"):
        read_cvusa(root, "train")
    assert [item.id for item in read_cvusa(root, "train", skip_missing=True).ground] == [
        "0000008",
        "0000010",
        "0000011",
    ]
    (root / "splits/val-19zl.csv").write_text("bingmap/19/0000012.jpg,streetview/panos/0000013.jpg\n")
    with pytest.raises(DataError, match="numbers differ"):
        read_cvusa(root, "test")
    (root / "splits/val-19zl.csv").write_text("bingmap/19/0000012.jpg\n")
    with pytest.raises(DataError, match="row of 1 fields"):
        read_cvusa(root, "test")
    (root / "splits/val-19zl.csv").write_text("\n")
    with pytest.raises(DataError, match="lists no pictures"):
        read_cvusa(root, "test")
    with pytest.raises(DataError, match="train, validation, test"):
        read_cvusa(root, "val")


@pytest.mark.parametrize(("name", "number"), [("a/input0000008.png", 8), ("output_12.jpg", 12), ("0031.jpeg", 31),
                                              ("satellite_40.7_-73.9.png", None), ("x8.png", None)])  # fmt: skip
def test_numbers_in_names(name, number):
    assert number_of(name) == number


def test_published_lists():
    assert published(None) == ("train", "test") and published("validation") == published("test") == ("test",)


def write_cvact(root, places):
    ids = [f"pano{n}" for n in range(COUNT)]
    for n, name in enumerate(ids):
        for folder in ("ANU_data_small",) if n < 4 else ("ANU_data_test",):
            write_image(root / folder / "streetview" / f"{name}_grdView.jpg", places[1][n])
            write_image(root / folder / "satview_polish" / f"{name}_satView_polish.jpg", places[2][n])
    base = np.array([693000.0, 6092000.0])
    utm = base + np.array([(0, 0), (20, 0), (90, 0), (200, 0), (0, 0), (0, 30)])

    def rows(*numbers):
        return np.array(numbers, float)[:, None]

    savemat(root / "ACT_data.mat", {
        "panoIds": np.array(ids, dtype=object), "utm": utm,
        "trainSet": {"trainPanoIds": np.array(ids[:3], dtype=object), "trainInd": rows(1, 3, 2)},
        "valSet": {"valInd": rows(4)}, "valSetAll": {"valInd": rows(5, 6)},
    })  # fmt: skip
    return root


def test_cvact_reads_its_table(tmp_path, places):
    root = write_cvact(tmp_path, places)
    train = read_cvact(root, "train")
    assert [item.id for item in train.ground] == [item.id for item in train.aerial] == ["pano0", "pano2", "pano1"]
    assert train.truth.tolist() == [0, 1, 2] and train.semi_positives == ((2,), (), (0,))
    assert looks_like(open_ground(train.ground[1]), places[1][2]) and looks_like(
        open_aerial(train.aerial[1]), places[2][2]
    )
    assert open_ground(train.ground[0]).vfov == 180 and open_ground(train.ground[0]).heading == 0
    assert latlon_to_utm(*train.ground[0].latlon)[2:] == (55, "S")
    assert [len(read_cvact(root, split)) for split in ("validation", "test", None)] == [1, 2, 6]


def test_cvact_says_what_is_missing(tmp_path, places):
    with pytest.raises(DataError, match=r"has no ACT_data.mat: the layout is ACT_data.mat, ANU_data_small/"):
        read_cvact(tmp_path, "train")
    root = write_cvact(tmp_path, places)
    (root / "ANU_data_small/satview_polish/pano1_satView_polish.jpg").unlink()
    with pytest.raises(DataError, match=r"first is ANU_data_small/satview_polish/pano1_satView_polish.jpg"):
        read_cvact(root, "train")
    assert len(read_cvact(root, "train", skip_missing=True)) == 2
    (root / "ACT_data.mat").write_bytes(b"no table")
    with pytest.raises(DataError, match="cannot be read as CVACT's table"):
        read_cvact(root, "train")


def write_vigor(root, places, second_layout=False, tail=""):
    """Each city, a degree north of the last, has four tiles and a panorama on two: the first train, the other test."""
    for number, city in enumerate(("NewYork", "Seattle", "SanFrancisco", "Chicago")):
        homes = (f"satellite/{city}", f"ground/{city}") if second_layout else (f"{city}/satellite", f"{city}/panorama")
        where = [(lat + number, lon) for lat, lon in places[3][:4]]
        tiles = [f"satellite_{lat:.6f}_{lon:.6f}.png" for lat, lon in where]
        panos = [f"pano{n},{lat:.6f},{lon:.6f},.jpg" for n, (lat, lon) in enumerate(where[:2])]
        for n, name in enumerate(tiles):
            write_image(root / homes[0] / name, places[2][n])
        for n, name in enumerate(panos):
            write_image(root / homes[1] / name, places[1][n])
        lists = root / f"splits{tail}" / city
        lists.mkdir(parents=True)
        rows = [
            f"{name} {tiles[n]} 32.0 -64.0 {tiles[n + 1]} 310.0 20.0 {tiles[n + 2]} -340.0 0.0 {tiles[0]} 10 250"
            for n, name in enumerate(panos)
        ]
        for name, part in (("pano_label_balanced", rows), ("same_area_balanced_train", rows[:1]),
                           ("same_area_balanced_test", rows[1:]), ("satellite_list", tiles)):  # fmt: skip
            end = tail if name != "satellite_list" else ""
            (lists / f"{name}{end}.txt").write_text("\n".join(part) + "\n")
    return root


@pytest.mark.parametrize("second_layout", [False, True])
def test_vigor_has_positives_semi_positives_and_positions(tmp_path, places, second_layout):
    index = read_vigor(write_vigor(tmp_path, places, second_layout), "test")
    assert len(index) == 4 and len(index.aerial) == 16  # four cities; every tile is in the gallery
    assert index.truth.tolist() == [1, 5, 9, 13]
    assert index.semi_positives[0] == (2, 3, 0)
    assert index.cover_mask()[0].nonzero()[0].tolist() == [0, 1, 2, 3] and index.truth_mask()[0].sum() == 1
    first = index.ground[0]
    assert (
        first.id.startswith("NewYork/pano1")
        and first.heading == 0
        and first.latlon == pytest.approx(places[3][1], abs=1e-5)
    )
    # row 320 + 32 is south of the centre, column 320 + 64 east of it
    assert first.offset == pytest.approx((64 * 0.113248, -32 * 0.113248))
    tile = open_aerial(index.aerial[1])
    assert tile.metres == pytest.approx(640 * 0.113248) and tile.latlon == pytest.approx(places[3][1], abs=1e-5)
    assert looks_like(tile, places[2][1], 1e-2) and looks_like(open_ground(first), places[1][1])


def test_vigor_areas_cities_and_corrected_lists(tmp_path, places):
    root = write_vigor(tmp_path, places)
    cross = read_vigor(root, "train", area="cross")
    assert {item.id.split("/")[0] for item in cross.aerial} == {"NewYork", "Seattle"} and len(cross) == 4
    assert {item.id.split("/")[0] for item in read_vigor(root, "test", area="cross").ground} == {
        "SanFrancisco",
        "Chicago",
    }
    assert len(read_vigor(root, None, cities=("Seattle",))) == 2 and len(read_vigor(root).aerial) == 16
    with pytest.raises(DataError, match=r"no splits__corrected/NewYork/satellite_list__corrected.txt"):
        read_vigor(root, "train", corrected=True)
    write_vigor(root, places, tail="__corrected")
    assert len(read_vigor(root, "train", corrected=True)) == 4
    with pytest.raises(DataError, match="use same or cross"):
        read_vigor(root, area="both")
    with pytest.raises(DataError, match="no city 'Paris'. Available: NewYork"):
        read_vigor(root, cities=("Paris",))


def test_a_split_of_vigor_says_its_area(tmp_path, places):
    root = write_vigor(tmp_path, places)
    for part in ("train", "validation", "test"):
        said, meant = read("vigor", root, split=f"cross-{part}"), read_vigor(root, part, area="cross")
        assert said.ground == meant.ground and said.aerial == meant.aerial and said.split == f"cross-{part}"
    with pytest.raises(DataError, match="no split 'cross-val'. Available: train, .* test, cross-train, .*cross-test"):
        read_vigor(root, "cross-val")
    with pytest.raises(DataError, match="No split named 'cross-train'"):
        read("folder", root, split="cross-train")


def test_vigor_says_what_is_missing(tmp_path, places):
    root = write_vigor(tmp_path, places)
    gone = next((root / "Seattle/panorama").glob("pano0*"))
    gone.unlink()
    with pytest.raises(DataError, match=rf"same_area_balanced_train.txt.*first is Seattle/panorama/{gone.name}"):
        read_vigor(root, "train")
    assert len(read_vigor(root, "train", skip_missing=True)) == 3
    chicago = root / "splits/Chicago/satellite_list.txt"
    chicago.write_text("\n".join(chicago.read_text().split()[1:]))
    with pytest.raises(DataError, match="not in Chicago/satellite_list.txt"):
        read_vigor(root, "train", cities=("Chicago",))
    (root / "splits/Chicago/same_area_balanced_test.txt").unlink()
    with pytest.raises(
        DataError, match=r"has no splits/Chicago/same_area_balanced_test.txt: the layout is splits/City"
    ):
        read_vigor(root, "test")


@pytest.mark.parametrize(("end", "separator"), [(".txt", " "), (".csv", ","), (".txt", "\t")])
def test_lists_pair_what_they_say(tmp_path, places, end, separator):
    for n in range(3):
        write_image(tmp_path / f"street/{n}.jpg", places[0][n])
        write_image(tmp_path / f"top/t{n}.png", places[2][n])
    rows = [("street/0.jpg", "top/t1.png"), ("street/1.jpg", "top/t1.png"), ("street/0.jpg", "top/t2.png")]
    (tmp_path / f"train{end}").write_text("\n".join(separator.join(row) for row in rows))
    index = read("ucf-op", tmp_path, split="train")
    assert [item.id for item in index.ground] == ["street/0", "street/1"]
    assert [item.id for item in index.aerial] == ["top/t1", "top/t2"] and index.positives == ((0, 1), (0,))
    assert index.ground[0].heading is None and looks_like(open_aerial(index.aerial[1]), places[2][2])
    assert read_lists(tmp_path) == read_lists(tmp_path, None)


def test_lists_with_other_columns_and_a_header(tmp_path, places):
    write_image(tmp_path / "a.jpg", places[0][0])
    write_image(tmp_path / "b.png", places[2][0])
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits/val.csv").write_text("aerial,ground,heading\nb.png,a.jpg,90\n")
    index = read_lists(tmp_path, "validation", columns=("aerial", "ground", "heading"), hfov=360)
    assert index.ground[0].heading == 90 and index.aerial[0].id == "b"
    (tmp_path / "splits/val.csv").write_text("b.png,a.jpg,east\n")
    with pytest.raises(DataError, match="heading of a.jpg is 'east'"):
        read_lists(tmp_path, "validation", columns=("aerial", "ground", "heading"))
    with pytest.raises(DataError, match="at least ground and aerial"):
        read_lists(tmp_path, "validation", columns=("ground",))


def test_lists_say_what_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"has no train.txt and no train.csv .*: the layout is train.txt, val.txt"):
        read_lists(tmp_path)
    (tmp_path / "train.txt").write_text("a.jpg b.png\n")
    with pytest.raises(DataError, match=r"2 files that .*train.txt lists are missing .*first is a.jpg"):
        read_lists(tmp_path, "train")


def test_every_reader_takes_a_split():
    assert set(READERS) == {"brooklyn-queens", "cvusa", "cvact", "vigor", "ucf-op", "folder", "world"}
