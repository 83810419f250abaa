"""Chats as token ids, in which data stays data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llmrec.errors import ModelError

__all__ = ["ChatTokenizer", "Message"]

_MARK = "\uf8ff{}\uf8fe"
"""Stands for a message's text while the template is rendered; of the private use area, which no template writes."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat.

    Attributes:
        role: who speaks.
        text: what is said; a control token in it, such as ``<|im_end|>``, is so many signs of text.
    """

    role: Literal["system", "user", "assistant"]
    text: str


class ChatTokenizer:
    """A causal language model's tokenizer: control tokens come from its chat template, never from a message.

    Attributes:
        end: ids that end what the model says.
        pad: the id that fills up.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Hold a fast tokenizer of transformers."""
        self._tokenizer = tokenizer
        self.end = (int(tokenizer.eos_token_id),) if tokenizer.eos_token_id is not None else ()
        self.pad = int(next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0))
        self.control = frozenset(tokenizer.all_special_ids) | frozenset(
            id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special
        )

    def text(self, text: str) -> list[int]:
        """Ids of plain text: none of them is a control token."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    def chat(self, messages: Sequence[Message], *, answer: bool = True) -> list[int]:
        """Ids of a chat, by the model's template; of a model without one, the texts, a blank line between two.

        Args:
            messages: what was said.
            answer: whether the assistant's turn begins after them.

        Raises:
            ModelError: the template fails, or does not write every message once.
        """
        if not self._tokenizer.chat_template:
            first = [] if self._tokenizer.bos_token_id is None else [int(self._tokenizer.bos_token_id)]
            return first + self.text("\n\n".join(message.text for message in messages) + ("\n\n" if answer else ""))
        marks = [_MARK.format(place) for place in range(len(messages))]
        given = [{"role": m.role, "content": mark} for m, mark in zip(messages, marks, strict=True)]
        try:
            whole = self._tokenizer.apply_chat_template(given, tokenize=False, add_generation_prompt=answer)
        except Exception as error:  # templates raise whatever their authors wrote
            roles = ", ".join(message.role for message in messages)
            raise ModelError(f"the model's chat template refuses messages of {roles}: {error}") from error
        parts = re.split("(" + "|".join(map(re.escape, marks)) + ")", whole) if marks else [whole]
        if parts[1::2] != marks:
            raise ModelError("the model's chat template does not write every message once, in order; it cannot be used")
        ids: list[int] = []
        for place, part in enumerate(parts):
            if place % 2:
                ids += self.text(messages[place // 2].text)
            elif part:
                ids += self._tokenizer(part, add_special_tokens=False)["input_ids"]
        return ids

    def cut(self, text: str, count: int) -> str:
        """The text, or as much of it as its first so many tokens hold."""
        ids = self.text(text)
        return text if len(ids) <= count else self.read(ids[:count]).rstrip("\ufffd")

    def read(self, ids: Sequence[int]) -> str:
        """Text of ids, control tokens left out."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text
