"""The server's own process asks nobody for anything: it starts and answers with every way out recorded and refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("gradio_client")
from gradio_client import Client, handle_file  # noqa: E402

ROOT = Path(__file__).parents[1]
# An audit hook cannot be taken off again and sees every socket from the first import on, so it gets its own process.
GUARDED = """
import ipaddress, json, socket, sys

recorded = []

def outside(host):
    host = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    try:
        return not ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host != "localhost"

def guard(event, given):
    address = None
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = given[1][0] if isinstance(given[1], tuple) else None  # no tuple: a socket of this machine
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        address = given[0] or None
    if address is not None and outside(address):
        recorded.append(f"{event} {address}")
        raise OSError(f"refused: {address}")

sys.addaudithook(guard)
import app

_, place, _ = app.demo.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
print(place, flush=True)
sys.stdin.readline()
before = list(recorded)
for way_out in (lambda: socket.getaddrinfo("example.org", 80), lambda: socket.socket().connect(("192.0.2.1", 80))):
    try:
        way_out()
    except OSError:
        pass
print(json.dumps([before, recorded[len(before):]]), flush=True)
"""
SWITCHES = ("GRADIO_ANALYTICS_ENABLED", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "TRANSFORMERS_OFFLINE")


def test_the_server_asks_nobody(panorama, tiles, tmp_path):
    """From its first import to an answer, without the help of any switch in the environment."""
    surroundings = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    surroundings |= {"PYTHONPATH": str(ROOT), "XVIEW_CACHE": str(tmp_path / "cache")}
    errors = tmp_path / "errors.txt"
    with errors.open("w") as kept:
        server = subprocess.Popen(
            [sys.executable, "-c", GUARDED], cwd=ROOT, env=surroundings, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=kept,
        )  # fmt: skip
    try:
        address = server.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), errors.read_text()
        client = Client(address, verbose=False, download_files=str(tmp_path / "answers"))
        answer, *_ = client.predict(
            handle_file(str(panorama)), source="Folder", folder=str(tiles), top_k=3, api_name="/localize"
        )
        assert "Best match" in answer
        asked, refused = json.loads(server.communicate("\n", timeout=60)[0])
    finally:
        server.kill()
        server.wait()
    assert not asked, f"the server asked {asked}"
    assert refused == ["socket.getaddrinfo example.org", "socket.connect 192.0.2.1"]  # so the guard does see them
