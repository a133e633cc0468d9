"""The cards: what they show, and measuring their numbers again."""

import json
import re
import shutil
from dataclasses import asdict, replace

import pytest

from train import cards, looks, remeasure
from train.__main__ import main
from train.recipes import RECIPES
from xview_demo import zoo
from xview_demo.world.world import VERSION


def test_a_card_shows_the_pictures_that_exist(tmp_path, monkeypatch):
    monkeypatch.setattr("train.looks.PICTURES", tmp_path)
    bare = "# depth-world\n\n## Numbers\n\nnone\n\n## Training\n\nlong\n"
    assert looks.with_pictures("depth-world", bare) == bare
    (tmp_path / "depth-world.jpg").touch()
    shown = looks.with_pictures("depth-world", bare)
    assert "](pictures/depth-world.jpg)" in shown and shown.index("## Pictures") < shown.index("## Training")
    assert looks.with_pictures("depth-world", shown) == shown
    (tmp_path / "depth-world.jpg").unlink()
    assert looks.with_pictures("depth-world", shown) == bare


def test_every_picture_of_a_card_is_there():
    for card in zoo.CARDS.glob("*.md"):
        for file in re.findall(r"\]\((pictures/.+?)\)", card.read_text("utf-8")):
            assert (zoo.CARDS / file).is_file(), f"{card.name} shows {file}: run docs/make_sheets.py"


@pytest.mark.parametrize("name", [name for name in RECIPES if zoo.is_bundled(name)])
def test_a_card_names_the_settings_of_its_recipe(name):
    recipe = RECIPES[name]
    written = re.search(r"```json\n(.*?)\n```", (zoo.CARDS / f"{name}.md").read_text("utf-8"), re.DOTALL)
    told = json.loads(written.group(1))
    worlds = [replace(recipe.cache, version=version) for version in range(1, VERSION + 1)]  # of then
    assert told["cache"] in {config.fingerprint for config in worlds}
    assert told == json.loads(json.dumps(asdict(replace(recipe.settings, cache=told["cache"]))))


def test_a_resumed_run_counts_all_its_minutes(tmp_path):
    assert cards._minutes(tmp_path) == 0
    lines = [{"step": n, "seconds": s} for n, s in enumerate((60.0, 120.0, 30.0, 90.0))]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert cards._minutes(tmp_path) == 3.5


@pytest.mark.parametrize("path", sorted(p for p in zoo.CARDS.glob("*.md") if cards.HEAD[0] in p.read_text("utf-8")))
def test_a_card_with_its_own_numbers_is_itself(path):
    text = path.read_text("utf-8")
    same = cards.with_numbers(text, cards.rows_of(text))
    assert cards.rows_of(text) and cards.version_of(same) == VERSION
    assert same == text.replace(f"{cards.NOTE}{cards.version_of(text)}.", f"{cards.NOTE}{VERSION}.")


def test_measuring_again_changes_the_numbers_of_a_card_and_nothing_else(tmp_path, monkeypatch, capsys):
    text = (zoo.CARDS / "unet-ground-world.md").read_text("utf-8")
    old = [row for row in cards.rows_of(text) if row[0].startswith("world")]
    real = [row for row in cards.rows_of(text) if row not in old]
    assert old and real
    shutil.copy(zoo.CARDS / "unet-ground-world.md", tmp_path)
    monkeypatch.setattr(zoo, "CARDS", tmp_path)
    monkeypatch.setattr(remeasure, "measure", lambda *_: ([("world test", "mIoU", "0.123 (x)", old[0][3])], {}))
    assert main(["measure", "unet-ground-world"]) == 0
    new = (tmp_path / "unet-ground-world.md").read_text("utf-8")
    assert cards.rows_of(new) == [("world test", "mIoU", "0.123 (x)", old[0][3]), *real]
    assert 'metrics: [{type: "mIoU", value: 0.123}]' in new and capsys.readouterr().out.startswith("world test | mIoU")
    assert new.split("## Training")[1] == text.split("## Training")[1]
    assert main(["measure", "nobody"]) == 2 and "no card with numbers" in capsys.readouterr().err


def test_measuring_again_keeps_no_numbers_among_tiles_of_earlier_worlds(tmp_path, monkeypatch, capsys):
    text = (zoo.CARDS / "azimuth-world.md").read_text("utf-8")
    old = text.replace(f"{cards.NOTE}{cards.version_of(text)}.", f"{cards.NOTE}1.")
    (tmp_path / "azimuth-world.md").write_text(old, encoding="utf-8")
    monkeypatch.setattr(zoo, "CARDS", tmp_path)
    assert main(["measure", "azimuth-world"]) == 2 and "(--real DIR)" in capsys.readouterr().err
    assert (tmp_path / "azimuth-world.md").read_text("utf-8") == old


def test_measuring_again_measures(capsys):
    before = (zoo.CARDS / "unet-ground-world.md").read_bytes()
    assert main(["measure", "unet-ground-world", "--smoke"]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert rows[0][:2] == ["world test", "mIoU"] and 0 < float(rows[0][2].split()[0]) < 1
    assert (zoo.CARDS / "unet-ground-world.md").read_bytes() == before


def test_generators_of_one_view_are_measured_together_and_each_as_if_alone(monkeypatch):
    monkeypatch.setattr(cards, "TINY", replace(cards.TINY, queries=2, tiles=2))
    names = ["xfork-world", "unet-ground-world", "clip-diffusion-world", "xfork-ground-world"]
    above, *others = remeasure.together(names)
    assert above == [names[0], names[2]] and others == [[names[1]], [names[3]]]
    found = cards.synthesis({name: zoo.load(name) for name in above}, smoke=True)
    assert found[above[0]] == cards.measure(above[0], zoo.load(above[0]), smoke=True)
    assert {row[0] for row in found[above[1]][0]} >= {f"world test, {above[1]}", f"world test, {above[1]}{cards.BLIND}"}
