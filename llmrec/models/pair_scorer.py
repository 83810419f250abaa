"""Scores for pairs of user text and item text with a cross-encoder."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec.assets import find_asset
from llmrec.errors import ModelError
from llmrec.models._folder import (
    OpenedFiles,
    check_max_tokens,
    check_pair_modules,
    licence_files,
    model_files,
    read_config,
    short_name,
)
from llmrec.models._network import Network
from llmrec.models._shared_history import SharedHistory, load_shared_history
from llmrec.models._tokens import Tokenizer
from llmrec.models._transformer import load_network
from llmrec.models.device import Placement, best_placement
from llmrec.types import Float32Array, Int32Array, Int64Array

__all__ = ["PairScorer"]

# Pairs framed at once: bounds memory, whatever the number of pairs.
_ROUND = 32768


class PairScorer:
    """A transformer that reads a user text and an item text together and gives one number.

    Weights are read on the first pair; if the folder was changed meanwhile, that is a ModelError. One scorer
    may be shared by threads. A pair's score is the same alone and in any batch: bit for bit in bfloat16 on a CPU
    with AVX-512 BF16, within 1e-5 in float32; other formats and devices promise their own rounding only.

    Attributes:
        name: the model's name.
        max_tokens: tokens of a pair that are read, special tokens included; the longer text is cut first.
        scored: how many pairs went through the model so far.
    """

    def __init__(self, folder: Path, *, name: str, max_tokens: int, placement: Placement | None = None) -> None:
        self._folder = folder
        config = read_config(folder)
        labels = config.get("num_labels") or len(config.get("id2label") or "--")
        if labels != 1:
            raise ModelError(
                f"{folder} gives {labels} numbers for a pair, not one; a pair scorer needs a cross-encoder "
                "trained with num_labels=1"
            )
        files = model_files(folder, folder)
        self._opened = OpenedFiles(folder, files)
        self._files = files | check_pair_modules(folder) | licence_files(folder)
        self._tokenizer = Tokenizer.load(folder)
        check_max_tokens(max_tokens, self._tokenizer.pair_overhead + 1, folder, config)
        self._shared = config.get("shared_history", False) is True
        self._network: Network | SharedHistory | None = None
        self._fingerprint: str | None = None
        self._lock = threading.Lock()
        self.name = name
        self.max_tokens = max_tokens
        self._placement = placement
        self.scored = 0

    @classmethod
    def load(cls, name_or_path: str, *, max_tokens: int = 64, placement: Placement | None = None) -> PairScorer:
        """Open a cross-encoder with one output by asset name, hub id or folder.

        Args:
            name_or_path: an asset name, a hub id, or a folder.
            max_tokens: tokens of a pair that are read.
            placement: where to run, int8 read as the best floating-point format; the best of this machine if None.

        Raises:
            AssetError: the model cannot be found.
            ModelError: the folder is not a cross-encoder with one output.
            ConfigError: `max_tokens` is more than the model reads.
        """
        folder = find_asset(name_or_path)
        name = short_name(name_or_path, folder)
        return cls(folder, name=name, max_tokens=max_tokens, placement=placement)

    @property
    def placement(self) -> Placement:
        """Where the model runs; chosen when it is first asked for, which takes torch.

        Never in int8, which moves too many items across the cut.
        """
        if self._placement is None:
            self._placement = best_placement()
        return self._placement.floating

    @property
    def fingerprint(self) -> str:
        """Sha256 of all that a score depends on: weights, configuration, tokenizer, `max_tokens`, dtype."""
        if self._fingerprint is None:
            settings = {"max_tokens": self.max_tokens, "dtype": self.placement.dtype}
            self._fingerprint = self._opened.fingerprint(settings)
        return self._fingerprint

    @property
    def text_budget(self) -> int:
        """Tokens of text, both together, that fit beside the special tokens."""
        return self.max_tokens - self._tokenizer.pair_overhead

    def files(self) -> Mapping[str, Path]:
        """The files to copy so that `load` and plain CrossEncoder open the copy; by relative name.

        Raises:
            ModelError: they are not the files that were opened.
        """
        # The content is noted, so that a copy put in the place of the original is known as the same.
        _ = self.fingerprint
        self._opened.check()
        return dict(self._files)

    def count_tokens(self, texts: Sequence[str]) -> Int32Array:
        """Int32[n]: tokens of each text, without special tokens."""
        return self._tokenizer.count(texts)

    def count_unknown(self, texts: Sequence[str]) -> Int32Array:
        """Int32[n]: those tokens of each text that stand for signs the tokenizer does not know."""
        return self._tokenizer.count_unknown(texts)

    def score(self, pairs: Sequence[tuple[str, str]]) -> Float32Array:
        """Score pairs of (user text, item text).

        Args:
            pairs: n pairs; a text that comes in many of them is tokenized once.

        Returns:
            Float32[n], the model's raw logits; higher is better.

        Raises:
            ModelError: the model gave a score that is not finite, or its folder changed.
        """
        users: dict[str, int] = {}
        items: dict[str, int] = {}
        user_rows = np.fromiter((users.setdefault(u, len(users)) for u, _ in pairs), np.int64, len(pairs))
        item_rows = np.fromiter((items.setdefault(i, len(items)) for _, i in pairs), np.int64, len(pairs))
        return self.score_rows(list(users), list(items), user_rows, item_rows)

    def score_rows(
        self,
        users: Sequence[str],
        items: Sequence[str],
        user_rows: NDArray[np.integer[Any]],
        item_rows: NDArray[np.integer[Any]],
    ) -> Float32Array:
        """Score pairs given as positions, so that a million pairs need no million tuples.

        Args:
            users: the user texts.
            items: the item texts.
            user_rows: Int[n], which user text a pair has.
            item_rows: Int[n], which item text a pair has.

        Returns:
            Float32[n], as `score`.
        """
        left, right = self._tokenizer.tokens(users), self._tokenizer.tokens(items)
        scores = np.empty(len(user_rows), np.float32)
        lengths = left.lengths[user_rows] + right.lengths[item_rows]
        # rounds too hold pairs of one length, longest first, or pairs of one history
        rows: Int64Array = np.lexsort((-lengths, user_rows)) if self._shared else np.argsort(-lengths, kind="stable")
        for start in range(0, len(rows), _ROUND):
            part = rows[start : start + _ROUND]
            owners, shown = (side[part].astype(np.int64) for side in (user_rows, item_rows))
            framed = self._tokenizer.pairs(left.take(owners), right.take(shown), self.max_tokens)
            network = self._loaded()
            if isinstance(network, SharedHistory):
                scores[part] = network.run(framed, owners)
            else:
                scores[part] = network.run(framed)[:, 0]
        bad = np.flatnonzero(~np.isfinite(scores))
        if len(bad):
            pair = users[int(user_rows[bad[0]])][:60], items[int(item_rows[bad[0]])][:60]
            raise ModelError(
                f"{self.name} in {self.placement.dtype} gave no finite score for {len(bad)} of {len(scores)} pairs "
                f"(such as {pair}); try dtype float32 (LLMREC_DTYPE=float32)"
            )
        with self._lock:
            self.scored += len(scores)
        return scores

    def _loaded(self) -> Network | SharedHistory:
        with self._lock:
            if self._network is None:
                self._opened.check()
                network = self._read()
                self._opened.check()
                self._network = network
            return self._network

    def _read(self) -> Network | SharedHistory:
        if self._shared:
            return load_shared_history(self._folder, self.placement)
        return load_network(self._folder, "logits", self.placement)
