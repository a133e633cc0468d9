"""GeoLocalizer with a tiny zoo of random weights: composition, frames, headings, keeping."""

import numpy as np
import pytest
import torch

from xview_demo import AerialView, Gallery, GeoLocalizer, GroundView, zoo
from xview_demo.errors import GalleryError, ModelError


def make_zoo(folder, seed=0):
    torch.manual_seed(seed)
    for name, entry in zoo.ZOO.items():
        if entry.learned:
            entry.load_class()(**entry.tiny).eval().save_pretrained(folder / name)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    make_zoo(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "WEIGHTS", folder)
        yield GeoLocalizer.from_pretrained()


@pytest.fixture(scope="module")
def picture():
    coarse = torch.rand(1, 3, 16, 64, generator=torch.Generator().manual_seed(3))
    return torch.nn.functional.interpolate(coarse, (128, 512), mode="bilinear")[0]


@pytest.fixture(scope="module")
def area(tiny):
    class Tiles:
        fingerprint = tiny.fingerprint

    views = []
    for n in range(6):
        coarse = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(n))
        image = torch.nn.functional.interpolate(coarse, (64, 64), mode="bilinear")[0]
        views.append(AerialView(image, 1.0, (51.5 + n * 0.001, -0.1), name=f"t{n}"))
    from xview_demo.gallery import Tile

    tiles = tuple(Tile(v.name, *v.latlon, 1.0) for v in views)
    return Gallery(tiles, tiny.embed_aerial(views), tiny.fingerprint)


def test_localize_tells_place_heading_and_probability(tiny, area, picture):
    view = GroundView(picture, "equirectangular", None, 360, 90, latlon=(51.5, -0.1))
    found = tiny.localize(view, area, top_k=3)
    with pytest.raises(GalleryError, match="give top_k of at least 1"):
        tiny.localize(view, area, top_k=0)
    assert len(found.matches) == 3 and [m.rank for m in found.matches] == [1, 2, 3]
    assert found.matches[0].score >= found.matches[1].score
    assert found.probability.shape == (6,) and found.probability.sum() == pytest.approx(1, abs=1e-5)
    assert found.confidence == pytest.approx(found.probability.max())
    assert 0 <= found.heading < 360
    first = found.matches[0]
    assert first.distance_m == pytest.approx(float(area.distances(view.latlon)[area.names.index(first.tile)]))


def test_a_known_heading_is_used_and_returned(tiny, area, picture):
    view = GroundView(picture, "equirectangular", 90.0, 360, 90)
    found = tiny.localize(view, area)
    assert found.heading == 90 and all(m.heading == 90 for m in found.matches)
    count = len(tiny._part("matching").centres)
    query, tiles = tiny.embed_ground(view).reshape(count, -1), area.descriptors.reshape(len(area), count, -1)
    expected = count * (tiles @ query[0])  # all places together have unit length
    assert found.matches[0].score == pytest.approx(float(expected.max()), abs=1e-5)


def test_turning_the_camera_turns_the_heading_found(tiny, area, picture):
    view = GroundView(picture, "equirectangular", None, 360, 90)
    first = tiny.localize(view, area)
    second = tiny.localize(view.rotated(90), area)
    assert second.matches[0].tile == first.matches[0].tile
    assert (second.heading - first.heading) % 360 == pytest.approx(90, abs=0.5)


def test_the_descriptor_of_a_known_heading_does_not_depend_on_where_the_camera_looks(tiny, picture):
    view = GroundView(picture, "equirectangular", 0.0, 360, 90)
    assert np.allclose(tiny.embed_ground(view), tiny.embed_ground(view.rotated(90)), atol=1e-4)


def test_a_region_takes_the_rest_out(tiny, area, picture):
    view = GroundView(picture, "equirectangular", None, 360, 90)
    found = tiny.localize(view, area, region=(51.5, -0.1, 150.0))
    assert {m.tile for m in found.matches} == {"t0", "t1"}
    assert found.probability[2:].sum() == 0


def test_a_gallery_of_another_encoder_is_refused(tiny, area, picture):
    other = Gallery(area.tiles, area.descriptors, "someone else")
    with pytest.raises(GalleryError, match="someone else"):
        tiny.localize(GroundView(picture), other)
    with pytest.raises(ModelError, match="No model named 'oracle'"):
        tiny.localize(GroundView(picture), area, rerank="oracle")


