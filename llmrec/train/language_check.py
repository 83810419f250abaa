"""What a language model is tuned for: how the scorer that uses it orders the lists of the stage before it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmrec.component import Proposes
from llmrec.data import Catalog, Holdout
from llmrec.evaluate.metrics import ndcg
from llmrec.models import LanguageModel
from llmrec.train.language_config import LanguageModelConfig
from llmrec.train.language_examples import scorer_of
from llmrec.types import Int32Array

__all__ = ["RerankCheck"]

CUT = 10


@dataclass(frozen=True, slots=True, eq=False)
class RerankCheck:
    """Measures a language model by the order it gives to lists that hold what was taken.

    The other lists stay without a hit in whatever order, so they would say nothing and cost as much.

    Attributes:
        config: the task, and how it is asked.
        catalog: all items.
        cases: n cases.
        lists: Int32[n, k], what the first stage proposes, best first; -1 pads.
    """

    config: LanguageModelConfig
    catalog: Catalog
    cases: Holdout
    lists: Int32Array

    @classmethod
    def on_sample(
        cls,
        config: LanguageModelConfig,
        catalog: Catalog,
        validation: Holdout,
        first_stage: Proposes,
        seed: int,
    ) -> RerankCheck | None:
        """Return the check on some of the validation cases; None where no list holds what was taken."""
        lists = first_stage.recommend(validation.queries, config.list_length).items
        holds = np.flatnonzero(((lists == validation.targets[:, None]) & (lists >= 0)).any(axis=1))
        some = np.sort(np.random.default_rng(seed).permutation(holds)[: config.check_users]).astype(np.int64)
        if len(some) == 0:
            return None
        cases = Holdout(validation.user_rows[some], validation.queries.take(some), validation.targets[some])
        return cls(config, catalog, cases, lists[some])

    def measure(self, folder: Path) -> float:
        """Return the mean NDCG@10 of the lists in the order of the scorer with the model of a folder."""
        model = LanguageModel.load(str(folder), max_tokens=self.config.max_tokens)
        scores = scorer_of(self.config, self.catalog, model).score(self.cases.queries, self.lists)
        return self.of(np.where(np.isfinite(scores), scores, -np.inf).astype(np.float64))

    def of(self, scores: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> float:
        """Return the mean NDCG@10 of the lists in the order of Float64[n, k] scores, ties as they came in."""
        order = np.argsort(-scores, axis=1, kind="stable")
        hits = np.take_along_axis(self.lists, order, axis=1) == self.cases.targets[:, None]
        return float(ndcg(hits[:, :CUT], np.ones(len(hits), dtype=np.int64), CUT).mean())
