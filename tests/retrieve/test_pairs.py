import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from llmrec.data import InteractionColumns, Interactions
from llmrec.retrieve.pairs import past_gram, past_to_next, sum_pairs
from llmrec.testing.data import tiny_catalog

CATALOG = tiny_catalog(6)
DECAYS = st.sampled_from([0.3, 0.8, 1.0])


def pasts_and_nexts(log, past_decay, next_decay, window):
    """One row a case, as the model is defined: S holds the decayed past, T what came next."""
    sources, targets = [], []
    for user in range(log.n_users):
        part = slice(log.offsets[user], log.offsets[user + 1])
        items = log.items[part]
        weights = np.ones(len(items)) if log.weights is None else log.weights[part].astype(np.float64)
        for cut in range(1, len(items)):
            source, target = np.zeros(log.catalog_size), np.zeros(log.catalog_size)
            for steps in range(min(cut, window)):
                source[items[cut - 1 - steps]] += past_decay**steps * weights[cut - 1 - steps]
            for steps in range(min(len(items) - cut, window)):
                target[items[cut + steps]] += next_decay**steps * weights[cut + steps]
            sources.append(source)
            targets.append(target)
    return np.reshape(sources, (-1, log.catalog_size)), np.reshape(targets, (-1, log.catalog_size))


@st.composite
def logs(draw):
    """Logs in which items repeat and, sometimes, interactions have weights, dislikes among them."""
    rows = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), min_size=1, max_size=25))
    table = {"user_id": [f"u{user}" for user, _ in rows], "item_id": [f"i{item}" for _, item in rows]}
    if draw(st.booleans()):
        table["w"] = [float((7 * i) % 5 - 1) for i in range(len(rows))]
    columns = InteractionColumns(time=None, weight="w" if "w" in table else None)
    return Interactions.from_table(table, CATALOG, columns, repeats="keep")


@given(logs(), DECAYS, DECAYS, st.integers(1, 6))
def test_sums_over_gaps_are_the_products_of_all_cases(log, past_decay, next_decay, window):
    source, target = pasts_and_nexts(log, past_decay, next_decay, window)
    gram = past_gram(log, past_decay, window).toarray()
    np.testing.assert_allclose(gram, source.T @ source, rtol=1e-9, atol=1e-9)
    following = past_to_next(log, past_decay, next_decay, window).toarray()
    np.testing.assert_allclose(following, source.T @ target, rtol=1e-9, atol=1e-9)


def test_pairs_know_their_gap_and_what_comes_after_them():
    table = {"user_id": list("aaaabb"), "item_id": ["i0", "i1", "i2", "i3", "i0", "i2"]}
    log = Interactions.from_table(table, CATALOG, InteractionColumns(time=None))
    found = sum_pairs(log, range(1, 3), lambda gap, after: 10.0 * gap + after).toarray()
    expected = np.zeros((6, 6))
    expected[0, 1], expected[1, 2], expected[2, 3] = 12, 11, 10
    expected[0, 2] = 21 + 10  # a: a gap of two, one after; b: right after, none after
    expected[1, 3] = 20
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("window", [1, 3])
def test_one_interaction_a_user_says_nothing(window):
    log = Interactions.from_table(
        {"user_id": ["a", "b"], "item_id": ["i0", "i1"]}, CATALOG, InteractionColumns(time=None)
    )
    assert past_gram(log, 0.8, window).nnz == 0
    assert past_to_next(log, 0.8, 0.8, window).nnz == 0