def test_a_photograph_is_localized_too(tiny, area):
    view = GroundView(torch.rand(3, 96, 128), "perspective", None, 70)
    assert tiny.localize(view, area).matches


@pytest.mark.parametrize("method", [None, "bird-eye", "xfork-world"])
def test_synthesize_makes_a_tile(tiny, picture, method):
    result = tiny.synthesize(GroundView(picture, heading=30.0, latlon=(10.0, 20.0)), method=method)
    assert result.aerial.image.shape == (3, 256, 256) and result.aerial.metres == pytest.approx(64)
    assert result.aerial.latlon == (10.0, 20.0)
    assert result.method == (method or "xfork-world")
    assert (result.segmentation is None) == (method == "bird-eye")


@pytest.mark.parametrize(("heading", "ahead"), [(None, (8, 128)), (90.0, (128, 248)), (180.0, (248, 128))])
def test_a_synthetic_view_says_where_the_camera_looked(tiny, heading, ahead):
    photograph = GroundView(torch.rand(3, 96, 128), "perspective", heading, 72)
    seen = tiny.synthesize(photograph, "bird-eye").seen
    assert seen.mean() == pytest.approx(72 / 360, abs=0.03)
    assert seen[ahead] and not seen[255 - ahead[0], 255 - ahead[1]]


def test_a_panorama_is_seen_all_around(tiny, picture):
    assert tiny.synthesize(GroundView(picture), "bird-eye").seen.all()
    assert tiny.synthesize(AerialView(picture[:, :, :128], 0.5), "street-eye").seen is None


@pytest.mark.parametrize("method", [n for n, e in zoo.ZOO.items() if e.task == "synthesis"])
def test_every_generator_draws_the_other_view(tiny, picture, method):
    reads, told = zoo.get(method).view, []
    view = GroundView(picture, latlon=(10.0, 20.0)) if reads == "ground" else AerialView(picture[:, :, :128], 0.5)
    result = tiny.synthesize(view, method, seed=1, steps=2, progress=lambda *step: told.append(step))
    if reads == "ground":
        assert result.ground is None and result.aerial.metres == pytest.approx(64)
        assert result.aerial.latlon == (10.0, 20.0)
    else:
        assert result.aerial is None and result.ground.full_turn and result.ground.heading == 0
    assert result.method == method and 0 <= result.view.image.min() and result.view.image.max() <= 1
    assert (result.segmentation is None) == (not zoo.get(method).learned)
    if result.segmentation is not None:
        assert result.segmentation.labels.shape == tuple(result.view.image.shape[-2:])
    assert told == ([(1, 2), (2, 2)] if method == "clip-diffusion-world" else [])
    assert result.to_dict()["view"] == ("aerial" if reads == "ground" else "ground")


def test_an_aerial_view_becomes_a_panorama(tiny, picture, monkeypatch, tmp_path):
    view = AerialView(picture[:, :, :128], 0.5)
    assert tiny.synthesize(view).method == "xfork-ground-world"
    with pytest.raises(ModelError, match="'xfork-world' draws from ground views, not aerial ones: use xfork-g"):
        tiny.synthesize(view, "xfork-world")
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    assert GeoLocalizer.from_zoo(synthesis="bird-eye").synthesize(view).method == "street-eye"


def test_a_synthetic_view_is_north_up_when_the_heading_is_known(tiny, picture):
    up = tiny.synthesize(GroundView(picture, heading=0.0), method="bird-eye").aerial.image
    same = tiny.synthesize(GroundView(picture, heading=0.0).rotated(90), method="bird-eye").aerial.image
    own = tiny.synthesize(GroundView(picture, heading=None).rotated(90), method="bird-eye").aerial.image
    assert (up - same).abs().mean() < 0.01
    assert (up.rot90(1, (1, 2)) - own).abs().mean() < 0.02


@pytest.mark.parametrize(
    "view",
    [
        GroundView(torch.rand(3, 100, 400)),
        GroundView(torch.rand(3, 200, 400)),
        GroundView(torch.rand(3, 96, 128), "perspective", None, 70),
        AerialView(torch.rand(3, 100, 120), 0.5),
        AerialView(torch.rand(3, 64, 64)),
    ],
    ids=["strip", "sphere", "photo", "tile", "tile of unknown scale"],
)
def test_segmentation_has_the_frame_of_the_view(tiny, view):
    result = tiny.segment(view)
    assert result.labels.shape == tuple(view.image.shape[-2:])
    assert result.scores.shape == (8, *view.image.shape[-2:])
    assert result.overlay(view).shape == (*view.image.shape[-2:], 3)


