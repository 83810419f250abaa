"""A linear next-item model in closed form: what the recent past says of what comes soon, and of what goes together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import scipy.sparse as sp
from pydantic import Field

from llmrec.component import Component, FitContext, silent
from llmrec.data import Catalog, Interactions
from llmrec.retrieve.item_item import ItemItem, keep_strongest, load_item_item
from llmrec.retrieve.pairs import past_gram, past_to_next
from llmrec.retrieve.ridge import BLOCK, add_shared_users, check_size, known_items, symmetric_inverse
from llmrec.retrieve.text_kernel import TextKernelConfig, add_text_kernel
from llmrec.types import Float32Array

__all__ = ["COMPONENT", "NextItemConfig", "fit_next_item"]


class NextItemConfig(TextKernelConfig):
    """Settings of the next-item model.

    Attributes:
        l2: ridge penalty, > 0.
        together: share of the whole histories, without order, in what is learned; 0: order only, 1: this is EASE.
        past_decay: weight of an interaction of the past relative to the one after it, in what is learned from.
        next_decay: weight of a later interaction relative to the one before it, in what is to be foretold.
        window: the past, and what comes next, end after so many interactions.
        decay: weight of an interaction relative to the one after it when scoring; best longer than `past_decay`.
        top: store only so many weights an item, the strongest; 0: all of them. Saves memory after the fit, and costs
            some quality.
        max_items: refuse larger catalogs: memory grows with the square of the catalog. Whatever it is, a catalog whose
            matrices do not fit into the memory that is free is refused.
    """

    l2: float = Field(default=300.0, gt=0)
    together: float = Field(default=0.5, ge=0, le=1)
    past_decay: float = Field(default=0.7, gt=0, le=1)
    next_decay: float = Field(default=0.8, gt=0, le=1)
    window: int = Field(default=20, ge=1)
    decay: float = Field(default=0.85, gt=0, le=1)
    top: int = Field(default=0, ge=0)
    max_items: int = Field(default=20_000, gt=0)


def fit_next_item(
    interactions: Interactions,
    catalog: Catalog,
    config: NextItemConfig,
    *,
    name: str = "next_item",
    progress: Callable[[str], None] = silent,
) -> ItemItem:
    """Fit the model in closed form.

    After SLIST (Choi et al., "Session-aware Linear Item-Item Models for Session-based Recommendation", WWW 2021), with
    EASE's constraint that no item foretells itself. With X the user-item matrix, S a decayed past in each row, T what
    came next, decayed, K the text kernel, it minimises over B with a zero diagonal::

        together |X - X B|^2 + (1 - together) |T - S B|^2 + text_weight |K^(1/2) (1 - B)|^2 + l2 |B|^2.

    With P the inverse of together X'X + (1 - together) S'S + text_weight K + l2 and M = 1 + (1 - together) P (S'T -
    S'S), that is B = M - P diag(M) / diag(P).

    Args:
        interactions: what users did, oldest first.
        catalog: all items.
        config: its settings.
        name: the score column.
        progress: told about downloads of an encoder.

    Returns:
        The fitted model; its weights have a zero diagonal.

    Raises:
        ConfigError: the catalog is larger than `config.max_items`, or its matrices than the memory that is free.
    """
    n, ordered = len(catalog), 1 - config.together
    check_size("next_item", n, config.max_items)
    past = past_gram(interactions, config.past_decay, config.window) * ordered
    following = past_to_next(interactions, config.past_decay, config.next_decay, config.window) * ordered
    gram = np.zeros((n, n))
    if config.together:
        add_shared_users(gram, interactions, config.together)
    for start in range(0, n, BLOCK):
        gram[start : start + BLOCK] += past[start : start + BLOCK].toarray()
    known = known_items(interactions)
    add_text_kernel(gram, catalog, known, config, progress)
    gram[np.diag_indices(n)] += config.l2
    inverse = symmetric_inverse(gram, "next_item")
    del gram
    weights = _weights(inverse, sp.csr_matrix(following - past, dtype=np.float32))
    kept = keep_strongest(weights, config.top, catalog.tie_order) if config.top else weights
    return ItemItem("next_item", name, config, kept, known, catalog.active, catalog.tie_order)


def _weights(inverse: Float32Array, change: sp.csr_matrix) -> Float32Array:
    """M - P diag(M) / diag(P) with M = 1 + P C, for a symmetric P, in the memory of P."""
    entries = change.tocoo()
    moved = inverse[entries.row, entries.col].astype(np.float64) * entries.data  # P is symmetric: row or column
    diagonal = 1 + np.bincount(entries.col, weights=moved, minlength=len(inverse))
    ratio = (diagonal / inverse.diagonal()).astype(np.float32)
    by_column = sp.csr_matrix(change.T)
    for start in range(0, len(inverse), BLOCK):
        rows = inverse[start : start + BLOCK]
        inverse[start : start + BLOCK] = (by_column @ rows.T).T - rows * ratio
    inverse[np.diag_indices(len(inverse))] = 0.0
    return inverse


def _fit(context: FitContext, config: NextItemConfig) -> ItemItem:
    return fit_next_item(context.train, context.catalog, config, name=context.name, progress=context.progress)


COMPONENT = Component("retriever", NextItemConfig, _fit, partial(load_item_item, "next_item", NextItemConfig))
