"""What a language model can be asked, wherever it runs, and how one is opened by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from llmrec.errors import ModelError
from llmrec.models._endpoint import is_endpoint
from llmrec.models.chat import ChatTokenizer, Message
from llmrec.models.language_model import LanguageModel, Usage
from llmrec.models.remote_model import RemoteLanguageModel
from llmrec.types import Float32Array, Int32Array

__all__ = ["ChatModel", "open_chat_model"]

Prompt = TypeVar("Prompt")


class ChatModel(Protocol[Prompt]):
    """A language model that is asked in chats: `LanguageModel`, or `RemoteLanguageModel` behind a URL.

    `chat` makes a prompt, which the other methods read; what it is, is the model's own: only its length is for all.
    """

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    @property
    def max_tokens(self) -> int:
        """Tokens of a prompt and what follows it."""
        ...

    @property
    def tokens(self) -> ChatTokenizer | None:
        """From texts to ids; None where only a server knows them."""
        ...

    @property
    def usage(self) -> Usage:
        """What it was asked so far."""
        ...

    def chat(self, messages: Sequence[Message]) -> Prompt:
        """A chat up to the assistant's answer; its `len` is its number of tokens."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> Int32Array:
        """Int32[n]: tokens of each text."""
        ...

    def cut(self, text: str, count: int) -> str:
        """The text, or as much of it as its first so many tokens hold."""
        ...

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        allowed: Callable[[list[int]], list[int]] | None = None,
    ) -> list[str]:
        """What the model says to each prompt, always its likeliest next token, of those allowed if it has `tokens`."""
        ...

    def choose(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> Float32Array:
        """Float32[n, m]: log-likelihoods that an answer begins with each of some single words."""
        ...

    def log_likelihood(
        self, prompts: Sequence[Prompt], continuations: Sequence[Sequence[str]], *, ended: bool = False
    ) -> list[Float32Array]:
        """For each prompt Float32[m]: log-likelihoods of whole answers."""
        ...

    def files(self) -> Mapping[str, Path]:
        """What a bundle copies, by relative name; nothing of a model that runs elsewhere."""
        ...


def open_chat_model(
    model: str, *, max_tokens: int | None = None, stored: Mapping[str, Path] | None = None
) -> ChatModel[Any]:
    """Open a language model by asset name, hub id, folder, or URL of a server and model name: "http://host/v1#name".

    Args:
        model: its name.
        max_tokens: tokens of a prompt and what follows it; None: what is usual.
        stored: the files that a bundle holds of it; those are opened. None: it does not come from a bundle.

    Raises:
        AssetError: the model cannot be found.
        ModelError: the files are those of no causal language model, or the bundle holds none.
        ConfigError: `max_tokens` is more than the model reads, or the URL is none to send texts to.
    """
    if stored and "config.json" in stored:
        return LanguageModel.load(str(stored["config.json"].parent), max_tokens=max_tokens)
    if is_endpoint(model):
        return RemoteLanguageModel.load(model, max_tokens=max_tokens, own_choice=stored is None)
    if stored is not None:
        raise ModelError("the bundle holds no files of the language model that it names; restore it or fit it again")
    return LanguageModel.load(model, max_tokens=max_tokens)
