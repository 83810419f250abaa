"""The real process: it listens, drains when it is told to stop, and then exits with 0."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from llmrec.errors import ConfigError
from llmrec.serve.http.server import listen

HERE = Path(__file__).parent
PATIENCE_S = 60.0


@contextmanager
def _serving(delay=0.0, drain_s=30.0, fail=False):
    """A process, its address, and what it writes to stderr."""
    words = [HERE / "serving.py", HERE.parent / "fakes.py", delay, drain_s, *(["fail"] if fail else [])]
    process = subprocess.Popen(
        [sys.executable, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        lines = []
        for line in process.stderr:
            lines.append(json.loads(line))
            if lines[-1]["message"].startswith("ready at ") or fail:
                break
        address = re.search(r"http://\S+", " ".join(line["message"] for line in lines))
        yield process, address and address[0]
    finally:
        process.kill()
        process.communicate()


def _wait_until(holds):
    until = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def _inside(client):
    return int(float(re.search(r"^llmrec_http_inside (\S+)", client.get("/metrics").text, re.M)[1]))


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_those_inside_out_and_nobody_in(sent):
    with _serving(delay=1.5) as (process, address), httpx2.Client(base_url=address, timeout=PATIENCE_S) as client:
        with ThreadPoolExecutor(3) as pool:
            accepted = [pool.submit(client.post, "/v1/recommend", json={"k": n}) for n in (1, 2, 3)]
            _wait_until(lambda: _inside(client) >= 4)
            process.send_signal(sent)
            _wait_until(lambda: client.get("/readyz").status_code == 503)
            late = client.post("/v1/recommend", json={"k": 1})
            assert late.status_code == 503
            assert late.headers["connection"] == "close"
            assert client.get("/livez").status_code == 200
            answers = [future.result() for future in accepted]
        assert [answer.status_code for answer in answers] == [200] * 3
        assert [len(answer.json()["items"]) for answer in answers] == [1, 2, 3]
        out, _ = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, out) == (0, "stopped\n")


def test_it_waits_no_longer_than_it_was_told():
    with (
        _serving(delay=600.0, drain_s=0.2) as (process, address),
        httpx2.Client(base_url=address, timeout=PATIENCE_S) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        hanging = pool.submit(client.post, "/v1/recommend", json={})
        _wait_until(lambda: _inside(client) >= 2)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, out) == (0, "stopped\n")
        assert hanging.exception() is not None or hanging.result().status_code >= 500


def test_a_client_that_goes_frees_its_place():
    with _serving(delay=600.0) as (_, address), httpx2.Client(base_url=address, timeout=PATIENCE_S) as client:
        with pytest.raises(httpx2.ReadTimeout):
            client.post("/v1/recommend", json={}, timeout=0.3)
        _wait_until(lambda: _inside(client) == 1)
        assert 'route="/v1/recommend",status="499"' in client.get("/metrics").text


def test_it_says_that_it_did_not_start():
    with _serving(fail=True) as (process, _):
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 7


def test_raw_requests_that_are_none_do_no_harm():
    host_and = b"Host: 127.0.0.1\r\n"
    odd = [
        b"GET / HTTP/1.1\r\n\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + host_and + b"X-Request-ID: a\r\n b\r\n\r\n",
        b"POST /v1/recommend HTTP/1.1\r\n" + host_and + b"Content-Length: -1\r\n\r\n",
        b"POST /v1/recommend HTTP/1.1\r\n" + host_and + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0",
        b"GET /livez HTTP/1.1\r\n" + host_and + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ]  # fmt: skip
    with _serving() as (process, address):
        host, port = re.fullmatch(r"http://(.+):(\d+)", address).groups()
        for raw in odd:
            with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: connection.recv(65_536), b""))
                assert b" 500 " not in answer.split(b"\r\n", 1)[0], raw
        assert httpx2.get(f"{address}/livez").status_code == 200
        assert process.poll() is None


def test_a_port_that_is_taken_is_said():
    with listen("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(ConfigError, match="cannot listen at"):
            listen("127.0.0.1", first.getsockname()[1])
