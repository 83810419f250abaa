"""Measuring a bundle beside its own parts, on interactions it has never seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmrec.errors import LeakageError

if TYPE_CHECKING:
    from llmrec.data import Holdout, Interactions
    from llmrec.evaluate import Report
    from llmrec.pipeline import Recommender

__all__ = ["Case", "check_unseen", "judge", "parts", "sample"]


@dataclass(frozen=True, slots=True)
class Case:
    """A recommender to measure, and on whom.

    Attributes:
        recommender: the recommender.
        holdout: the cases.
        note: what a reader must know, such as that the users are a sample.
    """

    recommender: Recommender
    holdout: Holdout
    note: str = ""


def check_unseen(recommender: Recommender, interactions: Interactions) -> None:
    """Check that a bundle was fitted without the last interactions of this very log.

    Raises:
        LeakageError: it was not, or there is no telling.
    """
    about = recommender.about or {}
    if about.get("data", {}).get("interactions") != interactions.fingerprint:
        raise LeakageError(
            "the bundle was fitted on another log, so whether it has seen these targets cannot be known; "
            "evaluate with the data it was fitted on"
        )
    if about.get("holdout") != "last":
        raise LeakageError(
            "the bundle has seen every interaction of this log, the targets too; fit one for measuring with: "
            "llmrec fit --holdout last"
        )


def parts(recommender: Recommender) -> dict[str, Recommender]:
    """Each retriever alone, then the cascade after each stage, all under the same policies."""
    from llmrec.fuse import ReciprocalRankFusion, RrfConfig
    from llmrec.stage import Stage

    found: dict[str, Recommender] = {}
    for stage in recommender.stages:
        for retriever, depth in stage.retrievers:
            fusion = ReciprocalRankFusion(f"{retriever.name}_only", RrfConfig(), {retriever.name: 1.0})
            alone = Stage(f"{retriever.name}_alone", ((retriever, depth),), (), fusion, depth)
            found[retriever.name] = replace(recommender, stages=(alone,))
    for place, stage in enumerate(recommender.stages):
        found[stage.name] = replace(recommender, stages=recommender.stages[: place + 1])
    return found


def sample(holdout: Holdout, users: int, seed: int = 0) -> Holdout:
    """Draw a fixed random sample of the cases; all of them if there are fewer."""
    import numpy as np

    chosen = np.sort(np.random.default_rng(seed).permutation(len(holdout.targets))[:users]).astype(np.int64)
    return replace(
        holdout,
        user_rows=holdout.user_rows[chosen],
        queries=holdout.queries.take(chosen),
        targets=holdout.targets[chosen],
    )


def judge(interactions: Interactions, cases: Mapping[str, Case]) -> dict[str, Report]:
    """Measure each case by full ranking; leave-last-out."""
    from llmrec.evaluate import evaluate, leave_last_out_card
    from llmrec.policy import Seen

    reports = {}
    for name, case in cases.items():
        card = leave_last_out_card(
            interactions,
            case.holdout,
            seen_excluded=any(isinstance(policy, Seen) for policy in case.recommender.policies),
            note=case.note,
        )
        reports[name] = evaluate(case.recommender, case.holdout, n_items=len(case.recommender.catalog), protocol=card)
    return reports
