"""GeoWarp's networks against a plain evaluation of the specification that shares no code with them."""

import math

import pytest
import torch
import torch.nn.functional as F

from train.__main__ import main
from train.importing import import_geowarp, read_state
from xview_demo import zoo
from xview_demo.errors import ModelError
from xview_demo.geometry import apply_homography, find_homography
from xview_demo.models.reranking.features import FeatureExtractor, NetVLAD, build_encoder
from xview_demo.models.reranking.geowarp import (
    GeoWarp,
    HomographyRegressor,
    agreeing_cells,
    rectangle_like,
    similarity,
    warp,
)
from xview_demo.models.reranking.pairs import random_trapezoids, shared_trapezoid, warped_pairs

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
VGG = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))  # torchvision's indices, a max pooling between


# The specification once more, from the tensors of a published file --------------------------------------------------


def plain_alexnet(state, x):
    def conv(i, x, **o):
        return F.conv2d(x, state[f"encoder.{i}.weight"], state[f"encoder.{i}.bias"], **o)

    x = F.max_pool2d(F.relu(conv(0, x, stride=4, padding=2)), 3, 2)
    x = F.max_pool2d(F.relu(conv(3, x, padding=2)), 3, 2)
    return conv(10, F.relu(conv(8, F.relu(conv(6, x, padding=1)), padding=1)), padding=1)


def plain_vgg16(state, x):
    for block in VGG:
        for i in block:
            x = F.conv2d(x, state[f"encoder.{i}.weight"], state[f"encoder.{i}.bias"], padding=1)
            x = x if i == 28 else F.relu(x)
        x = x if block is VGG[-1] else F.max_pool2d(x, 2)
    return x


