"""Where in a tile: poses with a model whose answer is known, unknown headings, refinement of matches, pictures."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from xview_demo import AerialView, GeoLocalizer, GroundView, locating, viz_position, zoo
from xview_demo.errors import ModelError
from xview_demo.geometry.geodesy import distance_m
from xview_demo.models.position.heatmap import Placement, PositionModel
from xview_demo.outputs import Localization, Match

PLACE = (51.5, -0.1)
CPU = torch.device("cpu")


class Knowing:
    """Says that the camera is 10 m east and 6 m north of the centre, surer the redder the strip's middle column."""

    size, metres = 64, 64.0
    calibration = torch.tensor([1.0, 0.0])
    probability = PositionModel.probability

    def __call__(self, strip, tile, mask):
        rows, columns = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
        near = torch.exp(-((columns - 42.5) ** 2 + (rows - 26.5) ** 2) / 2)
        sure = 5 + 20 * strip[:, 0, 60:68, 250:262].mean((1, 2))
        density = near[None] * sure[:, None, None]
        cover = torch.zeros(len(strip), 4, 64, 64)
        cover[:, 2] = 5
        return Placement(cover, density - 3, density)


def run(function, *arguments, **keywords):
    return function(*arguments, **keywords)


def strip_of(heading):
    """A panorama whose red column is north, looking along `heading`."""
    image = torch.full((3, 128, 512), 0.2)
    image[0, :, 244:268] = 1
    return GroundView(image, heading=0.0).rotated(heading)


def test_a_pose_tells_pixels_metres_degrees_and_regions():
    aerial = AerialView(torch.rand(3, 400, 400), 0.25, PLACE)  # 100 m wide: its middle 64 m are searched
    view = strip_of(75.0)
    pose = locating.locate(Knowing(), run, CPU, view, aerial)
    assert pose.east_north == pytest.approx((10.5, 5.5), abs=0.01) and pose.heading == 75
    assert pose.pixel == pytest.approx((200 + 42, 200 - 22), abs=0.05)
    assert distance_m(pose.latlon, PLACE) == pytest.approx(np.hypot(10.5, 5.5), abs=0.05)
    assert pose.heatmap.shape == (64, 64) and pose.heatmap.sum() == pytest.approx(1, abs=1e-4)
    assert pose.cell_metres == 1 and pose.expected_error_m < 1 and pose.entropy < 3
    assert pose.confidence == pose.regions[0].mass > 0.9 and pose.regions[0].east_north == pytest.approx(
        (10.5, 5.5), abs=0.1
    )
    assert pose.landcover.areas["road"] == 1
    told = json.loads(json.dumps(pose.to_dict()))
    assert told["size"] == [64, 64] and told["landcover"]["classes"][2] == "road" and told["mass"] == 0.9


def test_an_unknown_heading_is_searched():
    from dataclasses import replace

    aerial = AerialView(torch.rand(3, 256, 256), 0.25, PLACE)
    for heading in (0.0, 75.0, 240.0):
        pose = locating.locate(Knowing(), run, CPU, replace(strip_of(heading), heading=None), aerial)
        away = (pose.heading - heading + 180) % 360 - 180
        assert abs(away) < 4 and pose.east_north == pytest.approx((10.5, 5.5), abs=0.05)


def test_cells_beyond_the_picture_have_no_probability():
    pose = locating.locate(Knowing(), run, CPU, strip_of(0.0), AerialView(torch.rand(3, 80, 80), 0.25))
    assert (pose.heatmap[:, :22] == 0).all() and pose.heatmap.sum() == pytest.approx(1, abs=1e-4)
    assert abs(pose.east_north[0]) <= 10 and pose.latlon is None
    whole = locating.locate(Knowing(), run, CPU, strip_of(0.0), AerialView(torch.rand(3, 80, 80)))
    assert whole.east_north == pytest.approx((10.5, 5.5), abs=0.01)  # of unknown scale: taken to be 64 m wide
    assert whole.pixel == pytest.approx((40 + 10.5 * 80 / 64, 40 - 5.5 * 80 / 64), abs=0.05)


