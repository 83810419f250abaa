"""Measuring a recommender beside its own parts, on interactions it has never seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from llmrec.data import Holdout, Interactions, Vocab, items_hash, split_by, with_profiles
from llmrec.evaluate.lists import ListMetric
from llmrec.evaluate.protocol import ProtocolCard, leave_last_out_card, split_card
from llmrec.evaluate.report import Report
from llmrec.evaluate.runner import evaluate
from llmrec.evaluate.unseen import check_unseen, held_out_by
from llmrec.fuse import ReciprocalRankFusion, RrfConfig
from llmrec.pipeline import Recommender
from llmrec.policy import Seen
from llmrec.stage import Stage

__all__ = ["Case", "cases_of", "judge", "parts", "sample_cases"]


@dataclass(frozen=True, slots=True)
class Case:
    """A recommender to measure, and on whom.

    Attributes:
        recommender: the recommender.
        holdout: the cases.
        note: what a reader must know, such as that the users are a sample.
        card: how the cases were made; None: leave last out.
    """

    recommender: Recommender
    holdout: Holdout
    note: str = ""
    card: ProtocolCard | None = None


def cases_of(recommender: Recommender, interactions: Interactions) -> dict[str, Case]:
    """Make the test cases of the holdout a recommender was fitted with.

    Args:
        recommender: fitted for measuring.
        interactions: the log it was fitted on, before the split.

    Returns:
        By name: "last"; "time"; "among all" and "among cold"; or "history 0", "history 1" and "history 2". Users
        come with their profiles where the recommender stores them.

    Raises:
        LeakageError: it was fitted on another log, or on the whole of this one; see `check_unseen`.
    """
    check_unseen(recommender, interactions)
    name, settings = held_out_by(recommender)
    ids = recommender.catalog.items.ids
    before = Vocab(ids[: interactions.catalog_size])
    split = split_by(name, interactions, before, settings.get("min_interactions", 3))
    cases = {}
    for tests, holdout in split.tests.items():
        made = split_card(split, tests, interactions)
        card = replace(made, n_items=len(ids), items_hash=items_hash(ids))  # a catalog that has grown is ranked whole
        asked = with_profiles(_over(holdout, len(ids)), interactions, recommender.users)
        cases[tests] = Case(recommender, asked, card=card)
    return cases


def _over(holdout: Holdout, n_items: int) -> Holdout:
    """The same cases over a catalog that has grown; where only some items are ranked, new ones are none of them."""
    allow = holdout.queries.allow
    if allow is None or len(allow) == n_items:
        return holdout
    grown = np.pad(allow, (0, n_items - len(allow)))
    return replace(holdout, queries=replace(holdout.queries, allow=grown))


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


def judge(
    interactions: Interactions,
    cases: Mapping[str, Case],
    *,
    k: Sequence[int] = (10,),
    extra: Mapping[str, ListMetric] | None = None,
) -> dict[str, Report]:
    """Measure each case by full ranking.

    Args:
        interactions: the log before the split.
        cases: by name.
        k: cut-offs of the metrics.
        extra: more metrics, of lists; see `evaluate`.

    Returns:
        A report per case, in order; with novelty, counted from the stored histories, where they are stored.

    Raises:
        LeakageError: a recommender has seen what it is measured on.
        DataError: a holdout does not fit its recommender.
    """
    reports = {}
    for name, case in cases.items():
        n_items = len(case.recommender.catalog)
        report = evaluate(
            case.recommender, case.holdout, k=k, n_items=n_items, extra=extra, protocol=_card(interactions, case)
        )
        known = case.recommender.histories
        reports[name] = report if known is None else report.with_novelty(np.bincount(known.items, minlength=n_items))
    return reports


def _card(interactions: Interactions, case: Case) -> ProtocolCard:
    """Describe what is really measured: this recommender, on these users."""
    seen_excluded = any(isinstance(policy, Seen) for policy in case.recommender.policies)
    if case.card is not None:
        note = case.note or case.card.note
        return replace(case.card, n_users=len(case.holdout), seen_excluded=seen_excluded, note=note)
    bar = held_out_by(case.recommender)[1].get("min_interactions", 3)
    return leave_last_out_card(
        interactions, case.holdout, min_interactions=bar, seen_excluded=seen_excluded, note=case.note
    )
