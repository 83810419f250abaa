"""Groups of users that a mean hides: by how popular the target is, by how long the history is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec.errors import DataError
from llmrec.evaluate.metrics import Float64Array
from llmrec.evaluate.significance import Interval, bootstrap_interval
from llmrec.types import BoolArray, Int32Array, Int64Array, Queries

if TYPE_CHECKING:
    from llmrec.data import Holdout
    from llmrec.evaluate.report import Report

__all__ = ["Stratum", "add_strata", "history_strata", "popularity_strata", "stratify"]

_LENGTHS = ((0, "0"), (1, "1"), (2, "2"), (3, "3-9"), (10, "10-49"), (50, "50+"))
_POPULARITY = ("head", "mid", "tail", "cold")


@dataclass(frozen=True, slots=True)
class Stratum:
    """One group of users.

    Attributes:
        label: the group's name.
        n_users: users in it.
        metrics: mean over its users and 95% interval by name.
    """

    label: str
    n_users: int
    metrics: Mapping[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        metrics = {name: found.to_dict() for name, found in self.metrics.items()}
        return {"label": self.label, "n_users": self.n_users, "metrics": metrics}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Stratum:
        """Rebuild what `to_dict` returned."""
        metrics = {name: Interval(**found) for name, found in values["metrics"].items()}
        return cls(values["label"], values["n_users"], metrics)


def popularity_strata(targets: Int32Array, popularity: Int64Array) -> list[str]:
    """Name each target's group by its item's popularity in training.

    Head, mid and tail each hold about a third of all training interactions: the most popular items, the next,
    the rest. Equally popular items are in one group. An item without an interaction is cold.

    Args:
        targets: Int32[n], catalog rows.
        popularity: Int64[n_items], training interactions of each item.

    Returns:
        n names out of "head", "mid", "tail", "cold".
    """
    ordered = np.sort(popularity)
    mass = np.concatenate([np.zeros(1, np.int64), np.cumsum(ordered)])
    counts = popularity[targets]
    more_popular = mass[-1] - mass[np.searchsorted(ordered, counts, side="right")]
    third = np.minimum(3 * more_popular // max(1, int(mass[-1])), 2)
    names = np.array(_POPULARITY)[np.where(counts == 0, len(_POPULARITY) - 1, third)]
    return [str(name) for name in names]


def history_strata(queries: Queries) -> list[str]:
    """Name each query's group by the length of its history: "0", "1", "2", "3-9", "10-49" or "50+"."""
    starts = np.array([start for start, _ in _LENGTHS])
    groups = np.searchsorted(starts, np.diff(queries.offsets), side="right") - 1
    return [_LENGTHS[group][1] for group in groups]


def add_strata(report: Report, holdout: Holdout, popularity: Int64Array) -> Report:
    """Return a report with its users grouped by the popularity of the target and by the length of the history.

    Args:
        report: of the cases of `holdout`, in this order.
        holdout: the cases.
        popularity: Int64[n_items], interactions of each item that a recommender may know.

    Raises:
        DataError: the report is of other users.
    """
    if not np.array_equal(report.user_rows, holdout.user_rows):
        raise DataError("strata need the cases the report was made on; these are other users, or in another order")
    by_popularity = popularity_strata(holdout.targets, popularity)
    by_history = history_strata(holdout.queries)
    return report.with_strata(
        {
            "popularity": stratify(report, by_popularity, _POPULARITY),
            "history": stratify(report, by_history, [name for _, name in _LENGTHS]),
        }
    )


def stratify(report: Report, labels: Sequence[str], order: Sequence[str] = ()) -> list[Stratum]:
    """Break a report down by groups of its users.

    Args:
        report: of n users.
        labels: n group names, in the order of the report's users.
        order: group names in the order wanted; others follow.

    Returns:
        One stratum per group that has users: first those in `order`, then the others, sorted by label.

    Raises:
        DataError: there is not one label per user.
    """
    if len(labels) != len(report.user_rows):
        raise DataError(f"need one label per user: {len(labels)} labels, {len(report.user_rows)} users")
    groups = np.asarray(labels, dtype=np.str_)
    present = set(labels)
    names = [name for name in order if name in present]
    names += sorted(present - set(names))
    return [_stratum(name, report, groups == name) for name in names]


def _stratum(label: str, report: Report, members: BoolArray) -> Stratum:
    def interval(values: Float64Array) -> Interval:
        return bootstrap_interval(values[members])

    return Stratum(label, int(members.sum()), {name: interval(v) for name, v in report.values.items()})
