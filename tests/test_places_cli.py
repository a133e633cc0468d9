"""Place recognition on the command line and in pictures: the pair of a photograph, data, a match, an evaluation."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from xview_demo import Gallery, GeoLocalizer, GroundView, cli
from xview_demo.images import write_image
from xview_demo.models.reranking.geowarp import RECTANGLE, GeoWarp
from xview_demo.outputs import Match, Warp
from xview_demo.recognition import PlaceRecognizer
from xview_demo.recognition.figures import (
    GREEN,
    ORANGE,
    PAIR_NAMES,
    PURPLE,
    match_figure,
    outlined,
    pair_pictures,
    ranked_pictures,
)


@pytest.fixture
def xview(capsys):
    """Run the command line: its last line of JSON."""

    def run(*words):
        with pytest.raises(SystemExit) as stop:
            cli.main([*map(str, words), "--json"])
        out, err = capsys.readouterr()
        return (json.loads(out.strip().splitlines()[-1]), err) if not stop.value.code else (stop.value.code, err)

    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    net = GeoWarp("alexnet", "gem", width=0.0625, channels=(8,) * 6, size=(64, 96)).eval()
    folder = tmp_path_factory.mktemp("model") / "tiny-geowarp"
    net.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder in the layout of place-recognition data: three places, one query near the first."""
    home = tmp_path_factory.mktemp("photographs")
    generator = torch.Generator().manual_seed(0)
    for n, side in enumerate(("gallery", "gallery", "gallery", "queries")):
        picture = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 8, generator=generator), (72, 96))[0]
        write_image(home / "test" / side / f"@{500_000 + 100 * (n % 3)}@4500000@18@T@{n}@.jpg", picture)
    return home


def colours_of(picture):
    return {tuple(c) for c in picture.reshape(-1, 3).tolist()}


def test_the_four_pictures_of_a_pair(xview, photographs, tmp_path):
    image = next((photographs / "test" / "gallery").iterdir())
    result, _ = xview("geowarp-pairs", image, "--k", "0.8", "--seed", "3", "--out", tmp_path)
    assert [*result["pictures"]] == list(PAIR_NAMES) and result["k"] == 0.8
    assert all(Image.open(path).size == (96, 72) for path in result["pictures"].values())
    again, _ = xview("geowarp-pairs", image, "--k", "0.8", "--seed", "3", "--out", tmp_path)
    other, _ = xview("geowarp-pairs", image, "--k", "0.8", "--seed", "4", "--out", tmp_path)
    assert again["quadrilaterals"] == result["quadrilaterals"] != other["quadrilaterals"]
    code, error = xview("geowarp-pairs", image, "--k", "1.5", "--out", tmp_path)
    assert code == 2 and "1.5" in error


def test_pairs_have_the_papers_colours():
    pictures, pair = pair_pictures(torch.full((3, 96, 128), 0.5), 0.8, seed=1)
    drawn = {name: colours_of(picture) & {ORANGE, PURPLE, GREEN} for name, picture in pictures.items()}
    assert drawn == dict(
        zip(PAIR_NAMES, ({ORANGE, PURPLE, GREEN}, {ORANGE, GREEN}, {PURPLE, GREEN}, {GREEN}), strict=True)
    )
    for name, colour in (("ss_proj_a", ORANGE), ("ss_proj_b", PURPLE), ("ss_proj_intersection", GREEN)):
        assert tuple(pictures[name][0, 60]) == colour  # the border
    x, y = ((pair.t_z[0, 0] + 1) / 2 * torch.tensor([127, 95])).round().int().tolist()
    assert GREEN in colours_of(pictures["ss_img_source"][max(0, y - 1) : y + 2, max(0, x - 1) : x + 2])


