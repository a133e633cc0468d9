"""One walk through the zoo, and what its names teach."""

import inspect
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from xview_demo import zoo
from xview_demo.errors import ModelError
from xview_demo.models.hub import count_parameters
from xview_demo.models.synthesis.interface import Query, Sampling

LEARNED = [name for name, entry in zoo.ZOO.items() if entry.learned]
BUNDLED = [name for name in LEARNED if zoo.is_folder_of_weights(zoo.WEIGHTS / name)]


def outputs(model):
    generator = torch.Generator().manual_seed(0)
    strip, tile = torch.rand(2, 3, 128, 512, generator=generator), torch.rand(2, 3, 64, 64, generator=generator)
    name = type(model).__name__
    with torch.no_grad():
        if hasattr(model, "encode_aerial"):
            return torch.cat(model(strip, tile, **{kind: tile for kind in getattr(model, "needs", ())}), 1)
        if name == "GeoWarp":
            return torch.cat((model.encode(strip)[0].flatten(), model(strip, strip.flip(3)).flatten()))
        if hasattr(model, "draw"):
            depth, labels = torch.rand(2, 128, 512, generator=generator) * 30, strip[:, 0].mul(7).long()
            query = Query(strip if model.reads == "ground" else tile, depth=depth, labels=labels)
            drawn = model.draw(query, Sampling(steps=2))
            return drawn.image if drawn.labels is None else torch.cat((drawn.image, drawn.labels), 1)
        if hasattr(model, "projector"):
            found = model(strip, tile)
            return torch.cat((found.landcover.flatten(), found.sightline.flatten(), found.density.flatten()))
        result = model(strip)
        return torch.cat([part.flatten() for part in result]) if isinstance(result, tuple) else result


@pytest.mark.parametrize("name", LEARNED)
def test_a_model_saves_and_loads_the_same(name, tmp_path):
    torch.manual_seed(0)
    entry = zoo.get(name)
    model = entry.load_class()(**entry.tiny).eval()
    model.load_state_dict({k: v.half().to(v.dtype) for k, v in model.state_dict().items()})  # what half precision keeps
    before = outputs(model)
    model.save_pretrained(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} >= set(zoo.FILES)
    again = zoo.load(tmp_path, task=entry.task)
    assert not again.training
    assert torch.equal(outputs(again), before)
    stored = load_file(tmp_path / "model.safetensors")
    assert all(v.dtype == torch.float16 for v in stored.values() if v.is_floating_point())


@pytest.mark.parametrize("name", list(zoo.ZOO))
def test_entries_are_complete(name):
    entry = zoo.ZOO[name]
    assert entry.task in zoo.TASKS and entry.summary and entry.view in ("ground", "aerial", "both")
    if entry.repository:
        assert entry.revision and len(entry.revision) == 40
    known = set(inspect.signature(entry.load_class().__init__).parameters)
    assert set(entry.tiny) <= known


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_weights_load_and_have_a_card(name):
    model = zoo.load(name)
    assert count_parameters(model) > 1000
    size = (zoo.WEIGHTS / name / "model.safetensors").stat().st_size
    assert size < 20e6
    text = (zoo.CARDS / f"{name}.md").read_text()
    assert "model-index" in text and f"python -m train {name}" in text and "## Limits" in text


def test_names_by_task():
    assert {"xfork-world", "bird-eye"} <= set(zoo.list_models("synthesis"))
    assert set(zoo.list_models()) == set(zoo.ZOO)
    with pytest.raises(ModelError, match="Available: matching"):
        zoo.list_models("cooking")


def test_what_needs_no_network_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    assert zoo.is_bundled("bird-eye") and not zoo.is_bundled("xfork-world")
    entry = zoo.get("xfork-world")
    entry.load_class()(**entry.tiny).save_pretrained(tmp_path / "xfork-world")
    assert zoo.is_bundled("xfork-world")


def test_an_unknown_name_teaches():
    with pytest.raises(ModelError, match=r"'xfrok-world'. Did you mean 'xfork-world'\? Available: azimuth-world"):
        zoo.load("xfrok-world")


def test_a_model_of_another_task_is_refused():
    with pytest.raises(ModelError, match="for synthesis, not for matching"):
        zoo.load("bird-eye", task="matching")


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"has no config.json and no model.safetensors"):
        zoo.load(tmp_path)


def test_weights_load_strictly(tmp_path):
    entry = zoo.get("azimuth-world")
    entry.load_class()(**entry.tiny).save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state.pop("log_scale")
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="log_scale"):
        zoo.load(tmp_path)


def test_a_pickle_is_never_read(tmp_path):
    entry = zoo.get("azimuth-world")
    model = entry.load_class()(**entry.tiny)
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no model.safetensors"):
        zoo.load(tmp_path)


def test_a_damaged_configuration_is_told(tmp_path):
    entry = zoo.get("azimuth-world")
    entry.load_class()(**entry.tiny).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        zoo.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"class": "Oracle"}))
    with pytest.raises(ModelError, match="names the class 'Oracle'"):
        zoo.load(tmp_path)
