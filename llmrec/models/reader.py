"""What a model reads of a text, token by token, without its weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from llmrec.assets import find_asset
from llmrec.errors import ModelError
from llmrec.models._folder import check_max_tokens, check_pair_modules, read_config, read_layout, short_name
from llmrec.models._tokens import Tokenizer
from llmrec.types import Int32Array

__all__ = ["TextReader"]


class TextReader:
    """A model's tokenizer and limits; made by `load` or `load_pair`.

    Attributes:
        name: the model's name.
        max_tokens: tokens that are read, special tokens included; the rest is cut off.
        text_budget: tokens of text that fit beside special tokens and the longest prompt; of a pair, both texts'.
    """

    def __init__(self, name: str, tokenizer: Tokenizer, max_tokens: int, overhead: int) -> None:
        self._tokenizer = tokenizer
        self.name = name
        self.max_tokens = max_tokens
        self.text_budget = max_tokens - overhead

    @classmethod
    def load(
        cls, name_or_path: str, *, max_tokens: int = 128, progress: Callable[[str], None] | None = None
    ) -> TextReader:
        """Open the tokenizer of a text encoder, as `TextEncoder.load` would.

        Args:
            name_or_path: an asset name, a hub id, or a folder.
            max_tokens: tokens of a text that are read.
            progress: told about downloads.

        Raises:
            AssetError: the model cannot be found.
            ModelError: the folder holds something that cannot be run.
            ConfigError: `max_tokens` is more than the model reads.
        """
        folder = find_asset(name_or_path, progress=progress)
        layout = read_layout(folder)
        tokenizer = Tokenizer.load(layout.transformer, lowercase=layout.lowercase)
        longest = max(tokenizer.count(list(layout.prompts.values())), default=0)
        overhead = tokenizer.single_overhead + int(longest)
        check_max_tokens(max_tokens, overhead, layout.transformer, read_config(layout.transformer))
        return cls(short_name(name_or_path, folder), tokenizer, max_tokens, overhead)

    @classmethod
    def load_pair(
        cls, name_or_path: str, *, max_tokens: int = 64, progress: Callable[[str], None] | None = None
    ) -> TextReader:
        """Open the tokenizer of a model that reads pairs of texts: a cross-encoder, or an encoder to start one from.

        Args:
            name_or_path: an asset name, a hub id, or a folder.
            max_tokens: tokens of a pair that are read.
            progress: told about downloads.

        Raises:
            AssetError: the model cannot be found.
            ModelError: the folder holds something that cannot be run.
            ConfigError: `max_tokens` is more than the model reads.
        """
        folder = find_asset(name_or_path, progress=progress)
        transformer = _pair_transformer(folder)
        tokenizer = Tokenizer.load(transformer)
        overhead = tokenizer.pair_overhead
        check_max_tokens(max_tokens, overhead + 1, transformer, read_config(transformer))
        return cls(short_name(name_or_path, folder), tokenizer, max_tokens, overhead)

    def count_tokens(self, texts: Sequence[str]) -> Int32Array:
        """Int32[n]: tokens of each text, without special tokens or prompt."""
        return self._tokenizer.count(texts)

    def count_unknown(self, texts: Sequence[str]) -> Int32Array:
        """Int32[n]: those tokens of each text that stand for signs the tokenizer does not know."""
        return self._tokenizer.count_unknown(texts)

    def pieces(self, texts: Sequence[str]) -> list[list[str]]:
        """The tokens of each text as the tokenizer writes them, such as "star" and "##s"."""
        return self._tokenizer.pieces(texts)


def _pair_transformer(folder: Path) -> Path:
    """The folder with the transformer of a cross-encoder, or of a text encoder that one is started from."""
    try:
        check_pair_modules(folder)
    except ModelError:
        return read_layout(folder).transformer
    return folder
