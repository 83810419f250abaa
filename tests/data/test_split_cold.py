from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings

from llmrec.data import Catalog, Interactions, Vocab, hold_out_items, hold_out_users, is_cold, leave_last_out
from llmrec.errors import ConfigError, DataError
from llmrec.testing.data import tiny_interactions
from llmrec.testing.strategies import interactions

CATALOG = Catalog.from_table({"item_id": [f"i{row}" for row in range(40)]})


@pytest.fixture(scope="module")
def log():
    return tiny_interactions(1, CATALOG, n_users=80)


def plain_cold(an_id, every=10):
    return int(sha256(an_id.encode("utf-8")).hexdigest(), 16) % every == 0


def whose(log):
    return np.repeat(np.arange(log.n_users), np.diff(log.offsets))


def pairs(log):
    return list(zip(whose(log).tolist(), log.items.tolist(), strict=True))


def cases(part):
    return list(zip(part.user_rows.tolist(), part.targets.tolist(), strict=True))


def test_the_rule_is_that_of_the_benchmarks():
    ids = [str(number) for number in range(1, 1683)]
    drawn = is_cold(ids)
    assert [an_id for an_id, cold in zip(ids, drawn, strict=True) if cold] == [i for i in ids if plain_cold(i)]
    assert 0.07 < drawn.mean() < 0.13
    assert is_cold(["é", "a"], 2).tolist() == [plain_cold("é", 2), plain_cold("a", 2)]
    with pytest.raises(ConfigError, match="every is 1"):
        is_cold(ids, 1)


def test_cold_items_by_hand():
    cold, *_ = (i for i in CATALOG.items.ids if plain_cold(i))
    a, b, c, d = [i for i in CATALOG.items.ids if not plain_cold(i)][:4]
    taken = {"u": [a, cold, b, c], "v": [a, b, c, cold], "w": [a, b, cold, c], "x": [cold, a], "y": [cold, a, b, d]}
    rows = [(user, item) for user, items in taken.items() for item in items]
    table = {"user_id": [u for u, _ in rows], "item_id": [i for _, i in rows], "timestamp": list(range(len(rows)))}
    split = hold_out_items(Interactions.from_table(table, CATALOG), CATALOG.items)
    row = dict(zip(CATALOG.items.ids, range(40), strict=True))
    shown = [[CATALOG.items[int(i)] for i in split.train.histories[user]] for user in range(5)]
    assert shown == [[a], [a, b], [a, b], [a], [a]]
    shown = [[CATALOG.items[int(i)] for i in split.known.histories[user]] for user in range(5)]
    assert shown == [[a, b], [a, b, c], [a, b], [a], [a, b]]
    assert cases(split.validation) == [(0, row[b]), (1, row[c]), (4, row[b])]  # w's second last is cold
    assert cases(split.test) == [(1, row[cold])]
    assert split.left_out == 0
    assert list(split.tests) == ["among all", "among cold"]
    assert split.tests["among all"].queries.allow is None
    assert split.tests["among cold"].queries.allow.tolist() == [plain_cold(i) for i in CATALOG.items.ids]


def test_cold_items_are_nowhere_but_in_the_targets(log):
    split = hold_out_items(log, CATALOG.items)
    cold = np.array([plain_cold(i) for i in CATALOG.items.ids])
    assert not cold[split.train.items].any()
    assert not cold[split.known.items].any()
    last = leave_last_out(log)
    assert cases(split.test) == [case for case in cases(last.test) if cold[case[1]]]
    assert cases(split.validation) == [case for case in cases(last.validation) if not cold[case[1]]]
    assert pairs(split.train) == [pair for pair in pairs(last.train) if not cold[pair[1]]]
    assert pairs(split.known) == [pair for pair in pairs(last.known) if not cold[pair[1]]]
    for part in (split.validation, *split.tests.values()):
        assert not cold[part.queries.items].any()
    everything = {*pairs(split.known), *cases(split.test)}
    left_out = [pair for pair in pairs(log) if pair not in everything]
    warm_last = {case for case in cases(last.test) if not cold[case[1]]}
    assert all(cold[item] or (user, item) in warm_last for user, item in left_out)


def test_the_ids_must_be_those_of_the_catalog(log):
    with pytest.raises(DataError, match="catalog of 40 items, the ids given are 39"):
        hold_out_items(log, Vocab(CATALOG.items.ids[:39]))


def test_no_cold_target_is_an_error():
    warm = [i for i in CATALOG.items.ids if not plain_cold(i)][:3]
    table = {"user_id": ["u"] * 3, "item_id": warm, "timestamp": [1, 2, 3]}
    with pytest.raises(DataError, match="cold items is the last of a user"):
        hold_out_items(Interactions.from_table(table, CATALOG), CATALOG.items)


def test_cold_users_by_hand(log):
    split = hold_out_users(log, lengths=(2, 0, 5))
    cold = [user for user, an_id in enumerate(log.users.ids) if plain_cold(an_id)]
    asked = [user for user in cold if len(log.histories[user]) >= 6]
    assert asked
    assert len(asked) < len(cold)
    assert list(split.tests) == ["history 2", "history 0", "history 5"]
    for length in (0, 2, 5):
        part = split.tests[f"history {length}"]
        assert part.user_rows.tolist() == asked
        for case, user in enumerate(asked):
            whole = log.histories[user].tolist()
            assert part.targets[case] == whole[-1]
            assert part.queries.histories[case].tolist() == whole[-1 - length : -1]
            assert part.queries.at[case] == log.times[log.offsets[user + 1] - 1]
    assert split.left_out == len(cold) - len(asked)
    warm = [user for user in range(log.n_users) if user not in cold]
    for user in range(log.n_users):
        whole = [] if user in cold else log.histories[user].tolist()
        assert split.known.histories[user].tolist() == whole
        assert split.train.histories[user].tolist() == (whole[:-1] if len(whole) >= 3 else whole)
    assert split.validation.user_rows.tolist() == [user for user in warm if len(log.histories[user]) >= 3]
    assert split.validation.targets.tolist() == [log.histories[u][-1] for u in split.validation.user_rows.tolist()]


def test_all_lengths_ask_the_same_users(log):
    split = hold_out_users(log)
    assert list(split.tests) == ["history 0", "history 1", "history 2"]
    assert len({tuple(part.user_rows.tolist()) for part in split.tests.values()}) == 1
    assert len(split.tests["history 0"].queries.items) == 0


@settings(deadline=None, max_examples=60)
@given(interactions(max_rows=60))
def test_no_cold_user_is_ever_learned_from(log):
    try:
        split = hold_out_users(log, every=3)
    except DataError:
        return
    cold = np.array([plain_cold(an_id, 3) for an_id in log.users.ids])
    assert set(pairs(split.known)) == {pair for pair in pairs(log) if not cold[pair[0]]}
    assert {*pairs(split.train), *cases(split.validation)} == set(pairs(split.known))
    assert len(split.train) + len(split.validation) == len(split.known)


@pytest.mark.parametrize("lengths", [(), (-1,), (1, 1)])
def test_lengths_out_of_range(log, lengths):
    with pytest.raises(ConfigError, match="lengths of histories"):
        hold_out_users(log, lengths)


def test_no_cold_user_is_an_error(log):
    # an id is all that decides: renamed, nobody is cold
    renamed = [next(n for k in range(99) if not plain_cold(n := f"{an_id}-{k}")) for an_id in log.users.ids]
    with pytest.raises(DataError, match="none of the 0 cold users has 3 interactions"):
        hold_out_users(replace(log, users=Vocab(tuple(renamed))))
