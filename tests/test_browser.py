"""The demo in a real browser: upload a panorama, visit each tab, see the pictures change, send nothing elsewhere."""

import os
import shutil
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.browser
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if BROWSER is None and not os.environ.get("CI"):
    pytest.skip("no chromium on this machine: install Debian's chromium", allow_module_level=True)

sync_api = (
    pytest.importorskip("playwright.sync_api")
    if not os.environ.get("CI")
    else __import__("playwright.sync_api", fromlist=["sync_api"])
)
WAIT = 120_000  # milliseconds; two busy cores
QUIET = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=BROWSER, args=list(QUIET))
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, demo):
    """The demo's page; at the end, every request must have stayed on this machine and no script have failed."""
    tab = browser.new_page(viewport={"width": 1400, "height": 1000})
    strangers: list[str] = []
    failures: list[str] = []

    def watch(request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob") and address.hostname != "127.0.0.1":
            strangers.append(request.url)

    tab.on("request", watch)
    tab.on("pageerror", lambda error: failures.append(str(error)))
    tab.goto(demo)
    tab.wait_for_selector("#masthead", timeout=WAIT)
    yield tab
    tab.close()
    assert not strangers, f"requests left the machine: {strangers}"
    assert not failures, failures


def visit(page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def upload(page, name: str, path) -> None:
    page.locator(f"#{name}-picture input[type=file]").first.set_input_files(str(path))
    page.wait_for_selector(f"#{name}-picture img", timeout=WAIT)


def sources(page, place: str) -> list[str]:
    return [image.get_attribute("src") for image in page.locator(f"{place} img").all()]


def changed(page, place: str, before: list[str]) -> list[str]:
    """Wait until the pictures in a place are others than before, all of them loaded."""
    page.wait_for_function(
        """([place, before]) => {
            const images = [...document.querySelectorAll(place + ' img')];
            return images.length > 0 && images.every(i => i.complete && i.naturalWidth > 1)
                && images.map(i => i.getAttribute('src')).join() !== before.join();
        }""",
        arg=[place, before],
        timeout=WAIT,
    )
    after = sources(page, place)
    assert after != before
    return after


def test_a_panorama_through_every_tab(page, panorama):
    """Position and Places, which take other pictures, follow in their own tests; there are no further tabs."""
    page.get_by_role("tab", name="World", exact=True).wait_for(timeout=WAIT)
    tabs = [tab.inner_text() for tab in page.get_by_role("tab").all()]
    assert tabs == ["Localize", "Synthesize", "Segment", "Position", "Places", "World"]

    upload(page, "localize", panorama)
    page.wait_for_selector("text=heading 40°", timeout=WAIT)
    page.locator("#localize-run").click()
    tiles = changed(page, "#localize-matches", [])
    assert len(tiles) == 10
    changed(page, "#localize-aerial", [])
    changed(page, "#localize-classes", [])
    assert "Confidence" in page.locator("#localize-answer").inner_text()

    visit(page, "Synthesize")
    upload(page, "synthesize", panorama)
    page.locator("#synthesize-run").click()
    assert len(set(changed(page, "#synthesize-pair", []))) >= 2

    visit(page, "Segment")
    upload(page, "segment", panorama)
    page.locator("#segment-run").click()
    changed(page, "#segment-overlay", [])
    assert "%" in page.locator("#segment-legend").inner_text()

    visit(page, "World")
    page.locator("#world-run").click()
    first = changed(page, "#world-panorama", [])
    page.locator("#world-spot input[type=number]").fill("3")
    page.locator("#world-run").click()
    changed(page, "#world-panorama", first)

    sent = sources(page, "#localize-picture")
    page.locator("#world-to-localize").click()
    changed(page, "#localize-picture", sent)
    page.locator("#localize-run").click()
    changed(page, "#localize-matches", tiles)


def test_a_camera_is_found_in_its_tile(page):
    visit(page, "Position")
    tab = page.get_by_role("tabpanel")
    tab.locator("tr.tr-body").first.click()  # the first example: both pictures
    for box in ("#position-picture", "#position-tile"):
        changed(page, box, [])
    page.locator("#position-run").click()
    heat, land = (changed(page, box, []) for box in ("#position-heat", "#position-land"))
    assert "Expected error" in page.locator("#position-answer").inner_text()
    tab.get_by_label("Sightline", exact=True).check()
    changed(page, "#position-heat", heat)
    tab.get_by_label("road", exact=True).uncheck()
    changed(page, "#position-land", land)


def test_a_photograph_is_found_along_a_street(page, monkeypatch):
    from xview_demo.ui import recognition

    few = {"sites": 6, "views": 2, "queries": 4, "height": 64, "width": 96, "size": 260.0, "resolution": 1.0}
    monkeypatch.setattr(recognition, "WORLDS", replace(recognition.WORLDS, **few))
    visit(page, "Places")
    page.locator("#places-run").click()
    first = changed(page, "#places-figure", [])
    assert len(changed(page, "#places-before", [])) == len(changed(page, "#places-after", [])) == 5
    assert "Confidence" in page.locator("#places-answer").inner_text()
    page.get_by_label("number input for Query").fill("2")
    page.locator("#places-run").click()
    changed(page, "#places-figure", first)


def test_bad_input_is_said_in_the_page(page, bad_pictures):
    """One sentence under the picture, the same one on pressing Localize, and no word of the program's insides."""
    for name in ("truncated.jpg", "moving.gif", "empty.jpg", "dot.png"):
        page.locator("#localize-picture input[type=file]").first.set_input_files(str(bad_pictures[name]))
        under = page.locator("#localize-details .said.bad").filter(has_text=name)
        under.wait_for(timeout=WAIT)
        said = under.inner_text()
        assert said.endswith(".") and "\n" not in said
        page.locator("#localize-run").click()
        message = page.get_by_test_id("toast-body").filter(has_text=name)
        message.wait_for(timeout=WAIT)
        assert message.inner_text().splitlines()[-1] == said
        page.locator("#localize-picture").get_by_label("Remove Image").click()
        under.wait_for(state="hidden", timeout=WAIT)
    assert "Traceback" not in page.content()


def test_an_empty_page_asks_for_a_picture(page):
    page.locator("#localize-run").click()
    message = page.get_by_test_id("toast-body")
    message.wait_for(timeout=WAIT)
    assert "no picture" in message.inner_text()