def plain_resnet50(state, x):
    def norm(name, x):
        s = [state[f"encoder.{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *s, eps=1e-5)

    x = F.max_pool2d(F.relu(norm("1", F.conv2d(x, state["encoder.0.weight"], stride=2, padding=3))), 3, 2, 1)
    for layer, count in ((4, 3), (5, 4), (6, 6)):
        for block in range(count):
            n, stride = f"{layer}.{block}", 2 if block == 0 and layer > 4 else 1
            w = {i: state[f"encoder.{n}.conv{i}.weight"] for i in (1, 2, 3)}
            y = F.relu(norm(f"{n}.bn1", F.conv2d(x, w[1])))
            y = F.relu(norm(f"{n}.bn2", F.conv2d(y, w[2], stride=stride, padding=1)))
            y = norm(f"{n}.bn3", F.conv2d(y, w[3]))
            if block == 0:
                x = norm(f"{n}.downsample.1", F.conv2d(x, state[f"encoder.{n}.downsample.0.weight"], stride=stride))
            x = F.relu(x + y)
    return x


PLAIN = {"alexnet": plain_alexnet, "vgg16": plain_vgg16, "resnet50": plain_resnet50}


def plain_norm(x):
    return torch.stack([f / torch.sqrt((f**2).sum(0) + 1e-6) for f in x])


def plain_global(state, maps):
    if "pool.1.p" in state:
        p = state["pool.1.p"]
        return (plain_norm(maps).clamp(min=1e-6) ** p).mean(-1).mean(-1) ** (1 / p)
    out = []
    for f in F.normalize(maps, dim=1):
        cells = f.flatten(1).T
        share = torch.softmax(cells @ state["pool.conv.weight"][:, :, 0, 0].T, 1)
        rows = [(share[:, k : k + 1] * (cells - c)).sum(0) for k, c in enumerate(state["pool.centroids"])]
        vlad = torch.cat([row / row.norm().clamp(min=1e-12) for row in rows])
        out.append(vlad / vlad.norm())
    return torch.stack(out)


def plain_local(state, backbone, x):
    return plain_norm(F.adaptive_avg_pool2d(PLAIN[backbone](state, (x - MEAN) / STD), 15))


def plain_similarity(a, b):
    volume = torch.zeros(len(a), 225, 15, 15)
    for column in range(15):
        for row in range(15):
            volume[:, 15 * column + row] = (a[:, :, row, column, None, None] * b).sum(1)
    volume = volume.clamp(min=0)
    return volume / torch.sqrt((volume**2).sum(1, keepdim=True) + 1e-6)


def plain_regression(state, volume):
    for i in range(6):
        volume = F.conv2d(volume, state[f"conv.{3 * i}.weight"], state[f"conv.{3 * i}.bias"], padding=1)
        s = [state[f"conv.{3 * i + 1}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
        volume = F.relu(F.batch_norm(volume, *s))
    return (volume.flatten(1) @ state["linear.weight"].T + state["linear.bias"]).reshape(-1, 8, 2)


def plain_warp(image, corners):
    """Every pixel on its own: the homography by eight equations, the colour by bilinear reading, 0 outside."""
    height, width = image.shape[-2:]
    rows, right = [], []
    for (x, y), (u, v) in zip([(-1, -1), (1, -1), (1, 1), (-1, 1)], corners.tolist(), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        right += [u, v]
    h = torch.linalg.solve(torch.tensor(rows).double(), torch.tensor(right).double())
    h = torch.cat((h, torch.ones(1, dtype=torch.double))).view(3, 3)
    out = torch.zeros_like(image)
    for i in range(height):
        for j in range(width):
            x, y, z = (h @ torch.tensor([(2 * j + 1) / width - 1, (2 * i + 1) / height - 1, 1.0]).double()).tolist()
            column, row = ((x / z + 1) * width - 1) / 2, ((y / z + 1) * height - 1) / 2
            c, r = math.floor(column), math.floor(row)
            for cc, rr in ((c, r), (c + 1, r), (c, r + 1), (c + 1, r + 1)):
                if 0 <= cc < width and 0 <= rr < height:
                    out[:, i, j] += (1 - abs(column - cc)) * (1 - abs(row - rr)) * image[:, rr, cc]
    return out


def published(backbone, pooling, seed=0):
    """Two state dicts with the names of the authors' files and random values of a sensible size."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = FeatureExtractor(backbone, pooling).state_dict(), HomographyRegressor().state_dict()
    states = []
    for shape in shapes:
        state = {}
        for name, value in shape.items():
            noise = torch.randn(value.shape, generator=generator) if value.dim() else torch.tensor(7)
            if name.endswith(("running_var", "pool.1.p")) or (value.dim() == 1 and name.endswith("weight")):
                noise = 1 + 0.2 * noise.abs()
            elif value.dim() == 4:
                noise = noise * (2 / value[0].numel()) ** 0.5
            elif value.dim() <= 2 and value.dim():
                noise = 0.05 * noise
            state[name] = noise
        states.append(state)
    return states


def pictures(count, height=64, width=96, seed=3):
    coarse = torch.rand(count, 3, 6, 8, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("backbone, pooling", [("alexnet", "gem"), ("vgg16", "netvlad"), ("resnet50", "gem")])
def test_published_files_give_the_specified_outputs(backbone, pooling, tmp_path, capsys):
    features, regressor = published(backbone, pooling)
    torch.save(features, tmp_path / "FE.pth")
    torch.save(regressor, tmp_path / "HR.pth")
    files = [str(tmp_path / name) for name in ("FE.pth", "HR.pth")]
    assert main(["import-geowarp", *files, "--out", str(tmp_path / "model")]) == 0
    assert f"{backbone} with {pooling}" in capsys.readouterr().out
    model = zoo.load(tmp_path / "model", task="places")
    a, b = pictures(2), pictures(2, seed=4)
    with torch.no_grad():
        descriptor, local = model.encode(a)
        corners = model(a, b)
    plain = plain_local(features, backbone, a), plain_local(features, backbone, b)
    assert torch.allclose(local, plain[0], atol=1e-5)
    assert torch.allclose(descriptor, plain_global(features, PLAIN[backbone](features, (a - MEAN) / STD)), atol=1e-5)
    assert descriptor.shape == (2, {"alexnet": 256, "vgg16": 32768, "resnet50": 1024}[backbone])
    expected = plain_regression(regressor, plain_similarity(*plain))
    assert torch.allclose(corners, expected, atol=1e-5)


def test_both_orders_are_averaged_and_compared_after_warping():
    features, regressor = published("alexnet", "gem", 5)
    model = GeoWarp("alexnet", "gem", size=(64, 96)).eval()
    model.extractor.load_state_dict(features)
    model.regressor.load_state_dict(regressor)
    a, b = pictures(1), pictures(1, seed=9)
    with torch.no_grad():
        found = model.compare(a, model.local(a), b, model.local(b))
    la, lb = (plain_local(features, "alexnet", x) for x in (a, b))
    ab = plain_regression(regressor, plain_similarity(la, lb))
    ba = plain_regression(regressor, plain_similarity(lb, la))
    on_a, on_b = (ab[:, :4] + ba[:, 4:]) / 2, (ab[:, 4:] + ba[:, :4]) / 2
    assert torch.allclose(found.corners_a, on_a, atol=1e-5) and torch.allclose(found.corners_b, on_b, atol=1e-5)
    warped = plain_warp(a[0], on_a[0])[None], plain_warp(b[0], on_b[0])[None]
    wa, wb = (plain_local(features, "alexnet", x) for x in warped)
    assert found.similarity.item() == pytest.approx((wa * wb).sum().item(), rel=1e-5)


def test_kornia_warps_the_same():
    kornia = pytest.importorskip("kornia")
    corners = random_trapezoids(3, 0.8, torch.Generator().manual_seed(0))
    image = pictures(3)
    homography = kornia.geometry.homography.find_homography_dlt(rectangle_like(corners), corners, torch.rand(3, 4))
    expected = kornia.geometry.homography_warp(image, homography, image.shape[-2:])
    assert torch.allclose(warp(image, corners), expected, atol=1e-4)


# Truths of the modules ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone, channels", [("alexnet", 256), ("vgg16", 512), ("resnet50", 1024)])
@pytest.mark.parametrize("pooling", ["gem", "netvlad"])
def test_published_sizes(backbone, channels, pooling):
    with torch.device("meta"):
        model = GeoWarp(backbone, pooling).eval()
        descriptor, local = model.encode(torch.empty(2, 3, 480, 640))
        assert model(*torch.empty(2, 1, 3, 96, 96)).shape == (1, 8, 2)
    assert local.shape == (2, channels, 15, 15) and descriptor.shape == (2, channels * (1 if pooling == "gem" else 64))
    names = set(model.extractor.state_dict())
    assert ("pool.1.p" in names) == (pooling == "gem")
    assert ({"pool.conv.weight", "pool.centroids"} <= names) == (pooling == "netvlad")


def test_width_scales_every_layer():
    narrow = build_encoder("vgg16", 0.25)
    assert [m.out_channels for m in narrow if isinstance(m, torch.nn.Conv2d)][::4] == [16, 64, 128, 128]
    assert FeatureExtractor("resnet50", "gem", 0.125)(torch.rand(1, 3, 64, 64))[0].shape == (1, 128)
    for wrong in ({"backbone": "alexnext"}, {"pooling": "max"}, {"width": 0.0}, {"channels": (8, 8)}):
        with pytest.raises(ValueError):
            GeoWarp(**wrong)


def test_an_untrained_regressor_takes_the_whole_of_both_pictures():
    model = GeoWarp(width=0.0625, channels=(8,) * 6).eval()
    with torch.no_grad():
        corners = model(pictures(2), pictures(2, seed=5))
    assert torch.allclose(corners.view(2, 2, 4, 2), rectangle_like(torch.zeros(1, 1, 4, 2)))


def test_the_whole_picture_warps_to_itself_and_a_corner_to_its_quarter():
    image = pictures(1, 64, 64)
    assert torch.allclose(warp(image, rectangle_like(torch.zeros(1, 4, 2))), image, atol=1e-5)
    quarter = torch.tensor([[[-1.0, -1.0], [0.0, -1.0], [0.0, 0.0], [-1.0, 0.0]]])
    enlarged = F.interpolate(image[..., :32, :32], (64, 64), mode="bilinear")
    assert (warp(image, quarter) - enlarged)[..., 2:-2, 2:-2].abs().max() < 1e-4


def test_corners_without_area_leave_the_picture_as_it_is():
    image, flat = pictures(2), torch.zeros(2, 4, 2)
    flat[1] = torch.tensor([[-1, 0], [0.5, 0], [1, 0], [0, 0.0]])
    assert torch.equal(warp(image, flat), warp(image, rectangle_like(flat)))
    corners = torch.full((1, 4, 2), math.nan)
    assert warp(image[:1], corners).isfinite().all()


def test_the_gradient_of_a_warp_reaches_the_corners():
    corners = random_trapezoids(2, 0.5, torch.Generator().manual_seed(1)).requires_grad_()
    warp(pictures(2), corners, torch.rand(2, 4)).square().mean().backward()
    assert corners.grad.isfinite().all() and (corners.grad.abs().sum((1, 2)) > 0).all()


def test_a_picture_agrees_with_itself_in_every_cell_and_with_noise_in_hardly_any():
    generator = torch.Generator().manual_seed(0)
    a, b = (F.normalize(torch.randn(1, 32, 15, 15, generator=generator), dim=1) for _ in range(2))
    assert agreeing_cells(a, a).tolist() == [225] and agreeing_cells(a, b).item() < 10
    assert agreeing_cells(a, a.roll(1, 3)).item() == 15 * 13 and agreeing_cells(a, a.roll(3, 2)).item() == 0


def test_similarity_channels_run_column_by_column():
    a, b = torch.zeros(2, 1, 8, 15, 15)
    a[0, 3, 2, 7] = b[0, 3, 5, 1] = 1.0  # row 2, column 7 of a looks like row 5, column 1 of b
    place = similarity(a, b)[0].nonzero().tolist()
    assert place == [[7 * 15 + 2, 5, 1]]


def test_netvlad_can_start_from_centres():
    head = NetVLAD(6, 4)
    centres = F.normalize(torch.randn(4, 6), dim=1)
    head.start_from(centres, 30.0)
    maps = centres[2].view(1, 6, 1, 1).expand(1, 6, 3, 3)
    assert head.conv(maps).softmax(1)[0, :, 0, 0].argmax() == 2


# Self-supervised pairs ------------------------------------------------------------------------------------------------


def area(corners):
    x, y = corners.unbind(-1)
    return 0.5 * (x * y.roll(-1, -1) - x.roll(-1, -1) * y).sum(-1)


@pytest.mark.parametrize("k", [0.0, 0.6, 1.0])
def test_quadrilaterals_are_never_degenerate(k):
    generator = torch.Generator().manual_seed(0)
    first, second = random_trapezoids(3000, k, generator), random_trapezoids(3000, k, generator)
    shared = shared_trapezoid(first, second)
    for quadrilateral in (first, second, shared):
        edges = quadrilateral.roll(-1, 1) - quadrilateral
        cross = edges[..., 0] * edges.roll(-1, 1)[..., 1] - edges[..., 1] * edges.roll(-1, 1)[..., 0]
        assert (cross > 0).all() and (area(quadrilateral) > 0.01 - 1e-6).all()
    assert (first.abs() <= 1).all() and torch.equal(first[:, 0, 0], first[:, 3, 0])
    if k == 0:
        assert torch.equal(shared, rectangle_like(shared))


def test_the_shared_quadrilateral_lies_in_both():
    from shapely.geometry import Polygon

    generator = torch.Generator().manual_seed(2)
    first, second = random_trapezoids(50, 0.8, generator), random_trapezoids(50, 0.8, generator)
    for t_z, *both in zip(shared_trapezoid(first, second), first, second, strict=True):
        common = Polygon(both[0].tolist()).intersection(Polygon(both[1].tolist()))
        assert common.buffer(1e-5).contains(Polygon(t_z.tolist()))
        assert t_z[:, 0].min() == pytest.approx(common.bounds[0]) and t_z[:, 0].max() == pytest.approx(common.bounds[2])


def test_both_warps_show_the_same_in_their_shared_quadrilaterals():
    image = F.interpolate(torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(1)), (96, 128), mode="bicubic")
    pair = warped_pairs(image.clamp(0, 1), 0.6, torch.Generator().manual_seed(4))
    a, b = warp(pair.a, pair.t_a), warp(pair.b, pair.t_b)
    inner = (..., slice(6, -6), slice(6, -6))
    assert (a[inner] - b[inner]).abs().mean() < 0.02 < (pair.a[inner] - pair.b[inner]).abs().mean()
    back = apply_homography(find_homography(rectangle_like(pair.t_x), pair.t_x), pair.t_a)
    assert torch.allclose(back, pair.t_z, atol=1e-5)
    again = warped_pairs(image.clamp(0, 1), 0.6, torch.Generator().manual_seed(4))
    assert torch.equal(pair.a, again.a)
    with pytest.raises(ValueError, match="give 0"):
        random_trapezoids(1, 1.5, torch.Generator())


# Import ------------------------------------------------------------------------------------------------------------


def test_wrapped_names_are_understood_and_wrong_files_are_told(tmp_path):
    features, regressor = published("alexnet", "gem")
    torch.save({"state_dict": {f"module.{k}": v for k, v in features.items()}}, tmp_path / "FE.pth")
    torch.save(regressor, tmp_path / "HR.pth")
    assert set(read_state(tmp_path / "FE.pth")) == set(features)
    model = import_geowarp(tmp_path / "FE.pth", tmp_path / "HR.pth", tmp_path / "m", (96, 128))
    assert model.size == (96, 128) and torch.equal(model.regressor.linear.weight, regressor["linear.weight"])
    with pytest.raises(ModelError, match="no feature extractor"):
        import_geowarp(tmp_path / "HR.pth", tmp_path / "FE.pth", tmp_path / "n")
    with pytest.raises(ModelError, match="no homography regression"):
        import_geowarp(tmp_path / "FE.pth", tmp_path / "FE.pth", tmp_path / "n")
    torch.save({**regressor, "linear.extra": torch.ones(1)}, tmp_path / "more.pth")
    with pytest.raises(ModelError, match="linear.extra"):
        import_geowarp(tmp_path / "FE.pth", tmp_path / "more.pth", tmp_path / "n")
    torch.save({"a": print}, tmp_path / "code.pth")
    with pytest.raises(ModelError, match="no file of plain tensors"):
        read_state(tmp_path / "code.pth")
    with pytest.raises(ModelError, match="There is no file"):
        read_state(tmp_path / "absent.pth")
    assert not (tmp_path / "n").exists()
    assert main(["import-geowarp", str(tmp_path / "x"), str(tmp_path / "y"), "--out", str(tmp_path / "n")]) == 2
