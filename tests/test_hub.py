"""The Hub, played by a local server: fetching, pinning, pushing, being offline."""

import base64
import hashlib
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from xview_demo import GeoLocalizer, GroundView, zoo
from xview_demo.errors import ModelError
from xview_demo.models.hub import count_stored

COMMIT = "a" * 40
REMEDIES = "bundled models, which need no network"


class Hub(BaseHTTPRequestHandler):
    """The routes of a Hugging Face Hub that fetching and pushing need; repositories live in a dict."""

    repositories: dict[str, dict[str, bytes]] = {}
    asked: list[str] = []

    def log_message(self, *_):
        """Stay silent."""

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def missing(self, code):
        self.reply(404, b"{}", X_Error_Code=code, X_Error_Message=code)

    def do_HEAD(self):
        """Metadata of a file."""
        self.do_GET()

    def do_GET(self):
        """A file of a repository."""
        self.asked.append(f"{self.command} {self.path}")
        parts = self.path.strip("/").split("/", 4)
        if self.path.startswith("/api/"):
            return self.reply(200, json.dumps({"id": "a/b", "sha": COMMIT, "siblings": []}).encode())
        if len(parts) < 5 or parts[2] != "resolve":
            return self.missing("EntryNotFound")
        files = self.repositories.get(f"{parts[0]}/{parts[1]}")
        if files is None:
            return self.missing("RepoNotFound")
        if parts[3] not in ("main", COMMIT):
            return self.missing("RevisionNotFound")
        if parts[4] not in files:
            return self.missing("EntryNotFound")
        body = files[parts[4]]
        tag = hashlib.sha1(body).hexdigest()
        return self.reply(200, body, ETag=f'"{tag}"', X_Repo_Commit=COMMIT)

    def do_POST(self):
        """Creating a repository and committing to it."""
        self.asked.append(f"POST {self.path}")
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            body = b"".join(iter(self.chunk, b""))
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/repos/create":
            given = json.loads(body)
            name = f"{given['organization']}/{given['name']}" if given.get("organization") else given["name"]
            self.repositories.setdefault(name, {})
            answer = {"url": f"http://127.0.0.1:{self.server.server_port}/{name}", "name": name, "id": name}
        elif "/preupload/" in self.path:
            answer = {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                                for f in json.loads(body)["files"]]}  # fmt: skip
        elif "/commit/" in self.path:
            name = "/".join(self.path.split("/")[3:5])
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    self.repositories[name][value["path"]] = base64.b64decode(value["content"])
            address = f"http://127.0.0.1:{self.server.server_port}/{name}/commit/{COMMIT}"
            answer = {"commitUrl": address, "commitOid": COMMIT, "success": True}
        else:
            answer = {}
        return self.reply(200, json.dumps(answer).encode(), Content_Type="application/json")

    def chunk(self):
        """One part of a chunked body."""
        size = int(self.rfile.readline().strip() or b"0", 16)
        part = self.rfile.read(size)
        self.rfile.readline()
        return part


def point_to(port, cache, monkeypatch):
    """What HF_ENDPOINT and HF_HUB_CACHE do when they are set before the start."""
    from huggingface_hub import constants

    address = f"http://127.0.0.1:{port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    Hub.repositories, Hub.asked = {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    point_to(server.server_port, tmp_path / "hub", monkeypatch)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield Hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An endpoint where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    point_to(port, tmp_path / "hub", monkeypatch)


@pytest.fixture
def model():
    torch.manual_seed(0)
    entry = zoo.get("azimuth-world")
    return entry.load_class()(**entry.tiny).eval()


def publish(model, folder, name="someone/matcher"):
    model.save_pretrained(folder)
    Hub.repositories[name] = {p.name: p.read_bytes() for p in folder.iterdir()}


def test_a_model_comes_from_the_hub_once(hub, model, tmp_path):
    publish(model, tmp_path / "out")
    loaded = zoo.load("someone/matcher", task="matching")
    assert torch.equal(loaded.log_scale, model.log_scale.half().float())
    asked = len(hub.asked)
    assert not any("pytorch_model" in a for a in hub.asked)
    zoo.load("someone/matcher")  # from the local cache
    zoo.load("someone/matcher", revision=COMMIT, local_files_only=True)
    assert len(hub.asked) == asked


def test_a_compressed_model_is_half_as_large_and_loads_as_it_was_measured(tmp_path):
    torch.manual_seed(0)
    model = zoo.get("azimuth-world").load_class()(channels=8, widths=(16, 16, 64, 64)).eval()
    model.save_pretrained(tmp_path / "half")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.compress().save_pretrained(tmp_path / "bytes")
    half, small = (tmp_path / name / "model.safetensors" for name in ("half", "bytes"))
    assert small.stat().st_size < 0.6 * half.stat().st_size
    assert count_stored(half) == count_stored(small) == sum(value.numel() for value in before.values())
    loaded = type(model).from_pretrained(tmp_path / "bytes")
    for name, value in model.state_dict().items():
        large = value.dim() > 1 and value.numel() >= 1024
        assert torch.equal(loaded.state_dict()[name], value if large else value.half().float()), name
        assert (value - before[name]).abs().max() <= before[name].abs().max() / 254 + 1e-6, name
    loaded.compress().save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == small.read_bytes()
    loaded.bits = 16
    loaded.save_pretrained(tmp_path / "whole")
    assert (tmp_path / "whole" / "model.safetensors").stat().st_size == half.stat().st_size


