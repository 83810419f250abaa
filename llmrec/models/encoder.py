"""Texts to vectors with a pretrained transformer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llmrec.assets import find_asset
from llmrec.errors import ModelError
from llmrec.models._folder import (
    OpenedFiles,
    SentenceLayout,
    check_max_tokens,
    licence_files,
    model_files,
    read_config,
    read_layout,
    short_name,
)
from llmrec.models._int8 import INT8_FILES, SAMPLE, load_int8, stored_int8
from llmrec.models._network import Network
from llmrec.models._tokens import Tokenizer
from llmrec.models._transformer import load_network, pad_id
from llmrec.models.device import Placement, best_placement
from llmrec.types import Float32Array, Int32Array

if TYPE_CHECKING:
    from llmrec.models.cache import EmbeddingCache

__all__ = ["TextEncoder"]

# Texts per round: bounds memory, and what an interrupted run loses, as each round is cached when it is done.
_ROUND = 16384


class TextEncoder:
    """A transformer with pooling: texts in, vectors of length one out.

    Weights are read on the first text that is not in the cache; if the folder was changed meanwhile, that is
    a ModelError. One encoder may be shared by threads. A text's vector is the same alone and in any batch: bit
    for bit in bfloat16 on a CPU with AVX-512 BF16, within 1e-6 in float32; other formats and devices
    promise their own rounding only.

    Attributes:
        name: the model's name.
        dim: length of a vector.
        max_tokens: tokens of a text that are read, special tokens included; the rest is cut off.
        encoded: how many texts went through the model so far (not the cache).
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        max_tokens: int,
        placement: Placement | None = None,
        cache: EmbeddingCache | None = None,
        int8: Path | None = None,
    ) -> None:
        self._folder = folder
        self._int8 = int8
        self._layout: SentenceLayout = read_layout(folder)
        config = read_config(self._layout.transformer)
        files = model_files(folder, self._layout.transformer)
        if int8 is not None:
            files |= {f"int8/{file}": int8 / file for file in INT8_FILES}
        self._opened = OpenedFiles(folder, files)
        self._files = files | dict(self._layout.extra) | licence_files(folder)
        self._tokenizer = Tokenizer.load(self._layout.transformer, lowercase=self._layout.lowercase)
        self._prompt_tokens = max(self._tokenizer.count(list(self._layout.prompts.values())), default=0)
        overhead = self._tokenizer.single_overhead + int(self._prompt_tokens)
        check_max_tokens(max_tokens, overhead, self._layout.transformer, config)
        self._cache = cache
        self._network: Network | None = None
        self._fingerprint: str | None = None
        self._lock = threading.Lock()
        self.name = name
        self.dim = int(config["hidden_size"] if "hidden_size" in config else config["dim"])
        self.max_tokens = max_tokens
        self._placement = placement
        self.encoded = 0

    @classmethod
    def load(
        cls,
        name_or_path: str,
        *,
        max_tokens: int = 128,
        placement: Placement | None = None,
        cache: EmbeddingCache | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> TextEncoder:
        """Open an encoder by asset name, hub id or folder.

        A sentence-transformers folder (Transformer + Pooling of mean, cls or max + Normalize) is run as it
        says; a plain transformer's folder with mean pooling. Vectors always have length one.

        Args:
            name_or_path: "minilm", a hub id, or a folder.
            max_tokens: tokens of a text that are read.
            placement: where to run; the best of this machine if None.
            cache: where vectors are kept between runs, if anywhere.
            progress: told about downloads.

        Raises:
            AssetError: the model cannot be found.
            ModelError: the folder holds something that cannot be run.
            ConfigError: `max_tokens` is more than the model reads.
        """
        folder = find_asset(name_or_path, progress=progress)
        name = short_name(name_or_path, folder)
        stored = folder / "int8" if (folder / "int8" / INT8_FILES[0]).is_file() else None
        if stored is not None and placement is None:
            placement = best_placement(quantised=True)  # now, as which files count depends on it
        int8 = stored if placement is not None and placement.dtype == "int8" else None
        return cls(folder, name=name, max_tokens=max_tokens, placement=placement, cache=cache, int8=int8)

    @property
    def placement(self) -> Placement:
        """Where the model runs; chosen when it is first asked for, which takes torch."""
        if self._placement is None:
            self._placement = best_placement()
        return self._placement

    def calibrated(self, texts: Sequence[str]) -> TextEncoder:
        """Return the same encoder, ready to run in int8 if that is its number format.

        The 8-bit form is made once for a model and a sample of texts, and kept in the user's cache.

        Args:
            texts: item texts as they will be asked; a sample of them decides how numbers are rounded.

        Raises:
            ModelError: the 8-bit form could not be made.
        """
        if self.placement.dtype != "int8" or self._int8 is not None:
            return self
        prompt = self._layout.prompt("document", "passage", "corpus")
        distinct = sorted(set(texts))
        sample = [prompt + text for text in distinct[:: max(1, len(distinct) // SAMPLE)][:SAMPLE]]
        framed = self._tokenizer.singles(self._tokenizer.tokens(sample), self.max_tokens)
        weights = self._opened.fingerprint({"pooling": self._layout.pooling})
        made = stored_int8(self._layout.transformer, self._layout.pooling, framed, weights)
        return TextEncoder(
            self._folder,
            name=self.name,
            max_tokens=self.max_tokens,
            placement=self.placement,
            cache=self._cache,
            int8=made,
        )

    def in_dtype(self, dtype: str) -> TextEncoder:
        """Return the same encoder in a floating-point format, with the same cache."""
        return TextEncoder(
            self._folder,
            name=self.name,
            max_tokens=self.max_tokens,
            placement=Placement(self.placement.device, dtype),
            cache=self._cache,
        )

    @property
    def fingerprint(self) -> str:
        """Sha256 of all that a vector depends on: weights, tokenizer, pooling, prompts, `max_tokens`, dtype.

        Raises:
            ModelError: the files are not those that were opened, or an int8 encoder was not calibrated.
        """
        if self._fingerprint is None:
            self._check_calibrated()
            settings = {
                "pooling": self._layout.pooling,
                "lowercase": self._layout.lowercase,
                "prompts": dict(self._layout.prompts),
                "default_prompt": self._layout.default_prompt,
                "max_tokens": self.max_tokens,
                "dtype": self.placement.dtype,
            }
            self._fingerprint = self._opened.fingerprint(settings)
        return self._fingerprint

    @property
    def text_budget(self) -> int:
        """Tokens of text that fit beside special tokens and the longest prompt: what to render for."""
        return self.max_tokens - self._tokenizer.single_overhead - int(self._prompt_tokens)

    def files(self) -> Mapping[str, Path]:
        """The files to copy so that `load` and plain SentenceTransformer open the copy; by relative name.

        Raises:
            ModelError: they are not the files that were opened.
        """
        # The content is noted, so that a copy put in the place of the original is known as the same.
        _ = self.fingerprint
        self._opened.check()
        return dict(self._files)

    def count_tokens(self, texts: Sequence[str]) -> Int32Array:
        """Int32[n]: tokens of each text, without special tokens or prompt."""
        return self._tokenizer.count(texts)

    def count_unknown(self, texts: Sequence[str]) -> Int32Array:
        """Int32[n]: those tokens of each text that stand for signs the tokenizer does not know."""
        return self._tokenizer.count_unknown(texts)

    def truncated_count(self, texts: Sequence[str]) -> int:
        """How many of the texts are longer than `text_budget`, so that their end may not be read."""
        return int((self.count_tokens(texts) > self.text_budget).sum())

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Encode texts of no special kind.

        Args:
            texts: n texts; equal ones are encoded once.

        Returns:
            Float32[n, dim], each row of length one.

        Raises:
            ModelError: the model gave a vector that is zero or not finite, or its folder changed.
        """
        return self._encode(texts, self._layout.default_prompt)

    def encode_items(self, texts: Sequence[str]) -> Float32Array:
        """Encode item texts, with the model's prompt for documents if it has one; as `encode`."""
        return self._encode(texts, self._layout.prompt("document", "passage", "corpus"))

    def encode_users(self, texts: Sequence[str]) -> Float32Array:
        """Encode user texts, with the model's prompt for queries if it has one; as `encode`."""
        return self._encode(texts, self._layout.prompt("query"))

    def _encode(self, texts: Sequence[str], prompt: str) -> Float32Array:
        if isinstance(texts, str):
            raise TypeError("texts must be a sequence of strings, not one string")
        places: dict[str, int] = {}
        rows = [places.setdefault(text, len(places)) for text in texts]
        unique = [prompt + text for text in places] if prompt else list(places)
        vectors = np.empty((len(unique), self.dim), np.float32)
        for start in range(0, len(unique), _ROUND):
            part = unique[start : start + _ROUND]
            vectors[start : start + len(part)] = self._encode_round(part)
        return vectors[rows] if len(rows) != len(unique) else vectors

    def _encode_round(self, texts: list[str]) -> Float32Array:
        """Encode distinct texts, taking from the cache what it has."""
        if self._cache is None:
            return self._compute(texts)
        vectors, found = self._cache.get(self.fingerprint, texts)
        if vectors.shape[1] != self.dim:
            found[:] = False
        if found.all():
            return vectors
        missing = [texts[row] for row in np.flatnonzero(~found)]
        computed = self._compute(missing)
        self._cache.put(self.fingerprint, missing, computed)
        result = np.empty((len(texts), self.dim), np.float32)
        result[~found] = computed
        if found.any():
            result[found] = vectors[found]
        return result

    def _compute(self, texts: list[str]) -> Float32Array:
        framed = self._tokenizer.singles(self._tokenizer.tokens(texts), self.max_tokens)
        vectors = self._loaded().run(framed)
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1) | ~vectors.any(axis=1))
        if len(bad):
            raise ModelError(
                f"{self.name} in {self.placement.dtype} gave no usable vector for {len(bad)} of {len(texts)} texts "
                f"(such as {texts[bad[0]][:60]!r}); try dtype float32 (LLMREC_DTYPE=float32)"
            )
        with self._lock:
            self.encoded += len(texts)
        return vectors

    def _loaded(self) -> Network:
        with self._lock:
            if self._network is None:
                self._check_calibrated()
                self._opened.check()
                if self._int8 is not None:
                    network = load_int8(self._int8, pad_id(self._layout.transformer))
                else:
                    network = load_network(self._layout.transformer, self._layout.pooling, self.placement)
                self._opened.check()
                self._network = network
            return self._network

    def _check_calibrated(self) -> None:
        if self.placement.dtype == "int8" and self._int8 is None:
            raise ModelError(
                f"{self.name} was not calibrated for int8; use what TextEncoder.calibrated(texts) returns, "
                "or another dtype (LLMREC_DTYPE=bfloat16)"
            )
