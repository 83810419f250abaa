"""The ceiling: how many targets are among a stage's candidates at all, which no later ranking can exceed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec.errors import DataError
from llmrec.pipeline import Recommender

if TYPE_CHECKING:
    from llmrec.data import Holdout

__all__ = ["CandidateRecall", "candidate_recall", "ceiling_rows"]

_BATCH = 512


@dataclass(frozen=True, slots=True)
class CandidateRecall:
    """How far a stage's candidates reach.

    Attributes:
        stage: the stage.
        candidates: how many it has per query, on average: what its retrievers propose and what came from before.
        union: share of the targets among all of these; the ceiling of the stage.
        k: where the fused list is cut.
        fused: share of the targets among the first k of the fused list, whatever the stage keeps.
        kept: share of the targets among what the stage keeps; the ceiling of the next one.
    """

    stage: str
    candidates: float
    union: float
    k: int
    fused: float
    kept: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> CandidateRecall:
        """Rebuild what `to_dict` returned.

        Raises:
            DataError: something is missing.
        """
        try:
            return cls(**found)
        except TypeError as error:
            raise DataError(f"this is not a stored ceiling: {error}; evaluate again") from error


def candidate_recall(recommender: Recommender, holdout: Holdout, *, k: int = 200) -> tuple[CandidateRecall, ...]:
    """Look for the targets among the candidates of each stage that proposes any.

    Stages that only rerank come after the last of these; their ceiling is what that one keeps, and they are not run.

    Args:
        recommender: the cascade; its policies decide what may be proposed.
        holdout: n queries with one target each.
        k: where the fused lists are cut.

    Returns:
        One entry per stage, in order, up to the last with retrievers.

    Raises:
        DataError: the holdout is empty.
    """
    if len(holdout) == 0:
        raise DataError("there is no user to look for targets of; leave-last-out needs users with 3 interactions")
    last = max(place for place, stage in enumerate(recommender.stages) if stage.retrievers)
    proposing = replace(recommender, stages=recommender.stages[: last + 1])
    sums = np.zeros((last + 1, 4))
    for start in range(0, len(holdout), _BATCH):
        rows = np.arange(start, min(start + _BATCH, len(holdout)), dtype=np.int64)
        targets = holdout.targets[rows][:, None]
        for place, stage in enumerate(proposing.trace(holdout.queries.take(rows), 1).stages):
            items = stage.candidates.items
            found = items == targets
            sums[place] += [(items >= 0).sum(), found.sum(), found[:, :k].sum(), found[:, : stage.kept].sum()]
    means = sums / len(holdout)
    return tuple(
        CandidateRecall(stage.name, float(row[0]), float(row[1]), k, float(row[2]), float(row[3]))
        for stage, row in zip(proposing.stages, means, strict=True)
    )


def ceiling_rows(found: Sequence[CandidateRecall]) -> list[tuple[str, ...]]:
    """Lay ceilings out as rows of text, the header first, one row a stage."""
    k = found[0].k if found else 200
    rows: list[tuple[str, ...]] = [("stage", "candidates", "Recall of all", f"Recall@{k}, fused", "Recall of kept")]
    for one in found:
        rows.append((one.stage, f"{one.candidates:.1f}", f"{one.union:.4f}", f"{one.fused:.4f}", f"{one.kept:.4f}"))
    return rows
