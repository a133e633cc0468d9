"""The Synthesize tab with a tiny zoo of random weights: methods, truth, downloads, compare-all, progress and Stop."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("gradio_client")
from gradio_client import Client, handle_file  # noqa: E402
from gradio_client.exceptions import AppError  # noqa: E402

from xview_demo import AerialView, GeoLocalizer, cli, zoo  # noqa: E402
from xview_demo.georeference import write_geotiff  # noqa: E402
from xview_demo.ui import synthesize  # noqa: E402

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WAIT = 120_000  # milliseconds; two busy cores
DRAWN = ("xfork-world", "clip-diffusion-world", "xfork-ground-world")
JUDGES = ("azimuth-world", "unet-ground-world", "unet-aerial-world", "depth-world")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The demo of a tiny zoo."""
    from xview_demo import ui

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    for name in (*DRAWN, *JUDGES):
        zoo.get(name).load_class()(**zoo.get(name).tiny).eval().save_pretrained(folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "WEIGHTS", folder)
        page = ui.build(GeoLocalizer.from_pretrained())
        _, place, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
        yield place
        page.close()


@pytest.fixture(scope="module")
def client(address, tmp_path_factory):
    return Client(address, verbose=False, download_files=str(tmp_path_factory.mktemp("answers")))


def value(output):
    return output["value"] if isinstance(output, dict) and output.get("__type__") == "update" else output


def test_methods_and_what_they_cost(address):
    assert synthesize.available(synthesize.GROUND) == ["xfork-world", "clip-diffusion-world", "bird-eye"]
    assert synthesize.available(synthesize.AERIAL) == ["xfork-ground-world", "street-eye"]
    assert "one pass for each step" in synthesize.about("clip-diffusion-world")
    stored = sum(value.numel() for value in zoo.load("xfork-world").state_dict().values())
    assert f"{stored / 1e6:.1f} M parameters, " in synthesize.about("xfork-world")
    assert "one pass)" in synthesize.about("xfork-world") and "no weights" in synthesize.about("bird-eye")
    assert synthesize.draws_at_random("clip-diffusion-world") and not synthesize.draws_at_random("bird-eye")


def test_a_place_of_a_generated_world_is_compared_with_the_truth(client, panorama):
    note, pair, _, legend, *_, png, tiff, world, _ = client.predict(
        handle_file(str(panorama)), method="xfork-world", world=950_004, api_name="/synthesize"
    )
    assert "SSIM" in note and "north is up" in note and len(value(pair)) == 2 and "%" in legend
    made = AerialView.open(value(tiff))
    assert made.metres == pytest.approx(64, rel=1e-3) and Path(value(png)).suffix == ".png"
    assert len(Path(value(world)).read_text().split()) == 6
    plain, *_ = client.predict(handle_file(str(panorama)), method="bird-eye", api_name="/synthesize")
    assert "SSIM" not in plain and "faded" not in plain


def test_what_a_photograph_does_not_show_is_faded(client):
    photograph = handle_file(str(Path(__file__).parents[1] / "examples" / "photo.jpg"))
    note, pair, classes, *_, png, _, _, _ = client.predict(photograph, method="xfork-world", api_name="/synthesize")
    assert "what is faded lies outside the picture" in note
    shown, drawn = (AerialView.open(path).image[:, -20:].mean() for path in (value(pair)[1], value(png)))
    assert shown > drawn + 0.1
    assert AerialView.open(value(classes)).image[:, -20:].mean() > 0.5


def test_an_uploaded_truth_is_used(client, panorama):
    picture, truth = handle_file(str(panorama)), handle_file(str(panorama.with_name("aerial.jpg")))
    note, *_ = client.predict(picture, method="bird-eye", truth=truth, api_name="/synthesize")
    assert "SSIM" in note


def test_a_view_of_unknown_heading_gets_no_georeference(client, panorama):
    *_, tiff, world, _ = client.predict(
        handle_file(str(panorama)), method="bird-eye", said="Unknown", world=950_004, api_name="/synthesize"
    )
    assert not tiff.get("visible", True) and not world.get("visible", True)


