"""The protocols of `quality.py`: which log a fit is given, what is held out, and who is asked what.

========== ===========================================================================================================
last       leave last out: the table everything is chosen by
validation the same fit, asked for the second-last interactions, of users that nothing was tuned on
seen       the same, but what a user already took may be recommended again, as some papers have it
ties       the same, with interactions of equal time in a random order
time       two moments cut the whole log
cold-items one item in ten in no training and no history; asked for those, and also for the other items
cold-users one user in ten in no training; the same users asked with their newest 0, 1, 2, 5, 10 and all interactions
========== ===========================================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from llmrec.data import Holdout, Interactions, Vocab, hold_out_items, hold_out_users, leave_last_out, without_last
from llmrec.data.splits import user_rows_of
from llmrec.errors import DataError
from llmrec.evaluate import Benchmark, ProtocolCard, Trial, leave_last_out_card, sample_cases, split_card

HOLDOUTS: Mapping[str, str] = MappingProxyType(
    {
        "last": "last",
        "validation": "last",
        "seen": "last",
        "ties": "last",
        "time": "time",
        "cold-items": "cold-items",
        "cold-users": "cold-users",
    }
)
LENGTHS = (0, 1, 2, 5, 10)
WARM = "warm targets"
VALIDATION = "other users"
TUNED = 5_000
"""By so many cases a fusion is tuned and an epoch chosen, where the configuration does not say otherwise."""


def log_for(log: Interactions, targets: str, protocol: str) -> Interactions:
    """The log that is split: on validation without every user's last interaction; of "ties", in another order.

    Args:
        log: the whole log.
        targets: "validation" or "test".
        protocol: one of `HOLDOUTS`.
    """
    log = log if targets == "test" else without_last(log)
    return shuffled_ties(log, 0) if protocol == "ties" else log


def shuffled_ties(log: Interactions, seed: int) -> Interactions:
    """The log with each user's interactions of equal time in a random order.

    Raises:
        DataError: the log has no times.
    """
    if log.times is None:
        raise DataError("the log has no times, so there are no ties to put in another order")
    chance = np.random.default_rng(seed).random(len(log))
    return log.keep(np.lexsort((chance, log.times, user_rows_of(log))), log.offsets)


def with_trials(
    benchmark: Benchmark, protocol: str, config: Mapping[str, Any], seed: int, tuned: int | None
) -> Benchmark:
    """Ask what the split of a protocol does not ask by itself; see the functions below.

    Args:
        benchmark: of the split.
        protocol: one of `HOLDOUTS`.
        config: the pipeline, as values of a TOML file.
        seed: it was fitted with.
        tuned: of "validation": so many users at most had anything tuned on them, by any method that is compared.
    """
    log, items = benchmark.interactions, benchmark.catalog.items
    min_interactions = config.get("min_interactions", 3)
    if tuned is not None:
        more = {VALIDATION: other_users(log, min_interactions, tuned, seed)}
        return replace(benchmark, trials=_sampled(more, benchmark.wanted.users))
    if protocol == "cold-items":
        more = {WARM: warm_targets(log, items, min_interactions)}
        found = {**benchmark.trials, **_sampled(more, benchmark.wanted.users)}
    elif protocol == "cold-users":
        found = _sampled(cut_histories(log, min_interactions), benchmark.wanted.users)
    else:
        return benchmark
    return replace(benchmark, trials=found)


def tuned_users(config: Mapping[str, Any]) -> int:
    """By how many users' cases anything of a pipeline is tuned, at most; the same ones for everything.

    Raises:
        DataError: a scorer learns from cases of its own, which are drawn in another way.
    """
    stages = config["stages"]
    if any(stage.get("scorers") for stage in stages):
        raise DataError("users whose cases a scorer learned from cannot be told; run with --validation")
    tables = [table for stage in stages for table in stage.get("retrievers", {}).values()]
    counts = [stage.get("tuning_users", TUNED) for stage in stages]
    return max(TUNED, *counts, *(table.get("check_users", TUNED) for table in tables))


def other_users(log: Interactions, min_interactions: int, tuned: int, seed: int) -> Trial:
    """The validation cases of the users whose cases neither a fusion was tuned on nor an epoch chosen by.

    Args:
        log: the log.
        min_interactions: of a user who is asked.
        tuned: at most so many cases were tuned on, the first of a permutation that `seed` decides.
        seed: of the fit.

    Raises:
        DataError: all users were tuned on.
    """
    cases = leave_last_out(log, min_interactions).validation
    rows = np.sort(np.random.default_rng(seed).permutation(len(cases))[tuned:]).astype(np.int64)
    if len(rows) == 0:
        raise DataError(f"of {len(cases)} users none is left that nothing was tuned on; run with --validation")
    holdout = _rows(cases, rows)
    card = leave_last_out_card(log, holdout, min_interactions=min_interactions)
    rule = f"each user's second-last interaction; {tuned} users, on whose it was tuned, are left out"
    return Trial(holdout, replace(card, name="validation, other users", split=rule, holdout="", parameters={}))


def warm_targets(log: Interactions, items: Vocab, min_interactions: int) -> Trial:
    """The cases of leave-last-out whose target is not cold, for what was fitted without the cold items."""
    split = hold_out_items(log, items, min_interactions)
    last = leave_last_out(log, min_interactions).test
    chosen = np.flatnonzero(~np.asarray(split.cold)[last.targets])
    users = last.user_rows[chosen]
    queries = replace(split.known.queries(users), at=last.queries.take(chosen).at)
    holdout = Holdout(users, queries, last.targets[chosen])
    card = leave_last_out_card(log, holdout, min_interactions=min_interactions)
    rule = f"{card.split}; {int(np.sum(split.cold))} cold items are in no training and no history; the others' cases"
    # of no known split: what may be stored of these users differs from any
    return Trial(holdout, replace(card, name=f"cold items, {WARM}", split=rule, holdout="", parameters={}))


def cut_histories(log: Interactions, min_interactions: int) -> dict[str, Trial]:
    """Users in no training, each asked for the last interaction given the newest 0, 1, 2, 5, 10 before it, and all."""
    split = hold_out_users(log, LENGTHS, min_interactions)
    found = {name: Trial(holdout, split_card(split, name, log)) for name, holdout in split.tests.items()}
    longest = found[f"history {LENGTHS[-1]}"]
    last = leave_last_out(log, min_interactions).test
    whole = _rows(last, np.flatnonzero(np.isin(last.user_rows, longest.holdout.user_rows)))
    card = replace(longest.card, name=f"cold users, history {LENGTHS[-1]}+", note="the whole history")
    return {**found, f"history {LENGTHS[-1]}+": Trial(whole, card)}


def _sampled(trials: Mapping[str, Trial], users: int | None) -> dict[str, Trial]:
    return {name: _some(trial, users) for name, trial in trials.items()}


def _some(trial: Trial, users: int | None) -> Trial:
    n = len(trial.holdout)
    if users is None or users >= n:
        return trial
    note = f"a fixed random {users} of {n} users"
    card: ProtocolCard = replace(trial.card, n_users=users, note="; ".join(filter(None, (trial.card.note, note))))
    return Trial(sample_cases(trial.holdout, users), card)


def _rows(holdout: Holdout, rows: np.ndarray) -> Holdout:
    return Holdout(holdout.user_rows[rows], holdout.queries.take(rows), holdout.targets[rows])
