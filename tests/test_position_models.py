"""The position models: parts against direct computations, published sizes, gradients, symmetry."""

import math

import pytest
import torch
import torch.nn.functional as F

from xview_demo.errors import XViewError
from xview_demo.models.position.crossformer import CrossFormer, CrossFormerBlock, DynamicPositionBias, largest_divisor
from xview_demo.models.position.featup import FeatUp
from xview_demo.models.position.heatmap import Pyramid, soft_argmax
from xview_demo.models.position.mst import MST
from xview_demo.models.position.street import OverheadProjector, correlate, cosine_map
from xview_demo.models.position.upsampler import JointBilateralUpsampler, UpsamplerStack, joint_bilateral
from xview_demo.models.rays import ray_grid
from xview_demo.models.segmentation.unet import UNetSegmenter

SMALL_MST = {
    "size": 64, "embed": 16, "depths": (1, 1, 1, 1), "heads": (1, 2, 4, 8), "group": 4, "overhead": 8, "rings": 6,
    "vector": 8, "detail": (16, 8), "halved": True,
}  # fmt: skip
PUBLISHED = {"size": 64, "embed": 16, "depths": (1, 1, 1, 1), "heads": (1, 2, 4, 8), "drop_path": 0.0}
SMALL_FEATUP = {
    "size": 64, "backbone": "resnet10t", "index": 1, "frozen": False, "channels": 8, "factor": 2, "hidden": 16,
    "overhead": 8, "rings": 6, "vector": 8, "detail": (16, 8), "halved": True,
}  # fmt: skip


def test_the_joint_bilateral_filter_is_the_direct_loop():
    torch.manual_seed(0)
    features, guide = torch.rand(1, 2, 6, 7), torch.randn(1, 3, 6, 7)
    temperature, sigma, radius = torch.tensor(1.3), torch.tensor(0.7), 2
    found = joint_bilateral(features, guide, temperature, sigma, radius)
    wide, keys = (F.pad(x, (radius,) * 4, mode="reflect")[0] for x in (features, guide))
    expected = torch.zeros(2, 6, 7)
    for row in range(6):
        for column in range(7):
            alike, near, values = [], [], []
            for dy in range(-radius, radius + 1):
                for dx in range(-radius, radius + 1):
                    r, c = row + dy + radius, column + dx + radius
                    alike.append(float(temperature * (guide[0, :, row, column] * keys[:, r, c]).sum()))
                    near.append(math.exp(-((dx / radius) ** 2 + (dy / radius) ** 2) / (2 * float(sigma) ** 2)))
                    values.append(wide[:, r, c])
            weight = torch.tensor(alike).softmax(0) * torch.tensor(near)
            expected[:, row, column] = (torch.stack(values) * (weight / weight.sum())[:, None]).sum(0)
    assert torch.allclose(found[0], expected, atol=1e-5)


def test_an_edge_in_the_guide_stays_an_edge():
    step = JointBilateralUpsampler(key=4)
    with torch.no_grad():
        step.log_temperature.fill_(5.0)
        step.project = torch.nn.Identity()
    guide = torch.ones(1, 3, 16, 16)
    guide[..., 8:] = -1
    coarse = torch.zeros(1, 1, 8, 8)
    coarse[..., 4:] = 1
    plain = F.interpolate(coarse, (16, 16), mode="bicubic")
    sharp = step(coarse, guide)
    assert (sharp[..., 8] - sharp[..., 7]).mean() > 1.2 * (plain[..., 8] - plain[..., 7]).mean()
    assert torch.allclose(step(torch.ones(1, 1, 8, 8), guide), torch.ones(1, 1, 16, 16), atol=1e-4)


def test_the_stack_doubles_as_often_as_asked():
    assert UpsamplerStack(3, 4, key=4)(torch.rand(1, 3, 4, 5), torch.rand(1, 3, 64, 80)).shape == (1, 3, 16, 20)
    with pytest.raises(ValueError, match="power of two"):
        UpsamplerStack(3, 6)


def test_the_fourier_correlation_is_the_direct_one():
    torch.manual_seed(0)
    kernel, image = torch.randn(2, 3, 5, 5), torch.randn(2, 3, 8, 9)
    direct = torch.stack([F.conv2d(i[:, None], k[:, None], padding=2).diagonal().permute(2, 0, 1)
                          for i, k in zip(image, kernel, strict=True)])  # fmt: skip
    assert torch.allclose(correlate(kernel, image), direct, atol=1e-4)


def test_a_piece_of_the_tile_is_found_where_it_was_cut():
    torch.manual_seed(0)
    tile = F.normalize(torch.randn(1, 4, 32, 32), dim=1)
    for row, column in ((16, 16), (3, 20), (30, 5)):  # the last two hang over the edge
        wide = F.pad(tile, (6, 6, 6, 6))
        piece = wide[..., row : row + 13, column : column + 13]
        found = cosine_map(piece, tile)[0]
        assert divmod(int(found.argmax()), 32) == (row, column)
        assert found.max().item() == pytest.approx(1, abs=1e-3) and found.min() >= -1.001


