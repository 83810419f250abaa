"""Servers that speak OpenAI's protocol over a model in a folder, on this machine: for tests of what asks them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Lock, Thread
from typing import Any

__all__ = ["SmallServer", "small_server", "transformers_lacks", "transformers_serve"]

START_S = 300.0
"""Seconds that a server may take to start: it imports torch on a busy machine."""


def transformers_lacks() -> list[str]:
    """The packages of `transformers[serving]` that are not installed."""
    return [name for name in ("fastapi", "openai", "uvicorn") if find_spec(name) is None]


@contextmanager
def transformers_serve(folder: Path, log: Path) -> Iterator[str]:
    """Run `transformers serve` on a free port; it knows the model by its folder.

    Args:
        folder: the model.
        log: a file for what the server says.

    Yields:
        The URL, with "/v1" at its end.

    Raises:
        RuntimeError: it does not start; with the end of what it said.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as said, subprocess.Popen(command, stdout=said, stderr=said, env=quiet) as process:
        try:
            if not _started(process, f"http://127.0.0.1:{port}/health"):
                raise RuntimeError(f"transformers serve does not start:\n{log.read_text()[-2000:]}")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def _started(process: subprocess.Popen[bytes], url: str) -> bool:
    import httpx2

    end = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end:
        try:
            if httpx2.get(url, timeout=5).status_code == 200:
                return True
        except httpx2.TransportError:
            time.sleep(0.1)
    return False


@dataclass(slots=True)
class SmallServer:
    """A running server with likelihoods, which `transformers serve` does not give, and with failures on request.

    It tokenizes a chat as servers do: messages are put into the template, and what looks like a control token then is
    one.

    Attributes:
        url: its URL, with "/v1" at its end.
        failures: what it answers before it does its work, first ones first: status, headers, body, seconds to wait.
        lists: likely first tokens that it lists at most; more is refused, and 0: none are listed.
        echoes: whether it says how likely the tokens are that it reads.
        asked: bodies of the requests so far.
        headers: their headers.
        read: ids of the prompts that it read.
    """

    url: str = ""
    failures: list[tuple[int, Mapping[str, str], bytes, float]] = field(default_factory=list)
    lists: int = 20
    echoes: bool = True
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    read: list[list[int]] = field(default_factory=list)


@contextmanager
def small_server(folder: Path) -> Iterator[SmallServer]:
    """Serve a causal language model on a free port, by plain transformers.

    Args:
        folder: the model; its name there is the folder's.
    """
    state, model = SmallServer(), _Served(folder)
    lock = Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                state.asked.append(body)
                state.headers.append({name.lower(): value for name, value in self.headers.items()})
                failure = state.failures.pop(0) if state.failures else None
                status, headers, content, wait = failure or (*model.answer(self.path, body, state), 0.0)
            time.sleep(wait)
            try:
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                self.close_connection = True  # who asked did not wait

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


class _Served:
    """A model and its tokenizer, as transformers opens them."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.name = folder.name
        self.module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def answer(self, path: str, body: dict[str, Any], state: SmallServer) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content."""
        chat = path == "/v1/chat/completions"
        if body.get("model") != self.name or path not in ("/v1/chat/completions", "/v1/completions"):
            return _json(404, {"error": {"message": f"no {body}", "code": "model_not_found"}})
        if chat and state.lists and body.get("top_logprobs", 0) > state.lists:
            return _json(400, {"error": {"message": f"at most {state.lists}", "type": "invalid_request_error"}})
        ids, chances = self._read(body)
        state.read.append(ids)
        said = self._say(ids, body["max_tokens"])
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        if chat:
            choice["message"] = {"role": "assistant", "content": self.tokenizer.decode(said, skip_special_tokens=True)}
            if body.get("logprobs") and state.lists:
                choice["logprobs"] = {"content": [{"top_logprobs": self._top(chances[-1], body["top_logprobs"])}]}
        else:
            choice["text"] = self.tokenizer.decode(said)
            last = [float(chances[-1, said[0]])]
            before = [float(chances[place, token]) for place, token in enumerate(ids[1:])]
            choice["logprobs"] = {"token_logprobs": [None, *before, *last] if state.echoes else last}
        usage = {"prompt_tokens": len(ids), "completion_tokens": len(said)}
        return _json(200, {"choices": [choice], "usage": usage})

    def _read(self, body: dict[str, Any]) -> tuple[list[int], Any]:
        """Ids of a prompt, and the log-likelihoods of all tokens after each."""
        import torch

        if "messages" in body:
            ids = self.tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True)["input_ids"]
        else:
            ids = self.tokenizer(body["prompt"])["input_ids"]
        with torch.inference_mode():
            return list(ids), self.module(torch.tensor([ids])).logits[0].log_softmax(dim=-1)

    def _say(self, ids: list[int], count: int) -> list[int]:
        import torch

        found = torch.tensor([ids])
        whole = self.module.generate(
            found,
            attention_mask=torch.ones_like(found),
            max_new_tokens=count,
            do_sample=False,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        said: list[int] = whole[0, len(ids) :].tolist()
        return said

    def _top(self, chances: Any, count: int) -> list[dict[str, Any]]:
        values, ids = chances.topk(count)
        texts = [self.tokenizer.decode([id_]) for id_ in ids.tolist()]
        return [
            {"token": text, "logprob": value, "bytes": list(text.encode())}
            for text, value in zip(texts, values.tolist(), strict=True)
        ]


def _json(status: int, value: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    return status, {"content-type": "application/json"}, json.dumps(value).encode()
