"""Causal language models: how likely they find a continuation, and what they say."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.assets import find_asset
from llmrec.errors import ConfigError, ModelError
from llmrec.models._causal import Asked, log_likelihoods, plain_log_likelihoods, trees
from llmrec.models._constrained import likeliest_allowed
from llmrec.models._endpoint import is_endpoint
from llmrec.models._folder import OpenedFiles, licence_files, model_files, read_config, short_name
from llmrec.models._gguf import readable_folder
from llmrec.models._network import side_by_side
from llmrec.models.chat import ChatTokenizer, Message
from llmrec.models.device import Placement, best_placement
from llmrec.models.quiet import quiet_transformers
from llmrec.types import Float32Array, Int32Array

__all__ = ["LanguageModel", "Usage", "takes_trees"]

USUAL = 2048
"""Tokens that are read where nobody says how many, and the model reads as many."""

TREE = 2048
"""Tokens that are read at once, where prompts begin alike; their square is what attention takes."""

PROBE = [Asked([3, 1, 4, 1], [1, 2, 3]), Asked([3, 1, 4, 1], [2, 3]), Asked([3, 1, 4, 2], [1])]
"""Does the model let a mask be given?"""

NEAR = 0.05
"""By so much of a probe's spread may its likelihoods differ from the plain ones: number formats differ by less."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a model was asked so far, in tokens.

    Attributes:
        prompts: of prompts, each counted as often as it was given.
        continuations: of continuations that were judged.
        read: that the model read: a prompt once for all its continuations.
        said: that it said.
    """

    prompts: int = 0
    continuations: int = 0
    read: int = 0
    said: int = 0


class LanguageModel:
    """A causal language model, such as GPT, Llama or SmolLM, by Hugging Face weights.

    Weights are read when they are first needed; if the folder was changed meanwhile, that is a ModelError. Threads may
    share one model.

    Attributes:
        name: the model's name.
        max_tokens: tokens of a prompt and what follows it that are read.
        tokens: from texts and chats to ids.
    """

    def __init__(self, folder: Path, *, name: str, max_tokens: int | None, placement: Placement | None = None) -> None:
        self._folder = folder
        config = read_config(folder)
        limit = int(config.get("max_position_embeddings") or config.get("n_positions") or USUAL)
        max_tokens = min(USUAL, limit) if max_tokens is None else max_tokens
        if not 2 <= max_tokens <= limit:
            raise ConfigError(f"max_tokens={max_tokens} is out of range for {name}: 2 to {limit}")
        self._files = model_files(folder, folder) | _templates(folder) | licence_files(folder)
        self._opened = OpenedFiles(folder, self._files)
        self.tokens = _tokenizer(folder)
        self.name = name
        self.max_tokens = max_tokens
        self._placement = placement
        self._module: Any = None
        self._takes_mask = False
        self._fingerprint: str | None = None
        self._lock = threading.Lock()
        self._usage = Usage()

    @classmethod
    def load(
        cls, name_or_path: str = "smollm2", *, max_tokens: int | None = None, placement: Placement | None = None
    ) -> LanguageModel:
        """Open a causal language model by asset name, hub id or folder; a folder of one GGUF file is converted once.

        Args:
            name_or_path: an asset name, a hub id, or a folder.
            max_tokens: tokens of a prompt and what follows it that are read; None: 2,048, or what the model reads.
            placement: where to run; the best of this machine if None.

        Raises:
            AssetError: the model cannot be found.
            ModelError: the folder holds no causal language model.
            ConfigError: `max_tokens` is more than the model reads, or it is a URL.
            MissingExtraError: it is a GGUF file, and the library that reads it is not installed.
        """
        if is_endpoint(name_or_path):
            raise ConfigError("a model behind a URL is opened by RemoteLanguageModel, or open_chat_model")
        found = find_asset(name_or_path)
        return cls(
            readable_folder(found), name=short_name(name_or_path, found), max_tokens=max_tokens, placement=placement
        )

    @property
    def placement(self) -> Placement:
        """Where the model runs; chosen when it is first asked for, which takes torch."""
        if self._placement is None:
            self._placement = best_placement()
        return self._placement.floating

    @property
    def fingerprint(self) -> str:
        """Sha256 of all that a likelihood depends on: weights, configuration, tokenizer, `max_tokens`, dtype."""
        if self._fingerprint is None:
            self._fingerprint = self._opened.fingerprint({"max_tokens": self.max_tokens, "dtype": self.placement.dtype})
        return self._fingerprint

    @property
    def usage(self) -> Usage:
        """What it was asked so far."""
        return self._usage

    def files(self) -> Mapping[str, Path]:
        """The files to copy so that `load` and plain transformers open the copy; by relative name.

        Raises:
            ModelError: they are not the files that were opened.
        """
        _ = self.fingerprint
        self._opened.check()
        return dict(self._files)

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a chat up to the assistant's answer; see `ChatTokenizer.chat`."""
        return self.tokens.chat(messages)

    def count_tokens(self, texts: Sequence[str]) -> Int32Array:
        """Int32[n]: tokens of each text."""
        return np.fromiter((len(self.tokens.text(text)) for text in texts), np.int32, len(texts))

    def cut(self, text: str, count: int) -> str:
        """The text, or as much of it as its first so many tokens hold."""
        return self.tokens.cut(text, count)

    def choose(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> Float32Array:
        """Float32[n, m]: log-likelihoods of the same few answers to each prompt; see `log_likelihood`."""
        found = self.log_likelihood(prompts, [answers] * len(prompts))
        return np.array(found, dtype=np.float32).reshape(len(prompts), len(answers))

    def log_likelihood(
        self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[str]], *, ended: bool = False
    ) -> list[Float32Array]:
        """How likely each continuation of each prompt is.

        What neighbouring prompts have in common is read once, and so is a prompt for all of its continuations.

        Args:
            prompts: n prompts, in ids.
            continuations: for each, texts that may follow it, as they would stand there, a space in front included.
            ended: whether the end of what the model says belongs to a text: else "Alien" is as likely as all that
                begins so.

        Returns:
            For each prompt Float32[m]: the natural logarithm of the chance that the model gives to the tokens of each
            text, one after the other; 0 for an empty one.

        Raises:
            ConfigError: a prompt is empty, or longer than `max_tokens` with a continuation.
            ModelError: the model gave a likelihood that is not finite.
        """
        end = list(self.tokens.end[:1]) if ended else []
        asked = [
            Asked(prompt, self.tokens.text(text) + end)
            for prompt, texts in zip(prompts, continuations, strict=True)
            for text in texts
        ]
        for one in asked:
            self._check(len(one.prompt), len(one.continuation))
        self._load()
        read = self._together(asked) if self._takes_mask else self._alone(asked)
        if not np.isfinite(read).all():
            raise ModelError(
                f"{self.name} in {self.placement.dtype} gave a likelihood that is not finite; try dtype float32 "
                "(LLMREC_DTYPE=float32)"
            )
        sizes = [len(texts) for texts in continuations]
        return [read[end - size : end] for size, end in zip(sizes, np.cumsum(sizes), strict=True)]

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        allowed: Callable[[list[int]], list[int]] | None = None,
    ) -> list[str]:
        """What the model says, always its likeliest next token.

        Args:
            prompts: n prompts, in ids.
            max_new_tokens: of an answer at most.
            allowed: given the ids of the answer so far, the ids that may come next; None: any. An end is among them
                only if it says so. Where it is one only, the model is not asked.

        Returns:
            n texts, control tokens left out.

        Raises:
            ConfigError: a prompt is empty, or would be longer than `max_tokens` with an answer; nothing is allowed.
        """
        for prompt in prompts:
            self._check(len(prompt), max_new_tokens)
        self._load()
        said = [self._said(prompt, max_new_tokens, allowed) for prompt in prompts]
        read = sum(map(len, prompts))
        self._count(Usage(prompts=read, read=read, said=sum(map(len, said))))
        return [self.tokens.read(ids) for ids in said]

    def _said(self, prompt: Sequence[int], count: int, allowed: Callable[[list[int]], list[int]] | None) -> list[int]:
        import torch

        if allowed is not None:
            return likeliest_allowed(self._module, prompt, count, allowed, self._ends())
        ids = torch.tensor([list(prompt)], device=self._module.device)
        with torch.inference_mode(), quiet_transformers():
            whole = self._module.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=count,
                do_sample=False,
                pad_token_id=self.tokens.pad,
            )
        answer: list[int] = whole[0, len(prompt) :].tolist()
        return answer

    def _ends(self) -> list[int]:
        """Ids that end an answer; there may be more of them than the tokenizer knows."""
        ends = self._module.generation_config.eos_token_id
        return list(ends) if isinstance(ends, list) else [] if ends is None else [ends]

    def _check(self, prompt: int, more: int) -> None:
        if prompt == 0:
            raise ConfigError("a prompt is empty; a language model needs at least one token to go on from")
        if prompt + more > self.max_tokens:
            raise ConfigError(
                f"a prompt of {prompt} tokens with up to {more} behind it is longer than max_tokens={self.max_tokens}"
            )

    def _together(self, asked: Sequence[Asked]) -> Float32Array:
        """Float32[n], what begins alike read once."""
        every = list(trees(asked, TREE))
        judge = partial(log_likelihoods, self._module)
        # one tree alone is long enough for all threads at once
        found = [judge(every[0])] if len(every) == 1 else side_by_side(judge, every, self.placement)
        self._count(_usage(asked, sum(len(tree.ids) for tree in every)))
        return np.concatenate([np.zeros(0, np.float32), *found])

    def _alone(self, asked: Sequence[Asked]) -> Float32Array:
        self._count(_usage(asked, sum(len(one.read) for one in asked)))
        return plain_log_likelihoods(self._module, asked)

    def _count(self, more: Usage) -> None:
        with self._lock:
            self._usage = Usage(*(sum(pair) for pair in zip(astuple(self._usage), astuple(more), strict=True)))

    def _load(self) -> None:
        with self._lock:
            if self._module is None:
                self._opened.check()
                module = _module(self._folder, self.placement)
                self._opened.check()
                self._takes_mask = takes_trees(module)
                self._module = module


