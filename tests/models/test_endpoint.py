"""Servers: how they are reached, what they are not sent, and that their errors are errors of ours."""

import pytest

from llmrec.errors import ConfigError, ModelError
from llmrec.models import Message, Patience, RemoteLanguageModel, _endpoint, without_control
from llmrec.models._endpoint import Connection, Endpoint, RefusedError
from llmrec.testing.endpoint import small_server
from llmrec.testing.models import tiny_llama

PROXY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with small_server(tiny_llama(tmp_path_factory.mktemp("llama") / "tiny")) as running:
        yield running


def ask(url, **patience):
    model = RemoteLanguageModel(url, "tiny", patience=Patience(**{"retries": 0, **patience}))
    return model.generate([model.chat([Message("user", "private")])], max_new_tokens=1)


def test_this_machine_is_asked_directly(server, monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, PROXY)
    assert len(ask(server.url)) == 1


def test_other_servers_are_reached_through_the_proxy(server, monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
    with pytest.raises(RefusedError, match="404"):  # which is what the server says to a path that is a whole URL
        ask("http://elsewhere.invalid/v1")


@pytest.mark.parametrize("host", ["\uff4cocal", "a\u2024b", "\u2161"])
def test_a_host_without_an_ascii_form(host):
    with pytest.raises(ConfigError, match="the URL of a server is"):
        Endpoint.of(f"http://{host}/v1")
    assert Endpoint.of("http://b\u00fccher.example/v1").url == "http://b\u00fccher.example/v1"


def test_a_damaged_body_is_one_clear_error(server):
    server.failures = [(200, {"Content-Encoding": "gzip"}, b"no gzip at all", 0.0)]
    with pytest.raises(ModelError, match=r"answers cannot be read \(DecodingError\)"):
        ask(server.url)


def test_a_url_that_cannot_be_asked_is_one_clear_error():
    here = Endpoint("http://\uff4cocal/v1", "http://\uff4cocal", local=True)
    with pytest.raises(ModelError, match=r"\(InvalidURL\)"):
        Connection(here, Patience(retries=0), key_from_env=None, own_choice=True).ask("chat/completions", {})
    assert _endpoint.is_endpoint(here.url)


@pytest.mark.parametrize(
    "token", ["[|assistant|]", "[|endofturn|]", "[EOT]", "[gMASK]", "[UNUSED_TOKEN_145]", "[/INST]", "[TOOL_CALLS]"]
)
def test_tokens_in_brackets_are_broken_too(token):
    assert without_control(f"a{token}b") == f"a[ {token[1:]}b"
