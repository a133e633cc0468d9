"""Galleries: encoded once, kept whole, opened as they were, searched exactly."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from xview_demo import AerialView, Gallery, World, gallery
from xview_demo.errors import GalleryError, XViewError
from xview_demo.geometry.geodesy import distance_m, enu_to_latlon, latlon_to_utm, tile_of
from xview_demo.images import write_image

ORIGIN = (40.7, -73.9)


class Encoder:
    """Eight by eight pixels as a unit vector."""

    fingerprint = "tiny-1"

    def __init__(self):
        self.calls = 0

    def embed_aerial(self, views):
        self.calls += 1
        tiles = torch.stack([view.tile(64, 64) for view in views])
        small = torch.nn.functional.adaptive_avg_pool2d(tiles, 8).flatten(1)
        return torch.nn.functional.normalize(small - small.mean(1, keepdim=True), dim=1)

    def embed_ground(self, views):
        return self.embed_aerial([AerialView(view.strip()[0][:, :, :128]) for view in views])


class Corners:
    """A scorer that knows better: the inner product negated, and the tile's number as heading."""

    def score(self, query, reference):
        return -query @ reference.T, torch.arange(len(reference)).float().expand(len(query), -1)


class Place:
    """A World's face towards a gallery."""

    seed, size = 7, 256.0

    def tiles(self, tile_metres, stride_metres):
        count = max(0, int((self.size - tile_metres) // stride_metres) + 1)
        for i in range(count * count):
            row, column = divmod(i, count)
            local = ((column - (count - 1) / 2) * stride_metres, ((count - 1) / 2 - row) * stride_metres)
            yield AerialView(picture(i), tile_metres / 64, enu_to_latlon(*local, ORIGIN), name=f"r{row}c{column}")


def picture(seed: int, side: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8, generator=generator), side, mode="bilinear")[0]


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Gallery:
    return Gallery.build(Place(), Encoder(), path=tmp_path_factory.mktemp("g") / "gallery", stride_metres=32)


def same(a: Gallery, b: Gallery) -> None:
    np.testing.assert_array_equal(a.descriptors, b.descriptors)
    np.testing.assert_array_equal(a.latlons, b.latlons)
    assert a.names == b.names and a.fingerprint == b.fingerprint and a.tile_metres == b.tile_metres


# Keeping


def test_what_is_kept_comes_back_without_encoding(kept):
    assert len(kept) == 49 and kept.source == "world:7" and kept.kind == "aerial" and kept.stride_metres == 32
    same(Gallery.open(kept.path), kept)
    assert sorted(p.name for p in kept.path.iterdir()) == [
        "descriptors.safetensors", "gallery.json", "tiles", "tiles.parquet",
    ]  # fmt: skip
    tile = kept.tile(10)
    assert tile.name == "r1c3" and tile.metres == pytest.approx(64)
    assert tile.latlon == pytest.approx(enu_to_latlon(0, 64, ORIGIN), abs=1e-12)
    assert (tile.image - picture(10)).abs().mean() < 0.02


def test_in_memory_gallery_is_the_same_and_can_be_saved(kept, tmp_path):
    encoder, seen = Encoder(), []
    memory = Gallery.build(Place(), encoder, stride_metres=32, batch=10, progress=lambda *n: seen.append(n))
    assert seen == [(10, 49), (20, 49), (30, 49), (40, 49), (49, 49)] and encoder.calls == 5
    same(memory, kept)
    assert memory.path is None and memory.tile(10).name == "r1c3"
    saved = memory.save(tmp_path / "there")
    same(saved, kept)
    assert (saved.tile(48).image - memory.tile(48).image).abs().mean() < 0.02


def test_a_failing_build_leaves_the_old_gallery(kept):
    class Breaks(Encoder):
        def embed_aerial(self, views):
            if self.calls:
                raise RuntimeError("power cut")
            return super().embed_aerial(views)

    with pytest.raises(RuntimeError):
        Gallery.build(Place(), Breaks(), path=kept.path, stride_metres=32)
    same(Gallery.open(kept.path), kept)
    assert [p.name for p in kept.path.parent.iterdir()] == ["gallery"]


def test_a_folder_that_is_no_gallery_is_not_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(GalleryError, match="choose another folder"):
        Gallery.build(Place(), Encoder(), path=tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_another_encoder_is_refused(kept):
    other = Encoder()
    other.fingerprint = "tiny-2"
    with pytest.raises(GalleryError, match="tiny-1.*tiny-2"):
        Gallery.open(kept.path, other)
    Gallery.open(kept.path, Encoder())


@pytest.mark.parametrize("damage", ["gallery.json", "descriptors.safetensors", "tiles.parquet"])
def test_damage_is_told(kept, tmp_path, damage):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(kept.path, folder)
    (folder / damage).write_bytes((folder / damage).read_bytes()[:40])
    with pytest.raises(GalleryError, match="damaged"):
        Gallery.open(folder)
    if damage != "gallery.json":
        (folder / damage).unlink()
        with pytest.raises(GalleryError, match="damaged"):
            Gallery.open(folder)


def test_missing_future_and_pictureless_galleries(kept, tmp_path):
    import shutil

    with pytest.raises(GalleryError, match="no gallery at"):
        Gallery.open(tmp_path)
    folder = tmp_path / "copy"
    shutil.copytree(kept.path, folder)
    shutil.rmtree(folder / "tiles")
    with pytest.raises(GalleryError, match="no longer at"):
        Gallery.open(folder).tile(0)
    with pytest.raises(GalleryError, match="tiles 0 to 48"):
        kept.tile(49)
    about = json.loads((folder / "gallery.json").read_text()) | {"format": 99}
    (folder / "gallery.json").write_text(json.dumps(about))
    with pytest.raises(GalleryError, match="format 99"):
        Gallery.open(folder)


# Search


def test_search_is_exact(kept):
    query = np.random.default_rng(0).normal(size=(5, 192)).astype(np.float32)
    scores, indices = kept.search(query, 7)
    truth = query @ kept.descriptors.T
    np.testing.assert_array_equal(indices, np.argsort(-truth, 1)[:, :7])
    np.testing.assert_allclose(scores, -np.sort(-truth, 1)[:, :7], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(kept.scores(query)[0], truth, rtol=1e-4, atol=1e-5)


def test_every_tile_finds_itself(kept):
    scores, indices = kept.search(Encoder().embed_aerial([kept.tile(i) for i in range(49)]), 1)
    assert (indices[:, 0] == np.arange(49)).all() and (scores > 0.95).all()


def test_k_is_at_most_the_gallery(kept):
    assert kept.search(kept.descriptors[:2], 1000)[1].shape == (2, 49)
    with pytest.raises(GalleryError, match="at least 1"):
        kept.search(kept.descriptors, 0)
    with pytest.raises(GalleryError, match="192"):
        kept.search(np.zeros((1, 5)), 1)


@pytest.mark.parametrize("scorer", [None, Corners()])
def test_region_is_an_exact_mask(kept, scorer):
    region = (*ORIGIN, 50.0)
    inside = np.flatnonzero(distance_m(kept.latlons, ORIGIN) <= 50)
    assert len(inside) == 9
    found = kept.search(kept.descriptors[:4], 20, region, scorer=scorer)
    assert found[1].shape == (4, 9)
    for row, indices in enumerate(found[1]):
        assert sorted(indices) == inside.tolist()
        scores = kept.descriptors[indices] @ kept.descriptors[row] * (1 if scorer is None else -1)
        np.testing.assert_allclose(found[0][row], scores, atol=1e-5)
        assert (np.diff(found[0][row]) <= 0).all()
    np.testing.assert_array_equal(np.flatnonzero(kept.mask(region)), inside)


def test_region_elsewhere_says_where_the_gallery_is(kept):
    with pytest.raises(GalleryError, match="latitudes 40.69"):
        kept.search(kept.descriptors[:1], 1, (0.0, 0.0, 1.0, 1.0))
    with pytest.raises(GalleryError, match="not understood"):
        kept.mask((1.0, 2.0))


def test_scorer_gives_headings(kept):
    scores, indices, headings = kept.search(torch.from_numpy(kept.descriptors[:3]), 5, scorer=Corners())
    truth = -kept.descriptors[:3] @ kept.descriptors.T
    np.testing.assert_allclose(scores, -np.sort(-truth, 1)[:, :5], atol=1e-5)
    np.testing.assert_array_equal(headings, indices)
    assert kept.scores(kept.descriptors[:3], Corners())[1].shape == (3, 49)


class Halves(Corners):
    """A scorer with a first stage: the first half of a descriptor, whichever way the camera looks."""

    def __init__(self):
        self.looked = []

    def score(self, query, reference):
        self.looked.append(len(reference))
        return super().score(query, reference)

    def invariants(self, descriptors):
        return None if len(descriptors) == 2 else torch.nn.functional.normalize(descriptors[:, :96], dim=1)


def test_large_galleries_are_searched_in_two_stages(kept, monkeypatch):
    monkeypatch.setattr(gallery, "FIRST_STAGE", 40)
    monkeypatch.setattr(gallery, "PART", 16)
    monkeypatch.setattr(gallery, "SHORTLIST", 0.2)
    scorer, query = Halves(), kept.descriptors[7:8]
    scores, headings = kept.scores(query, scorer)
    assert scorer.looked == [10]
    half = kept.descriptors[:, :96] / np.linalg.norm(kept.descriptors[:, :96], axis=1, keepdims=True)
    listed = np.sort(np.argsort(-half @ half[7])[:10])
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(headings[0])), listed)
    np.testing.assert_allclose(scores[0, listed], -kept.descriptors[listed] @ query[0], atol=1e-6)
    rest = np.setdiff1d(np.arange(49), listed)
    assert (scores[0, rest] == scores[0, listed].min()).all()
    best, indices, _ = kept.search(query, 3, scorer=scorer)
    assert set(indices[0]) <= set(listed) and best[0, 0] == scores.max()


def test_small_galleries_regions_and_narrow_views_are_searched_whole(kept, monkeypatch):
    monkeypatch.setattr(gallery, "FIRST_STAGE", 40)
    scorer = Halves()
    scores, headings = kept.scores(kept.descriptors[7:8], scorer, (*ORIGIN, 50.0))
    inside = kept.mask((*ORIGIN, 50.0))
    assert scorer.looked == [9] and np.isneginf(scores[0, ~inside]).all() and np.isnan(headings[0, ~inside]).all()
    kept.scores(kept.descriptors[:2], scorer)  # whose invariants are unknown
    assert scorer.looked == [9, 49]


def test_distances(kept):
    assert kept.distances(ORIGIN).argmin() == 24 and kept.distances(ORIGIN)[24] == pytest.approx(0, abs=1e-6)


# Sources


def test_folder_of_slippy_tiles(tmp_path):
    x, y = tile_of(*ORIGIN, 19)
    for i in range(3):
        write_image(tmp_path / "in" / "19" / str(x + i) / f"{y}.jpg", picture(i))
    gallery = Gallery.build(tmp_path / "in", Encoder(), path=tmp_path / "out")
    assert gallery.names[0] == f"19/{x}/{y}" and gallery.tile_metres is None
    assert distance_m(gallery.latlons[0], ORIGIN) < 42
    assert gallery.tile(1).metres == pytest.approx(57.95, abs=0.1)
    assert gallery.tile(1).source == str(gallery.path / f"../in/19/{x + 1}/{y}.jpg")
    assert not list((gallery.path / "tiles").iterdir())


def test_copied_tiles_travel_with_the_gallery(tmp_path):
    write_image(tmp_path / "in" / "40.7,-73.9.png", picture(0))
    gallery = Gallery.build(tmp_path / "in", Encoder(), path=tmp_path / "out", copy_tiles=True)
    (tmp_path / "in" / "40.7,-73.9.png").unlink()
    gallery.path.rename(tmp_path / "moved")
    assert Gallery.open(tmp_path / "moved").tile(0).latlon == (40.7, -73.9)


def test_folder_of_other_names(tmp_path):
    east, north, zone, hemisphere = latlon_to_utm(*ORIGIN)
    write_image(tmp_path / f"@{east:.2f}@{north:.2f}@.jpg", picture(0))
    write_image(tmp_path / "b" / "house.png", picture(1))
    (tmp_path / ".hidden").mkdir()
    write_image(tmp_path / ".hidden" / "no.png", picture(2))
    (tmp_path / "notes.txt").write_text("no picture")
    gallery = Gallery.build(tmp_path, Encoder(), utm_zone=(zone, hemisphere))
    assert gallery.names[1] == "b/house" and np.isnan(gallery.latlons[1]).all()
    assert gallery.latlons[0] == pytest.approx(ORIGIN, abs=1e-6)
    assert gallery.tile(1).latlon is None and gallery.tile(1).metres_per_pixel is None
    assert np.isnan(gallery.distances(ORIGIN)[1]) and gallery.mask((*ORIGIN, 10.0)).tolist() == [True, False]


def test_csv(tmp_path):
    for i in range(2):
        write_image(tmp_path / "p" / f"{i}.png", picture(i))
    text = "file, lat, lon, metres_per_pixel\np/0.png, 40.7, -73.9, 0.5\np/1.png, 40.8, -73.9,\n"
    (tmp_path / "tiles.csv").write_text(text, encoding="utf-8-sig")
    for source in (tmp_path, tmp_path / "tiles.csv"):
        gallery = Gallery.build(source, Encoder())
        assert gallery.names == ["p/0", "p/1"] and gallery.latlons.tolist() == [[40.7, -73.9], [40.8, -73.9]]
        assert gallery.tile(0).metres_per_pixel == 0.5 and gallery.tile(1).metres_per_pixel is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "at least file,lat,lon"),
        ("file,lat,lon\n", "lists no tiles"),
        ("file,lat,lon\nx.png,north,0\n", "line 2"),
        ("file,lat,lon\nx.png,100,0\n", "no latitude"),
        ("file,lat,lon\nx.png,1,2\n", "does not exist"),
        ("", "none"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(XViewError, match=message):
        Gallery.build(tmp_path / "t.csv", Encoder())


def write_ortho(path: Path, epsg: int, dtype: str = "uint8", nodata: float | None = None) -> Path:
    """A 200 m square around ORIGIN: red grows eastward, green northward."""
    import rasterio
    from rasterio.transform import from_origin
    from rasterio.warp import transform

    step = {32618: (0.5, 0.5), 3857: (0.66, 0.66), 4326: (5.92e-6, 4.5e-6)}[epsg]
    xs, ys = transform("EPSG:4326", f"EPSG:{epsg}", [ORIGIN[1]], [ORIGIN[0]])
    count = 400
    ramp = np.linspace(20, 235, count)
    bands = np.stack([np.tile(ramp, (count, 1)), np.tile(ramp[::-1, None], (1, count)), np.full((count, count), 128)])
    if nodata is not None:
        bands[:, :, : count // 2] = nodata
    with rasterio.open(
        path, "w", driver="GTiff", width=count, height=count, count=3, dtype=dtype, crs=f"EPSG:{epsg}", nodata=nodata,
        transform=from_origin(xs[0] - count / 2 * step[0], ys[0] + count / 2 * step[1], *step),
    ) as file:  # fmt: skip
        file.write((bands * (1 if dtype == "uint8" else 40)).astype(dtype))
    return path


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize(("epsg", "dtype"), [(32618, "uint8"), (3857, "uint8"), (4326, "uint8"), (32618, "uint16")])
def test_orthophoto_in_any_coordinate_system(tmp_path, epsg, dtype):
    ortho = write_ortho(tmp_path / "area.tif", epsg, dtype)
    gallery = Gallery.build(ortho, Encoder(), path=tmp_path / "g", tile_metres=64, stride_metres=32, pixels=64)
    assert len(gallery) in (16, 25) and gallery.names[0] == "area_r0000_c0000"
    side = round(len(gallery) ** 0.5)
    assert gallery.distances(gallery.latlons[0])[1] == pytest.approx(32, abs=0.05)
    assert gallery.latlons[0, 0] > gallery.latlons[-1, 0] and gallery.latlons[0, 1] < gallery.latlons[-1, 1]
    for i in (0, side * side - 1):  # the colours say where a tile is
        tile = gallery.tile(i)
        red, green = tile.image[:2, 24:40, 24:40].mean((1, 2)).numpy() * 255
        offset = np.array([(red - 127.5) / 215 * 200, (green - 127.5) / 215 * 200])
        if dtype == "uint8":
            place = enu_to_latlon(*offset, ORIGIN)
            assert distance_m(place, gallery.latlons[i]) < 3
        assert tile.metres == pytest.approx(64)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_an_orthophoto_is_cut_so_densely_that_a_camera_is_near_a_tile(tmp_path):
    ortho = write_ortho(tmp_path / "area.tif", 32618)
    gallery = Gallery.build(ortho, Encoder(), tile_metres=160, pixels=16)
    assert len(Gallery.build(ortho, Encoder(), tile_metres=160, pixels=16, stride_metres=None)) == len(gallery)
    assert gallery.stride_metres == 8 and len(gallery) >= 25
    assert gallery.distances(gallery.latlons[0])[1] == pytest.approx(8, abs=0.05)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_empty_parts_of_an_orthophoto_are_left_out(tmp_path):
    ortho = write_ortho(tmp_path / "area.tif", 32618, nodata=0)
    gallery = Gallery.build(ortho, Encoder(), stride_metres=34, pixels=64)
    assert 8 <= len(gallery) < 16 and (gallery.latlons[:, 1] > ORIGIN[1] - 1e-5).all()


@pytest.mark.parametrize(
    ("source", "message"),
    [(5, "int holds no tiles"), ("nowhere", "nothing at"), (Path(__file__), "no source of tiles")],
)
def test_sources_that_are_none(source, message):
    with pytest.raises(GalleryError, match=message):
        Gallery.build(source, Encoder())


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_other_refusals(tmp_path):
    with pytest.raises(GalleryError, match="holds no pictures"):
        Gallery.build(tmp_path, Encoder())
    with pytest.raises(GalleryError, match="aerial, ground"):
        Gallery.build(tmp_path, Encoder(), kind="sideways")
    with pytest.raises(GalleryError, match="more than 0"):
        Gallery.build(Place(), Encoder(), tile_metres=-1)
    with pytest.raises(GalleryError, match="no tile of the asked size"):
        Gallery.build(Place(), Encoder(), tile_metres=1000)
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(XViewError, match="bad.jpg is not a picture"):
        Gallery.build(tmp_path, Encoder())
    write_image(tmp_path / "flat.tif.png", picture(0)).rename(tmp_path / "flat.tif")
    with pytest.raises(GalleryError, match="no georeference"):
        Gallery.build(tmp_path / "flat.tif", Encoder())


def test_gallery_of_street_pictures(tmp_path):
    for i, heading in enumerate((10.5, 200.0)):
        write_image(tmp_path / "in" / f"40.7{i},-73.9,{heading}.jpg", torch.rand(3, 64, 256))
    gallery = Gallery.build(tmp_path / "in", Encoder(), kind="ground", path=tmp_path / "out")
    assert gallery.tile(0).heading == 10.5 and gallery.tile(1).latlon == pytest.approx((40.71, -73.9))


def test_a_real_world(tmp_path):
    world = World(950_000, size=200, resolution=1.0)
    gallery = Gallery.build(world, Encoder(), path=tmp_path / "g", tile_metres=64, stride_metres=68)
    assert len(gallery) == 9 and gallery.source == "world:950000"
    assert world.local_of(*gallery.latlons[0]) == pytest.approx((-68, 68), abs=1e-3)
    assert (gallery.tile(0).image - next(world.tiles(64, 68)).image).abs().mean() < 0.03
