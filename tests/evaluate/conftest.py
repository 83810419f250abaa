"""Reports made of random values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from llmrec.evaluate import ACCURACY, ProtocolCard, Report, bootstrap_interval, stratify

N_USERS = 200


@pytest.fixture(scope="session")
def reports_card() -> ProtocolCard:
    """The card of every report of `make_report`."""
    return ProtocolCard("LOO", "last", "file order", N_USERS, 50, 900, "hash")


@pytest.fixture(scope="session")
def make_report(reports_card) -> Callable[..., Report]:
    """Make a report of 200 users: seed, `lift` added to every value, cut-offs `ks`, `strata`."""

    def make(seed: int, *, lift: float = 0.0, ks: tuple[int, ...] = (10,), strata: bool = False) -> Report:
        rng = np.random.default_rng(seed)
        values = {f"{m}@{k}": rng.integers(0, 5, N_USERS) / 8 + lift for k in ks for m in ACCURACY}
        report = Report(
            card=reports_card,
            metrics={name: bootstrap_interval(v, resamples=200) for name, v in values.items()},
            values=values,
            totals={f"{name}@{k}": value for k in ks for name, value in (("coverage", 0.25), ("gini", 0.5))},
            exposure={k: np.arange(50) for k in ks},
            user_rows=np.arange(N_USERS),
            n_short=0,
        )
        if not strata:
            return report
        groups = ["head"] * 80 + ["mid"] * 90 + ["tail"] * 30
        lengths = ["1"] * 100 + ["3-9"] * 100
        return report.with_strata({"popularity": stratify(report, groups), "history": stratify(report, lengths)})

    return make


@pytest.fixture(scope="session")
def user_ids() -> list[str]:
    """The ids of the users of every report of `make_report`."""
    return [f"u{row}" for row in range(N_USERS)]
