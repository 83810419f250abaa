from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from llmrec.data import Catalog, Interactions, split_by_time
from llmrec.errors import ConfigError, DataError
from llmrec.testing.data import tiny_interactions
from llmrec.testing.strategies import interactions

CATALOG = Catalog.from_table({"item_id": list("abcdefgh")})
# in order of time: 1 ... 10, so the cuts are the 9th (time 9) and the 10th (time 10) of it at .8 and .9
TABLE = {
    "user_id": ["u", "u", "u", "u", "v", "v", "v", "w", "x", "x"],
    "item_id": ["a", "b", "c", "d", "e", "f", "g", "a", "b", "c"],
    "timestamp": [1, 2, 8, 9, 3, 4, 10, 5, 6, 7],
}


def lists(rows):
    return [rows[i].tolist() for i in range(len(rows))]


def test_by_hand():
    split = split_by_time(Interactions.from_table(TABLE, CATALOG), 0.5, 0.8)
    assert split.cuts == (6, 9)
    assert split.train.users.ids == ("u", "v", "w", "x")
    assert lists(split.train.histories) == [[0, 1], [4, 5], [0], []]
    assert lists(split.known.histories) == [[0, 1, 2], [4, 5], [0], [1, 2]]
    assert split.validation.user_rows.tolist() == [0]  # x has no history before the first cut
    assert split.validation.targets.tolist() == [2]
    assert split.test.user_rows.tolist() == [0, 1]
    assert lists(split.test.queries.histories) == [[0, 1, 2], [4, 5]]
    assert split.test.targets.tolist() == [3, 6]
    assert split.test.queries.at.tolist() == [9, 10]
    assert split.left_out == 0
    assert (split.name, list(split.tests)) == ("time", ["time"])
    assert split.parameters == {"validation_from": 0.5, "test_from": 0.8}


def test_what_bears_the_time_of_a_cut_is_after_it():
    table = {"user_id": ["u"] * 6, "item_id": list("abcdef"), "timestamp": [1, 1, 2, 2, 3, 3]}
    split = split_by_time(Interactions.from_table(table, CATALOG), 0.5, 0.8)
    assert split.cuts == (2, 3)
    assert lists(split.train.histories) == [[0, 1]]
    assert (split.validation.targets.tolist(), split.test.targets.tolist()) == ([2], [4])


def plain_split(log, shares):
    """The same in plain Python: every interaction gets the name of its part."""
    rows = [
        (user, int(log.items[place]), int(log.times[place]))
        for user in range(log.n_users)
        for place in range(int(log.offsets[user]), int(log.offsets[user + 1]))
    ]
    in_order = sorted(time for _, _, time in rows)
    first, second = (in_order[int(share * len(rows))] for share in shares)
    parts = []
    for user, _, time in rows:
        earlier = [t for u, _, t in rows[: len(parts)] if u == user]
        if time < first:
            parts.append("train")
            continue
        cut, name = (first, "validation") if time < second else (second, "test")
        is_first = all(t < cut for t in earlier)
        parts.append(name if earlier and is_first else "left out")
    return rows, parts, first, second


def found(log, split):
    """(user, item) pairs by part."""
    users = np.repeat(np.arange(log.n_users), np.diff(split.train.offsets))
    return {
        "train": list(zip(users.tolist(), split.train.items.tolist(), strict=True)),
        "validation": list(zip(split.validation.user_rows.tolist(), split.validation.targets.tolist(), strict=True)),
        "test": list(zip(split.test.user_rows.tolist(), split.test.targets.tolist(), strict=True)),
    }


@settings(deadline=None, max_examples=100)
@given(interactions(max_rows=60))
def test_every_interaction_is_in_the_part_plain_python_puts_it_in(log):
    rows, parts, first, second = plain_split(log, (0.6, 0.8))
    wanted = {
        name: [(user, item) for (user, item, _), part in zip(rows, parts, strict=True) if part == name]
        for name in ("train", "validation", "test")
    }
    try:
        split = split_by_time(log, 0.6, 0.8)
    except DataError as error:
        assert not all(wanted.values()) or "only count" in str(error)  # noqa: PT017
        return
    assert split.cuts == (first, second)
    assert found(log, split) == wanted
    for part, cut in ((split.validation, first), (split.test, second)):
        for case, user in enumerate(part.user_rows.tolist()):
            assert part.queries.histories[case].tolist() == [i for u, i, t in rows if u == user and t < cut]
            times = part.queries.times[part.queries.offsets[case] : part.queries.offsets[case + 1]]
            assert (np.diff(times) >= 0).all()
    asked = {user for user, _, time in rows if time >= second}
    assert split.left_out == len(asked) - len(split.test)
    assert split.known.items.tolist() == [item for _, item, time in rows if time < second]


def test_the_future_changes_nothing_but_targets():
    log = tiny_interactions(seed=5)
    split = split_by_time(log)
    later = log.times >= split.cuts[1]
    assert later.any()
    changed = replace(log, items=np.where(later, log.catalog_size, log.items), catalog_size=log.catalog_size + 1)
    again = split_by_time(changed)
    assert again.train.items.tolist() == split.train.items.tolist()
    assert again.known.items.tolist() == split.known.items.tolist()
    assert again.test.queries.items.tolist() == split.test.queries.items.tolist()
    assert (again.test.targets == log.catalog_size).all()


def test_what_has_no_times_cannot_be_split_by_time():
    with pytest.raises(DataError, match="the log has no times, so it cannot be split by time"):
        split_by_time(tiny_interactions(timed=False))
    log = tiny_interactions()
    counted = np.arange(len(log)) - np.repeat(log.offsets[:-1], np.diff(log.offsets))
    for start in (0, 1):
        with pytest.raises(DataError, match=rf"only count each user's interactions \({start}, {start + 1}, ...\)"):
            split_by_time(replace(log, times=counted + start))
    with pytest.raises(DataError, match="no interactions"):
        split_by_time(log.keep(np.empty(0, np.int64), np.zeros(log.n_users + 1, np.int64)))


@pytest.mark.parametrize("shares", [(0.0, 0.9), (0.9, 0.8), (0.8, 0.8), (0.8, 1.0)])
def test_shares_out_of_range(shares):
    with pytest.raises(ConfigError, match="0 < validation_from < test_from < 1"):
        split_by_time(tiny_interactions(), *shares)


def test_an_empty_part_is_an_error():
    same = {"user_id": ["u"] * 4, "item_id": list("abcd"), "timestamp": [1, 1, 1, 1]}
    with pytest.raises(DataError, match="cut at times 1 and 1, the training part is empty"):
        split_by_time(Interactions.from_table(same, CATALOG))
    strangers = {"user_id": list("uvwx"), "item_id": list("abcd"), "timestamp": [1, 2, 3, 4]}
    with pytest.raises(DataError, match="the validation part is empty"):
        split_by_time(Interactions.from_table(strangers, CATALOG), 0.5, 0.75)