def test_what_is_measured_is_what_is_stored(model, tmp_path):
    model.save_pretrained(tmp_path)
    stored = type(model).from_pretrained(tmp_path).state_dict()
    assert not all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(value, stored[name]) for name, value in model.as_stored().state_dict().items())


def test_a_zoo_name_uses_its_pinned_revision(hub, model, tmp_path, monkeypatch):
    from dataclasses import replace

    publish(model, tmp_path / "out")
    pinned = replace(zoo.ZOO["azimuth-world"], repository="someone/matcher", revision=COMMIT)
    monkeypatch.setitem(zoo.ZOO, "azimuth-world", pinned)
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path / "none")
    zoo.load("azimuth-world")
    assert all(f"/resolve/{COMMIT}/" in a for a in hub.asked)


def test_the_order_is_directory_bundled_cache_hub(hub, model, tmp_path, monkeypatch):
    from dataclasses import replace

    publish(model, tmp_path / "desk" / "someone" / "matcher")
    monkeypatch.chdir(tmp_path / "desk")
    assert zoo.locate("someone/matcher") == Path("someone/matcher")  # a directory
    model.save_pretrained(tmp_path / "weights" / "azimuth-world")
    pinned = replace(zoo.ZOO["azimuth-world"], repository="someone/matcher", revision=COMMIT)
    monkeypatch.setitem(zoo.ZOO, "azimuth-world", pinned)
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path / "weights")
    assert zoo.locate("azimuth-world") == tmp_path / "weights" / "azimuth-world"  # bundled
    assert not hub.asked
    (tmp_path / "weights").rename(tmp_path / "away")
    fetched = zoo.locate("azimuth-world")  # the Hub
    asked = len(hub.asked)
    assert asked and COMMIT in str(fetched)
    assert zoo.locate("azimuth-world") == fetched and len(hub.asked) == asked  # the local cache
    (tmp_path / "away").rename(tmp_path / "weights")
    assert zoo.locate("azimuth-world") == tmp_path / "weights" / "azimuth-world"


@pytest.mark.parametrize("whole", [False, True])
def test_a_name_of_the_zoo_is_never_a_directory(model, tmp_path, monkeypatch, whole):
    """Neither an empty folder in the working directory nor another model there stands for a bundled one."""
    monkeypatch.chdir(tmp_path)
    for name in zoo.ZOO:
        if whole:
            model.save_pretrained(tmp_path / name)
        else:
            (tmp_path / name).mkdir()
    geo = GeoLocalizer.from_pretrained()
    assert all(zoo.locate(name) == zoo.WEIGHTS / name for name in geo.names.values())
    assert zoo.locate("azimuth-world") == zoo.WEIGHTS / "azimuth-world"
    for written in ("./azimuth-world", Path("azimuth-world")):
        if whole:
            assert zoo.load(written).channels == model.channels
            assert GeoLocalizer({"matching": written})._part("matching").channels == model.channels
        else:
            with pytest.raises(ModelError, match="azimuth-world has no config.json"):
                zoo.load(written)


def test_what_the_hub_lacks_is_told(hub, model, tmp_path):
    publish(model, tmp_path / "out")
    with pytest.raises(ModelError, match="There is no model someone/nothing"):
        zoo.load("someone/nothing")
    with pytest.raises(ModelError, match="no revision 'v9'"):
        zoo.load("someone/matcher", revision="v9")
    Hub.repositories["someone/pickle"] = {"pytorch_model.bin": b"", "config.json": b'{"class": "AzimuthMatcher"}'}
    with pytest.raises(ModelError, match="could not be downloaded"):
        zoo.load("someone/pickle")


def test_being_offline_is_told_at_once(offline):
    start = time.monotonic()
    with pytest.raises(ModelError, match=REMEDIES):
        zoo.load("someone/matcher")
    with pytest.raises(ModelError, match=REMEDIES):
        GeoLocalizer.from_pretrained("someone/geo")
    with pytest.raises(ModelError, match="not in the local Hub cache"):
        zoo.load("someone/matcher", local_files_only=True)
    assert time.monotonic() - start < 5


def test_a_localizer_is_pushed_and_comes_back(hub, tmp_path, monkeypatch):
    torch.manual_seed(0)
    for name, entry in zoo.ZOO.items():
        if entry.learned:
            entry.load_class()(**entry.tiny).eval().save_pretrained(tmp_path / "weights" / name)
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path / "weights")
    geo = GeoLocalizer.from_pretrained()
    geo.push_to_hub("someone/geo")
    files = hub.repositories["someone/geo"]
    assert "config.json" in files and "matching/model.safetensors" in files
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path / "none")
    again = GeoLocalizer.from_pretrained("someone/geo")
    assert again.fingerprint == geo.fingerprint
    view = GroundView(torch.rand(3, 128, 512))
    assert (again.segment(view).labels == geo.segment(view).labels).all()
    asked = len(hub.asked)
    GeoLocalizer.from_pretrained("someone/geo", local_files_only=True).depth(view)
    assert len(hub.asked) == asked


def test_a_model_pushes_itself(hub, model):
    model.push_to_hub("someone/single")
    assert {"config.json", "model.safetensors"} <= set(hub.repositories["someone/single"])
    assert zoo.load("someone/single", task="matching").channels == model.channels
