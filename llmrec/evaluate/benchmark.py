"""Test cases and what is reported on them, the same for every method that is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from llmrec.data import Catalog, Holdout, Interactions, split_by, with_profiles
from llmrec.errors import DataError
from llmrec.evaluate.cases import Case, cases_of, judge, sample_cases
from llmrec.evaluate.ceiling import CandidateRecall, candidate_recall
from llmrec.evaluate.lists import ListMetric
from llmrec.evaluate.peers import read_lists, repeats_history
from llmrec.evaluate.protocol import ProtocolCard, split_card
from llmrec.evaluate.report import Report
from llmrec.evaluate.runner import evaluate_lists
from llmrec.evaluate.strata import add_strata
from llmrec.evaluate.unseen import check_unseen
from llmrec.pipeline import Recommender
from llmrec.types import Int32Array, Int64Array

__all__ = ["Benchmark", "Trial", "Wanted", "benchmark_of", "benchmark_on"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be reported.

    Attributes:
        k: cut-offs of the metrics.
        extra: metrics of lists, by name; see `evaluate`.
        strata: whether users are also grouped; see `add_strata`.
        users: measure on a fixed random sample of so many users; None: on all.
    """

    k: tuple[int, ...] = (10,)
    extra: Mapping[str, ListMetric] = field(default_factory=dict)
    strata: bool = False
    users: int | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """One test of a split.

    Attributes:
        holdout: the cases.
        card: how they were made; its note says if they are a sample.
    """

    holdout: Holdout
    card: ProtocolCard


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """Test cases over one log. Made by `benchmark_of` or `benchmark_on`.

    Attributes:
        catalog: all items.
        interactions: the log before the split.
        trials: the tests of the split, by name.
        popularity: Int64[n_items], interactions of each item that a recommender may know.
        wanted: what is reported.
    """

    catalog: Catalog
    interactions: Interactions
    trials: Mapping[str, Trial]
    popularity: Int64Array
    wanted: Wanted

    def measure(self, recommender: Recommender, test: str) -> Report:
        """Measure a recommender on one test, which it is asked with the profiles it stores itself.

        Raises:
            LeakageError: it was fitted on another log, or with another split, so it may have seen the targets.
            DataError: it does not fit the data.
        """
        check_unseen(recommender, self.interactions)
        trial = self.trials[test]
        holdout = with_profiles(trial.holdout, self.interactions, recommender.users)
        case = Case(recommender, holdout, trial.card.note, trial.card)
        (report,) = judge(self.interactions, {"": case}, k=self.wanted.k, extra=self.wanted.extra).values()
        return self._finished(report, trial)

    def ceilings(self, recommender: Recommender, test: str) -> tuple[CandidateRecall, ...]:
        """Say how many targets of one test are among the candidates of each stage; see `candidate_recall`."""
        holdout = with_profiles(self.trials[test].holdout, self.interactions, recommender.users)
        return candidate_recall(recommender, holdout)

    def measure_lists(self, path: Path, test: str) -> Report:
        """Judge lists from a file on one test; see `read_lists`.

        The card says whether the lists leave out histories, which is looked up in the lists. Where only some items
        are ranked, the others are taken out of the lists, which is said too.

        Raises:
            DataError: the file is not as it must be, or the test asks the same users more than once.
            UnknownIdError: a user or an item is unknown.
        """
        trial = self.trials[test]
        if trial.card.holdout == "cold-users":
            raise DataError(
                f"{path} holds one list a user, but cold users are asked several times, with histories of different "
                "lengths, which no one list can answer; measure lists on another split"
            )
        lists = read_lists(path, self.catalog, self.interactions.users, trial.holdout)
        without = int((lists[:, 0] < 0).sum())
        lists, taken = _only_ranked(lists, trial.holdout)
        notes = [trial.card.note, f"lists from {path.name}: what made them must not have seen the targets"]
        if without:
            notes.append(f"{without:,} users without a list: misses")
        if taken:
            notes.append(f"{taken:,} places with items that are not ranked here left out")
        card = replace(
            trial.card,
            seen_excluded=not repeats_history(lists, trial.holdout),
            note="; ".join(note for note in notes if note),
        )
        n_items = len(self.catalog)
        report = evaluate_lists(
            lists, trial.holdout, k=self.wanted.k, n_items=n_items, extra=self.wanted.extra, protocol=card
        )
        return self._finished(report, trial)

    def user_ids(self, test: str) -> list[str]:
        """The ids of the users of one test, in order."""
        return self.interactions.users.decode(self.trials[test].holdout.user_rows)

    def _finished(self, report: Report, trial: Trial) -> Report:
        report = report.with_novelty(self.popularity)
        return add_strata(report, trial.holdout, self.popularity) if self.wanted.strata else report


def benchmark_of(recommender: Recommender, interactions: Interactions, wanted: Wanted) -> Benchmark:
    """Make the test cases of the holdout a recommender was fitted with; other methods may be measured on them too.

    Args:
        recommender: fitted for measuring on this log.
        interactions: the log before the split.
        wanted: what is reported.

    Raises:
        LeakageError: it was fitted on another log, or on the whole of this one.
        DataError: it does not store what it knows of its users.
    """
    trials = {
        name: _trial(case.holdout, case.card, wanted.users)
        for name, case in cases_of(recommender, interactions).items()
    }
    if recommender.histories is None:
        raise DataError("the recommender stores no histories, so how popular items were is not known; fit it again")
    popularity = _popularity(recommender.histories, len(recommender.catalog))
    return Benchmark(recommender.catalog, interactions, trials, popularity, wanted)


def benchmark_on(
    name: str, catalog: Catalog, interactions: Interactions, wanted: Wanted, min_interactions: int = 3
) -> Benchmark:
    """Make the test cases of a split, for methods that do not say how they were fitted.

    Args:
        name: one of `llmrec.data.SPLITS`.
        catalog: all items.
        interactions: the log before the split.
        wanted: what is reported.
        min_interactions: see `split_by`.

    Raises:
        ConfigError: no split has this name.
        DataError: the log cannot be split so.
    """
    split = split_by(name, interactions, catalog.items, min_interactions)
    trials = {
        test: _trial(holdout, split_card(split, test, interactions), wanted.users)
        for test, holdout in split.tests.items()
    }
    return Benchmark(catalog, interactions, trials, _popularity(split.known, len(catalog)), wanted)


def _only_ranked(lists: Int32Array, holdout: Holdout) -> tuple[Int32Array, int]:
    """Take items that are not ranked out of lists; return also how many places that were."""
    allow = holdout.queries.allow
    if allow is None:
        return lists, 0
    stays = (lists >= 0) & allow[np.maximum(lists, 0)]
    order = np.argsort(~stays, axis=1, kind="stable")
    moved = np.take_along_axis(np.where(stays, lists, np.int32(-1)), order, axis=1)
    return moved, int(((lists >= 0) & ~stays).sum())


def _trial(holdout: Holdout, card: ProtocolCard | None, users: int | None) -> Trial:
    if card is None:
        raise DataError("these cases do not say how they were made; give them a protocol card")
    if users is None or users >= len(holdout):
        return Trial(holdout, card)
    some = sample_cases(holdout, users)
    return Trial(some, replace(card, n_users=users, note=f"a fixed random {users} of {len(holdout)} users"))


def _popularity(known: Interactions, n_items: int) -> Int64Array:
    return np.bincount(known.items, minlength=n_items).astype(np.int64)
