"""The generators: published shapes, truths of their geometry, gradients, painters."""

import math

import pytest
import torch

from xview_demo import zoo
from xview_demo.geometry import street_grid
from xview_demo.models.synthesis.bird_eye import BirdEye, fine_detail
from xview_demo.models.synthesis.interface import Query, frame
from xview_demo.models.synthesis.layers import (
    ClassDiscriminator,
    Painter,
    PatchDiscriminator,
    PlanEncoder,
    canny,
    scale_gradient,
)
from xview_demo.models.synthesis.rgbds import RGBDSGenerator, lift
from xview_demo.models.synthesis.street_eye import StreetEye
from xview_demo.models.synthesis.xfork import XForkGenerator
from xview_demo.models.synthesis.xseq import XSeqGenerator

SMALL = {"size": 32, "width": 8}
RGBDS = zoo.get("rgbds-world").tiny


def strips(count=2):
    coarse = torch.rand(count, 3, 16, 64, generator=torch.Generator().manual_seed(5))
    return torch.nn.functional.interpolate(coarse, (128, 512), mode="bilinear")


# The street's view of a tile


def test_the_streets_view_undoes_the_birds_eye_view():
    tile = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8), (128, 128), mode="bilinear")
    strip, seen = StreetEye(256, 1024)(tile)
    back, there = BirdEye(pixels=128, surface="flat")(strip, seen)
    near = (there[0, 0] == 1) & (torch.hypot(*torch.meshgrid(*[torch.arange(128) / 2 - 31.75] * 2, indexing="ij")) < 15)
    assert near.sum() > 1500
    assert (back - tile)[0, :, near].abs().mean() < 0.02


def test_rays_above_the_horizon_read_the_edge_of_the_tile():
    grid, seen = street_grid(64, 256, 64.0)
    assert seen.shape == (1, 64, 256) and not seen[0, :32].any() and seen[0, -1].all()
    assert torch.allclose(grid[:32].norm(dim=-1), torch.ones(32, 256))
    assert torch.allclose(grid[0, 128], torch.tensor([0.0, -1.0]), atol=0.02)  # the centre column looks north
    with pytest.raises(ValueError, match="above the ground"):
        street_grid(4, 16, 64.0, camera_height=0.0)


# X-Fork, pix2pix, X-Seq


@pytest.mark.parametrize("options, out", [
    ({}, (512, 512)), ({"edges": True}, (512, 512)), ({"reads": "aerial", "draws": "ground"}, (256, 1024)),
])  # fmt: skip
def test_xfork_has_its_published_shapes(options, out, monkeypatch):
    with torch.device("meta"):
        net = XForkGenerator(**options)
        monkeypatch.setattr("xview_demo.models.synthesis.xfork.canny", lambda view: view[:, :1])
        image, labels = net(torch.empty(1, 3, *frame(net.reads, 512)))
    assert image.shape == labels.shape == (1, 3, *out)
    assert net.encoder[0][0].in_channels == (4 if options.get("edges") else 3)
    assert net.start == ((2, 8) if options.get("reads") else (4, 4))


def test_xseq_and_pix2pix_have_their_published_shapes():
    with torch.device("meta"):
        image, labels = XSeqGenerator()(torch.empty(1, 3, 256, 1024))
        alone, none = XForkGenerator(heads=("image",))(torch.empty(1, 3, 256, 1024))
    assert image.shape == labels.shape == alone.shape == (1, 3, 512, 512) and none is None


def test_a_reverse_generator_draws_a_strip():
    net = XForkGenerator(**SMALL, bird_eye=True, classes=8, reads="aerial", draws="ground").eval()
    tile = torch.rand(2, 3, 256, 256)
    assert net.hint(Query(tile)).shape == (2, 4, 16, 64)
    drawn = net.draw(Query(tile))
    assert drawn.image.shape == (2, 3, 16, 64) and drawn.labels.shape == (2, 8, 16, 64)


def test_edges_reach_the_edge_variant():
    picture = torch.zeros(1, 3, 16, 64)
    picture[..., 32:] = 1
    edges = canny(picture)
    assert edges.shape == (1, 1, 16, 64) and edges[..., 30:34].amax() == 1 and edges[..., :28].amax() == 0
    net = XForkGenerator(**SMALL, edges=True, dropout=0.0).eval()
    with torch.no_grad():
        before, _ = net(picture)
        net.encoder[0][0].weight[:, 3] += 1
        after, _ = net(picture)
    assert not torch.allclose(before, after)