def test_rays_go_where_they_bear():
    rings = 10
    polar = torch.zeros(1, 1, rings, 130)
    polar[0, 0, 5, 97] = 1  # ring 5 … 6, a quarter turn to the right (column 96 of 128, after the repeated one)
    grid = ray_grid(torch.arange(-rings, rings + 1), rings)
    seen = F.grid_sample(polar, grid[None], align_corners=False)[0, 0]
    row, column = divmod(int(seen.argmax()), 2 * rings + 1)
    assert row == rings and column in (rings + 5, rings + 6)
    assert grid[0, 0].abs().max() > 1  # the corner is farther than the last ring


def test_turning_the_strip_turns_what_is_seen_from_above():
    torch.manual_seed(0)
    projector = OverheadProjector(channels=4, rings=6, widths=(8, 8, 8), vector=4).eval()
    strip = torch.rand(1, 3, 128, 512)
    with torch.no_grad():
        first, _ = projector(strip)
        quarter, _ = projector(strip.roll(-128, -1))  # the camera turns right: what was right is now up
    turned = first.rot90(1, (2, 3))
    turned[..., 6, 6] = quarter[..., 6, 6]  # straight down every bearing is the same
    assert torch.allclose(turned, quarter, atol=1e-3) and not torch.allclose(first, quarter, atol=1e-3)


def test_attention_groups_are_neighbours_or_equal_intervals():
    for far in (False, True):
        torch.manual_seed(0)
        block = CrossFormerBlock(8, 2, 4, far, 2.0, 0.0).eval()
        x = torch.randn(1, 8, 8, 8)
        y = x.clone()
        y[0, 0, 0, 0] += 1  # one channel: the norm takes away what all channels share
        changed = (block(x) - block(y)).abs().sum(-1)[0] > 1e-6
        rows, columns = changed.nonzero().T
        expected = {0, 2, 4, 6} if far else {0, 1, 2, 3}
        assert set(rows.tolist()) == expected and set(columns.tolist()) == expected


def test_the_position_bias_depends_on_the_offset_alone():
    table = DynamicPositionBias(16, 2)(3, 4)
    assert table.shape == (2, 12, 12)
    assert torch.allclose(table[:, 0, 5], table[:, 1, 6]) and torch.allclose(table[:, 5, 0], table[:, 11, 6])
    assert not torch.allclose(table[:, 0, 5], table[:, 5, 0])
    assert largest_divisor(12, 8) == 6 and largest_divisor(7, 8) == 7


def test_the_encoder_takes_strips_too():
    model = CrossFormer(embed=16, depths=(1, 1, 1, 1), heads=(1, 2, 4, 8), drop_path=0.0)
    shapes = [tuple(x.shape[1:]) for x in model(torch.rand(1, 3, 32, 96))]
    assert shapes == [(16, 8, 24), (32, 4, 12), (64, 2, 6), (128, 1, 3)]


def test_the_published_transformer_can_be_built():
    with torch.device("meta"):
        model = MST()
        strip, tile = torch.empty(1, 3, 128, 512), torch.empty(1, 3, 256, 256)
    encoder = sum(p.numel() for p in model.aerial.parameters())
    assert 29e6 < encoder < 31e6  # CrossFormer-S: 30.7 M with its classifier
    assert model.aerial.widths == (96, 192, 384, 768)
    found = model(strip, tile)
    assert found.landcover.shape == (1, 4, 256, 256)
    assert found.sightline.shape == found.density.shape == (1, 256, 256)


def test_the_published_featup_can_be_built():
    with torch.device("meta"):
        model = FeatUp()
        strip, tile = torch.empty(1, 3, 128, 512), torch.empty(1, 3, 256, 256)
    assert not any(p.requires_grad for p in model.backbone.parameters())
    assert 21e6 < sum(p.numel() for p in model.backbone.parameters()) < 23e6
    found = model(strip, tile)
    assert found.landcover.shape == (1, 4, 256, 256) and found.density.shape == (1, 256, 256)


