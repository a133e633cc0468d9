"""Place recognition: generated folders, their reader, retrieval against faiss, re-ranking, evaluation."""

import shutil

import faiss
import numpy as np
import pytest
import torch
from PIL import Image

from xview_demo import Gallery, GeoLocalizer, GroundView, zoo
from xview_demo.data.places import read_places
from xview_demo.errors import DataError, GalleryError, ModelError, XViewError
from xview_demo.evaluation.places import (
    calibrate_places,
    evaluate_places,
    first_hits,
    place_recalls,
    recognizer_of,
    rerank_all,
    retrieve,
)
from xview_demo.geometry.names import place_of, utm_of
from xview_demo.images import write_image
from xview_demo.models.reranking.geowarp import GeoWarp
from xview_demo.outputs import Match, Warp
from xview_demo.recognition import PlaceRecognizer
from xview_demo.world import World
from xview_demo.world.places import SMOKE, write_places


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_places(tmp_path_factory.mktemp("places@home"), SMOKE)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    net = GeoWarp("alexnet", "gem", width=0.125, channels=(8,) * 6, size=(64, 96)).eval()
    net.regressor.linear.weight.data.normal_(0, 0.05)
    return net


@pytest.fixture(scope="module")
def gallery(folder, model):
    return Gallery.build(folder / "images" / "test" / "gallery", PlaceRecognizer(model), kind="ground")


# Data -----------------------------------------------------------------------------------------------------------


def test_a_world_writes_a_place_recognition_folder(folder):
    for split in ("train", "val", "test"):
        for side in ("gallery", "queries"):
            files = list((folder / "images" / split / side).rglob("*.jpg"))
            assert 0 < len(files) <= (SMOKE.sites * SMOKE.views if side == "gallery" else SMOKE.queries)
            place = place_of(files[0])
            assert place is not None and place.utm == utm_of(files[0])
            assert Image.open(files[0]).size == (SMOKE.width, SMOKE.height)
    seeds = {split: next((folder / "images" / split / "gallery").iterdir()).name for split in ("train", "val", "test")}
    assert seeds == {"train": "world0", "val": "world901000", "test": "world951000"}


def test_names_hold_the_place_and_the_heading(folder):
    file = next((folder / "images" / "test" / "queries").rglob("*.jpg"))
    world = World(951_000, size=SMOKE.size, resolution=SMOKE.resolution)
    east, north = world.local_of(*place_of(file).latlon)
    assert max(abs(east), abs(north)) <= SMOKE.size / 2
    parts = file.name.split("@")
    assert len(parts) == 16 and 0 <= float(parts[9]) < 360 and parts[7].startswith("world951000")


def test_work_that_is_done_is_left_alone(folder):
    files = {f: f.stat().st_mtime_ns for f in folder.rglob("*.jpg")}
    seen = []
    write_places(folder, SMOKE, lambda done, total: seen.append((done, total)))
    assert {f: f.stat().st_mtime_ns for f in folder.rglob("*.jpg")} == files and seen[-1] == (3, 3)


def test_gallery_and_queries_are_of_two_moments():
    world = World(951_000, size=260.0, resolution=1.0)
    site = world.sites(1)
    now, then = (world.photos(site, height=48, width=64, seed=1, later=later) for later in (False, True))
    assert torch.equal(now.camera_height, then.camera_height)
    assert (now.colour - then.colour).abs().mean() > 0.01


def test_the_reader_finds_what_lies_within_25_metres(folder):
    index = read_places(folder, "test")
    positives = index.positives()
    away = np.hypot(*(index.query_utm[:, None] - index.gallery_utm[None]).transpose(2, 0, 1))
    for query, near in enumerate(positives):
        assert set(near) == set(np.flatnonzero(away[query] <= 25)) and (np.diff(away[query][near]) >= 0).all()
    assert index.gallery == tuple(sorted((folder / "images" / "test" / "gallery").rglob("*.jpg")))


def test_positions_are_read_from_names_only(tmp_path):
    home = tmp_path / "set@odd"
    for side, name in (("gallery", "@500.5@4000@x@.png"), ("gallery", "@900@4000@.JPG"), ("queries", "51.5,-0.1.webp")):
        write_image(home / "val" / side / "a@b" / name.lower(), torch.rand(3, 40, 50))
    index = read_places(home, "validation")
    assert index.gallery_utm.tolist() == [[500.5, 4000], [900, 4000]]
    assert index.query_utm[0] == pytest.approx((700_000, 5_700_000), rel=0.05)
    assert [len(near) for near in index.positives()] == [0]
    write_image(home / "val" / "queries" / "nowhere.png", torch.rand(3, 40, 50))
    with pytest.raises(DataError, match="nowhere.png holds no position"):
        read_places(home, "validation")
    with pytest.raises(DataError, match="no folder test/"):
        read_places(home, "test")
    shutil.rmtree(home / "val" / "queries")
    with pytest.raises(DataError, match="holds no pictures"):
        read_places(home, "validation")


