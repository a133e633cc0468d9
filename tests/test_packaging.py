"""The package says one thing in one place."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_requirements_are_the_dependencies_of_the_app():
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert lines == [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["app"]]


def test_the_first_command_installs_the_package():
    """What the README does next is `xview …`, a script that only an installed package has."""
    first = re.search(r"^pip install .*", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)[0]
    words = first.partition(" && ")[0].split()
    assert words[words.index("-e") + 1] == "." and words[words.index("-r") + 1] == "requirements.txt"
    assert PROJECT["scripts"]["xview"] == "xview_demo.cli:main"


def test_every_dependency_has_a_range():
    extras = PROJECT["optional-dependencies"].values()
    for line in [*PROJECT["dependencies"], *(one for extra in extras for one in extra)]:
        assert line.startswith("xview_demo[") or re.fullmatch(r"[\w-]+>=[\d.]+,<[\d.]+", line), line


def test_version_stands_in_both_places():
    import xview_demo

    assert xview_demo.__version__ == PROJECT["version"]


def test_licence_is_the_whole_text():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text and len(text) > 11000