def test_the_second_generator_moves_the_first_by_a_tenth():
    x = torch.ones(3, requires_grad=True)
    scaled = scale_gradient(x * 2, 0.1)
    assert torch.allclose(scaled, x * 2)
    scaled.sum().backward()
    assert torch.allclose(x.grad, torch.full((3,), 0.2))
    gradients = []
    for factor in (1.0, 0.1):
        torch.manual_seed(0)
        net = XSeqGenerator(**SMALL, dropout=0.0, classes=8, gradient=factor)
        net(strips())[1].square().mean().backward()
        gradients.append(net.first.image_out.weight.grad)
    assert gradients[0].abs().max() > 0
    assert torch.allclose(gradients[0] * 0.1, gradients[1], rtol=1e-3, atol=1e-9)


def test_heads_and_views_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="image and labels"):
        XForkGenerator(**SMALL, heads=("depth",))
    with pytest.raises(ValueError, match="'ground' or 'aerial'"):
        XForkGenerator(**SMALL, reads="space")
    with pytest.raises(ValueError, match="rays run from a panorama"):
        XForkGenerator(**SMALL, reads="aerial", draws="ground", rays=4)


def test_a_painter_paints_upon_the_classes_and_twice_the_same():
    torch.manual_seed(0)
    net = XForkGenerator(**SMALL, classes=8, painted=True).eval()
    view = strips()
    with torch.no_grad():
        sketch, logits = net.sketch(view)
        image, labels = net(view)
        assert torch.equal(labels, logits) and torch.equal(image, net(view)[0])
        assert torch.equal(image, net.painter(sketch, logits.argmax(1)))
        assert not torch.allclose(image, net.painter(sketch, logits.argmin(1)))
    assert image.shape == (2, 3, 32, 32) and 0 <= image.min() and image.max() <= 1
    for wrong in ({}, {"heads": ("image",)}, {"heads": ("labels",), "classes": 8}):
        with pytest.raises(ValueError, match="needs the image's head"):
            XForkGenerator(**SMALL, painted=True, **wrong)
    with pytest.raises(ValueError, match="number of classes"):
        XSeqGenerator(**SMALL, painted=True)


def test_a_painter_without_classes_paints_upon_what_the_sketch_comes_from():
    torch.manual_seed(0)
    net = XForkGenerator(**zoo.get("pix2pix-world").tiny).eval()
    query = Query(strips())
    with torch.no_grad():
        hint = net.hint(query)
        sketch, none, told = net.draft(query.image, hint)
        drawn = net.draw(query)
        assert torch.equal(sketch, net.sketch(query.image, hint)[0]) and told.shape == (2, 2 * 8 + 3, 32, 32)
        assert none is None and drawn.labels is None and torch.equal(drawn.image, net.painter(sketch, told))
        for other in ((1 - sketch, told), (sketch, told.flip(-1))):
            assert not torch.allclose(drawn.image, net.painter(*other))
        net.painter.strength = 0.0
        laid = (sketch + fine_detail(hint, net.metres, net.detail)).clamp(0.02, 0.98)
        assert torch.allclose(net.painter(sketch, told), laid, atol=1e-5)  # what is painted over


def test_after_training_a_painter_paints_as_strongly_as_it_is_told():
    torch.manual_seed(0)
    painter, sketch, told = Painter(3, 16), torch.rand(2, 3, 16, 16), torch.randint(3, (2, 16, 16))
    with torch.no_grad():
        painter.eval()
        full, painter.strength = painter(sketch, told), 0.5
        half, painter.strength = painter(sketch, told), 0.0
        assert torch.allclose(painter(sketch, told), sketch.clamp(0.02, 0.98), atol=1e-5)
        assert (half - sketch).abs().mean() < (full - sketch).abs().mean()
        assert not torch.allclose(painter.train()(sketch, told), sketch, atol=1e-3)


def test_fine_detail_is_of_what_the_camera_sees_near_by():
    hint = torch.ones(1, 4, 64, 64)
    hint[0, :3, ::2] = 0.0
    detail = fine_detail(hint, metres=64.0, reach=20.0)
    assert detail.shape == (1, 3, 64, 64) and detail[0, 0, 32, 32] < -0.4 < 0.4 < detail[0, 0, 33, 32]
    assert detail[..., :4].abs().max() < 0.01
    hint[0, 3] = 0
    assert fine_detail(hint, 64.0, 20.0).abs().max() == 0
    hint[0, :3] = 0.3
    hint[0, 3] = 1
    assert fine_detail(hint, 64.0, 20.0).abs().max() < 1e-6


def test_xseq_paints_upon_what_it_segments():
    torch.manual_seed(0)
    net = XSeqGenerator(**SMALL, classes=8, painted=True).eval()
    with torch.no_grad():
        sketch, labels = net.sketch(strips())
        image, same = net(strips())
    assert torch.equal(labels, same) and torch.equal(image, net.painter(sketch, labels.argmax(1)))


def test_a_painter_of_any_width_has_gradients_in_bfloat16():
    net = XForkGenerator(size=32, width=24, classes=8, painted=True).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        image = net.painter(torch.rand(2, 3, 32, 32), torch.zeros(2, 32, 32).long())
    image.mean().backward()
    assert all(p.grad.isfinite().all() for p in net.painter.parameters())


