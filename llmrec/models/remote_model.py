"""Language models behind a URL: any server that speaks OpenAI's protocol."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from llmrec.errors import ConfigError, ModelError
from llmrec.models._answers import Read, counted, echoed, first_tokens, said, weighed
from llmrec.models._endpoint import Connection, Endpoint, Patience, RefusedError
from llmrec.models.chat import Message
from llmrec.models.language_model import Usage
from llmrec.types import Float32Array, Int32Array

__all__ = ["Patience", "RemoteChat", "RemoteLanguageModel", "without_control"]

BYTES = 4
"""Of UTF-8 in a token, as a rule: of English text as of Chinese. Only the server knows its tokens."""

AROUND = 4
"""Tokens that a chat template writes around a message, about."""

USUAL = 2048
"""Tokens that are read where nobody says how many."""

SHOWN = (20, 5)
"""So many likely first tokens a server is asked for: what most give, and what the others do."""

Part = TypeVar("Part")

# two letters in brackets are no control token of any model known, but the aliases of `listwise` and `pairwise`
_CONTROL = re.compile(r"<(?=[|\uff5c/<]|[A-Za-z][\w-]*>)|\[(?=\||/?[A-Za-z][A-Z_0-9]{2,}\])")


def without_control(text: str) -> str:
    """The text with a space inside of what some model's tokenizer may take for a control token.

    ``<|im_end|>``, ``</s>``, ``<start_of_turn>``, ``<<SYS>>``, ``[INST]`` and ``[|assistant|]`` become ``< |im_end|>``
    and so on. These are the forms that the known families of models use; a model with control tokens of another form is
    not protected here. A server that tokenizes messages as they stand would let a title speak for the system.
    """
    return _CONTROL.sub(lambda found: found[0] + " ", text)


@dataclass(frozen=True, slots=True)
class RemoteChat:
    """A prompt of a remote model: the messages, as the server is sent them.

    Attributes:
        messages: what was said.
    """

    messages: tuple[Message, ...]

    def __len__(self) -> int:
        """About how many tokens it has."""
        return AROUND + sum(_tokens(message.text) + AROUND for message in self.messages)

    @property
    def content(self) -> list[dict[str, str]]:
        """As the protocol writes messages."""
        return [{"role": message.role, "content": message.text} for message in self.messages]

    @property
    def text(self) -> str:
        """As one text without a chat template, as `ChatTokenizer.chat` writes it for a model that has none."""
        return "\n\n".join(message.text for message in self.messages) + "\n\n"


class RemoteLanguageModel:
    """A language model behind a URL that speaks OpenAI's protocol: a hosted one, vLLM, llama.cpp, `transformers serve`.

    Nothing is sent before something is asked. Answers are the likeliest ones (temperature 0, a fixed seed); whether the
    same question gets the same answer twice is the server's to keep. What could be taken for a control token is broken
    by a space (`without_control`); to treat the rest of a message as data is the server's duty too.

    All servers give answers (`generate`). `choose` needs one that gives the likelihoods of first tokens ("logprobs" of
    chat completions), `log_likelihood` one that gives those of what it reads (completions with "echo" and "logprobs").
    Which it does is found out once, when it is needed.

    Attributes:
        name: the model's name, as the server knows it.
        max_tokens: tokens of a prompt and what follows it, as far as they can be counted here: four bytes are taken
            for one.
        tokens: None: only the server knows them.
    """

    tokens: None = None

    def __init__(
        self,
        url: str,
        model: str,
        *,
        max_tokens: int | None = None,
        key_from_env: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        """Say where a model is; nothing is sent.

        Args:
            url: what "/chat/completions" is added to, such as "http://localhost:8000/v1".
            model: the model's name, as the server knows it.
            max_tokens: tokens of a prompt and what follows it; None: 2,048.
            key_from_env: the environment variable that holds the server's key; None: the key that `LLMREC_ENDPOINTS`
                lists beside the server ("https://api.example.com=KEY"), if it does.
            patience: timeout, repeats, requests at a time.

        Raises:
            ConfigError: the URL or the name is none, or `max_tokens` is below 2.
        """
        if not model.strip():
            raise ConfigError('a model behind a URL needs a name, as in "http://localhost:8000/v1#smollm2"')
        if max_tokens is not None and max_tokens < 2:
            raise ConfigError(f"max_tokens={max_tokens} is out of range for {model}: from 2")
        self.name = model
        self.max_tokens = USUAL if max_tokens is None else max_tokens
        self._open(url, key_from_env, patience or Patience(), own_choice=True)

    def _open(self, url: str, key_from_env: str | None, patience: Patience, *, own_choice: bool) -> None:
        self._connection = Connection(Endpoint.of(url), patience, key_from_env=key_from_env, own_choice=own_choice)
        self._usage = Usage()
        self._shown: int | None = None
        self._echoes: bool | None = None
        self._lock = threading.Lock()

    @classmethod
    def load(cls, endpoint: str, *, max_tokens: int | None = None, own_choice: bool = True) -> RemoteLanguageModel:
        """Open a model by URL and name in one, "http://localhost:8000/v1#name".

        Args:
            endpoint: URL, "#", name.
            max_tokens: tokens of a prompt and what follows it; None: 2,048.
            own_choice: whether the user wrote the URL. What a bundle names is asked only if it is this machine, or if
                `LLMREC_ENDPOINTS` lists it.

        Raises:
            ConfigError: it is not of that form.
        """
        url, _, name = endpoint.partition("#")
        model = cls(url, name, max_tokens=max_tokens)
        model._open(url, None, Patience(), own_choice=own_choice)
        return model

    @property
    def url(self) -> str:
        """Where the server is."""
        return self._connection.endpoint.url

    @property
    def usage(self) -> Usage:
        """What it was asked so far, in tokens as the server counts them; of one that does not, nothing."""
        return self._usage

    def files(self) -> Mapping[str, Path]:
        """Nothing: a bundle stores the URL and the name."""
        return {}

    def chat(self, messages: Sequence[Message]) -> RemoteChat:
        """A chat up to the assistant's answer, with what has the form of a control token broken (`without_control`)."""
        return RemoteChat(tuple(Message(message.role, without_control(message.text)) for message in messages))

    def count_tokens(self, texts: Sequence[str]) -> Int32Array:
        """Int32[n]: tokens of each text, about."""
        return np.fromiter(map(_tokens, texts), np.int32, len(texts))

    def cut(self, text: str, count: int) -> str:
        """The text, or as much of it as so many tokens hold, about."""
        return text.encode()[: BYTES * count].decode(errors="ignore")

    def generate(
        self,
        prompts: Sequence[RemoteChat],
        *,
        max_new_tokens: int,
        allowed: Callable[[list[int]], list[int]] | None = None,
    ) -> list[str]:
        """What the model says.

        Args:
            prompts: n chats.
            max_new_tokens: of an answer at most.
            allowed: None, as the server's tokens are not known here.

        Returns:
            n texts.

        Raises:
            ConfigError: something is in `allowed`; the server may not be asked, or wants another key.
            ModelError: it cannot be reached, does not know the model, or answers something else.
        """
        if allowed is not None:
            raise ConfigError(f"{self.name} is behind a URL, where an answer cannot be held to certain tokens")
        bodies = [self._body(messages=prompt.content, max_tokens=max_new_tokens) for prompt in prompts]
        answers = self._connection.ask_all("chat/completions", bodies)
        self._count(answers)
        return [self._part(answer, said) for answer in answers]

    def choose(self, prompts: Sequence[RemoteChat], answers: Sequence[str]) -> Float32Array:
        """How likely the model's answer begins with each of some words, with or without a space in front.

        Only the likeliest first tokens are known, twenty where the server gives as many: a word that is not among them
        counts as likely as the least of them.

        Args:
            prompts: n chats.
            answers: m single words.

        Returns:
            Float32[n, m], natural logarithms; NaN in a row where none of the words is among the likeliest.

        Raises:
            ConfigError: the server gives no likelihoods; or as `generate`.
            ModelError: as `generate`.
        """
        found = np.zeros((len(prompts), len(answers)), dtype=np.float32)
        if not len(prompts):
            return found
        shown = self._find_shown(prompts[0])
        replies = self._connection.ask_all("chat/completions", [self._first(prompt, shown) for prompt in prompts])
        self._count(replies)
        for row, reply in enumerate(replies):
            found[row] = weighed(self._part(reply, first_tokens), [answer.encode() for answer in answers])
        return found

    def log_likelihood(
        self, prompts: Sequence[RemoteChat], continuations: Sequence[Sequence[str]], *, ended: bool = False
    ) -> list[Float32Array]:
        """How likely each continuation of each prompt is, the chat written as one text, a blank line between messages.

        Args:
            prompts: n chats.
            continuations: for each, texts that may follow it.
            ended: whether the end of the line after it belongs to a text.

        Returns:
            For each prompt Float32[m], natural logarithms; 0 for an empty text.

        Raises:
            ConfigError: the server does not say how likely what it reads is; or as `generate`.
            ModelError: as `generate`.
        """
        self._check_echoes()
        end = "\n" if ended else ""
        given = [[without_control(text) + end for text in texts] for texts in continuations]
        texts = [prompt.text for prompt in prompts]
        whole = [text + more for text, some in zip(texts, given, strict=True) for more in some]
        read = self._echo([*texts, *whole])
        alone, rest = read[: len(texts)], iter(read[len(texts) :])
        return [
            np.array([self._tail(next(rest).behind(text, more, prompt), more) for more in some], dtype=np.float32)
            for text, prompt, some in zip(texts, alone, given, strict=True)
        ]

    def _tail(self, values: Sequence[float | None], text: str) -> float:
        """The sum over the tokens behind a prompt."""
        known = [value for value in values if value is not None and math.isfinite(value)]
        if len(known) < len(values) or (text and not known):
            raise ModelError(f"{self.name} at {self.url} gave no finite likelihood of a text that it read")
        with self._lock:
            self._usage = _sum(self._usage, Usage(prompts=-len(known), continuations=len(known)))
        return math.fsum(known)

    def _check_echoes(self) -> None:
        """Raise if the server does not say how likely texts are that it reads."""
        if self._echoes is None:
            try:
                (read,) = self._echo(["One two three four."])
                self._echoes = len(read.values) > 1 and None not in read.values[1:]
            except RefusedError:
                self.generate([self.chat([Message("user", "One")])], max_new_tokens=1)  # does it know the model?
                self._echoes = False
        if not self._echoes:
            raise ConfigError(
                f"{self.name} at {self.url} does not say how likely a text is that it reads (completions with echo and "
                "logprobs, as vLLM has them), which title_likelihood needs; yes_no does "
                "without"
            )

    def _echo(self, texts: Sequence[str]) -> list[Read]:
        """What the server says of the tokens of texts."""
        # a token more than was read has to be said: some servers take 0 for "as many as fit"
        bodies = [self._body(prompt=text, max_tokens=1, echo=True, logprobs=1) for text in texts]
        answers = self._connection.ask_all("completions", bodies)
        self._count(answers)
        return [self._part(answer, echoed) for answer in answers]

    def _find_shown(self, prompt: RemoteChat) -> int:
        """How many likely first tokens the server gives; raise if none."""
        if self._shown is None:
            found = next((shown for shown in SHOWN if self._shows(prompt, shown)), 0)
            if not found:
                self.generate([prompt], max_new_tokens=1)  # does it know the model?
            self._shown = found
        if not self._shown:
            raise ConfigError(
                f"{self.name} at {self.url} gives no likelihoods of what it says (logprobs of chat completions, as "
                'vLLM and llama.cpp have them), which yes_no needs; with evidence = "answer" it does without'
            )
        return self._shown

    def _shows(self, prompt: RemoteChat, shown: int) -> bool:
        try:
            reply = self._connection.ask("chat/completions", self._first(prompt, shown))
        except RefusedError:
            return False
        self._count([reply])
        return bool(self._part(reply, first_tokens))

    def _first(self, prompt: RemoteChat, shown: int) -> dict[str, Any]:
        return self._body(messages=prompt.content, max_tokens=1, logprobs=True, top_logprobs=shown)

    def _body(self, **what: Any) -> dict[str, Any]:
        return {"model": self.name, "temperature": 0, "seed": 0, **what}

    def _part(self, answer: dict[str, Any], read: Callable[[dict[str, Any]], Part]) -> Part:
        """Something of an answer; ModelError if it is not where the protocol has it."""
        try:
            return read(answer)
        except (LookupError, TypeError, AttributeError, ValueError):
            raise ModelError(
                f"{self.url} answered in another form than OpenAI's protocol has; is it an OpenAI-compatible URL?"
            ) from None

    def _count(self, answers: Sequence[dict[str, Any]]) -> None:
        for answer in answers:
            read, said = self._part(answer, counted)
            with self._lock:
                self._usage = _sum(self._usage, Usage(prompts=read, read=read, said=said))


def _sum(first: Usage, second: Usage) -> Usage:
    return Usage(*(sum(pair) for pair in zip(astuple(first), astuple(second), strict=True)))


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // BYTES)
