"""Every way to tamper with a split is found."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from llmrec.data import (
    Catalog,
    Interactions,
    check_leakage,
    hold_out_items,
    hold_out_users,
    leave_last_out,
    split_by_time,
)
from llmrec.errors import LeakageError
from llmrec.testing.data import tiny_interactions

CATALOG = Catalog.from_table({"item_id": [f"i{row}" for row in range(40)]})
LOG = tiny_interactions(1, CATALOG, n_users=80)
MAKERS = {
    "last": lambda: leave_last_out(LOG),
    "time": lambda: split_by_time(LOG),
    "cold-items": lambda: hold_out_items(LOG, CATALOG.items),
    "cold-users": lambda: hold_out_users(LOG),
}
NAMES = list(MAKERS)
ALL_PARTS = [(name, part) for name, make in MAKERS.items() for part in ("validation", *make().tests)]


def part_of(split, name):
    return split.validation if name == "validation" else split.tests[name]


def with_part(split, name, part):
    """The split with another validation or test."""
    if name == "validation":
        return replace(split, validation=part)
    return replace(split, tests=MappingProxyType({**split.tests, name: part}))


def with_item(rows, case, item, time):
    """Put an interaction at the start of a history, of a log or of queries."""
    place = int(rows.offsets[case])
    offsets = rows.offsets.copy()
    offsets[case + 1 :] += 1
    return replace(
        rows,
        offsets=offsets,
        items=np.insert(rows.items, place, item).astype(np.int32),
        times=np.insert(rows.times, place, time),
    )


def leaks(split, message):
    with pytest.raises(LeakageError, match=f"LEAKAGE: {message}"):
        check_leakage(split)


def new_item(split, part, case):
    """A warm item this case has nothing to do with."""
    taken = {*part.queries.histories[case].tolist(), *LOG.histories[int(part.user_rows[case])].tolist()}
    return next(i for i in range(40) if i not in taken and (split.name != "cold-items" or not split.cold[i]))


@pytest.mark.parametrize("name", NAMES)
def test_an_honest_split_passes(name):
    check_leakage(MAKERS[name]())


@pytest.mark.parametrize(("name", "part"), ALL_PARTS)
def test_a_target_in_training_is_found(name, part):
    split = MAKERS[name]()
    cases = part_of(split, part)
    early = int(LOG.times.min()) - 1
    train = with_item(split.train, int(cases.user_rows[1]), cases.targets[1], early)
    user = LOG.users[int(cases.user_rows[1])]
    leaks(replace(split, train=train), f"the .* target is in training for 1 of {len(cases)} users, first user '{user}'")


@pytest.mark.parametrize(("name", "part"), ALL_PARTS)
def test_a_target_in_its_own_history_is_found(name, part):
    split = MAKERS[name]()
    cases = part_of(split, part)
    queries = with_item(cases.queries, 1, cases.targets[1], int(LOG.times.min()) - 1)
    leaks(with_part(split, part, replace(cases, queries=queries)), "the .* target is in its own history for 1 of")


@pytest.mark.parametrize(("name", "part"), ALL_PARTS)
def test_a_history_that_runs_past_its_target_is_found(name, part):
    split = MAKERS[name]()
    cases = part_of(split, part)
    queries = with_item(cases.queries, 0, new_item(split, cases, 0), cases.queries.at[0] + 1)
    leaks(with_part(split, part, replace(cases, queries=queries)), "the .* history runs past its target")


@pytest.mark.parametrize(("name", "part"), ALL_PARTS)
def test_a_user_evaluated_twice_is_found(name, part):
    split = MAKERS[name]()
    cases = part_of(split, part)
    twice = cases.user_rows.copy()
    twice[1] = twice[0]
    leaks(with_part(split, part, replace(cases, user_rows=twice)), "users are evaluated more than once")
    outside = with_part(split, part, replace(cases, user_rows=cases.user_rows + LOG.n_users))
    with pytest.raises(LeakageError, match="outside the training log"):
        check_leakage(outside)


@pytest.mark.parametrize("name", NAMES)
def test_a_test_target_a_fit_may_see_is_found(name):
    split = MAKERS[name]()
    user, target = int(split.test.user_rows[0]), split.test.targets[0]
    known = with_item(split.known, user, target, int(LOG.times.min()) - 1)
    leaks(replace(split, known=known), "the .* target is among what a fit may see for 1 of")


@pytest.mark.parametrize("name", ["last", "time"])
def test_a_test_target_in_the_validation_part_is_found(name):
    split = MAKERS[name]()
    validation, test = split.validation, split.test
    user = int(np.intersect1d(validation.user_rows, test.user_rows)[0])
    here, there = (int(np.flatnonzero(part.user_rows == user)[0]) for part in (validation, test))
    queries = with_item(validation.queries, here, test.targets[there], int(LOG.times.min()) - 1)
    message = "the test target is in the validation part for 1 of"
    leaks(replace(split, validation=replace(validation, queries=queries)), message)
    targets = validation.targets.copy()
    targets[here] = test.targets[there]
    leaks(replace(split, validation=replace(validation, targets=targets)), message)


@pytest.mark.parametrize("name", ["last", "cold-items", "cold-users"])
def test_training_on_the_future_of_an_evaluated_user_is_found(name):
    split = MAKERS[name]()
    user = next(u for u in split.validation.user_rows.tolist() if len(split.train.histories[u]))
    times = split.train.times.copy()
    times[split.train.offsets[user]] = 10**6
    changed = replace(split, train=replace(split.train, times=times))
    leaks(changed, "training holds times after the validation target")


@pytest.mark.parametrize(("which", "cut"), [("train", 0), ("known", 1)])
def test_training_past_the_cut_is_found_for_any_user(which, cut):
    """Also of users whom nobody evaluates, and whose own targets say nothing."""
    split = MAKERS["time"]()
    asked = {*split.validation.user_rows.tolist(), *split.test.user_rows.tolist()}
    bystander = next(user for user in range(LOG.n_users) if user not in asked)
    log = with_item(getattr(split, which), bystander, 0, split.cuts[cut])
    leaks(replace(split, **{which: log}), f".* holds times at or after the cut at {split.cuts[cut]}: 1 of {len(log)}")


@pytest.mark.parametrize(("part", "cut"), [("validation", 0), ("time", 1)])
def test_a_history_past_the_cut_is_found(part, cut):
    split = MAKERS["time"]()
    cases = part_of(split, part)
    late = int(np.argmax(cases.queries.at))
    queries = with_item(cases.queries, late, new_item(split, cases, late), split.cuts[cut])
    leaks(
        with_part(split, part, replace(cases, queries=queries)),
        f"the .* history runs past the cut at {split.cuts[cut]}",
    )


def test_a_target_on_the_wrong_side_of_a_cut_is_found():
    split = MAKERS["time"]()
    for part, time in (("validation", split.cuts[1]), ("time", split.cuts[1] - 1)):
        cases = part_of(split, part)
        at = np.full_like(cases.queries.at, time)
        changed = with_part(split, part, replace(cases, queries=replace(cases.queries, at=at)))
        leaks(changed, "the .* target lies on the wrong side of a cut")


def cold_item(split):
    return int(np.flatnonzero(split.cold)[0])


@pytest.mark.parametrize("which", ["train", "known"])
def test_learning_from_a_cold_item_is_found(which):
    split = MAKERS["cold-items"]()
    log = with_item(getattr(split, which), 0, cold_item(split), int(LOG.times.min()))
    leaks(replace(split, **{which: log}), f".* holds cold items: 1 of {len(log)} interactions, first user 'u0'")


@pytest.mark.parametrize("part", ["validation", "among all", "among cold"])
def test_a_cold_item_in_a_history_is_found(part):
    split = MAKERS["cold-items"]()
    cases = part_of(split, part)
    item = next(i for i in np.flatnonzero(split.cold) if i != cases.targets[0])
    queries = with_item(cases.queries, 0, item, int(LOG.times.min()))
    leaks(with_part(split, part, replace(cases, queries=queries)), "the .* history holds cold items for 1 of")


def test_targets_that_are_warm_or_cold_by_mistake_are_found():
    split = MAKERS["cold-items"]()
    for part, word in (("validation", "cold"), ("among all", "not cold"), ("among cold", "not cold")):
        cases = part_of(split, part)
        targets = cases.targets.copy()
        targets[0] = cold_item(split) if part == "validation" else new_item(split, cases, 0)
        leaks(with_part(split, part, replace(cases, targets=targets)), f"the .* target is {word} for 1 of")


def test_ranking_other_items_than_the_cold_ones_is_found():
    split = MAKERS["cold-items"]()
    cases = split.tests["among cold"]
    few = split.cold.copy()
    few[np.flatnonzero(few)[-1]] = False
    changed = replace(cases, queries=replace(cases.queries, allow=few))
    leaks(with_part(split, "among cold", changed), "the 'among cold' test part ranks items other than the cold ones")


@pytest.mark.parametrize("which", ["train", "known"])
def test_learning_from_a_cold_user_is_found(which):
    split = MAKERS["cold-users"]()
    user = int(np.flatnonzero(split.cold)[0])
    item = next(i for i in range(40) if i not in LOG.histories[user])
    log = with_item(getattr(split, which), user, item, int(LOG.times.min()) - 1)
    message = f".* holds interactions of cold users: 1 of {len(log)} interactions, first user '{LOG.users[user]}'"
    leaks(replace(split, **{which: log}), message)


def test_testing_users_who_are_not_cold_is_found():
    split = MAKERS["cold-users"]()
    cases = split.tests["history 0"]
    warm = next(u for u in range(LOG.n_users) if not split.cold[u] and u not in split.validation.user_rows)
    rows, targets = cases.user_rows.copy(), cases.targets.copy()
    rows[0], targets[0] = warm, next(i for i in range(40) if i not in LOG.histories[warm])
    changed = replace(cases, user_rows=rows, targets=targets, queries=replace(cases.queries, at=cases.queries.at + 100))
    leaks(with_part(split, "history 0", changed), "the 'history 0' test user is not cold for 1 of")
    validation = split.validation
    rows = validation.user_rows.copy()
    rows[0] = np.flatnonzero(split.cold)[0]
    leaks(replace(split, validation=replace(validation, user_rows=rows)), "the validation user is cold for 1 of")


def test_untimed_logs_are_checked_too():
    split = leave_last_out(tiny_interactions(seed=3, timed=False))
    assert split.test.queries.at is None
    part = split.test
    history = replace(part.queries, items=part.queries.items.copy())
    history.items[history.offsets[3]] = part.targets[3]
    leaks(with_part(split, "last", replace(part, queries=history)), "the test target is in its own history")


def test_kept_repeats_are_no_leak_but_the_future_is():
    table = {"user_id": ["u"] * 4, "item_id": ["i0", "i1", "i0", "i0"], "timestamp": [1, 2, 3, 4]}
    split = leave_last_out(Interactions.from_table(table, CATALOG, repeats="keep"))
    assert split.test.targets.tolist() == [0]
    times = split.train.times + 100
    leaks(replace(split, train=replace(split.train, times=times)), "training holds times after")
