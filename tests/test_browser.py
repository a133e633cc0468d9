"""The demo in a real browser: upload a panorama, visit each tab, see the pictures change, send nothing elsewhere."""

import os
import shutil
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


def test_bad_input_is_said_in_the_page(page, bad_pictures):
    upload_box = page.locator("#localize-picture input[type=file]").first
    upload_box.set_input_files(str(bad_pictures["truncated.jpg"]))
    page.wait_for_selector("#localize-details .said.bad", timeout=WAIT)
    page.locator("#localize-run").click()
    message = page.get_by_test_id("toast-body")
    message.wait_for(timeout=WAIT)
    assert "truncated.jpg" in message.inner_text()
    assert "Traceback" not in page.content()


def test_an_empty_page_asks_for_a_picture(page):
    page.locator("#localize-run").click()
    message = page.get_by_test_id("toast-body")
    message.wait_for(timeout=WAIT)
    assert "no picture" in message.inner_text()