def test_depth_has_the_frame_of_the_view(tiny):
    metres = tiny.depth(GroundView(torch.rand(3, 100, 400))).metres
    assert metres.shape == (100, 400) and (metres > 0).all()


def test_what_is_saved_loads_again(tiny, picture, tmp_path):
    folder = tiny.save_pretrained(tmp_path / "geo")
    again = GeoLocalizer.from_pretrained(folder)
    assert again.fingerprint == tiny.fingerprint
    view = GroundView(picture)
    assert np.array_equal(again.embed_ground(view), tiny.embed_ground(view))
    assert np.array_equal(again.segment(view).labels, tiny.segment(view).labels)


def test_another_model_takes_the_place_of_a_kept_one(tiny, picture, tmp_path):
    view, again = GroundView(picture), GeoLocalizer.from_pretrained(tiny.save_pretrained(tmp_path / "geo"))
    before, fingerprint = again.embed_ground(view), again.fingerprint
    make_zoo(tmp_path / "other", seed=1)
    again.use("matching", str(tmp_path / "other" / "azimuth-world"))
    assert again.fingerprint != fingerprint and not np.allclose(again.embed_ground(view), before)
    with pytest.raises(ModelError, match="No part named 'nothing'"):
        again.use("nothing", "azimuth-world")


def test_parts_can_be_picked_and_left_out(tiny, picture):
    geo = GeoLocalizer.from_zoo(synthesis="bird-eye", depth=None)
    assert geo.synthesize(GroundView(picture)).method == "bird-eye"
    with pytest.raises(ModelError, match="has no depth"):
        geo.depth(GroundView(picture))
    with pytest.raises(ModelError, match="No model named 'nothing'"):
        GeoLocalizer.from_zoo(matching="nothing")
    with pytest.raises(ModelError, match="for synthesis, not for matching"):
        GeoLocalizer.from_zoo(matching="bird-eye")
    with pytest.raises(ModelError, match="No dtype named 'float8'"):
        GeoLocalizer.from_zoo(dtype="float8")


def test_a_device_is_one_of_this_machine(monkeypatch):
    for name in ("foo", "cuda:99", "cpu:1", torch.device("meta")):
        with pytest.raises(ModelError, match=f"No device named '{name}'. Available: cpu"):
            GeoLocalizer.from_zoo(device=name)
    assert GeoLocalizer.from_zoo(device="cpu").device.type == "cpu"
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    assert GeoLocalizer.from_zoo(device="cuda").device.type == "cuda"
    assert GeoLocalizer.from_zoo(device="cuda:1").device.index == 1
    for name in ("cuda:2", "mps"):
        with pytest.raises(ModelError, match="Available: cpu, cuda:0 to cuda:1"):
            GeoLocalizer.from_zoo(device=name)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("azimuth-world", "matching"),
        ("azimuth-verifier-world", "reranking"),
        ("xfork-ground-world", "synthesis"),
        ("unet-ground-world", "segmentation_ground"),
        ("unet-aerial-world", "segmentation_aerial"),
        ("depth-world", "depth"),
        ("mst-world", "position"),
        ("geowarp-vgg16-gem-world", "places"),
    ],
)
def test_a_single_model_is_no_localizer(tiny, name, part):
    """By its name or its folder: what is said can be done."""
    for source in (name, str(zoo.WEIGHTS / name)):
        with pytest.raises(ModelError, match="is a single model, not a GeoLocalizer") as error:
            GeoLocalizer.from_pretrained(source)
        assert f'GeoLocalizer.from_zoo({part}="{source}").' in str(error.value)
        GeoLocalizer.from_zoo(**{part: source})._part(part)


def test_another_folder_is_no_localizer(tmp_path):
    (tmp_path / "config.json").write_text('{"class": "Oracle"}')
    with pytest.raises(ModelError, match="holds no GeoLocalizer"):
        GeoLocalizer.from_pretrained(tmp_path)


def test_missing_weights_name_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    with pytest.raises(ModelError, match="python -m train azimuth-world"):
        GeoLocalizer.from_pretrained()


def test_other_weights_have_another_fingerprint(tiny, tmp_path, monkeypatch):
    make_zoo(tmp_path, seed=1)
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    assert GeoLocalizer.from_pretrained().fingerprint != tiny.fingerprint