def _usage(asked: Sequence[Asked], read: int) -> Usage:
    """What some questions took, of which so many tokens were read."""
    prompts, judged = sum(len(one.prompt) for one in asked), sum(len(one.continuation) for one in asked)
    return Usage(prompts, judged, read)


def _templates(folder: Path) -> dict[str, Path]:
    names = ("chat_template.jinja", "generation_config.json")
    return {name: folder / name for name in names if (folder / name).exists()}


def _tokenizer(folder: Path) -> ChatTokenizer:
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            found = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the libraries raise bare Exception for any damaged file
        raise ModelError(f"the tokenizer in {folder} cannot be read ({error})") from error
    return ChatTokenizer(found)


def _module(folder: Path, placement: Placement) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        with quiet_transformers():
            module = AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=placement.torch_dtype
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{folder} holds no causal language model that transformers can load ({error})") from error
    return module.to(placement.device).eval()


def takes_trees(module: Any) -> bool:
    """Whether sequences in a tree are as likely as each alone: not every architecture lets a mask be given."""
    plain = plain_log_likelihoods(module, PROBE)
    try:
        (tree,) = trees(PROBE, TREE)
        found = log_likelihoods(module, tree)
    except (TypeError, ValueError, RuntimeError, NotImplementedError, IndexError):
        return False
    return bool(np.allclose(found, plain, rtol=NEAR, atol=NEAR))
