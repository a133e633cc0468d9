"""Evaluation of generators in both directions, published metrics when their weights are given, contact sheets."""

import numpy as np
import pytest
import torch
from PIL import Image

from xview_demo import evaluation, zoo
from xview_demo.errors import ModelError, XViewError
from xview_demo.evaluation.sheets import sheet
from xview_demo.evaluation.synthesis import BLIND, Judge, draw
from xview_demo.models.matching.azimuth import AzimuthMatcher
from xview_demo.models.perceptual import Lpips, unit_distance
from xview_demo.models.segmentation.unet import UNetSegmenter
from xview_demo.models.synthesis.interface import Sampling

TINY = evaluation.Protocol(worlds=2, queries=2, tiles=2, size=260.0, resolution=1.0)
METRICS = {"psnr", "ssim", "perceptual", "frechet", "miou", "retrieval_r@1"}


@pytest.fixture(scope="module")
def matcher():
    torch.manual_seed(0)
    return AzimuthMatcher(channels=4, widths=(8, 8, 16, 16)).eval()


@pytest.fixture(scope="module")
def segmenters():
    torch.manual_seed(0)
    return {view: UNetSegmenter(view, channels=(16, 16, 8, 8)).eval() for view in ("ground", "aerial")}


@pytest.fixture(scope="module")
def diffusion():
    torch.manual_seed(0)
    entry = zoo.get("clip-diffusion-world")
    return entry.load_class()(**entry.tiny).eval()


def test_a_method_is_measured_with_and_without_the_birds_eye_view(matcher, segmenters, diffusion, tmp_path):
    result = evaluation.evaluate_synthesis(
        ("bird-eye", diffusion), segmenter=segmenters["aerial"], matcher=matcher, protocol=TINY, ablate=True,
        sampling=Sampling(steps=2), sheet=tmp_path / "sheet.png",
    )  # fmt: skip
    assert set(result["methods"]) == {"mean-tile", "bird-eye", "ClipDiffusion", "ClipDiffusion" + BLIND}
    assert result["n"] == 4 and result["view"] == "aerial"
    assert all(set(values) == METRICS for values in result["methods"].values())
    assert result["methods"]["ClipDiffusion"] != result["methods"]["ClipDiffusion" + BLIND]
    width, height = Image.open(tmp_path / "sheet.png").size
    assert width == 4 * 192 + 4 * 192 + 4 * 6 and height > 2 * 192


def test_panoramas_are_measured_too(matcher, segmenters):
    entry = zoo.get("xfork-ground-world")
    net = entry.load_class()(**entry.tiny).eval()
    options = {"segmenter": segmenters["ground"], "matcher": matcher, "protocol": TINY}
    result = evaluation.evaluate_synthesis(("street-eye", net), **options)
    assert set(result["methods"]) == {"mean-panorama", "street-eye", "XForkGenerator"} and result["view"] == "ground"
    assert all(set(values) == METRICS for values in result["methods"].values())
    with pytest.raises(XViewError, match="draw different views"):
        evaluation.evaluate_synthesis(("bird-eye", net), **options)
    with pytest.raises(XViewError, match="2 methods have 1 names, bird-eye: give each one once"):
        evaluation.evaluate_synthesis(("bird-eye", "bird-eye"))
    with pytest.raises(XViewError, match="the methods draw ground ones"):
        evaluation.evaluate_synthesis((net,), **options | {"segmenter": segmenters["aerial"]})


def test_the_truth_itself_is_perfect(matcher, segmenters):
    judge = Judge("aerial", segmenters["aerial"], matcher)
    truth = torch.randint(0, 255, (6, 3, 256, 256), dtype=torch.uint8)
    labels, _ = judge.look(truth.float() / 255)
    values = judge.compare({"same": truth}, truth, labels)["same"]
    assert values["perceptual"] == pytest.approx(0, abs=1e-6) and values["frechet"] == pytest.approx(0, abs=1e-4)
    assert values["miou"] == 1 and values["ssim"] == pytest.approx(1) and values["retrieval_r@1"] > 0