@pytest.fixture
def area():
    centres = np.array([PLACE, (51.501, -0.1)])
    tiles = [AerialView(torch.rand(3, 256, 256), 0.25, tuple(c), name=f"t{n}") for n, c in enumerate(centres.tolist())]
    matches = tuple(Match(n + 1, 0.9 - n, f"t{n}", tuple(c), 12.0, 75.0) for n, c in enumerate(centres.tolist()))
    found = Localization(matches, 75.0, 0.75, np.array([0.75, 0.25], np.float32), (51.50005, -0.09985))
    gallery = SimpleNamespace(kind="aerial", names=["t0", "t1"], latlons=centres, tile=lambda n: tiles[n])
    return gallery, found


def test_a_match_is_refined_and_says_how_sure_it_is(area):
    from dataclasses import replace

    gallery, found = area
    seen = []

    def locate(view, aerial):
        seen.append((view.heading, aerial.name))
        return locating.locate(Knowing(), run, CPU, view, aerial)

    refined = locating.refine(locate, replace(strip_of(75.0), heading=None), gallery, found)
    assert seen == [(75.0, "t0")]  # the heading of the match is used
    best, other = refined.matches
    assert distance_m(best.position, PLACE) == pytest.approx(np.hypot(10.5, 5.5), abs=0.05)
    assert best.position_error_m == pytest.approx(distance_m(best.position, found.query_latlon), abs=1e-3)
    pose = locate(strip_of(75.0), gallery.tile(0))
    expected = 0.75 * pose.expected_error_m + 0.25 * distance_m(best.position, (51.501, -0.1))
    assert best.uncertainty_m == pytest.approx(expected, rel=1e-3)
    assert other.position is None and "position" not in other.to_dict() and "uncertainty_m" in best.to_dict()
    with pytest.raises(ModelError, match="no tiles to refine in"):
        locating.refine(locate, strip_of(0.0), SimpleNamespace(kind="ground"), found)


def test_the_localizer_locates(tmp_path):
    torch.manual_seed(0)
    entry = zoo.get("mst-world")
    entry.load_class()(**entry.tiny).eval().save_pretrained(tmp_path)
    geo = GeoLocalizer.from_zoo(position=str(tmp_path))
    view = GroundView(torch.rand(3, 128, 512), heading=10.0)
    pose = geo.locate(view, AerialView(torch.rand(3, 256, 256), 0.25, PLACE))
    assert pose.heatmap.shape == (16, 16) and pose.cell_metres == 4 and pose.latlon is not None
    photo = GroundView(torch.rand(3, 96, 128), "perspective", None, 70)
    assert geo.locate(photo, AerialView(torch.rand(3, 100, 100))).heading is not None
    with pytest.raises(ModelError, match="has no position"):
        GeoLocalizer.from_zoo(position=None).locate(view, AerialView(torch.rand(3, 64, 64)))


def test_the_pictures_show_star_regions_and_classes():
    aerial = AerialView(torch.full((3, 256, 256), 0.5), 0.25, PLACE)
    pose = locating.locate(Knowing(), run, CPU, strip_of(0.0), aerial)
    picture = viz_position.heat_picture(aerial, pose, truth=PLACE, side=256)
    assert picture.shape == (256, 256, 3)
    assert (
        tuple(picture[256 // 2 - 22, 256 // 2 + 42]) == viz_position.STAR
    )  # 10.5 m east, 5.5 m north, 4 pixels a metre
    assert tuple(picture[128, 128]) == viz_position.viz.TRUTH
    assert (picture == 255).all(-1).any()  # the outline
    plain = viz_position.heat_picture(aerial, pose, opacity=0.0, side=256)
    assert (plain[200:, :50] == 128).all()
    sight = viz_position.heat_picture(aerial, pose, sightline=True, side=256)
    assert (sight != viz_position.heat_picture(aerial, pose, side=256)).any()
    cover = viz_position.landcover_picture(aerial, pose, opacity=1.0, side=64)
    assert len(np.unique(cover.reshape(-1, 3), axis=0)) == 1 and (cover != 128).any()
    assert (viz_position.landcover_picture(aerial, pose, shown=["tree"], side=64) == 128).all()
