"""EASE: a linear item-item model in closed form, read with a recency-weighted history."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from pydantic import Field

from llmrec.component import Component, FitContext, silent
from llmrec.data import Catalog, Interactions
from llmrec.retrieve.item_item import ItemItem, keep_strongest, load_item_item
from llmrec.retrieve.ridge import add_shared_users, check_size, known_items, symmetric_inverse
from llmrec.retrieve.text_kernel import TextKernelConfig, add_text_kernel

__all__ = ["COMPONENT", "EaseConfig", "fit_ease"]


class EaseConfig(TextKernelConfig):
    """Settings of EASE.

    Attributes:
        l2: ridge penalty (lambda in the paper), > 0.
        decay: weight of an interaction relative to the one after it when scoring; 1 weighs all alike.
        top: store only so many weights an item, the strongest; 0: all of them. Saves memory after the fit, and costs
            some quality.
        max_items: refuse larger catalogs: memory grows with the square of the catalog. Whatever it is, a catalog whose
            matrices do not fit into the memory that is free is refused.
    """

    l2: float = Field(default=200.0, gt=0)
    decay: float = Field(default=0.8, gt=0, le=1)
    top: int = Field(default=0, ge=0)
    max_items: int = Field(default=20_000, gt=0)


def fit_ease(
    interactions: Interactions,
    catalog: Catalog,
    config: EaseConfig,
    *,
    name: str = "ease",
    progress: Callable[[str], None] = silent,
) -> ItemItem:
    """Fit EASE in closed form (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, eq. 8).

    Args:
        interactions: what users did; the order within a history does not matter for fitting.
        catalog: all items.
        config: its settings.
        name: the score column.
        progress: told about downloads of an encoder.

    Returns:
        The fitted model; its weights have a zero diagonal.

    Raises:
        ConfigError: the catalog is larger than `config.max_items`, or its matrices than the memory that is free.
    """
    n = len(catalog)
    check_size("ease", n, config.max_items)
    gram = np.zeros((n, n))
    add_shared_users(gram, interactions)
    known = known_items(interactions)
    add_text_kernel(gram, catalog, known, config, progress)
    gram[np.diag_indices(n)] += config.l2
    weights = symmetric_inverse(gram, "ease")
    del gram
    weights /= -weights.diagonal()
    weights[np.diag_indices(n)] = 0.0
    kept = keep_strongest(weights, config.top, catalog.tie_order) if config.top else weights
    return ItemItem("ease", name, config, kept, known, catalog.active, catalog.tie_order)


def _fit(context: FitContext, config: EaseConfig) -> ItemItem:
    return fit_ease(context.train, context.catalog, config, name=context.name, progress=context.progress)


COMPONENT = Component("retriever", EaseConfig, _fit, partial(load_item_item, "ease", EaseConfig))
