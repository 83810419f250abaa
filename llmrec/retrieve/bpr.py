"""BPR: a matrix factorisation that ranks what was taken above what was not, for catalogs of any size."""

from __future__ import annotations

from functools import partial

import numpy as np
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog, Interactions
from llmrec.errors import MissingExtraError
from llmrec.retrieve.factors import Factors, FoldIn, load_factors, make_factors, one_blas_thread

__all__ = ["COMPONENT", "BprConfig", "fit_bpr"]


class BprConfig(ComponentConfig):
    """Settings of BPR.

    Attributes:
        factors: length of a vector.
        learning_rate: size of a step.
        l2: penalty on the length of the vectors.
        iterations: rounds over the log.
        decay: weight of an interaction relative to the one after it when a user vector is made.
        fold_in: how a history becomes a user vector: "mean" of the item vectors; "ridge", as ALS makes one.
        confidence: in a ridge, how much more an interaction counts than none.
        fold_in_l2: in a ridge, the penalty on the length of the user vector.
        bias: how much of each item's own learned score is added; 0: none of it.
    """

    factors: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=0.05, gt=0)
    l2: float = Field(default=0.01, ge=0)
    iterations: int = Field(default=100, ge=1)
    decay: float = Field(default=0.8, gt=0, le=1)
    fold_in: FoldIn = "mean"
    confidence: float = Field(default=10.0, ge=0)
    fold_in_l2: float = Field(default=1.0, gt=0)
    bias: float = Field(default=1.0, ge=0)


def fit_bpr(
    interactions: Interactions, catalog: Catalog, config: BprConfig, *, name: str = "bpr", seed: int = 0
) -> Factors:
    """Factorise with the `implicit` library; the item vectors and biases are kept, the user vectors are not.

    Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009. One thread: with more, the
    result would depend on which is first. Interactions of weight 0 or less are left out, and so are items that have no
    others; of the rest the weight does not count.

    Args:
        interactions: what users did; the order within a history does not matter for fitting.
        catalog: all items.
        config: its settings.
        name: the score column.
        seed: for the vectors to start from, and the order of steps.

    Raises:
        MissingExtraError: implicit is not installed.
    """
    try:
        from implicit.cpu.bpr import BayesianPersonalizedRanking
    except ImportError as error:
        raise MissingExtraError("implicit", "scale") from error
    matrix = interactions.matrix()
    matrix.data = (matrix.data > 0).astype(np.float32)
    matrix.eliminate_zeros()
    with one_blas_thread():
        model = BayesianPersonalizedRanking(
            factors=config.factors,
            learning_rate=config.learning_rate,
            regularization=config.l2,
            iterations=config.iterations,
            num_threads=1,
            random_state=seed,
        )
        model.fit(matrix, show_progress=False)
    vectors, bias = model.item_factors[:, :-1], model.item_factors[:, -1] * np.float32(config.bias)
    return make_factors(
        "bpr", name, config, vectors, bias, np.bincount(matrix.indices, minlength=len(catalog)) > 0, catalog
    )


def _fit(context: FitContext, config: BprConfig) -> Factors:
    return fit_bpr(context.train, context.catalog, config, name=context.name, seed=context.seed)


COMPONENT = Component(
    "retriever", BprConfig, _fit, partial(load_factors, "bpr", BprConfig), requires=("implicit",), extra="scale"
)
