"""Take the README's screenshots: run the demo, use it as a visitor does, and photograph three tabs.

python docs/make_pictures.py          # writes docs/{localize,synthesize,segment}.png; needs Debian's chromium
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from xview_demo import GeoLocalizer, GroundView, ui, viz
from xview_demo.ui import places

ROOT = Path(__file__).parents[1]
WAIT = 120_000  # milliseconds
DONE = {"localize": "#localize-classes img", "synthesize": "#synthesize-pair img", "segment": "#segment-overlay img"}


def photograph(page: Page, tab: str, picture: Path, target: Path) -> None:
    """Use one tab and write what it shows."""
    page.get_by_role("tab", name=tab.capitalize(), exact=True).click()
    page.locator(f"#{tab}-picture input[type=file]").first.set_input_files(str(picture))
    page.wait_for_selector(f"#{tab}-picture img", timeout=WAIT)
    page.locator(f"#{tab}-run").click()
    page.wait_for_selector(DONE[tab], timeout=WAIT)
    page.wait_for_function("[...document.images].every(image => image.complete)", timeout=WAIT)
    page.wait_for_timeout(1500)
    page.evaluate("window.scrollTo(0, 0)")
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw.png"
        page.screenshot(path=str(raw), full_page=True)
        Image.open(raw).convert("RGB").quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(target, optimize=True)
    print(f"{target.name}: {target.stat().st_size // 1000} kB")


def overview(geo: GeoLocalizer) -> np.ndarray:
    """A panorama, what the models make of it, and the best tiles."""
    view = GroundView.open(ROOT / "examples" / "panorama.jpg")
    gallery = places.world_gallery(geo, places.DEMO_SEED, None)
    hits = geo.localize(view, gallery, top_k=3)
    tiles = [gallery.tile(gallery.names.index(match.tile)) for match in hits.matches]
    side, gap = 250, 10
    width = 5 * side + 4 * gap
    street = viz.resize(viz.to_array(view), width // 4, width)
    made = [viz.to_array(geo.synthesize(view, method="bird-eye").aerial), viz.to_array(geo.synthesize(view).aerial)]
    texts = ["the ground, projected", "imagined from above"]
    cells = [viz.captioned(viz.resize(p, side, side), text) for p, text in zip(made, texts, strict=True)]
    pictures = viz.match_tiles(tiles, hits.matches, side)
    texts = [f"match {match.rank}, {viz.metres_text(match.distance_m or 0.0)} away" for match in hits.matches]
    cells += [viz.captioned(p, text) for p, text in zip(pictures, texts, strict=True)]
    return viz.stack([viz.compass(street, hits.heading, view.hfov), viz.beside(cells, gap)], gap)


def main(folder: Path) -> None:
    """Write the overview and the three screenshots into a folder."""
    geo = GeoLocalizer.from_pretrained()
    viz.save(overview(geo), folder / "overview.jpg", quality=90)
    demo = ui.build(geo)
    _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(address)
        page.wait_for_selector("#masthead", timeout=WAIT)
        for tab in DONE:
            photograph(page, tab, ROOT / "examples" / "panorama.jpg", folder / f"{tab}.png")
        browser.close()
    demo.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the README's pictures.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    main(parser.parse_args().out)
