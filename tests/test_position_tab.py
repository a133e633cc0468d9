"""The Position tab, the class toggle and the class under the pointer, with a model whose answer is known."""

import json
import re
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import torch

from xview_demo import AerialView, GroundView, ui
from xview_demo.classes import CLASSES, LANDCOVER
from xview_demo.outputs import Pose, Region, Segmentation
from xview_demo.ui import hover, position, segment


def pose_in(view, aerial, model=None, mass=0.9):
    heat = np.zeros((32, 32), np.float32)
    heat[10, 20] = 1
    cover = Segmentation(np.full((64, 64), 2, np.uint8), None, LANDCOVER)
    return Pose(
        heat, (9.0, 11.0), aerial.latlon_of(9.0, 11.0), view.heading, 1.0, (Region(1.0, 1 / 1024, (9.0, 11.0)),),
        (100.0, 100.0), 2.0, mass, 0.0, 0.7, heat, cover,
    )  # fmt: skip


@pytest.fixture
def files(tmp_path):
    place = (40.0, 20.0)
    ground = GroundView(torch.rand(3, 64, 256), heading=30.0, latlon=place).save(tmp_path / "ground.jpg")
    aerial = AerialView(torch.rand(3, 128, 128), 0.5, place).save(tmp_path / "aerial.jpg")
    return str(ground), str(aerial)


def test_the_answer_shows_position_error_and_regions(files):
    run = position._handler(SimpleNamespace(locate=pose_in))
    answer, heat, land, legend, table, found, *_ = run(*files, shown=list(LANDCOVER))
    assert "9.0 m E, 11.0 m N" in answer and "Expected error" in answer and "14.2 m" in answer  # hypot(9, 11)
    assert heat.shape == land.shape == (512, 512, 3) and "road" in legend and "#position-land" in legend
    assert table["value"] == [[1, 1.0, round(1 / 1024, 4), 9.0, 11.0]]
    other, bare = position._drawn(found, position.SIGHTLINE, 0.2, [])
    assert (other != heat).any() and (bare != land).any()
    assert position._drawn(None, position.PROBABILITY, 0.5, None) == (None, None)


def test_what_is_missing_is_said(files):
    run = position._handler(SimpleNamespace(locate=pose_in))
    with pytest.raises(gr.Error, match="no aerial tile"):
        run(files[0], None)
    with pytest.raises(gr.Error, match="no picture"):
        run(None, files[1])


@pytest.mark.parametrize("names", [{}, {"position": "mst-world"}])
def test_the_tab_is_there_when_its_model_is(names):
    page = ui.build(SimpleNamespace(names=names), folders=False)
    offered = {function.api_name for function in page.fns.values()}
    assert ("locate" in offered) == bool(names) and "segment" in offered


def test_classes_can_be_switched_off():
    picture = np.full((8, 8, 3), 100, np.uint8)
    labels = np.zeros((8, 8), np.uint8)
    labels[:4] = 1
    found = (picture, Segmentation(labels))
    both = segment._blend(found, 1.0, list(CLASSES))
    one = segment._blend(found, 1.0, ["building"])
    assert (one[:4] == both[:4]).all() and (one[4:] == 100).all() and (both[4:] != 100).any()
    assert segment._blend(None, 0.5, []) is None


def test_the_page_knows_the_class_under_the_pointer():
    labels = np.zeros((100, 400), np.uint8)
    labels[:, 200:] = 7
    text = hover.labels("#segment-overlay", Segmentation(labels))
    digits, columns = re.search(r'data-labels="(\w+)"', text)[1], int(re.search(r'data-columns="(\d+)"', text)[1])
    assert columns == 256 and len(digits) == 256 * 64 and set(digits) == {"0", "7"} and digits[255] == "7"
    names = re.search(r'data-classes="([^"]+)"', text)[1].replace("&quot;", '"')
    assert json.loads(names) == list(CLASSES)
