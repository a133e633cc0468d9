"""The verbs about positions, with tiny models of random weights."""

import json
from pathlib import Path

import pytest
import torch

from xview_demo import cli, zoo
from xview_demo.localizer import PARTS


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    for _, name in PARTS.values():
        entry = zoo.get(name)
        entry.load_class()(**entry.tiny).eval().save_pretrained(folder / name)
    return folder


@pytest.fixture
def xview(weights, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(zoo, "WEIGHTS", weights)

    def run(*words) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return run


def result_of(answer):
    code, out, err = answer
    assert code == 0, err
    return json.loads(out.strip().splitlines()[-1])


def test_locate(xview, panorama):
    tile = panorama.with_name("aerial.jpg")
    result = result_of(xview("locate", panorama, tile, "--json"))
    assert len(result["east_north"]) == 2 and len(result["latlon"]) == 2 and result["regions"]
    assert result["mass"] == 0.9 and result["error_m"] >= 0 and Path(result["picture"]).is_file()
    code, out, _ = xview("locate", panorama, tile, "--mass", 0.5, "--out", "where.png")
    assert code == 0 and "expected error" in out and "region 1" in out and Path("where.png").is_file()
    code, _, err = xview("locate", panorama, "nowhere.jpg")
    assert code == 2 and "nowhere.jpg" in err and len(err.strip().splitlines()) == 1


def test_localize_and_refine(xview, panorama, tiles):
    words = ("localize", panorama, "--gallery", tiles, "--top-k", 2, "--refine", 1)
    first, second = result_of(xview(*words, "--json"))["matches"]
    assert len(first["position"]) == 2 and first["uncertainty_m"] > 0 and "position" not in second
    assert "give or take" in xview(*words)[1]


def test_evaluate_position(xview):
    result = result_of(xview("evaluate", "position", "--n", 1, "--reach", 10, "--json"))
    assert result["n"] == 1 and result["seeds"][0] >= 950_000 and result["model"] == "mst-world"
    assert {"mean_m", "median_m", "r@1m", "r@3m", "r@5m", "r@10m", "coverage", "landcover", "chance"} < set(result)
    assert result["reach_m"] == 10 and result["chance"]["mean_m"] <= 10


def test_bench_search(xview):
    result = result_of(xview("bench", "search", "--tiles", 21000, "--json"))
    assert result["agree"] and result["tiles"] == 21000 and result["speedup"] > 0


def test_bench_sightline(xview):
    result = result_of(xview("bench", "sightline", "--pixels", 32, "--json"))
    assert result["pixels"] == 32 and result["speedup"] > 0 and result["agree"] > 0.99
