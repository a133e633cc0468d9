"""Re-ranking of aerial tiles: the ground seen from the street, laid over each candidate."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from xview_demo import AerialView, GeoLocalizer, GroundView, zoo
from xview_demo.errors import ModelError
from xview_demo.gallery import Gallery, Tile
from xview_demo.models.matching.bird_eye_correlation import BirdEyeCorrelation
from xview_demo.recognition.overlaying import TileReranker


@pytest.fixture(scope="module")
def geo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for part in ("azimuth-world", "bird-eye-features-world", "azimuth-verifier-world"):
        zoo.get(part).load_class()(**zoo.get(part).tiny).eval().save_pretrained(folder / part)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "WEIGHTS", folder)
        localizer = GeoLocalizer({"matching": "azimuth-world", "reranking": "bird-eye-features-world"})
        localizer._part("reranking", "bird-eye-correlation").fusion = (0.25, 1.0, 0.03, 0.03)  # the matcher is random
        yield localizer


@pytest.fixture(scope="module")
def place():
    from xview_demo.world import World

    world = World(950_001, biome="row_house", size=260.0, resolution=0.5, exact=True)
    return world, world.sites(6)


@pytest.fixture(scope="module")
def area(geo, place):
    world, sites = place
    views = [world.aerial(site) for site in sites]
    tiles = tuple(Tile(f"tile {n}", *view.latlon, view.metres_per_pixel) for n, view in enumerate(views))

    def png(view: AerialView) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray((view.image.permute(1, 2, 0) * 255).byte().numpy()).save(buffer, "PNG")
        return buffer.getvalue()

    pictures = {n: png(view) for n, view in enumerate(views)}
    return Gallery(tiles, geo.embed_aerial(views), geo.fingerprint, pictures=pictures)


@pytest.mark.parametrize("heading", (0.0, 70.0, None))
def test_the_overlay_decides_between_candidates(geo, area, place, heading):
    world, sites = place
    seen = world.panorama(sites[3], heading=30.0 if heading is None else heading)
    view = GroundView(seen.image, "equirectangular", heading, 360.0, 90.0)
    found = geo.localize(view, area, rerank="bird-eye-correlation")
    assert len({match.overlay.correlation for match in found.matches}) == 6
    scores = [match.score for match in found.matches]
    assert scores == sorted(scores, reverse=True)
    assert found.probability.sum() == pytest.approx(1, abs=1e-4)
    assert found.confidence == pytest.approx(found.probability.max())
    if heading is not None:
        assert found.heading == heading and found.matches[0].tile == "tile 3"
        assert np.hypot(*found.matches[0].overlay.east_north) < 2
    assert set(found.matches[0].to_dict()["overlay"]) == {"correlation", "east_north", "camera_height"}


@pytest.mark.parametrize("heading", (40.0, None))
def test_the_verifier_judges_from_where_the_matcher_says(geo, area, place, heading):
    world, sites = place
    view = GroundView(world.panorama(sites[1], heading=40.0).image, "equirectangular", heading, 360.0, 90.0)
    found = geo.localize(view, area, rerank="azimuth-verifier-world", rerank_k=4)
    assert [match.overlay is not None for match in found.matches] == [True] * 4 + [False] * 2
    centres = {tuple(np.round(centre, 3)) for centre in geo._part("matching").centres}
    assert {tuple(np.round(match.overlay.east_north, 3)) for match in found.matches[:4]} <= centres
    assert found.probability.sum() == pytest.approx(1, abs=1e-4)


def test_only_the_first_are_judged_and_none_when_asked(geo, area, place):
    world, sites = place
    view = world.panorama(sites[0], heading=0.0)
    plain = geo.localize(view, area, rerank=None)
    assert all(match.overlay is None for match in plain.matches)
    again = geo.localize(view, area, rerank_k=2)
    assert [m.overlay is not None for m in again.matches] == [True, True, False, False, False, False]
    assert {m.tile for m in again.matches[:2]} == {m.tile for m in plain.matches[:2]}
    assert again.probability[:].sum() == pytest.approx(1, abs=1e-4)
    sure = geo.localize(view, area, rerank_below=0.0)
    assert [m.tile for m in sure.matches] == [m.tile for m in plain.matches]


def test_a_gallery_without_pictures_is_searched_all_the_same(geo, area, place):
    world, sites = place
    bare = Gallery(area.tiles, area.descriptors, area.fingerprint)
    assert not bare.pictured and area.pictured
    found = geo.localize(world.panorama(sites[0], heading=0.0), bare)
    assert found.matches[0].overlay is None


def test_what_cannot_rerank_says_so(geo, area, place):
    world, sites = place
    with pytest.raises(ModelError, match="re-ranks tiles"):
        geo.localize(world.panorama(sites[0], heading=0.0), area, rerank="azimuth-world")
    with pytest.raises(ModelError, match="for places"):
        photographs = Gallery(area.tiles, area.descriptors, area.fingerprint, kind="ground")
        TileReranker(BirdEyeCorrelation()).reorder(world.panorama(sites[0]), photographs, [0], np.zeros(1), np.zeros(1))
