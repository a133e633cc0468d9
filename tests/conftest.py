import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_pairs() -> Path:
    """Fifteen real pairs for looking and validation; they are never part of the repository."""
    default = Path(__file__).parents[2] / "shared" / "real_pairs"
    folder = Path(os.environ.get("XVIEW_REAL_PAIRS", default))
    if not folder.is_dir():
        pytest.skip("the real pairs are not here: set XVIEW_REAL_PAIRS")
    return folder


@pytest.fixture
def tiny_zoo(tmp_path, monkeypatch):
    """The ladder and what composes its queries, in tiny sizes, in the place of the bundled weights."""
    from train.pictures import tiny_model
    from train.recipes_ladder import LADDER
    from xview_demo import zoo

    for name in [*LADDER, "xfork-world", "unet-aerial-world", "azimuth-world"]:
        tiny_model(name).save_pretrained(tmp_path / name)
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)


# The face of the package: command line, demo, examples ---------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def kept_galleries(tmp_path_factory):
    """Galleries that the demo keeps go to a temporary folder."""
    os.environ["XVIEW_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def panorama() -> Path:
    """The first example: a panorama of the demo's world with its heading and position in the file."""
    return Path(__file__).parents[1] / "examples" / "panorama.jpg"


@pytest.fixture(scope="session")
def geo():
    """The bundled zoo."""
    from xview_demo import GeoLocalizer

    return GeoLocalizer.from_pretrained()


@pytest.fixture(scope="session")
def tiles(tmp_path_factory, panorama) -> Path:
    """A folder of a dozen aerial tiles named by latitude and longitude; the panorama's own lies among them."""
    from xview_demo import GroundView, World

    folder = tmp_path_factory.mktemp("tiles")
    world = World(950_004)
    east, north = world.local_of(*GroundView.open(panorama).latlon)
    for row in range(3):
        for column in range(4):
            tile = world.aerial((east + 64 * (column - 1), north + 64 * (row - 1)))
            tile.save(folder / f"{tile.latlon[0]:.7f},{tile.latlon[1]:.7f}.png")
    return folder


@pytest.fixture(scope="session")
def odd_pictures(tmp_path_factory, panorama) -> dict[str, Path]:
    """Pictures of unusual kinds that must work: CMYK, 16 bits, alpha."""
    folder = tmp_path_factory.mktemp("odd")
    picture = Image.open(panorama).resize((512, 128))
    made = {name: folder / name for name in ("cmyk.jpg", "sixteen.png", "alpha.png")}
    picture.convert("CMYK").save(made["cmyk.jpg"])
    Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257).save(made["sixteen.png"])
    picture.convert("RGBA").save(made["alpha.png"])
    return made


@pytest.fixture(scope="session")
def bad_pictures(tmp_path_factory, panorama) -> dict[str, Path]:
    """Files that cannot be used, each for another reason."""
    folder = tmp_path_factory.mktemp("bad")
    names = ("text.jpg", "truncated.jpg", "dot.png", "wide.png", "moving.gif", "empty.jpg")
    made = {name: folder / name for name in names}
    made["text.jpg"].write_text("this is no picture")
    made["truncated.jpg"].write_bytes(panorama.read_bytes()[:20_000])
    Image.new("RGB", (1, 1)).save(made["dot.png"])
    Image.new("RGB", (20_000, 40)).save(made["wide.png"])
    frames = [Image.new("RGB", (64, 64), (shade, 0, 0)) for shade in (0, 90, 200)]
    frames[0].save(made["moving.gif"], save_all=True, append_images=frames[1:])
    made["empty.jpg"].write_bytes(b"")
    return made


@pytest.fixture(scope="session")
def demo(geo):
    """The address of the running demo."""
    pytest.importorskip("gradio")
    from xview_demo import ui

    page = ui.build(geo)
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield address
    page.close()
