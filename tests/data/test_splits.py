from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from llmrec.data import Catalog, Interactions, check_leakage, leave_last_out, without_last
from llmrec.errors import ConfigError, DataError, LeakageError
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


@pytest.fixture
def split():
    return leave_last_out(tiny_interactions(seed=3))


def with_item(queries, case, item, time):
    """Put an interaction at the start of a history."""
    place = int(queries.offsets[case])
    offsets = queries.offsets.copy()
    offsets[case + 1 :] += 1
    return replace(
        queries,
        offsets=offsets,
        items=np.insert(queries.items, place, item).astype(np.int32),
        times=np.insert(queries.times, place, time),
    )


def first(part, case):
    return part.targets[case], part.queries.at[case] - 100


def leaks(split, message):
    with pytest.raises(LeakageError, match=f"LEAKAGE: {message}"):
        check_leakage(split)


@pytest.mark.parametrize("name", ["validation", "test"])
def test_a_target_in_training_is_found(split, name):
    part = getattr(split, name)
    user, (item, time) = int(part.user_rows[4]), first(part, 4)
    whole = with_item(split.train.queries(), user, item, time)
    train = replace(split.train, offsets=whole.offsets, items=whole.items, times=whole.times)
    leaks(replace(split, train=train), f"the {name} target is in training for 1 of 19 users, first user 'u5'")


@pytest.mark.parametrize("name", ["validation", "test"])
def test_a_target_in_its_own_history_is_found(split, name):
    part = getattr(split, name)
    part = replace(part, queries=with_item(part.queries, 2, *first(part, 2)))
    leaks(replace(split, **{name: part}), f"the {name} target is in its own history")


def test_a_test_target_in_the_validation_part_is_found(split):
    part = split.validation
    seen = replace(part, queries=with_item(part.queries, 0, *first(split.test, 0)))
    leaks(replace(split, validation=seen), "the test target is in the validation part")
    leaks(replace(split, validation=replace(part, targets=split.test.targets)), "the test target is in the validation")


def test_a_history_that_runs_past_its_target_is_found(split):
    part = split.test
    free = np.setdiff1d(np.arange(12), [*part.queries.histories[1], part.targets[1]])[0]
    later = replace(part, queries=with_item(part.queries, 1, free, part.queries.at[1] + 1))
    leaks(replace(split, test=later), "the test history runs past its target")


def test_training_on_the_future_of_an_evaluated_user_is_found(split):
    times = split.train.times.copy()
    times[split.train.offsets[int(split.test.user_rows[0])]] = 10**6
    leaks(replace(split, train=replace(split.train, times=times)), "training holds times after the validation target")


def test_a_user_evaluated_twice_is_found(split):
    rows = split.test.user_rows.copy()
    rows[1] = rows[0]
    leaks(replace(split, test=replace(split.test, user_rows=rows)), "users are evaluated more than once in the test")
    with pytest.raises(LeakageError, match="outside the training log"):
        check_leakage(replace(split, test=replace(split.test, user_rows=split.test.user_rows + 1)))


def test_untimed_logs_are_checked_too():
    split = leave_last_out(tiny_interactions(seed=3, timed=False))
    assert split.test.queries.at is None
    part = split.test
    history = replace(part.queries, items=part.queries.items.copy())
    history.items[history.offsets[3]] = part.targets[3]
    leaks(replace(split, test=replace(part, queries=history)), "the test target is in its own history")


def test_kept_repeats_are_no_leak_but_the_future_is():
    table = {"user_id": ["u"] * 4, "item_id": ["a", "b", "a", "a"], "timestamp": [1, 2, 3, 4]}
    split = leave_last_out(Interactions.from_table(table, CATALOG, repeats="keep"))
    assert split.test.targets.tolist() == [0]
    times = split.train.times + 100
    leaks(replace(split, train=replace(split.train, times=times)), "training holds times after")
