"""Where a language model behind a URL may be, and which of these places are asked."""

import pytest

from llmrec.errors import ConfigError, ModelError
from llmrec.models import LanguageModel, Message, Patience, RemoteLanguageModel, _endpoint, open_chat_model


def ask(model):
    return model.generate([model.chat([Message("user", "Heat")])], max_new_tokens=1)


class TestPlaces:
    @pytest.mark.parametrize(
        "url", ["", "localhost:8000", "ftp://host/v1", "http://", "http://a b/v1", "http://h:x/", "http://a%62/v1"]
    )
    def test_what_is_no_url(self, url):
        with pytest.raises(ConfigError, match="the URL of a server is"):
            RemoteLanguageModel(url, "tiny")

    @pytest.mark.parametrize("url", ["http://me:word@host/v1", "https://host/v1?key=word"])
    def test_no_secret_in_a_url(self, url):
        with pytest.raises(ConfigError, match="server host may hold no name, password or query") as error:
            RemoteLanguageModel(url, "tiny")
        assert "word@" not in str(error.value)
        assert "=word" not in str(error.value)

    def test_url_and_name_in_one(self):
        model = open_chat_model("HTTPS://Host.Example:443/v1/#org/name", max_tokens=99)
        assert (model.url, model.name, model.max_tokens) == ("https://host.example/v1", "org/name", 99)
        with pytest.raises(ConfigError, match="needs a name"):
            open_chat_model("http://host/v1")
        with pytest.raises(ConfigError, match="opened by RemoteLanguageModel"):
            LanguageModel.load("http://host/v1#name")
        with pytest.raises(ConfigError, match="max_tokens=1 is out of range"):
            open_chat_model("http://host/v1#name", max_tokens=1)
        with pytest.raises(ConfigError, match="timeout=0"):
            Patience(timeout=0)

    def test_a_bundle_from_elsewhere_asks_no_server_that_is_not_listed(self, monkeypatch):
        monkeypatch.setattr(_endpoint, "PAUSE", 0.001)
        monkeypatch.delenv("LLMREC_ENDPOINTS", raising=False)
        foreign = open_chat_model("http://192.0.2.1:9/v1#tiny", stored={})
        with pytest.raises(ConfigError, match=r"list it: export LLMREC_ENDPOINTS=http://192.0.2.1:9"):
            ask(foreign)
        here = RemoteLanguageModel.load("http://127.0.0.1:9/v1#tiny", own_choice=False)
        here._connection.patience = Patience(retries=0)
        for listed in (None, "http://127.0.0.1:9"):
            if listed:
                monkeypatch.setenv("LLMREC_ENDPOINTS", listed)
            with pytest.raises(ModelError, match="cannot reach"):
                ask(here)
        with pytest.raises(ModelError, match="holds no files of the language model"):
            open_chat_model("smollm2", stored={})