def test_an_outline_is_where_its_corners_are():
    picture = outlined(np.zeros((100, 200, 3), np.uint8), [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    green = (picture == GREEN).all(-1)
    assert green[24:27, 100].any() and green[50, 48:52].any() and not green[50, 100] and not green[10, 10]
    assert (outlined(np.zeros((100, 200, 3), np.uint8), RECTANGLE)[0] == GREEN).all()


def test_a_match_is_drawn_with_what_both_show():
    query = GroundView.open(torch.rand(3, 60, 80), projection="perspective")
    found = GroundView.open(torch.rand(3, 60, 90), projection="perspective")
    warp = Warp(0.7, 90, ((-1, -1), (0, -1), (0, 1), (-1, 1)), ((0, -1), (1, -1), (1, 1), (0, 1)))
    plain = match_figure(query, found, Match(1, 0.9, "a", None), height=120)
    drawn = match_figure(query, found, Match(1, 0.9, "a", None, warp=warp), height=120)
    assert drawn.shape[1] > 1.9 * plain.shape[1] and GREEN not in colours_of(plain)
    assert (drawn[60, :4] == GREEN).all(-1).any() and (drawn[60, 75:90] == GREEN).all(-1).any()


def test_near_matches_are_framed(model, photographs):
    recognizer = PlaceRecognizer(GeoWarp.from_pretrained(model))
    gallery = Gallery.build(photographs / "test" / "gallery", recognizer, kind="ground")
    matches = [Match(1, 0.9, gallery.names[0], None, 3.0), Match(2, 0.8, gallery.names[1], None, 300.0)]
    (near, text), (far, other) = ranked_pictures(gallery, matches, width=160)
    assert near.shape[1] == 160 and text.startswith("✓") and not other.startswith("✓")
    assert tuple(near[0, 0]) == (22, 163, 74) != tuple(far[0, 0])


def test_a_data_set_of_a_world(xview, tmp_path):
    small = ("--train", 1, "--val", 1, "--test", 1, "--sites", 2, "--queries", 1, "--size", 260)
    result, _ = xview("world-places", "--out", tmp_path / "set", *small)
    assert result["test"] == {"gallery": 8, "queries": 1} and (tmp_path / "set" / "images" / "val").is_dir()


def test_evaluate_places(xview, model, photographs):
    result, _ = xview("evaluate", "places", "--model", model, "--root", photographs, "--rerank-k", 2)
    found = result["combinations"]["tiny-geowarp"]
    assert set(found["baseline"]) == set(found["reranked"]) == {"r@1", "r@5", "r@10", "r@20"}
    assert result["n"] == 1 and result["gallery"] == 3 and result["queries_without_positives"] == 0
    assert found["baseline"]["r@20"] == 100 and result["chance"] == pytest.approx(100 / 3)


@pytest.fixture(scope="module")
def home(model, tmp_path_factory):
    """A localizer that has nothing but a model for photographs."""
    return GeoLocalizer({"places": str(model)}).save_pretrained(tmp_path_factory.mktemp("geo") / "geo")


def test_localize_among_photographs(xview, model, home, photographs, tmp_path):
    query = next((photographs / "test" / "queries").iterdir())
    shown = tmp_path / "match.png"
    kept = tmp_path / "kept"
    built, _ = xview(
        "gallery", "build", photographs / "test" / "gallery", "--kind", "ground", "--model", home, "--out", kept
    )
    assert built["tiles"] == 3 and Gallery.open(kept).kind == "ground"
    result, _ = xview(
        "localize", query, "--model", home, "--gallery", kept, "--rerank", model, "--rerank-k", 2, "--figure", shown
    )
    first, second, third = result["matches"]
    assert first["warp"]["similarity"] >= second["warp"]["similarity"] and "warp" not in third
    assert 0 <= first["warp"]["agreeing_cells"] <= 225 and len(first["warp"]["query_corners"]) == 4
    assert Image.open(shown).size[0] > 800
    sure, _ = xview("localize", query, "--model", home, "--gallery", kept, "--rerank", model, "--rerank-below", 0)
    assert all("warp" not in match for match in sure["matches"])


def test_names_without_a_zone_need_one(xview, home, tmp_path):
    write_image(tmp_path / "in" / "@583960@4507523@pitts@.jpg", torch.rand(3, 64, 96))
    options = ("--kind", "ground", "--model", home, "--out", tmp_path / "out")
    xview("gallery", "build", tmp_path / "in", *options, "--utm-zone", "18n")
    assert Gallery.open(tmp_path / "out").latlons[0] == pytest.approx((40.715, -74.006), abs=2e-3)
    code, error = xview("gallery", "build", tmp_path / "in", *options, "--utm-zone", "north")
    assert code == 2 and "write its number and N or S" in error


def test_the_tab_finds_a_photograph(home, photographs):
    gradio = pytest.importorskip("gradio")
    from xview_demo.ui import recognition

    geo = GeoLocalizer.from_pretrained(home)
    with gradio.Blocks() as page:
        recognition.build(geo, folders=True)
    assert "places" in {f.api_name for f in page.fns.values()}
    run = recognition._handler(geo, True, {"tiny": geo.names["places"]})
    query = next((photographs / "test" / "queries").iterdir())
    folder = str(photographs / "test" / "gallery")
    note, before, after, figure, lists = run(str(query), recognition.FOLDER, 1, folder, None, "tiny", 3)
    assert "Evidence" in note and len(before) == len(after) == 3 and figure["value"].shape[1] > 800
    assert any("cells agree" in text for _, text in after) and not any("cells agree" in text for _, text in before)
    assert {text.split("score ")[1][:6] for _, text in before} == {text.split("score ")[1][:6] for _, text in after}


def test_evaluating_without_a_model_is_told(xview, photographs, monkeypatch, tmp_path):
    monkeypatch.setattr("xview_demo.zoo.WEIGHTS", tmp_path)
    code, error = xview("evaluate", "places", "--root", photographs)
    assert code == 2 and "name one with --model" in error
