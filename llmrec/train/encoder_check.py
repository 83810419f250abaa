"""What an encoder is tuned for: how the dense retriever that uses it ranks what validation users took next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmrec.data import Catalog, Holdout
from llmrec.evaluate import sample_cases
from llmrec.evaluate.metrics import find_hits, ndcg
from llmrec.models import TextEncoder
from llmrec.retrieve import DenseConfig, fit_dense
from llmrec.types import Csr

__all__ = ["RetrieverCheck"]

CUT = 10


@dataclass(frozen=True, slots=True)
class RetrieverCheck:
    """Measures an encoder by the ranking of the whole catalog.

    Attributes:
        config: the retriever's settings.
        catalog: all items.
        cases: whom it is measured with; their queries say what is left out of the lists.
    """

    config: DenseConfig
    catalog: Catalog
    cases: Holdout

    @classmethod
    def on_sample(
        cls, config: DenseConfig, catalog: Catalog, validation: Holdout, users: int, seed: int
    ) -> RetrieverCheck:
        """Return the check on at most `users` of the validation cases; search is exact."""
        exact = DenseConfig(**{name: getattr(config, name) for name in DenseConfig.model_fields} | {"index": "exact"})
        return cls(exact, catalog, sample_cases(validation, users, seed))

    def measure(self, folder: Path) -> float:
        """Return the mean NDCG@10 of the retriever with the encoder of a folder."""
        encoder = TextEncoder.load(str(folder), max_tokens=self.config.max_tokens)
        lists = fit_dense(self.catalog, self.config, encoder).retrieve(self.cases.queries, CUT).items
        n = len(self.cases)
        hits = find_hits(lists, Csr(np.arange(n + 1, dtype=np.int64), self.cases.targets))
        return float(ndcg(hits, np.ones(n, dtype=np.int64), CUT).mean())