def test_a_tile_becomes_a_panorama(client, panorama):
    tile = handle_file(str(panorama.with_name("aerial.jpg")))
    note, pair, *_ = client.predict(tile, kind="From above", method="xfork-ground-world", api_name="/synthesize")
    assert "the middle looks north" in note and len(value(pair)) == 2
    with pytest.raises(AppError, match="draws from aerial views"):
        client.predict(handle_file(str(panorama)), method="xfork-ground-world", api_name="/synthesize")
    with pytest.raises(AppError, match="no picture"):
        client.predict(None, kind="From above", api_name="/synthesize")


def test_seed_and_steps_reach_the_method(client, panorama):
    def drawn(**options):
        answer = client.predict(
            handle_file(str(panorama)), method="clip-diffusion-world", api_name="/synthesize", **options
        )
        return AerialView.open(value(answer[4])).image

    first = drawn(seed=1, steps=3)
    assert torch.equal(first, drawn(seed=1, steps=3)) and not torch.equal(first, drawn(seed=2, steps=3))
    assert not torch.equal(first, drawn(seed=1, steps=3, guidance=4))


def test_every_method_is_compared(client, panorama):
    note, gallery = client.predict(handle_file(str(panorama)), world=950_004, steps=2, api_name="/compare_synthesis")
    assert "3 methods" in note
    captions = [item["caption"] for item in value(gallery)]
    assert [c.split(",")[0] for c in captions] == ["xfork-world", "clip-diffusion-world", "bird-eye", "truth"]
    assert all("SSIM" in caption for caption in captions[:3])


def test_a_geotiff_says_where_it_lies(tmp_path):
    image = torch.rand(3, 40, 50)
    found = AerialView.open(write_geotiff(tmp_path / "a.tif", image, (51.5, -0.12), 0.5))
    assert found.latlon == pytest.approx((51.5, -0.12), abs=1e-7)
    assert found.metres_per_pixel == pytest.approx(0.5, rel=2e-3) and found.image.shape == (3, 40, 50)
    assert (found.image - image).abs().max() < 0.01


def test_the_command_line_draws_both_ways(address, panorama, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, method in (
        ([panorama, "--method", "clip-diffusion-world", "--steps", "2", "--guidance", "2"], "clip-diffusion-world"),
        ([panorama.with_name("aerial.jpg"), "--kind", "aerial"], "xfork-ground-world"),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main(["synthesize", *map(str, words), "--json"])
        told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
        assert not stop.value.code and told["method"] == method and Path(told["picture"]).is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"panorama-aerial.png", "aerial-ground.png"}


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None and not os.environ.get("CI"), reason="no chromium on this machine")
def test_progress_is_shown_and_stop_stops(address, panorama, monkeypatch):
    from playwright.sync_api import sync_playwright

    from xview_demo.models.synthesis.clip_diffusion import ClipDiffusion

    predict = ClipDiffusion.forward
    monkeypatch.setattr(ClipDiffusion, "forward", lambda *args: time.sleep(0.2) or predict(*args))

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(address)
        page.get_by_role("tab", name="Synthesize", exact=True).click()
        page.locator("#synthesize-picture input[type=file]").first.set_input_files(str(panorama))
        page.wait_for_selector("#synthesize-picture img", timeout=WAIT)
        page.locator("#synthesize-method input").click()
        page.get_by_role("option", name="clip-diffusion-world").click()
        page.wait_for_selector("text=one pass for each step", timeout=WAIT)
        page.locator("#synthesize-steps input[type=number]").fill("100")
        page.locator("#synthesize-run").click()
        page.wait_for_selector("text=/Step \\d+ of 100/", timeout=WAIT)
        page.locator("#synthesize-stop").click()
        page.wait_for_selector("#synthesize-note >> text=Stopped.", timeout=WAIT)
        assert not page.locator("#synthesize-pair img").count()
        chromium.close()