@pytest.mark.parametrize("kind", ["mst", "featup"])
def test_small_models_give_a_probability(kind):
    torch.manual_seed(0)
    model = (MST(**SMALL_MST) if kind == "mst" else FeatUp(**SMALL_FEATUP)).eval()
    strip, tile = torch.rand(2, 3, 128, 512), torch.rand(2, 3, 64, 64)
    probability, landcover = model.predict(strip, tile, torch.ones(2, 1, 128, 512))
    assert probability.shape[0] == 2 and probability.shape[1] == probability.shape[2]
    assert torch.allclose(probability.sum((1, 2)), torch.ones(2), atol=1e-5) and probability.min() >= 0
    assert landcover.shape == (2, 4, 64, 64) and torch.allclose(landcover.sum(1), torch.ones(2, 64, 64), atol=1e-5)
    model.calibrate(2.0, 0.5)
    flatter, _ = model.predict(strip, tile)
    assert torch.allclose(flatter.sum((1, 2)), torch.ones(2), atol=1e-5)
    assert flatter.min() >= 0.5 / flatter[0].numel() - 1e-9


@pytest.mark.parametrize("build", [lambda: MST(**SMALL_MST), lambda: FeatUp(**SMALL_FEATUP), lambda: MST(**PUBLISHED)])
def test_one_tile_serves_many_strips(build):
    torch.manual_seed(0)
    model, strips, tile = build().eval(), torch.rand(3, 3, 128, 512), torch.rand(1, 3, 64, 64)
    once, each = model(strips, tile), model(strips, tile.expand(3, -1, -1, -1))
    assert once.landcover.shape[0] == 1 and torch.allclose(once.landcover[0], each.landcover[2], atol=1e-5)
    assert torch.allclose(once.density, each.density, atol=1e-4)
    assert torch.allclose(once.sightline, each.sightline, atol=1e-4)


@pytest.mark.parametrize("kind", ["mst", "featup"])
def test_every_parameter_learns(kind):
    torch.manual_seed(0)
    if kind == "mst":
        model, published = MST(**SMALL_MST), MST(**PUBLISHED)
    else:
        model = FeatUp(**SMALL_FEATUP)
        published = FeatUp(64, backbone="resnet10t", index=1, frozen=False, channels=8, factor=2, hidden=16)
    for net in (model, published):
        found = net(torch.rand(2, 3, 128, 512), torch.rand(2, 3, 64, 64))
        (found.landcover.square().sum() + found.density.square().sum() + found.sightline.square().sum()).backward()
        still = [name for name, p in net.named_parameters() if p.grad is None]
        assert not still, still


def test_a_frozen_backbone_stays_as_it_is():
    model = FeatUp(64, backbone="resnet10t", index=1, frozen=True, channels=8, factor=2, hidden=16).train()
    assert not model.backbone.training and model.upsampler.training
    before = {k: v.clone() for k, v in model.backbone.state_dict().items()}
    model(torch.rand(2, 3, 128, 512), torch.rand(2, 3, 64, 64))
    assert all(torch.equal(v, before[k]) for k, v in model.backbone.state_dict().items())


def test_soft_argmax_is_the_mean_and_has_a_gradient():
    logits = torch.full((1, 9, 12), -30.0)
    logits[0, 3, 4] = logits[0, 3, 6] = 0
    assert torch.allclose(soft_argmax(logits), torch.tensor([[5.5, 3.5]]), atol=1e-3)
    free = torch.randn(1, 5, 6, dtype=torch.float64, requires_grad=True)
    soft_argmax(free)[0, 0].backward()
    step = torch.zeros(1, 5, 6, dtype=torch.float64)
    step[0, 2, 5] = 1e-3
    slope = (soft_argmax(free.detach() + step) - soft_argmax(free.detach() - step))[0, 0] / 2e-3
    assert slope.item() == pytest.approx(free.grad[0, 2, 5].item(), rel=1e-2) and slope > 0


def test_the_pyramid_ends_at_its_finest_level():
    pyramid = Pyramid(6, (8, 4))
    assert pyramid(torch.rand(2, 6), [torch.rand(2, 8, 2, 2), torch.rand(2, 4, 4, 4)]).shape == (2, 1, 4, 4)


def test_the_detail_starts_from_an_aerial_unet():
    torch.manual_seed(0)
    model = MST(**SMALL_MST).eval()
    net = UNetSegmenter("aerial", depth=2, channels=SMALL_MST["detail"]).eval()
    model.start_from(net.unet)
    tile = torch.rand(1, 3, 64, 64)
    expected = net(tile)[:, [3, 1, 4, 5]]  # vegetation, building, road, ground
    assert torch.allclose(model.detail(tile)[0][:, :4], expected, atol=1e-5)
    for wrong, message in ((SMALL_MST | {"detail": ()}, "no detail"), (SMALL_MST | {"detail": (8, 8)}, "other layers")):
        with pytest.raises(XViewError, match=message):
            MST(**wrong).start_from(net.unet)


def test_wrong_keywords_are_told():
    with pytest.raises(ValueError, match="classes is 8"):
        MST(classes=8)
    with pytest.raises(ValueError, match="size is 100"):
        MST(size=100)
    with pytest.raises(ValueError, match="size is 96: use a multiple of 64"):
        MST(size=96, halved=True)
