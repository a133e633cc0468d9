"""The README's examples run, in its order, and print what it says; so do the scripts in `examples/`.

A fenced `python` block is run, a `console` block's `$` lines are; what follows must be printed: `…` stands for
anything. A block that begins with a comment naming a file of the package stands for that module.
"""

import contextlib
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image, ImageChops, ImageStat

from xview_demo import zoo

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MODULE = re.compile(r"# (xview_demo/[\w/]+)\.py\n")
SCRIPTS = sorted(path for path in (ROOT / "examples").glob("*.py") if path.name != "make_pictures.py")


def matches(expected: str, got: str) -> bool:
    pattern = re.escape(expected.strip()).replace("…", ".*?")
    return re.fullmatch(pattern, got.strip(), re.DOTALL) is not None


def assert_prints(expected: str, got: str, of: str) -> None:
    assert matches(expected, got), f"{of}\nshould print:\n{expected.strip()}\nprinted:\n{got.strip()}"


def steps() -> list[tuple[str, str, str]]:
    """(kind, what is run, what it prints) of each example, top to bottom."""
    blocks = [(m[1], m[2]) for m in FENCE.finditer(README)]
    found = []
    for number, (kind, text) in enumerate(blocks):
        if kind == "python":
            after = blocks[number + 1] if number + 1 < len(blocks) else ("", "")
            found.append(("python", text, after[1] if after[0] == "text" else ""))
        elif kind == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                found.append(("console", command, output))
    return found


@pytest.fixture(scope="module")
def desk(tmp_path_factory, tiles, panorama):
    """A folder in which the README's commands find what they name: examples, a folder of tiles, a panorama."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "tiles").symlink_to(tiles)
    (folder / "panorama.jpg").symlink_to(panorama)
    return folder


def run(command: str, desk: Path) -> str:
    words = shlex.split(command)
    if words[0] == "xview":
        words = [sys.executable, "-m", "xview_demo.cli", *words[1:]]
    elif words[0] == "python":
        words = [sys.executable, *words[1:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=desk, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def test_readme_examples(desk, monkeypatch):
    monkeypatch.chdir(desk)
    monkeypatch.setattr(zoo, "ZOO", dict(zoo.ZOO))
    names: dict[str, object] = {"__name__": "readme"}
    assert len(steps()) >= 6
    for kind, text, expected in steps():
        if kind == "console":
            assert_prints(expected, run(text, desk), text)
        else:
            place = MODULE.match(text)
            module = ModuleType(place[1].replace("/", ".") if place else "readme")
            if place:
                monkeypatch.setitem(sys.modules, module.__name__, module)
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(text, "README.md", "exec"), vars(module) if place else names)
            assert_prints(expected, printed.getvalue(), text)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_example_scripts(script, desk):
    expected = re.search(r"^Prints:\n\n((?:    .*\n|\n)+)", script.read_text(encoding="utf-8"), re.MULTILINE)
    assert expected, f"{script.name} does not say what it prints"
    wanted = "\n".join(line[4:] for line in expected[1].splitlines())
    assert_prints(wanted, run(f"python {script} --out {desk / 'made'}", desk), script.name)


def test_example_pictures_are_the_script_s(desk):
    """The pictures in the repository are those that `make_pictures.py` makes."""
    run(f"python {ROOT / 'examples' / 'make_pictures.py'} --out {desk / 'pictures'}", desk)
    made = {path.name: path for path in (desk / "pictures").glob("*.jpg")}
    kept = {path.name: path for path in (ROOT / "examples").glob("*.jpg")}
    assert set(made) == set(kept)
    for name in made:
        difference = ImageChops.difference(Image.open(made[name]).convert("RGB"), Image.open(kept[name]).convert("RGB"))
        assert max(ImageStat.Stat(difference).mean) < 2, f"{name} is out of date: run examples/make_pictures.py"


def test_two_setup_commands():
    commands = re.findall(r"^pip install .*", README, re.MULTILINE)
    assert commands == ["pip install -r requirements.txt -e . && python app.py", 'pip install -e ".[test]" && pytest']


def test_table_of_models_is_the_cards_s():
    make_table = runpy.run_path(str(ROOT / "docs" / "make_table.py"))
    assert make_table["updated"](README) == README, "run docs/make_table.py"


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", README) + re.findall(r'src="([^"]+)"', README)
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing
