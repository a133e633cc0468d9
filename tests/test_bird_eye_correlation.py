"""Dense matching: the correlation against a direct loop, and places, headings and offsets that must be found."""

import pytest
import torch

from xview_demo.models.matching.bird_eye_correlation import BirdEyeCorrelation, contrasts, weighted_correlation


def test_correlation_is_that_of_a_direct_loop():
    torch.manual_seed(0)
    query, weight, tiles = torch.randn(2, 3, 5, 5), torch.rand(2, 5, 5), torch.randn(4, 3, 9, 9)
    shifts = [(0, 0), (-2, 1), (2, 2)]
    found = weighted_correlation(query, weight, tiles, shifts)
    for r in range(2):
        w = (weight[r] / weight[r].sum()).double()
        for n in range(4):
            for k, (row, column) in enumerate(shifts):
                total = 0.0
                for c in range(3):
                    a = query[r, c].double()
                    b = tiles[n, c, 2 + row : 7 + row, 2 + column : 7 + column].double()
                    a, b = a - (w * a).sum(), b - (w * b).sum()
                    total += float((w * a * b).sum() / ((w * a * a).sum() * (w * b * b).sum()).sqrt()) / 3
                assert found[r, n, k].item() == pytest.approx(total, abs=1e-4)


def test_contrasts_do_not_see_brightness():
    image = torch.rand(1, 3, 24, 24) * 0.5
    assert torch.allclose(contrasts(image, (1.0,)), contrasts(image + 0.3, (1.0,)), atol=1e-5)


@pytest.fixture(scope="module")
def places():
    from xview_demo.world import World

    world = World(950_001, biome="row_house", size=260.0, resolution=0.5, exact=True)
    sites = world.sites(6)
    return world, sites, world.aerials(sites).colour


def test_the_right_tile_wins_without_learning(places):
    world, sites, tiles = places
    net = BirdEyeCorrelation(headings=24)
    reference = net.encode_aerial(tiles)
    assert torch.allclose(reference.norm(dim=1), torch.ones(len(sites)), atol=1e-5)
    query = net.encode_ground(world.panoramas(sites, headings=[0.0] * len(sites)).colour)
    assert (net.aligned(query, reference).argmax(1) == torch.arange(len(sites))).float().mean() >= 0.8
    turned = net.encode_ground(world.panoramas(sites, headings=[90.0] * len(sites)).colour)
    scores, headings = net.score(turned[:2], reference)
    assert (scores.argmax(1) == torch.arange(2)).all()
    off = (headings[range(2), range(2)] - 90 + 180) % 360 - 180
    assert (off.abs() <= 15).all()


def test_the_offset_of_the_camera_is_found(places):
    world, sites, _ = places
    net = BirdEyeCorrelation()
    shifted = world.aerials([(s.east - 2.4, s.north + 1.6) for s in sites]).colour
    query = net.encode_ground(world.panoramas(sites, headings=[0.0] * len(sites)).colour)
    reference = net.encode_aerial(shifted)
    found = [net.overlay(q, r[None], torch.zeros(1)) for q, r in zip(query, reference, strict=True)]
    place = torch.cat([overlay.east_north for overlay in found])
    assert (place.median(0).values - torch.tensor([2.4, -1.6])).abs().max() < 1.0


def test_an_overlay_searches_around_each_tile_s_heading(places):
    world, sites, tiles = places
    net = BirdEyeCorrelation(headings=24)
    query = net.encode_ground(world.panoramas(sites[:1], headings=[90.0]).colour)[0]
    reference = net.encode_aerial(tiles)
    around = torch.tensor([75.0, 200.0, 0.0, 90.0, 90.0, 90.0])
    found = net.overlay(query, reference, around, span=15.0)
    off = ((found.heading - around + 180) % 360 - 180).abs()
    assert (off <= 15).all() and abs(found.heading[0] - 90) <= 15 and found.score.argmax() == 0
    fixed = net.overlay(query, reference, around)
    assert torch.equal(fixed.heading, around) and (found.score[0] >= fixed.score[0] - 1e-6)