# Galleries of photographs ---------------------------------------------------------------------------------------


def test_a_gallery_reads_any_size_mode_suffix_and_a_folder_with_an_at(tmp_path, model):
    home = tmp_path / "photos @ home"
    home.mkdir()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (90, 130, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(home / "@583960.50@4507523.00@18@T@rest@.jpg")
    Image.fromarray(pixels).convert("L").resize((64, 200)).save(home / "@583970@4507523@pitts@.png")
    Image.fromarray(pixels).convert("RGBA").resize((300, 100)).save(home / "photo.webp")
    write_image(home / "gps.jpg", torch.rand(3, 60, 80), latlon=(40.7, -74.0))
    gallery = Gallery.build(home, PlaceRecognizer(model), kind="ground", utm_zone=(18, "N"))
    assert gallery.descriptors.shape == (4, 32) and gallery.kind == "ground"
    places = dict(zip(gallery.names, gallery.latlons, strict=True))
    first, second = (places[name] for name in ("@583960.50@4507523.00@18@T@rest@", "@583970@4507523@pitts@"))
    assert first == pytest.approx((40.715, -74.006), abs=2e-3) and second[1] - first[1] == pytest.approx(
        1.1e-4, rel=0.1
    )
    assert places["gps"] == pytest.approx((40.7, -74.0)) and np.isnan(places["photo"]).all()
    (home / "tiles.csv").write_text("file,lat,lon\nphoto.webp,10.0,20.0\n")
    listed = Gallery.build(home, PlaceRecognizer(model), kind="ground")
    assert listed.latlons.tolist() == [[10.0, 20.0]]


def test_a_localizers_recognizer_encodes_its_galleries_of_photographs(folder, model, tmp_path):
    model.save_pretrained(tmp_path / "geowarp")
    geo = GeoLocalizer.from_zoo(places=str(tmp_path / "geowarp"))
    source = folder / "images" / "test" / "gallery"
    gallery = Gallery.build(source, geo, kind="ground", path=tmp_path / "kept")
    assert gallery.fingerprint == geo.places.fingerprint
    Gallery.open(tmp_path / "kept", geo)
    view = GroundView.open(read_places(folder, "test").queries[0])
    plain = geo.localize(view, gallery, top_k=8)
    again = geo.localize(view, gallery, top_k=8, rerank=str(tmp_path / "geowarp"), rerank_k=5)
    assert plain.heading is None and plain.probability.sum() == pytest.approx(1, abs=1e-4)
    assert [m.tile for m in plain.matches[5:]] == [m.tile for m in again.matches[5:]]
    assert {m.tile for m in plain.matches[:5]} == {m.tile for m in again.matches[:5]}
    found = [m.warp.similarity for m in again.matches[:5]]
    assert found == sorted(found, reverse=True) and all(m.warp is None for m in again.matches[5:])
    assert all(0 <= m.warp.agreeing <= 225 for m in again.matches[:5])
    sure = geo.localize(view, gallery, rerank=str(tmp_path / "geowarp"), rerank_below=0.0)
    assert all(m.warp is None for m in sure.matches)
    with pytest.raises(ModelError, match="at least 1"):
        geo.localize(view, gallery, rerank=str(tmp_path / "geowarp"), rerank_k=0)
    with pytest.raises(ModelError, match="No model named"):
        geo.localize(view, gallery, rerank="geowarp-nothing")
    other = Gallery(gallery.tiles, gallery.descriptors, "someone-else", "ground")
    with pytest.raises(GalleryError, match="encoded by someone-else"):
        geo.localize(view, other)


def test_only_photographs_are_reranked(model, gallery):
    aerial = Gallery(gallery.tiles, gallery.descriptors, gallery.fingerprint)
    view = GroundView.open(torch.rand(3, 64, 96), projection="perspective")
    with pytest.raises(ModelError, match="kind='ground'"):
        PlaceRecognizer(model).rerank(view, aerial, [0, 1])


def test_local_features_are_computed_once_and_batches_do_not_matter(model, gallery, folder, monkeypatch):
    view = GroundView.open(read_places(folder, "test").queries[0])
    recognizer = PlaceRecognizer(model)
    calls = []
    local = model.local
    monkeypatch.setattr(model, "local", lambda image: calls.append(len(image)) or local(image))
    order, found = recognizer.rerank(view, gallery, range(4))
    assert calls == [1, 4, 8]  # the query, the candidates, and both once more after warping
    again, same = recognizer.rerank(view, gallery, [3, 2, 1, 0])
    assert calls[3:] == [1, 8] and again == order
    alone = [recognizer.rerank(view, gallery, [row])[1][0].similarity for row in order]
    assert [w.similarity for w in found] == pytest.approx(alone, abs=1e-5)
    assert [w.similarity for w in same] == pytest.approx(alone, abs=1e-5)


def test_equal_candidates_keep_their_order(model, gallery, folder):
    view = GroundView.open(read_places(folder, "test").queries[0])
    assert PlaceRecognizer(model).rerank(view, gallery, [2, 2, 2])[0] == [2, 2, 2]


def test_a_photograph_matches_itself_best(model, gallery):
    row = 3
    view = gallery.tile(row)
    order, found = PlaceRecognizer(model).rerank(view, gallery, [0, 1, 2, row])
    assert order[0] == row and found[0].similarity == max(w.similarity for w in found)


def test_a_warp_is_told_in_json():
    warp = Warp(0.5, 40, ((-1, -1), (1, -1), (1, 1), (-1, 1)), ((0, 0), (1, 0), (1, 1), (0, 1)))
    told = Match(1, 0.9, "a", None, warp=warp).to_dict()["warp"]
    assert told["agreeing_cells"] == 40 and told["tile_corners"][1] == [1, 0]
    assert "warp" not in Match(1, 0.9, "a", None).to_dict()


# Evaluation -----------------------------------------------------------------------------------------------------


def test_recalls_agree_with_the_fields_evaluation(folder, model):
    """Descriptors searched by faiss's L2 index, positives by distance: the standard program's definition."""
    index = read_places(folder, "test")
    recognizer = PlaceRecognizer(model)
    described = {
        side: np.concatenate([recognizer.embed_ground(GroundView.open(f)) for f in files])
        for side, files in (("gallery", index.gallery), ("queries", index.queries))
    }
    search = faiss.IndexFlatL2(described["gallery"].shape[1])
    search.add(described["gallery"])
    k = min(20, len(index.gallery))
    _, predictions = search.search(described["queries"], k)
    away = np.hypot(*(index.query_utm[:, None] - index.gallery_utm[None]).transpose(2, 0, 1))
    expected = {
        f"r@{n}": 100 * np.mean([(away[q][row[:n]] <= 25).any() for q, row in enumerate(predictions)])
        for n in (1, 5, 10, 20)
    }
    result = evaluate_places([recognizer], folder, rerank_k=3)
    found = result["combinations"]["places"]
    assert found["baseline"] == pytest.approx(expected)
    assert retrieve(recognizer, index).ranking.tolist() == predictions.tolist()
    able = (away <= 25).any(1)
    assert result["queries_without_positives"] == (~able).sum() and result["n"] == len(index.queries)
    if able.any():
        share = able.mean()
        left = found["without_unanswerable"]["baseline"]
        assert {name: value * share for name, value in left.items()} == pytest.approx(expected)


def test_beyond_the_reranked_nothing_changes(folder, model):
    result = evaluate_places([PlaceRecognizer(model, "tiny")], folder, rerank_k=5, radius=60.0)
    found = result["combinations"]["tiny"]
    assert result["unchanged"] == ["r@5", "r@10", "r@20"] and "by construction" in result["note"]
    assert all(found["baseline"][name] == found["reranked"][name] for name in result["unchanged"])
    assert found["seconds_per_query"]["reranked"] > found["seconds_per_query"]["baseline"] > 0
    assert result["chance"] > 0 and result["seeds"] is None


def test_reranking_moves_the_first_only(folder, model):
    index, recognizer = read_places(folder, "test"), PlaceRecognizer(model)
    found = retrieve(recognizer, index)
    ranking, _ = rerank_all(recognizer, index, found, 4)
    assert (ranking[:, 4:] == found.ranking[:, 4:]).all()
    assert (np.sort(ranking[:, :4]) == np.sort(found.ranking[:, :4])).all()


def test_hits_and_recalls_by_hand():
    ranking = np.array([[4, 2, 9], [1, 2, 3], [5, 6, 7]])
    hits = first_hits(ranking, [np.array([2]), np.array([1, 9]), np.array([], int)])
    assert hits.tolist() == [1, 0, np.inf]
    assert place_recalls(hits) == {
        "r@1": pytest.approx(100 / 3),
        **{f"r@{k}": pytest.approx(200 / 3) for k in (5, 10, 20)},
    }


def test_the_temperature_is_fitted(folder):
    torch.manual_seed(1)
    net = GeoWarp("alexnet", "gem", width=0.0625, channels=(8,) * 6, size=(64, 96)).eval()
    before = float(net.temperature)
    after = calibrate_places(net, folder)
    assert after == float(net.temperature) != before and 1e-4 <= after <= 1


def test_what_cannot_be_evaluated_is_told(folder, model):
    with pytest.raises(XViewError, match="nothing to evaluate"):
        evaluate_places([], folder)
    with pytest.raises(XViewError, match="within 0 m"):
        evaluate_places([model], folder, radius=0.0)
    with pytest.raises(ModelError, match="for synthesis, not for places"):
        recognizer_of("bird-eye")


def test_every_combination_is_in_the_zoo():
    names = zoo.list_models("places")
    assert {f"geowarp-{b}-{p}-world" for b in ("alexnet", "vgg16", "resnet50") for p in ("gem", "netvlad")} <= set(
        names
    )
