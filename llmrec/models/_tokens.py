"""Texts as token ids in flat arrays: tokenized once, cut, framed with special tokens and padded in bulk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llmrec.errors import ModelError
from llmrec.types import Int32Array, Int64Array, select_rows

if TYPE_CHECKING:
    import tokenizers

__all__ = ["Framed", "Tokenizer", "Tokens", "length_batches", "pair_limits"]

# Encodings hold far more than the ids, so they live for one chunk only.
_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of n texts, without special tokens.

    Attributes:
        offsets: Int64[n + 1], CSR over the texts.
        ids: Int32[nnz], token ids.
    """

    offsets: Int64Array
    ids: Int32Array

    @property
    def lengths(self) -> Int64Array:
        """Int64[n]: tokens per text."""
        return np.diff(self.offsets)

    def take(self, rows: Int64Array) -> Tokens:
        """Return the given texts, in the given order."""
        offsets, picked = select_rows(self.offsets, rows)
        return Tokens(offsets, self.ids[picked])

    def cut(self, limits: Int64Array) -> Tokens:
        """Keep at most Int64[n] `limits` tokens from the start of each text."""
        lengths = np.minimum(self.lengths, limits)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        positions = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - self.offsets[:-1], lengths)
        return Tokens(offsets, self.ids[positions])


@dataclass(frozen=True, slots=True)
class Framed:
    """Token ids as the model reads them, special tokens included.

    Attributes:
        offsets: Int64[n + 1], CSR over the sequences.
        ids: Int32[nnz], token ids.
        types: Int32[nnz], segment ids: which of a pair's two texts a token belongs to.
        borders: Int64[n], place in its sequence at which the last text begins.
    """

    offsets: Int64Array
    ids: Int32Array
    types: Int32Array
    borders: Int64Array

    @property
    def lengths(self) -> Int64Array:
        """Int64[n]: tokens per sequence."""
        return np.diff(self.offsets)

    def stacked(self, rows: Int64Array, pad_id: int) -> tuple[Int64Array, Int64Array]:
        """Return ids and segment ids of sequences that are of one length, each Int64[len(rows), length].

        A sequence of no token, where a model has no special ones, is one pad.
        """
        starts = self.offsets[rows]
        length = int(self.offsets[rows[0] + 1] - starts[0])
        if length == 0:
            return np.full((len(rows), 1), pad_id, np.int64), np.zeros((len(rows), 1), np.int64)
        where = starts[:, None] + np.arange(length)
        return self.ids[where].astype(np.int64), self.types[where].astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Frame:
    """The special tokens around k texts: k + 1 runs of (id, segment) and the segment of each text."""

    runs: tuple[tuple[list[int], list[int]], ...]
    segments: tuple[int, ...]

    @property
    def size(self) -> int:
        return sum(len(ids) for ids, _ in self.runs)

    def around(self, parts: Sequence[Tokens]) -> Framed:
        """Join k parts of n texts each into n framed sequences."""
        lengths = np.sum([part.lengths for part in parts], axis=0, dtype=np.int64) + self.size
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        ids, types = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.int32)
        cursor, borders = offsets[:-1].copy(), np.zeros(len(offsets) - 1, np.int64)
        for place, (run_ids, run_types) in enumerate(self.runs):
            where = cursor[:, None] + np.arange(len(run_ids))
            ids[where], types[where] = run_ids, run_types
            cursor += len(run_ids)
            if place < len(parts):
                part, borders = parts[place], cursor - offsets[:-1]
                spots = np.repeat(cursor - part.offsets[:-1], part.lengths) + np.arange(len(part.ids))
                ids[spots], types[spots] = part.ids, self.segments[place]
                cursor += part.lengths
        return Framed(offsets, ids, types, borders)


