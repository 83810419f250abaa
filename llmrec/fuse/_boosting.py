"""LightGBM behind a few functions: grow trees, read a model, and how many threads it may use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec.errors import MissingExtraError
from llmrec.fuse._library import LoadedTrees
from llmrec.models import cpu_threads
from llmrec.types import BoolArray, Float32Array, Int64Array

__all__ = ["grow", "score_all", "score_in_steps", "text_of"]


def grow(
    matrix: Float32Array,
    hits: BoolArray,
    groups: Int64Array,
    names: tuple[str, ...],
    settings: dict[str, Any],
    weights: NDArray[np.float64] | None = None,
) -> Any:
    """Grow trees.

    Args:
        matrix: Float32[m, f], candidates query by query.
        hits: Bool[m], True at targets.
        groups: Int64[n], candidates of each query; they add up to m.
        names: of the f features.
        settings: LightGBM's; "num_iterations" among them.
        weights: Float64[m], of each candidate's query; None: all count alike.

    Returns:
        A lightgbm.Booster.

    Raises:
        MissingExtraError: LightGBM is not installed.
    """
    lightgbm = _lightgbm()
    fixed = {
        "verbosity": -1,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": cpu_threads(),
        "max_bin": 127,
        "metric": "None",
    }
    labels = [name.replace(":", " ") for name in names]  # a colon would be taken for JSON
    data = lightgbm.Dataset(
        matrix, hits.astype(np.int32), group=groups, weight=weights, feature_name=labels, params={**fixed}
    )
    return lightgbm.train({**fixed, **settings}, data)


def text_of(booster: Any) -> str:
    """Return a model as text; the same whatever the number of threads."""
    lines = booster.model_to_string().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("[num_threads:"))


def score_all(trees: LoadedTrees, matrix: Float32Array) -> Float32Array:
    """Return Float32[m], the scores of all trees; on one thread, so that several threads may ask at once."""
    return trees.scores(matrix, 1).astype(np.float32)


def score_in_steps(booster: Any, matrix: Float32Array, step: int) -> NDArray[np.float32]:
    """Return Float32[steps, m]: the scores of the first `step` trees, of the first 2 x `step`, and so on."""
    if len(matrix) == 0:
        return np.empty((-(-booster.num_trees() // step), 0), dtype=np.float32)
    parts = [
        booster.predict(matrix, start_iteration=start, num_iteration=step, raw_score=True, num_threads=cpu_threads())
        for start in range(0, booster.num_trees(), step)
    ]
    return np.cumsum(parts, axis=0).astype(np.float32)


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise MissingExtraError("lightgbm", "rank") from error
    return lightgbm