def test_a_class_discriminator_tells_classes_and_drawn():
    net = ClassDiscriminator(8, width=8)
    assert net(torch.rand(2, 3, 32, 128)).shape == (2, 9, 32, 128)


def test_rays_carry_a_column_to_its_bearing():
    torch.manual_seed(0)
    net = XForkGenerator(size=128, width=8, rays=4).eval()
    view = strips(1)
    other = view.clone()
    other[..., 230:282] = 1 - other[..., 230:282]  # ahead
    with torch.no_grad():
        changed = (net.rays(view) - net.rays(other)).abs().sum(1)[0]
        image, _ = net(view)
        net.rays.column.weight.mul_(2)
        assert not torch.allclose(net(view)[0], image)
    assert changed.shape == (64, 64)
    assert changed[:16, 24:40].mean() > 3 * changed[48:, 24:40].mean()  # up is ahead


def test_a_trunk_reads_the_birds_eye_view_and_the_rays():
    torch.manual_seed(0)
    net = XForkGenerator(size=64, width=8, bird_eye=True, rays=4, classes=8, trunk=True).eval()
    hint = torch.rand(1, 4, 64, 64)
    image, labels = net(strips(1), hint)
    assert image.shape == (1, 3, 64, 64) and labels.shape == (1, 8, 64, 64)
    assert not torch.allclose(net(strips(1), 1 - hint)[0], image)
    with torch.no_grad():
        net.rays.column.weight.mul_(2)
    assert not torch.allclose(net(strips(1), hint)[0], image)
    for wrong in ({"rays": 0}, {"bird_eye": False}, {"size": 256}):
        with pytest.raises(ValueError, match="trunk=True"):
            XForkGenerator(**{"size": 64, "bird_eye": True, "rays": 4, "trunk": True} | wrong)
    with pytest.raises(ValueError, match="levels"):
        PlanEncoder(4, 4, 8, levels=5)


def test_a_conditional_discriminator_sees_its_condition():
    torch.manual_seed(0)
    net = PatchDiscriminator(width=8, condition=3).eval()
    image, strip = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 32, 128)
    assert net(image, strip).shape == (2, 1, 6, 6)
    assert not torch.allclose(net(image, strip), net(image, 1 - strip))
    for judge, condition in ((net, None), (PatchDiscriminator(width=8), strip)):
        with pytest.raises(ValueError, match="condition="):
            judge(image, condition)


# RGBDS


def test_a_wall_stands_where_its_depth_says():
    depth = torch.full((1, 32, 128), math.inf)
    depth[0, 16, 96] = 10.0  # just below the horizon, due east
    values = torch.zeros(1, 1, 32, 128)
    values[0, 0, 16, 96] = 0.5
    plan = lift(values, depth, torch.ones(1, 1, 32, 128), 32, 32.0)
    assert plan.shape == (1, 2, 32, 32) and plan[0, 1].sum() == 1
    assert plan[0, 1, 15:17, 25:27].sum() == 1 and plan[0, 0].max() == 0.5
    assert lift(values, depth, torch.zeros(1, 1, 32, 128), 32, 32.0).abs().max() == 0


def test_rgbds_has_its_published_shape():
    with torch.device("meta"):
        net = RGBDSGenerator()
        image, labels = net(torch.empty(1, 12, 256, 1024))
        assert image.shape == (1, 3, 512, 512) and labels is None
    assert net.encoder.feature_info.channels() == [768]


def test_rgbds_draws_from_colour_depth_and_classes():
    net = RGBDSGenerator(**RGBDS).eval()
    depth, labels = torch.rand(2, 128, 512) * 30, torch.randint(8, (2, 128, 512))
    drawn = net.draw(Query(strips(), depth=depth, labels=labels))
    assert drawn.image.shape == (2, 3, net.size, net.size) and drawn.labels.shape == (2, 8, net.size, net.size)
    for other in (Query(strips(), depth=depth * 2, labels=labels), Query(strips(), depth=depth, labels=7 - labels)):
        assert not torch.allclose(net.draw(other).image, drawn.image)
    with pytest.raises(ValueError, match="depth and labels"):
        net.draw(Query(strips()))
    with pytest.raises(ValueError, match="hint"):
        net(torch.rand(1, 12, net.size // 2, net.size * 2))
    with pytest.raises(ValueError, match="need bird_eye"):
        RGBDSGenerator(**RGBDS | {"bird_eye": False})


def test_an_encoder_of_pictures_is_taken_over_whole():
    net = RGBDSGenerator(**RGBDS).eval()
    other = net._swin(3).eval()
    net.adopt(other.state_dict())
    stack = torch.rand(1, 12, *frame("ground", net.size))
    with torch.no_grad():
        assert torch.allclose(net.encoder(stack)[0], other(stack[:, :3])[0], atol=1e-5)
