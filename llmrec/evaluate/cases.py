"""Measuring a recommender beside its own parts, on interactions it has never seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from llmrec.data import Holdout, Interactions
from llmrec.errors import LeakageError
from llmrec.evaluate.protocol import leave_last_out_card
from llmrec.evaluate.report import Report
from llmrec.evaluate.runner import evaluate
from llmrec.fuse import ReciprocalRankFusion, RrfConfig
from llmrec.pipeline import Recommender
from llmrec.policy import Seen
from llmrec.stage import Stage

__all__ = ["Case", "check_unseen", "judge", "parts", "sample_cases"]


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
    """Check that a recommender was fitted without the last interactions of this very log.

    Stricter than `evaluate`, which lets pass what does not say where it comes from.

    Args:
        recommender: says in `about` what it was fitted on.
        interactions: the log before the split.

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
    """Take a recommender apart, to see what each part adds.

    Args:
        recommender: the cascade.

    Returns:
        Each retriever alone, then the cascade after each stage, by name; all under the same policies, and all
        still saying where they come from.
    """
    found: dict[str, Recommender] = {}
    for stage in recommender.stages:
        for retriever, depth in stage.retrievers:
            fusion = ReciprocalRankFusion(f"{retriever.name}_only", RrfConfig(), {retriever.name: 1.0})
            alone = Stage(f"{retriever.name}_alone", ((retriever, depth),), (), fusion, depth)
            found[retriever.name] = replace(recommender, stages=(alone,))
    for place, stage in enumerate(recommender.stages):
        found[stage.name] = replace(recommender, stages=recommender.stages[: place + 1])
    return found


def sample_cases(holdout: Holdout, users: int, seed: int = 0) -> Holdout:
    """Draw a random sample of the cases.

    Args:
        holdout: the cases.
        users: how many to draw; all are kept if there are fewer.
        seed: the same seed draws the same ones.
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(len(holdout.targets))[:users]).astype(np.int64)
    return replace(
        holdout,
        user_rows=holdout.user_rows[chosen],
        queries=holdout.queries.take(chosen),
        targets=holdout.targets[chosen],
    )


def judge(interactions: Interactions, cases: Mapping[str, Case]) -> dict[str, Report]:
    """Measure each case by full ranking at cut-off 10; leave last out.

    Args:
        interactions: the log before the split.
        cases: by name.

    Returns:
        A report per case, in order; with novelty, counted from the stored histories, where they are stored.

    Raises:
        LeakageError: a recommender has seen what it is measured on.
        DataError: a holdout does not fit its recommender.
    """
    reports = {}
    for name, case in cases.items():
        seen_excluded = any(isinstance(policy, Seen) for policy in case.recommender.policies)
        card = leave_last_out_card(interactions, case.holdout, seen_excluded=seen_excluded, note=case.note)
        n_items = len(case.recommender.catalog)
        report = evaluate(case.recommender, case.holdout, n_items=n_items, protocol=card)
        known = case.recommender.histories
        reports[name] = report if known is None else report.with_novelty(np.bincount(known.items, minlength=n_items))
    return reports
