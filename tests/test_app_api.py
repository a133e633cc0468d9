"""The demo through its API: the same handlers that the page calls, and the sentence for bad input."""

import zipfile
from pathlib import Path

import pytest

pytest.importorskip("gradio_client")
from gradio_client import Client, handle_file  # noqa: E402
from gradio_client.exceptions import AppError  # noqa: E402

from xview_demo import zoo  # noqa: E402
from xview_demo.localizer import PARTS  # noqa: E402

BAD = ("text.jpg", "truncated.jpg", "dot.png", "wide.png", "moving.gif", "empty.jpg")


@pytest.fixture(scope="module")
def client(demo, tmp_path_factory):
    return Client(demo, verbose=False, download_files=str(tmp_path_factory.mktemp("answers")))


def value(output):
    return output["value"] if isinstance(output, dict) and output.get("__type__") == "update" else output


def test_only_the_four_tabs_are_offered(client):
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {
        "/localize",
        "/synthesize",
        "/compare_synthesis",
        "/segment",
        "/world",
        *(["/locate"] if zoo.is_bundled("mst-world") else []),
        *(["/places"] if zoo.is_bundled(PARTS["places"][1]) else []),
    }


@pytest.mark.parametrize("source", ["ZIP file", "Folder"])
def test_localize(client, panorama, tiles, tmp_path, source):
    given = {"folder": str(tiles)}
    if source == "ZIP file":
        archive = tmp_path / "tiles.zip"
        with zipfile.ZipFile(archive, "w") as bundle:
            for tile in tiles.iterdir():
                bundle.write(tile, tile.name)
        given = {"archive": handle_file(str(archive))}
    answer, matches, chart, table, geojson, aerial, *_ = client.predict(
        handle_file(str(panorama)), source=source, top_k=5, api_name="/localize", **given
    )
    assert "Best match" in answer and "Confidence" in answer
    assert len(value(matches)) == 5
    assert [row[0] for row in value(table)["data"]] == [1, 2, 3, 4, 5]
    assert all(Path(value(picture)).is_file() for picture in (chart, geojson, aerial))


def test_synthesize(client, panorama):
    note, pair, *_ = client.predict(handle_file(str(panorama)), api_name="/synthesize")
    assert "north is up" in note and len(value(pair)) == 2
    note, *_ = client.predict(handle_file(str(panorama)), said="Unknown", method="bird-eye", api_name="/synthesize")
    assert "bird-eye" in note and "ahead of the camera" in note


@pytest.mark.parametrize("kind, name", [("From the street", "panorama.jpg"), ("From above", "aerial.jpg")])
def test_segment(client, panorama, kind, name):
    overlay, legend = client.predict(handle_file(str(panorama.with_name(name))), kind=kind, api_name="/segment")
    assert Path(value(overlay)).is_file() and "%" in legend


def test_segment_with_a_chosen_model(client, panorama):
    options = {"kind": "From above", "api_name": "/segment"}
    tile = handle_file(str(panorama.with_name("aerial.jpg")))
    _, own = client.predict(tile, **options)
    _, named = client.predict(tile, model="unet-aerial-world", **options)
    assert own == named
    with pytest.raises(AppError, match="segments ground views, not aerial ones"):
        client.predict(tile, model="unet-ground-world", **options)


def test_world(client):
    note, panorama, *_ = client.predict(seed=950_004, biome="any", spot=2, api_name="/world")
    assert "village" in note and Path(value(panorama)).is_file()
    with pytest.raises(AppError, match="outside"):
        client.predict(seed=1_000_000, api_name="/world")


@pytest.mark.parametrize("verb", ["localize", "synthesize", "compare_synthesis", "segment", "places", "locate"])
@pytest.mark.parametrize("name", BAD)
def test_bad_picture(client, panorama, bad_pictures, verb, name):
    picture = handle_file(str(bad_pictures[name]))
    tiles = [handle_file(str(panorama.with_name("aerial.jpg")))] if verb == "locate" else []
    with pytest.raises(AppError, match=name) as error:
        client.predict(picture, *tiles, api_name=f"/{verb}")
    assert str(bad_pictures[name].parent) not in str(error.value)


@pytest.mark.parametrize("name", BAD)
def test_bad_tile(client, panorama, bad_pictures, name):
    with pytest.raises(AppError, match=name):
        client.predict(handle_file(str(panorama)), handle_file(str(bad_pictures[name])), api_name="/locate")


@pytest.mark.parametrize("verb, given, said", [
    ("world", {"biome": "moon"}, "'Kind of place' does not take 'moon': choose from 'any', .*'village'"),
    ("world", {"spot": 99}, "'Spot' does not take 99: give a number from 1 to 24"),
    ("localize", {"biome": "moon"}, "'moon'.*'village'"),
    ("localize", {"source": "ZIP file", "archive": "panorama"}, "does not take 'panorama.jpg': give a .zip file"),
    ("places", {"source": "ZIP file", "archive": "panorama"}, "does not take 'panorama.jpg': give a .zip file"),
    ("synthesize", {"method": "xfrok-world"}, "'Method' does not take 'xfrok-world': choose from 'xfork-world'"),
    ("segment", {"shown": ["road", "lava"]}, "does not take .*'lava'.*'road'"),
])  # fmt: skip
def test_what_the_page_does_not_offer_is_refused_by_one_sentence(client, panorama, capfd, verb, given, said):
    pictures = [] if verb == "world" else [handle_file(str(panorama))]
    given = {name: handle_file(str(panorama)) if what == "panorama" else what for name, what in given.items()}
    with pytest.raises(AppError, match=said) as error:
        client.predict(*pictures, api_name=f"/{verb}", **given)
    assert "\n" not in str(error.value) and "type" not in str(error.value)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("name", ["cmyk.jpg", "sixteen.png", "alpha.png"])
def test_odd_picture(client, odd_pictures, name):
    overlay, _ = client.predict(handle_file(str(odd_pictures[name])), api_name="/segment")
    assert Path(value(overlay)).is_file()


def test_nothing_given(client, panorama, tmp_path):
    for verb in ("localize", "synthesize", "segment"):
        with pytest.raises(AppError, match="no picture"):
            client.predict(None, api_name=f"/{verb}")
    picture = handle_file(str(panorama))
    with pytest.raises(AppError, match="no folder"):
        client.predict(picture, source="Folder", folder="", api_name="/localize")
    with pytest.raises(AppError, match="no ZIP file"):
        client.predict(picture, source="ZIP file", api_name="/localize")
    empty = tmp_path / "empty.zip"
    with zipfile.ZipFile(empty, "w"):
        pass
    with pytest.raises(AppError, match="no pictures"):
        client.predict(picture, source="ZIP file", archive=handle_file(str(empty)), api_name="/localize")
    with pytest.raises(AppError, match="No heading"):
        client.predict(picture, said="Given below", api_name="/localize")


def test_zip_may_not_leave_its_folder(tmp_path):
    from xview_demo.errors import GalleryError
    from xview_demo.ui.places import unpack

    archive = tmp_path / "bad.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("../outside.jpg", b"x")
    with pytest.raises(GalleryError, match="outside"):
        unpack(archive, tmp_path / "inner" / "folder")
    assert not (tmp_path / "inner" / "outside.jpg").exists()
