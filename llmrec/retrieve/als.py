"""ALS: a matrix factorisation of what was taken and what was not, for catalogs of any size."""

from __future__ import annotations

from functools import partial

import numpy as np
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog, Interactions
from llmrec.errors import MissingExtraError
from llmrec.models import cpu_threads
from llmrec.retrieve.factors import Factors, FoldIn, load_factors, make_factors, one_blas_thread
from llmrec.retrieve.ridge import known_items

__all__ = ["COMPONENT", "AlsConfig", "fit_als"]


class AlsConfig(ComponentConfig):
    """Settings of ALS.

    Attributes:
        factors: length of a vector.
        l2: penalty on the length of the vectors.
        confidence: how much more an interaction counts than none (alpha in the paper).
        iterations: rounds of users, then items.
        decay: weight of an interaction relative to the one after it when a user vector is made.
        fold_in: how a history becomes a user vector: "ridge", as training makes one; "mean", of the item vectors.
        fold_in_l2: the penalty `l2` when a user vector is made.
    """

    factors: int = Field(default=64, ge=1)
    l2: float = Field(default=1.0, gt=0)
    confidence: float = Field(default=2.0, ge=0)
    iterations: int = Field(default=15, ge=1)
    decay: float = Field(default=0.8, gt=0, le=1)
    fold_in: FoldIn = "ridge"
    fold_in_l2: float = Field(default=1.0, gt=0)


def fit_als(
    interactions: Interactions, catalog: Catalog, config: AlsConfig, *, name: str = "als", seed: int = 0
) -> Factors:
    """Factorise with the `implicit` library; the item vectors are kept, the user vectors are not.

    Hu et al., "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008: an interaction of weight w has
    confidence 1 + confidence * w, one of negative weight is a sure miss. Work goes with the length of the log times
    factors squared, memory with the items and users times factors.

    Args:
        interactions: what users did; the order within a history does not matter for fitting.
        catalog: all items.
        config: its settings.
        name: the score column.
        seed: for the vectors to start from.

    Raises:
        MissingExtraError: implicit is not installed.
    """
    try:
        from implicit.cpu.als import AlternatingLeastSquares
    except ImportError as error:
        raise MissingExtraError("implicit", "scale") from error
    matrix = interactions.matrix()
    matrix.eliminate_zeros()
    matrix.data = np.sign(matrix.data) + np.float32(config.confidence) * matrix.data
    with one_blas_thread():
        model = AlternatingLeastSquares(
            factors=config.factors,
            regularization=config.l2,
            iterations=config.iterations,
            num_threads=cpu_threads(),
            random_state=seed,
        )
        model.fit(matrix, show_progress=False)
    bias = np.zeros(len(catalog), dtype=np.float32)
    return make_factors("als", name, config, model.item_factors, bias, known_items(interactions), catalog)


def _fit(context: FitContext, config: AlsConfig) -> Factors:
    return fit_als(context.train, context.catalog, config, name=context.name, seed=context.seed)


COMPONENT = Component(
    "retriever", AlsConfig, _fit, partial(load_factors, "als", AlsConfig), requires=("implicit",), extra="scale"
)
