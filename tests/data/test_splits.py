from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings

from llmrec.data import SPLITS, Catalog, Interactions, Vocab, leave_last_out, split_by, split_parameters, without_last
from llmrec.errors import ConfigError, DataError
from llmrec.testing.data import tiny_interactions
from llmrec.testing.strategies import interactions

CATALOG = Catalog.from_table({"item_id": list("abcdef")})
TABLE = {
    "user_id": ["u", "u", "u", "u", "v", "v", "w", "w", "w"],
    "item_id": ["a", "b", "c", "d", "e", "f", "f", "a", "e"],
    "timestamp": [1, 2, 2, 4, 1, 2, 9, 8, 7],
}


def lists(rows):
    return [rows[i].tolist() for i in range(len(rows))]


def test_leave_last_out_by_hand():
    split = leave_last_out(Interactions.from_table(TABLE, CATALOG))
    assert split.train.users.ids == ("u", "v", "w")
    assert lists(split.train.histories) == [[0, 1], [4, 5], [4]]  # v has too few: whole in training
    assert split.validation.user_rows.tolist() == [0, 2]
    assert lists(split.validation.queries.histories) == [[0, 1], [4]]
    assert split.validation.targets.tolist() == [2, 0]
    assert split.validation.queries.at.tolist() == [2, 8]
    assert lists(split.test.queries.histories) == [[0, 1, 2], [4, 0]]
    assert split.test.targets.tolist() == [3, 5]
    assert split.test.queries.at.tolist() == [4, 9]
    assert split.test.queries.times.tolist() == [1, 2, 2, 7, 8]
    assert lists(split.known.histories) == [[0, 1, 2], [4, 5], [4, 0]]
    assert split.left_out == 1
    assert (split.name, list(split.tests), split.parameters) == ("last", ["last"], {"min_interactions": 3})
    assert (split.test.user_rows.dtype, split.test.targets.dtype) == (np.int64, np.int32)


def test_without_last_is_what_the_test_history_holds():
    log = Interactions.from_table(TABLE, CATALOG)
    rest = without_last(log)
    assert lists(rest.histories) == [[0, 1, 2], [4, 5], [4, 0]]
    assert rest.times.tolist() == [1, 2, 2, 1, 2, 7, 8]
    assert rest.users == log.users


def test_min_interactions_moves_the_bar():
    log = Interactions.from_table(TABLE, CATALOG)
    assert leave_last_out(log, min_interactions=4).test.user_rows.tolist() == [0]
    with pytest.raises(ConfigError, match="at least 3"):
        leave_last_out(log, min_interactions=2)
    with pytest.raises(DataError, match="none of the 3 users has 5 interactions"):
        without_last(log, min_interactions=5)


@settings(deadline=None, max_examples=40)
@given(interactions(max_rows=60))
def test_parts_add_up_to_the_log(log):
    if np.diff(log.offsets).max() < 3:
        return
    split = leave_last_out(log)
    place = {user: case for case, user in enumerate(split.test.user_rows.tolist())}
    for user in range(log.n_users):
        whole = log.histories[user].tolist()
        if user not in place:
            assert len(whole) < 3
            assert split.train.histories[user].tolist() == whole
            continue
        case = place[user]
        assert split.train.histories[user].tolist() == whole[:-2]
        assert split.validation.queries.histories[case].tolist() == whole[:-2]
        assert split.test.queries.histories[case].tolist() == whole[:-1]
        assert [split.validation.targets[case], split.test.targets[case]] == whole[-2:]
    assert len(split.train) + 2 * len(split.test) == len(log)


@settings(deadline=None, max_examples=40)
@given(interactions(max_rows=60))
def test_the_split_never_looks_at_what_it_holds_out(log):
    """Changing the last item of every user changes no history."""
    if np.diff(log.offsets).max() < 3:
        return
    other = log.items.copy()
    other[log.offsets[1:] - 1] = log.catalog_size  # an item nobody else has
    changed = replace(log, items=other, catalog_size=log.catalog_size + 1)
    split, again = leave_last_out(log), leave_last_out(changed)
    mask = np.isin(np.arange(log.n_users), split.test.user_rows)
    kept = np.repeat(mask, np.diff(split.train.offsets))
    assert split.train.items[kept].tolist() == again.train.items[kept].tolist()
    assert split.test.queries.items.tolist() == again.test.queries.items.tolist()


def plain_leave_last_out(log):
    """The same in plain Python, a user at a time."""
    train, validation, test = [], [], []
    for user in range(log.n_users):
        start, end = (int(place) for place in log.offsets[user : user + 2])
        rows = list(zip(log.items[start:end].tolist(), log.times[start:end].tolist(), strict=True))
        if len(rows) < 3:
            train.append(rows)
            continue
        train.append(rows[:-2])
        validation.append((user, rows[:-2], rows[-2]))
        test.append((user, rows[:-1], rows[-1]))
    return train, validation, test


def plain(part):
    """A holdout as plain values: (user, [(item, time), ...], (target, its time)) a case."""
    offsets = part.queries.offsets.tolist()
    rows = list(zip(part.queries.items.tolist(), part.queries.times.tolist(), strict=True))
    histories = [rows[a:b] for a, b in pairwise(offsets)]
    targets = zip(part.targets.tolist(), part.queries.at.tolist(), strict=True)
    return list(zip(part.user_rows.tolist(), histories, targets, strict=True))


@settings(deadline=None, max_examples=60)
@given(interactions(max_rows=60))
def test_it_is_what_plain_python_finds(log):
    if np.diff(log.offsets).max() < 3:
        return
    split = leave_last_out(log)
    train, validation, test = plain_leave_last_out(log)
    rows = list(zip(split.train.items.tolist(), split.train.times.tolist(), strict=True))
    bounds = split.train.offsets.tolist()
    assert [rows[a:b] for a, b in pairwise(bounds)] == train
    assert plain(split.validation) == validation
    assert plain(split.test) == test


def test_nothing_that_is_known_of_an_interaction_is_lost():
    log = replace(
        Interactions.from_table(TABLE, CATALOG),
        weights=np.arange(9, dtype=np.float32),
        kinds=np.arange(9, dtype=np.int8) % 2,
        kind_names=("view", "buy"),
        ratings=np.arange(9, dtype=np.float32) + 10,
    )
    queries = leave_last_out(log).test.queries
    assert queries.weights.tolist() == [0, 1, 2, 6, 7]
    assert queries.kinds.tolist() == [0, 1, 0, 0, 1]
    assert queries.ratings.tolist() == [10, 11, 12, 16, 17]
    assert queries.kind_names == ("view", "buy")


def test_every_name_is_a_split():
    # ids chosen so that some users and some items are cold: see test_split_cold
    catalog = Catalog.from_table({"item_id": [f"i{row}" for row in range(40)]})
    log = tiny_interactions(1, catalog, n_users=80)
    for name in SPLITS:
        split = split_by(name, log, catalog.items)
        assert (split.name, dict(split.parameters)) == (name, split_parameters(name))
        assert split.test is next(iter(split.tests.values()))
        assert split.train.users is split.known.users is log.users
        changed = {"min_interactions": 4} if name != "time" else {}
        assert dict(split_by(name, log, catalog.items, 4).parameters) == {**split_parameters(name), **changed}
    for call in (lambda: split_by("Last", log, Vocab(())), lambda: split_parameters("Last")):
        with pytest.raises(ConfigError, match="no split is called 'Last'; known: last, time, cold-items, cold-users"):
            call()