class Tokenizer:
    """A model's tokenizer, for data: special tokens inside a text are split into plain ones.

    The fast tokenizer is used directly, never with its own truncation or padding, and so it is not changed by
    use: any number of threads may share one.
    """

    def __init__(self, backend: tokenizers.Tokenizer, *, lowercase: bool = False) -> None:
        backend.no_padding()
        backend.no_truncation()
        # "[SEP]" in a title is six characters of data, not an instruction to the model.
        backend.encode_special_tokens = True
        self._backend = backend
        self._lowercase = lowercase
        self._single = self._frame(1)

    @classmethod
    def load(cls, folder: Path, *, lowercase: bool = False) -> Tokenizer:
        """Read a folder's tokenizer.json, or whatever else transformers can turn into a fast tokenizer."""
        return cls(_backend(folder), lowercase=lowercase)

    def tokens(self, texts: Sequence[str]) -> Tokens:
        """Tokenize n texts, without special tokens."""
        if isinstance(texts, str):
            raise TypeError("texts must be a sequence of strings, not one string")
        flats, lengths = [], np.zeros(len(texts), np.int64)
        for start in range(0, len(texts), _CHUNK):
            chunk = self._batch(texts[start : start + _CHUNK])
            rows = [found.ids for found in self._backend.encode_batch_fast(chunk, add_special_tokens=False)]
            lengths[start : start + len(rows)] = [len(row) for row in rows]
            flats.append(np.fromiter(chain.from_iterable(rows), dtype=np.int32))
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return Tokens(offsets, np.concatenate(flats) if flats else np.zeros(0, np.int32))

    def count(self, texts: Sequence[str]) -> Int32Array:
        """Int32[n]: tokens per text, without special tokens."""
        return self.tokens(texts).lengths.astype(np.int32)

    def count_unknown(self, texts: Sequence[str]) -> Int32Array:
        """Int32[n]: tokens per text that stand for something the vocabulary lacks; none where bytes stand in."""
        tokens = self.tokens(texts)
        owners = np.repeat(np.arange(len(tokens.lengths)), tokens.lengths)
        unknown = owners[tokens.ids == self._unknown_id]
        return np.bincount(unknown, minlength=len(tokens.lengths)).astype(np.int32)

    def pieces(self, texts: Sequence[str]) -> list[list[str]]:
        """The tokens of each text as the vocabulary writes them."""
        # The fast way leaves the pieces out.
        return [
            list(found.tokens) for found in self._backend.encode_batch(self._batch(texts), add_special_tokens=False)
        ]

    def _batch(self, texts: Sequence[str]) -> list[str]:
        return [text.lower() for text in texts] if self._lowercase else list(texts)

    @cached_property
    def _unknown_id(self) -> int:
        """The token for what the vocabulary lacks; -1, which no token has, if there is none."""
        model = self._backend.model
        if hasattr(model, "unk_token"):
            found = None if model.unk_token is None else self._backend.token_to_id(model.unk_token)
        else:  # a Unigram model tells in its file only
            found = json.loads(self._backend.to_str())["model"].get("unk_id")
        return -1 if found is None else int(found)

    @property
    def single_overhead(self) -> int:
        """Special tokens the model adds around one text."""
        return self._single.size

    @property
    def pair_overhead(self) -> int:
        """Special tokens the model adds around a pair of texts."""
        return self._frame(2).size

    def singles(self, texts: Tokens, max_tokens: int) -> Framed:
        """Frame single texts, cut to `max_tokens` with their special tokens."""
        room = np.full(len(texts.lengths), max_tokens - self._single.size)
        return self._single.around([texts.cut(room)])

    def pairs(self, left: Tokens, right: Tokens, max_tokens: int) -> Framed:
        """Frame pairs of texts; the longer text of a pair that is too long is cut first."""
        frame = self._frame(2)
        left_room, right_room = pair_limits(left.lengths, right.lengths, max_tokens - frame.size)
        return frame.around([left.cut(left_room), right.cut(right_room)])

    def _frame(self, texts: int) -> _Frame:
        """Learn the frame from the tokenizer's own answer, so that every model's is right."""
        probe = self._backend.encode("a", "a" if texts == 2 else None, add_special_tokens=True)
        runs: list[tuple[list[int], list[int]]] = [([], []) for _ in range(texts + 1)]
        segments = [0] * texts
        place = 0
        for token, kind, source in zip(probe.ids, probe.type_ids, probe.sequence_ids, strict=True):
            if source is None:
                runs[place][0].append(token)
                runs[place][1].append(kind)
            else:
                place, segments[source] = source + 1, kind
        return _Frame(tuple(runs), tuple(segments))


def pair_limits(left: Int64Array, right: Int64Array, room: int) -> tuple[Int64Array, Int64Array]:
    """How many tokens each text of a pair keeps when `room` tokens are left for both.

    The rule of transformers' `longest_first`: cut the longer text first, and share evenly (the right text
    gets the odd token) once both are longer than half the room.

    Args:
        left: Int64[n], tokens of the left texts.
        right: Int64[n], tokens of the right texts.
        room: tokens for both together.

    Returns:
        Two Int64[n].
    """
    short, half = np.minimum(left, right), room // 2
    shared = short > half
    longer = np.where(shared, room - half, room - short)
    keep_short = np.where(shared, half, short)
    fits = left + right <= room
    swap = left > right
    keep_left = np.where(fits, left, np.where(swap, longer, keep_short))
    keep_right = np.where(fits, right, np.where(swap, keep_short, longer))
    return keep_left, keep_right


def length_batches(lengths: Int64Array, budget: int) -> Iterator[Int64Array]:
    """Group rows of equal length, longest first, so that rows x length stays within `budget` tokens.

    Longest first, because then a batch that does not fit in memory fails at once. A single row longer than
    the budget is a batch of its own.
    """
    order = np.argsort(-lengths, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(lengths[order])) + 1, len(order))
    start = 0
    for end in ends.tolist():
        while start < end:
            stop = min(end, start + max(1, budget // max(1, int(lengths[order[start]]))))
            yield order[start:stop]
            start = stop


def _backend(folder: Path) -> tokenizers.Tokenizer:
    """The fast tokenizer of a folder; from its own file where there is one, which needs no transformers."""
    import tokenizers

    path = folder / "tokenizer.json"
    try:
        if path.exists():
            return tokenizers.Tokenizer.from_file(str(path))
        return _converted(folder)
    except Exception as error:  # the libraries raise bare Exception for any damaged file
        raise ModelError(
            f"the tokenizer in {folder} cannot be read ({error}); it needs a tokenizer.json, "
            "or the vocabulary files of a tokenizer that transformers can convert to a fast one"
        ) from error


def _converted(folder: Path) -> tokenizers.Tokenizer:
    from transformers import AutoTokenizer

    from llmrec.models.quiet import quiet_transformers

    with quiet_transformers():
        found = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True)
    backend: tokenizers.Tokenizer = found.backend_tokenizer
    return backend
