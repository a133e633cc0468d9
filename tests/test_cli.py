"""The command line: every verb answers, bad input is one sentence, nothing heavy is imported for `--help`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_readers import six_places, write_vigor

from xview_demo import cli

BAD = ("text.jpg", "truncated.jpg", "dot.png", "wide.png", "moving.gif", "empty.jpg")


@pytest.fixture
def xview(capsys, tmp_path, monkeypatch):
    """Run the command line in an empty folder: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*words) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return run


def result_of(answer: tuple[int, str, str]) -> dict:
    code, out, err = answer
    assert code == 0, err
    return json.loads(out.strip().splitlines()[-1])


def says_one_sentence(answer: tuple[int, str, str], *words: str) -> None:
    code, _, err = answer
    assert code == 2
    lines = err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("xview: "), err
    for word in words:
        assert word in err


def test_help_is_quick():
    check = "import sys; from xview_demo.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    check += "print('torch' in sys.modules, 'gradio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False"
    for verb in ("synthesize", "segment", "depth", "localize", "gallery", "evaluate", "bench", "world", "models"):
        assert verb in done.stdout


def test_models(xview):
    names = result_of(xview("models", "--json"))["models"]
    assert "azimuth-world" in [model["name"] for model in names]
    assert [m["name"] for m in result_of(xview("models", "--task", "depth", "--json"))["models"]] == ["depth-world"]


def test_models_say_what_they_cost(xview):
    (depth,) = result_of(xview("models", "--task", "depth", "--cost", "--json"))["models"]
    assert 3e6 < depth["parameters"] < 4e6 and 1 < depth["gflop"] < 50 and depth["milliseconds"] > 0


def test_synthesize(xview, panorama):
    result = result_of(xview("synthesize", panorama, "--method", "bird-eye", "--out", "a.png", "--json"))
    assert result["method"] == "bird-eye" and Path(result["picture"]).is_file()
    result = result_of(xview("synthesize", panorama, "--json"))
    assert result["picture"] == "panorama-aerial.png" and Path("panorama-aerial.png").is_file()


@pytest.mark.parametrize("kind", ["ground", "aerial"])
def test_segment(xview, panorama, kind):
    picture = panorama if kind == "ground" else panorama.with_name("aerial.jpg")
    result = result_of(xview("segment", picture, "--kind", kind, "--json"))
    assert sum(result["areas"].values()) == pytest.approx(1, abs=1e-4)
    assert Path(result["picture"]).is_file()


def test_depth(xview, panorama):
    result = result_of(xview("depth", panorama, "--metres", "metres.npy", "--json"))
    assert 1 < result["metres"]["median"] < 200
    assert Path(result["picture"]).is_file() and Path("metres.npy").is_file()
    near, far = (
        result_of(xview("depth", panorama, "--camera-height", height, "--json"))["median_m"] for height in (1.2, 3.6)
    )
    assert 2 < far / near <= 3.1


def test_gallery_and_localize(xview, panorama, tiles):
    built = result_of(xview("gallery", "build", tiles, "--out", "area", "--json"))
    assert built["tiles"] == 12
    told = result_of(xview("gallery", "info", "area", "--json"))
    assert told["tiles"] == 12 and len(told["bounds"]) == 4
    words = ("--gallery", "area", "--top-k", 3, "--figure", "f.png", "--geojson", "f.geojson", "--json")
    result = result_of(xview("localize", panorama, *words))
    assert [match["rank"] for match in result["matches"]] == [1, 2, 3]
    assert 0 <= result["confidence"] <= 1 and Path(result["picture"]).is_file()
    assert json.loads(Path("f.geojson").read_text())["type"] == "FeatureCollection"
    lat, lon = result["matches"][0]["latlon"]
    near = result_of(xview("localize", panorama, "--gallery", "area", "--region", f"{lat},{lon},5", "--json"))
    assert len(near["matches"]) == 1


def test_world(xview):
    result = result_of(xview("world", "--seed", 950_004, "--out", "sheet", "--json"))
    assert result["biome"] == "village" and Path(result["picture"]).is_file()


@pytest.mark.parametrize("task, words, names", [
    ("matching", ("--queries", 4, "--gallery", 8, "--heading", "unknown"), ("r@1", "heading_error_deg", "interval")),
    ("segmentation", ("--n", 1), ("miou", "iou")),
    ("depth", ("--n", 1), ("abs_rel",)),
])  # fmt: skip
def test_evaluate(xview, task, words, names):
    result = result_of(xview("evaluate", task, *words, "--json"))
    assert result["n"] and result["seeds"][0] >= 950_000 and result["model"]
    assert set(names) < set(result)


def test_evaluate_across_the_cities_of_vigor(xview, tmp_path):
    write_vigor(tmp_path, six_places())
    words = ("evaluate", "matching", "--data", "vigor", "--root", tmp_path, "--split")
    result = result_of(xview(*words, "cross-test", "--json"))
    assert (result["data"], result["split"], result["n"], result["gallery"]) == ("vigor", "cross-test", 4, 8)
    says_one_sentence(xview(*words, "across"), "'across'", "cross-test")


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("verb", ["synthesize", "segment", "depth", "localize"])
def test_bad_picture(xview, bad_pictures, verb, name):
    says_one_sentence(xview(verb, bad_pictures[name], *(["--gallery", "x"] if verb == "localize" else [])), name)


@pytest.mark.parametrize("name", ["cmyk.jpg", "sixteen.png", "alpha.png"])
def test_odd_picture(xview, odd_pictures, name):
    assert result_of(xview("segment", odd_pictures[name], "--json"))["areas"]


def test_bad_words(xview, panorama, tmp_path):
    says_one_sentence(xview("localize", panorama), "gallery")
    says_one_sentence(xview("localize", panorama, "--gallery", "nowhere"), "nowhere")
    says_one_sentence(xview("localize", panorama, "--gallery", "world:abc"), "world:abc")
    says_one_sentence(xview("localize", panorama, "--gallery", "world:1", "--region", "a,b"), "a,b")
    says_one_sentence(xview("world", "--seed", 1, "--biome", "moon", "--out", tmp_path), "moon", "village")
    says_one_sentence(xview("world", "--seed", -4, "--out", tmp_path), "-4")
    says_one_sentence(xview("world", "--seed", 1, "--device", "foo", "--out", tmp_path), "'foo'", "cpu")
    says_one_sentence(xview("depth", panorama, "--device", "foo"), "No device named 'foo'", "cpu")
    says_one_sentence(xview("gallery", "info", "nowhere"), "nowhere")
    says_one_sentence(xview("depth", panorama, "--camera-height", -1), "-1 m above the ground")
    says_one_sentence(xview("depth", panorama, "--hfov", 0), "0° across")
    says_one_sentence(xview("synthesize", panorama, "--method", "xfrok-world"), "xfrok-world", "xfork-world")
    says_one_sentence(xview("segment", panorama, "--kind", "sideways"), "sideways")
    says_one_sentence(xview("segment", panorama, "--out", "picture.xyz"), ".xyz")
    for words, said in ((["fly"], "fly"), (["localize", panorama, "--gallery", "x", "--top-k", 0], "--top-k")):
        code, _, err = xview(*words)
        assert code == 2 and said in err and "Traceback" not in err


def test_debug_shows_the_traceback(panorama):
    command = [sys.executable, "-m", "xview_demo.cli", "localize", str(panorama)]
    done = subprocess.run([*command, "--debug"], capture_output=True, text=True)
    assert done.returncode != 0 and "Traceback" in done.stderr
