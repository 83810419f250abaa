import functools
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llmrec.assets import find_asset, hub
from llmrec.errors import AssetError

REVISION = "a" * 40
FILES = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "model.safetensors": b"weights" * 300_000,
    "1_Pooling/config.json": b"{}",
    "README.md": b"#",
    "pytorch_model.bin": b"pickle",
    "modeling.py": b"raise SystemExit",
    "onnx/model.safetensors": b"another",
    "data.parquet": b"",
}
NEEDED = ["1_Pooling/config.json", "config.json", "model.safetensors", "tokenizer.json"]


class FakeHub(BaseHTTPRequestHandler):
    """Serves one model; the server's `stall`, `files` and `asked` steer and record it."""

    def do_GET(self):
        self.server.asked.append(self.path)
        if "/api/models/" in self.path:
            if "/owner/model" not in self.path:
                self.send_error(404)
                return
            self._send(json.dumps(self._listing()).encode())
            return
        name = self.path.partition(f"/resolve/{REVISION}/")[2]
        if name not in self.server.files:
            self.send_error(404)
            return
        self._send(self.server.files[name], stall=name == self.server.stall)

    def _listing(self):
        siblings = []
        for name, data in self.server.files.items():
            entry = {"rfilename": name, "size": len(data)}
            if name.endswith(".safetensors"):
                sha = hashlib.sha256(FILES.get(name, data)).hexdigest()
                entry["lfs"] = {"sha256": sha, "size": len(data), "pointerSize": 1}
            siblings.append(entry)
        return {"id": "owner/model", "sha": REVISION, "siblings": siblings}

    def _send(self, data, stall=False):
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])
        self.wfile.flush()
        if stall:
            self.server.ended.wait(10)
        self.wfile.write(data[len(data) // 2 :])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    import huggingface_hub
    from huggingface_hub import constants

    with ThreadingHTTPServer(("127.0.0.1", 0), FakeHub) as server:
        server.daemon_threads = True
        server.handle_error = lambda *args: None
        server.asked, server.files, server.stall, server.ended = [], dict(FILES), None, threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub, "hf_hub_url", functools.partial(huggingface_hub.hf_hub_url, endpoint=url))
        monkeypatch.setattr(huggingface_hub, "HfApi", functools.partial(huggingface_hub.HfApi, endpoint=url))
        yield server
        server.ended.set()
        server.shutdown()


def stored(cache):
    return sorted(str(p.relative_to(cache)) for p in cache.rglob("*") if p.is_file() and not p.name.startswith("."))


def test_a_model_by_its_id_brings_only_what_inference_needs(server, cache):
    folder = find_asset("owner/model")
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert stored(folder) == NEEDED
    assert len(server.asked) == 1 + len(NEEDED)
    assert find_asset("owner/model") == folder
    assert len(server.asked) == 1 + len(NEEDED)  # the second time nobody is asked


def test_a_file_that_is_not_what_the_hub_lists_is_refused(server, cache):
    server.files["model.safetensors"] = b"exchanged"
    with pytest.raises(AssetError, match=r"the fetched model.safetensors has sha256"):
        find_asset("owner/model")
    assert stored(cache) == []


@pytest.mark.parametrize(
    ("gone", "message"),
    [("model.safetensors", "no safetensors weights; .* never pickles"), ("tokenizer.json", "no tokenizer files")],
)
def test_models_that_cannot_be_loaded_are_not_fetched(server, gone, message):
    del server.files[gone]
    with pytest.raises(AssetError, match=message):
        find_asset("owner/model")
    assert len(server.asked) == 1


def test_unknown_models_are_named(server):
    with pytest.raises(AssetError, match=r"the model owner/other could not be fetched: the hub did not give"):
        find_asset("owner/other")


def test_names_from_the_hub_cannot_leave_the_folder(server, cache, monkeypatch):
    monkeypatch.setattr(hub, "_NEEDED", hub.re.compile(".*"))
    server.files["../../evil.json"] = b"{}"
    with pytest.raises(AssetError, match="refusing"):
        find_asset("owner/model")
    assert stored(cache) == []


def test_a_hub_that_stalls_is_given_up(server, cache, monkeypatch):
    monkeypatch.setattr(hub, "PATIENCE_S", 0.5)
    server.stall = "model.safetensors"
    start = time.monotonic()
    with pytest.raises(AssetError, match="the hub did not"):
        find_asset("owner/model")
    assert time.monotonic() - start < 3
    assert stored(cache) == []


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "LLMREC_OFFLINE"])
def test_offline_means_no_request_at_all(server, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with pytest.raises(AssetError, match="The Hub was not asked, because HF_HUB_OFFLINE"):
        find_asset("owner/model")
    assert server.asked == []


def test_a_hanging_name_lookup_is_left_behind():
    released = threading.Event()
    start = time.monotonic()
    with pytest.raises(AssetError, match=r"did not answer within 0.2 s when asked for a thing"):
        hub.watched(lambda beat: released.wait(30), "a thing", patience_s=0.2)
    assert time.monotonic() - start < 2
    released.set()


def test_signs_of_life_keep_slow_work_alive_and_end_it_once_given_up():
    def slow(beat):
        for _ in range(6):
            time.sleep(0.1)
            beat()
        return "done"

    assert hub.watched(slow, "a thing", patience_s=0.4) == "done"
    ended = threading.Event()

    def deaf(beat):
        try:
            time.sleep(0.3)
            beat()
        finally:
            ended.set()

    with pytest.raises(AssetError):
        hub.watched(deaf, "a thing", patience_s=0.1)
    assert ended.wait(5)


def test_the_patience_with_the_hub_is_below_five_seconds():
    assert hub.PATIENCE_S < 5


def test_a_snapshot_in_the_hugging_face_cache_is_used_if_it_is_complete(tmp_path, monkeypatch):
    import huggingface_hub

    def cached(repo, name, revision):
        path = tmp_path / "snapshot" / name
        return str(path) if path.is_file() else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    for name in NEEDED:
        assert hub.cached_snapshot("owner/model") is None
        path = tmp_path / "snapshot" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(FILES[name])
    assert find_asset("owner/model") == tmp_path / "snapshot"
