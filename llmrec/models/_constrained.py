"""Answers of allowed tokens only: a model is asked where there is a choice, and reads what is forced along with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from llmrec.errors import ConfigError

__all__ = ["likeliest_allowed"]


def likeliest_allowed(
    module: Any,
    prompt: Sequence[int],
    count: int,
    allowed: Callable[[list[int]], list[int]],
    ends: Collection[int],
) -> list[int]:
    """Say the likeliest of the allowed tokens, one after the other.

    Args:
        module: a causal language model of transformers.
        prompt: ids, at least one.
        count: tokens that are said at most.
        allowed: given the ids so far, those that may come next. Where it is one only, the model is not asked.
        ends: ids that end an answer.

    Returns:
        The ids said, an end included.

    Raises:
        ConfigError: nothing is allowed.
    """
    import torch

    said: list[int] = []
    unread, cache = list(prompt), None
    with torch.inference_mode():
        while len(said) < count and not (said and said[-1] in ends):
            options = sorted(allowed(list(said)))
            if not options:
                raise ConfigError(f"no token is allowed behind {said}; allow an end of the answer there")
            chosen = options[0]
            if len(options) > 1:
                ids = torch.tensor([unread], device=module.device)
                read = module(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
                cache = read.past_key_values
                unread = [] if cache is not None else unread
                chosen = options[int(read.logits[0, -1, options].float().argmax())]
            said.append(chosen)
            unread.append(chosen)
    return said
