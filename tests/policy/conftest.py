"""Policies made as the pipeline makes them, and lists for them to finish."""

import numpy as np
import pytest

from llmrec.component import FitContext, find_component
from llmrec.data import Catalog
from llmrec.types import Queries, Ranking


def shelf():
    """Twelve items: stock, one or two kinds, a price, a date; each is missing somewhere."""
    return Catalog.from_table(
        {
            "item_id": [f"i{row}" for row in range(12)],
            "in_stock": [None if row == 5 else row % 4 != 3 for row in range(12)],
            "kind": ["a", "a", "a|b", "a", "b", None, "b", "c", "a", "c", "b|c", "d"],
            "price": [None if row == 2 else float(row) for row in range(12)],
            "out": [None if row == 7 else f"2020-01-{row + 1:02d}" for row in range(12)],
        }
    )


@pytest.fixture(scope="session")
def shelves():
    return shelf()


@pytest.fixture
def fitted(shelves):
    """Fit a policy: `fitted("caps", field="kind", ...)`; what it says goes to `said`."""

    def make(policy, /, *, said=None, catalog=None, seed=0, name=None, **settings):
        component = find_component(policy)
        say = (lambda _: None) if said is None else said.append
        context = FitContext(name or policy, catalog or shelves, None, seed=seed, progress=say)
        return component.fit(context, component.config.model_validate(settings))

    return make


@pytest.fixture(scope="session")
def plain():
    """n queries of which nothing is known."""
    return lambda n=1: Queries.from_lists([[]] * n)


@pytest.fixture(scope="session")
def listed():
    """Lists of items; scores fall from 1, and from the fifth place on lie below -1, as a fallback's do."""

    def make(*rows):
        items = np.full((len(rows), max(map(len, rows))), -1, dtype=np.int32)
        for row, values in enumerate(rows):
            items[row, : len(values)] = values
        places = np.arange(items.shape[1])
        scores = np.where(places < 4, 1 - places / 16, -1 - places / 16)
        return Ranking(items, np.where(items >= 0, scores, 0).astype(np.float32))

    return make
