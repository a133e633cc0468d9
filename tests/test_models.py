"""The networks: shapes, and truths of their geometry."""

import math

import pytest
import torch

from xview_demo.models.blocks import pad_azimuth, standardise
from xview_demo.models.depth.unet import UNetDepth, standing
from xview_demo.models.matching.azimuth import AzimuthMatcher, focused_rows, ground_rows
from xview_demo.models.segmentation.unet import UNetSegmenter
from xview_demo.models.synthesis.bird_eye import BirdEye
from xview_demo.models.synthesis.layers import PatchDiscriminator
from xview_demo.models.synthesis.xfork import XForkGenerator

SMALL = {"channels": 4, "widths": (8, 8, 16, 16)}


@pytest.fixture(scope="module")
def matcher():
    torch.manual_seed(0)
    return AzimuthMatcher(**SMALL).eval()


def columns(matcher, count):
    """Random descriptors of tiles that look the same from every place within them."""
    one = torch.nn.functional.normalize(torch.randn(count, matcher.channels * matcher.bins), dim=1)
    return one.repeat(1, len(matcher.centres)) / math.sqrt(len(matcher.centres))


@pytest.fixture
def strip():
    return torch.rand(2, 3, 128, 512, generator=torch.Generator().manual_seed(1))


def test_a_quarter_turn_rolls_the_ground_columns_by_a_quarter(matcher, strip):
    turned = strip.roll(-128, -1)  # the camera looks 90° further right
    with torch.no_grad():
        before, after = matcher.ground_columns(strip), matcher.ground_columns(turned)
    assert torch.allclose(before.roll(-16, -1), after, atol=1e-5)


def test_a_quarter_turn_of_the_tile_rolls_the_aerial_columns_by_a_quarter(matcher):
    tile = torch.rand(2, 3, 128, 128)
    with torch.no_grad():
        before, after = matcher.aerial_columns(tile), matcher.aerial_columns(tile.rot90(1, (2, 3)))
    assert torch.allclose(before.roll(-16, -1), after, atol=1e-5)


def test_descriptors_have_unit_length(matcher, strip):
    ground, aerial = matcher(strip, torch.rand(2, 3, 200, 200))
    assert ground.shape == aerial.shape == (2, matcher.dimension)
    assert torch.allclose(ground.norm(dim=1), torch.ones(2), atol=1e-5)
    assert torch.allclose(aerial.norm(dim=1), torch.ones(2), atol=1e-5)


