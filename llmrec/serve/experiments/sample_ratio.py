"""Whether people are divided among variants as they should be; if not, something loses some of them.

Source: Lindon and Malek, Anytime-Valid Inference for Multinomial Count Data, NeurIPS 2022 (arXiv 2011.03567): the Bayes
factor of a Dirichlet prior over shares against the shares that were asked for is a martingale when these are true, so
its reciprocal is a p-value at all moments at once (Ville's inequality).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from llmrec.serve.experiments.moments import Floats

__all__ = ["ALARM", "sample_ratio_p"]

ALARM = 0.01
"""Below this, the shares are off: 1% of sound experiments would ever be warned of."""

CONCENTRATION = 1_000.0
"""Of the prior: shares that are off by some points are found soonest."""


def sample_ratio_p(counts: ArrayLike, shares: ArrayLike) -> Floats:
    """Return the always-valid p-value of counts of people against the shares asked for.

    Args:
        counts: Float64[..., v], people of each variant, one row a moment.
        shares: Float64[v], above 0, add up to 1.

    Returns:
        Float64[...]. If the shares are true, it is ever below a level with at most that probability.
    """
    from scipy.special import gammaln

    found, wanted = np.asarray(counts, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    prior = CONCENTRATION * wanted
    log_factor = (
        gammaln(CONCENTRATION)
        - gammaln(CONCENTRATION + found.sum(axis=-1))
        + (gammaln(prior + found) - gammaln(prior) - found * np.log(wanted)).sum(axis=-1)
    )
    return np.asarray(np.exp(-np.maximum(log_factor, 0.0)))