def test_one_view_for_all_counts_as_often_as_there_are_true_ones(matcher, segmenters):
    judge = Judge("aerial", segmenters["aerial"], matcher)
    views = torch.randint(0, 255, (4, 3, 256, 256), dtype=torch.uint8)
    labels, _ = judge.look(views.float() / 255)
    found = judge.compare({"one": views[:1], "repeated": views[:1].expand_as(views)}, views, labels)
    assert found["one"] == pytest.approx(found["repeated"], rel=1e-4, abs=1e-4)


def test_the_judge_sees_what_the_segmenter_sees(segmenters, matcher):
    judge = Judge("ground", segmenters["ground"], matcher)
    image = torch.rand(1, 3, 128, 512)
    labels, features = judge.look(image)
    assert torch.equal(labels, segmenters["ground"].predict(image)[0]) and len(features) == 4
    assert not segmenters["ground"].unet.encoder._forward_hooks


def test_depth_and_classes_are_estimated_where_they_are_needed(tmp_path, monkeypatch):
    torch.manual_seed(0)
    for name in ("rgbds-world", "depth-world", "unet-ground-world"):
        zoo.get(name).load_class()(**zoo.get(name).tiny).eval().save_pretrained(tmp_path / name)
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    assert draw(zoo.load("rgbds-world"), torch.rand(2, 3, 128, 512)).shape == (2, 3, 256, 256)


def test_unit_distance_forgets_the_length_of_features():
    a = [torch.rand(2, 8, 4, 4)]
    assert unit_distance(a, [3 * a[0]]).abs().max() < 1e-6
    opposite = unit_distance([torch.ones(1, 1, 2, 2)], [-torch.ones(1, 1, 2, 2)])
    assert opposite.tolist() == [4.0]


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_lpips_takes_the_backbone_from_a_file(name, tmp_path, matcher, segmenters):
    import torchvision

    torch.manual_seed(0)
    state = getattr(torchvision.models, name)().state_dict()
    torch.save({key: value for key, value in state.items() if "features" in key}, tmp_path / "net.pth")
    metric = Lpips(tmp_path / "net.pth")
    a = torch.rand(2, 3, 64, 64)
    assert metric(a, a).abs().max() < 1e-6 and (metric(a, 1 - a) > 0).all()
    a.requires_grad_(True)
    metric(a, torch.rand(2, 3, 64, 64)).sum().backward()
    assert a.grad.abs().max() > 0
    if name == "alexnet":
        result = evaluation.evaluate_synthesis(
            ("bird-eye",), segmenter=segmenters["aerial"], matcher=matcher, protocol=TINY, lpips=tmp_path / "net.pth"
        )
        assert result["methods"]["bird-eye"]["lpips"] > 0


def test_other_files_are_no_lpips_backbone(tmp_path):
    with pytest.raises(ModelError, match="no file"):
        Lpips(tmp_path / "missing.pth")
    torch.save({"weight": torch.rand(3)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="neither torchvision's alexnet nor its vgg16"):
        Lpips(tmp_path / "other.pth")


def test_fid_says_what_it_needs(tmp_path, matcher, segmenters):
    with pytest.raises(XViewError, match="FID cannot be computed"):
        evaluation.evaluate_synthesis(
            ("bird-eye",), segmenter=segmenters["aerial"], matcher=matcher, protocol=TINY, fid=tmp_path / "none.pth"
        )


def test_a_sheet_shows_every_row_at_one_height():
    rows = [{"given": torch.rand(3, 32, 128), "truth": torch.zeros(3, 50, 50, dtype=torch.uint8)}] * 3
    picture = sheet(rows)
    assert picture.dtype == np.uint8 and picture.shape[1] == 4 * 192 + 192 + 6 and picture.shape[0] > 3 * 192
    with pytest.raises(ValueError, match="no rows"):
        sheet([])