def test_invariants_do_not_change_with_the_heading(matcher, strip):
    with torch.no_grad():
        here = matcher.invariants(matcher.encode_ground(strip))
        turned = matcher.invariants(matcher.encode_ground(strip.roll(-136, -1)))
        other = matcher.invariants(matcher.encode_ground(strip.flip(1)))
    assert here.shape == (2, matcher.channels * (matcher.bins // 2 + 1))
    assert torch.allclose(here.norm(dim=1), torch.ones(2), atol=1e-5)
    assert (here - turned).norm() < 0.1 * (here - other).norm()
    mask = torch.zeros(2, 1, 128, 512)
    mask[..., 128:384] = 1
    assert matcher.invariants(matcher.encode_ground(strip * mask, mask)) is None


@pytest.mark.parametrize("heading", [0.0, 90.0, 213.75])
def test_the_heading_is_found_by_correlation(matcher, heading):
    reference = columns(matcher, 3)
    bins = round(heading / 360 * matcher.bins)
    query = reference.view(3, -1, matcher.bins).roll(-bins, -1).flatten(1)
    scores, headings = matcher.score(query, reference, chunk=2)
    assert torch.allclose(scores.diag(), torch.ones(3), atol=1e-4)
    error = (headings.diag() - heading + 180) % 360 - 180
    assert error.abs().max() < 360 / matcher.bins / 2 + 1e-3


def test_a_query_that_sees_a_part_is_compared_with_that_part(matcher):
    reference = columns(matcher, 4)
    part = reference.view(4, -1, matcher.bins).clone()
    part[..., :20] = 0
    part[..., 40:] = 0
    query = torch.nn.functional.normalize(part.flatten(1), dim=1)
    assert torch.allclose(matcher.aligned(query, reference).diag(), torch.ones(4), atol=1e-4)
    scores, headings = matcher.score(query, reference)
    assert scores.argmax(1).tolist() == [0, 1, 2, 3]
    assert torch.allclose(scores.diag(), torch.ones(4), atol=1e-3)


def test_a_tile_is_found_from_beside_its_centre(matcher):
    """A tile shifted under the camera is the shifted view of another place: the descriptor holds that view too."""
    tile = torch.nn.functional.interpolate(torch.rand(1, 3, 16, 16), (128, 128), mode="bilinear")
    east, north = matcher.centres[1]
    pixels = -round(east * 2), round(north * 2)  # a shift by half metres moves the place to the centre
    shifted = tile.roll(pixels, (3, 2))
    with torch.no_grad():
        beside, centre = matcher.aerial_columns(tile, pixels[0] / -2, pixels[1] / 2), matcher.aerial_columns(shifted)
        here = matcher.aerial_columns(tile)
        inner = slice(matcher.bins // 8, -matcher.bins // 8)  # towards the edge that was rolled over
    assert (beside - centre)[..., inner].norm() < 0.3 * (here - centre)[..., inner].norm()


def test_the_best_of_the_places_within_a_tile_counts(matcher):
    parts = torch.nn.functional.normalize(torch.randn(len(matcher.centres), matcher.channels * matcher.bins), dim=1)
    tile = parts.flatten()[None] / math.sqrt(len(parts))
    query = parts[2].repeat(len(parts))[None] / math.sqrt(len(parts))
    assert torch.allclose(matcher.aligned(query, tile), torch.ones(1, 1), atol=1e-4)
    scores, headings = matcher.score(query, tile)
    assert torch.allclose(scores, torch.ones(1, 1), atol=1e-4)
    assert ((headings + 180) % 360 - 180).abs().max() < 3


def test_columns_that_the_view_does_not_show_are_zero(matcher, strip):
    mask = torch.zeros(2, 1, 128, 512)
    mask[..., 206:306] = 1
    columns = matcher.ground_columns(strip * mask, mask)
    seen = (columns != 0).any(1)
    assert not seen[:, :24].any() and not seen[:, 40:].any() and seen[:, 28:36].all()


def test_focused_rows_keep_constants_and_are_densest_at_the_horizon():
    matrix = focused_rows(128, 64)
    assert torch.allclose(matrix.sum(1), torch.ones(64), atol=1e-5)
    centre = matrix @ torch.arange(128.0)
    assert (centre.diff() > 0).all()
    assert centre.diff().argmin() in range(20, 28)


def test_ground_rows_read_flat_ground_at_its_distance():
    matrix = ground_rows(128, 64, 32.0, camera_height=2.0)
    fall = torch.arange(128.0) * 90 / 128 - 44.6484375  # degrees below the horizon
    seen = matrix.sum(1) > 0
    assert torch.allclose(matrix[seen].sum(1), torch.ones(int(seen.sum())), atol=1e-5)
    assert seen.tolist() == [True] * 60 + [False] * 4  # nearer than 2 m: below the strip
    for row in (0, 20, 50, 59):
        away = 32 - (row + 0.5) / 2
        assert float(matrix[row] @ fall) == pytest.approx(math.degrees(math.atan2(2.0, away)), abs=0.75)


def test_the_loss_reaches_both_encoders(matcher, strip):
    ground, aerial = matcher.ground_columns(strip), matcher.aerial_columns(torch.rand(2, 3, 128, 128))
    matcher.correlation(ground, aerial).logsumexp((1, 2)).sum().backward()
    assert all(p.grad is not None for n, p in matcher.named_parameters() if n != "log_scale")


def test_standardise_forgets_gain_and_offset():
    image = torch.rand(2, 3, 16, 16)
    assert torch.allclose(standardise(image), standardise(0.6 * image + 0.2), atol=1e-4)


def test_pad_azimuth_joins_the_seam():
    x = torch.arange(8.0)[None, None, None]
    assert pad_azimuth(x, 2).flatten().tolist() == [6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1]
    assert torch.autograd.gradcheck(lambda y: pad_azimuth(y, 2), x.double().requires_grad_())


@pytest.mark.parametrize("size", [(128, 512), (100, 300)])
def test_segmenter_takes_any_size(size):
    net = UNetSegmenter("ground", channels=(16, 16, 8, 8)).eval()
    labels, scores = net.predict(torch.rand(1, 3, *size))
    assert labels.shape == (1, *size) and scores.shape == (1, 8, *size)
    assert torch.allclose(scores.sum(1), torch.ones(1, *size), atol=1e-4)


def test_the_seam_of_a_panorama_does_not_show():
    torch.manual_seed(0)
    net = UNetSegmenter("ground", channels=(16, 16, 8, 8), seam=64).eval()
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 32), (128, 512), mode="bilinear")
    a, _ = net.predict(image)
    b, _ = net.predict(image.roll(256, -1))
    assert (a.roll(256, -1) == b).float().mean() > 0.97


def test_the_unused_stage_of_the_encoder_is_dropped():
    net = UNetSegmenter("aerial")
    assert not any("layer4" in name for name in net.state_dict())
    assert sum(p.numel() for p in net.parameters()) * 2 < 20e6


def test_segmenter_knows_two_views():
    with pytest.raises(ValueError, match="'ground' or 'aerial'"):
        UNetSegmenter("satellite")


def test_depth_is_positive_and_sky_infinite():
    net = UNetDepth(channels=(16, 16, 8, 8)).eval()
    metres = net.predict(torch.rand(1, 3, 128, 512))
    finite = metres[metres.isfinite()]
    assert metres.shape == (1, 128, 512)
    assert (finite >= 0.499).all() and (finite <= 250.1).all()


def test_depth_is_in_units_of_the_cameras_height():
    torch.manual_seed(0)
    net = UNetDepth(channels=(16, 16, 8, 8), nearest=1e-3, farthest=1e4).eval()
    image = torch.rand(2, 3, 128, 512)
    low, high = (net.predict(image, camera_height=h) for h in (1.5, 3.0))
    assert torch.allclose(high, 2 * low, rtol=1e-4)
    ratio = (net.predict(image) / low)[low.isfinite()]
    assert ratio.std() > 0 and torch.allclose(net.predict(image[:1]) / low[:1], ratio[0], rtol=1e-3, equal_nan=True)
    upwards = torch.linspace(60, 10, 128)
    assert torch.equal(net.predict(image, rows=upwards, camera_height=3.0), net.predict(image, rows=upwards))


def test_the_cameras_height_is_read_off_the_ground_at_its_feet():
    rows = torch.linspace(30, -40, 96)
    flat = torch.tensor([[1.7], [2.6]]) / torch.deg2rad(-rows).sin().clamp_min(0.01)
    metres = flat[:, :, None].repeat(1, 1, 40)
    metres[:, :, :15] = 1.2  # something stands beside the camera
    assert standing(metres.log(), rows).exp() == pytest.approx(torch.tensor([1.7, 2.6]), rel=1e-3)
    plain = 2.0 / torch.deg2rad(45 - (torch.arange(64) + 0.5) * 90 / 64).neg().sin().clamp_min(0.01)
    assert standing(plain.log()[None, :, None]).exp() == pytest.approx(2.0, rel=1e-3)


def test_xfork_has_its_published_shape():
    with torch.device("meta"):
        net = XForkGenerator()
        image, labels = net(torch.empty(1, 3, 256, 1024))
    assert image.shape == labels.shape == (1, 3, 512, 512)
    widths = [m.out_channels for m in net.encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert widths == [64, 128, 256, 512, 512, 512, 512]


def test_small_xfork_takes_the_birds_eye_view():
    net = XForkGenerator(size=64, width=8, dropout=0.0, bird_eye=True, classes=8).eval()
    strip = torch.rand(2, 3, 128, 512)
    overhead = torch.cat(BirdEye(pixels=64)(strip), 1)
    image, logits = net(strip, overhead)
    assert image.shape == (2, 3, 64, 64) and logits.shape == (2, 8, 64, 64)
    assert 0 <= image.min() and image.max() <= 1
    with pytest.raises(ValueError, match="bird's-eye"):
        net(strip)
    with pytest.raises(ValueError, match="use 32"):
        XForkGenerator(size=100)


def test_the_discriminator_judges_patches():
    assert PatchDiscriminator(width=8)(torch.rand(2, 3, 128, 128)).shape == (2, 1, 14, 14)


def test_turning_the_camera_turns_the_birds_eye_view():
    strip = torch.nn.functional.interpolate(torch.rand(1, 3, 16, 64), (128, 512), mode="bilinear")
    project = BirdEye(pixels=64, surface="flat")
    image, mask = project(strip)
    turned, _ = project(strip.roll(-128, -1))  # looks east: east comes up
    assert image.shape == (1, 3, 64, 64) and mask.shape == (1, 1, 64, 64)
    assert (image.rot90(1, (2, 3)) - turned).abs().mean() < 0.02


def test_the_birds_eye_view_is_blind_only_under_the_camera():
    _, mask = BirdEye(pixels=65, metres=65.0, surface="flat", camera_height=2.5)(torch.rand(1, 3, 128, 512))
    east = torch.arange(65) - 32.0
    away = torch.hypot(*torch.meshgrid(east, east, indexing="ij"))
    blind = mask[0, 0] == 0
    assert blind[away < 2.5 / math.tan(math.radians(45)) - 0.1].all()
    assert not blind[away > 2.6].any()
