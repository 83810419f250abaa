"""Stored users: their histories and profiles, asked for by id."""

from dataclasses import replace

import numpy as np
import pytest

import llmrec
from llmrec.data import Interactions, Users
from llmrec.errors import DataError, UnknownIdError
from llmrec.testing.data import tiny_users
from llmrec.types import Queries


@pytest.fixture(scope="module")
def known(hybrid):
    return replace(hybrid, users=tiny_users())


def histories(queries):
    return [queries.histories[row].tolist() for row in range(len(queries))]


def test_stored_profiles_come_with_stored_histories(known, hybrid):
    asked = known.queries(["u3", "u0", "u4"])
    assert histories(asked) == histories(hybrid.queries(["u3", "u0", "u4"]))
    assert asked.profiles == {"age": [23, None, None], "occupation": ["writer", None, "student"]}
    assert hybrid.queries(["u3"]).profiles is None


def test_profiles_that_are_given_stand_instead(known):
    asked = known.queries(["u3"], profiles={"age": [99]})
    assert asked.profiles == {"age": [99]}
    assert known.queries(histories=[["i1"]]).profiles is None


def test_a_user_with_a_profile_and_no_history_is_known(known):
    more = Users.from_table({"user_id": ["u3", "newcomer"], "age": [1, 2]})
    it = replace(known, users=more)
    asked = it.queries(["newcomer", "u3", "newcomer"], wishes=[None, "red", None])
    assert histories(asked) == [[], histories(known.queries(["u3"]))[0], []]
    assert asked.profiles == {"age": [2, 1, 2]}
    assert asked.times is None or len(asked.times) == len(asked.items)
    assert (it.recommend(asked, 5).items >= 0).all()
    alone = replace(it, histories=None).queries(["newcomer"])
    assert histories(alone) == [[]]
    assert alone.profiles == {"age": [2]}


def test_who_is_not_known_is_named(known):
    with pytest.raises(UnknownIdError, match="'nobody'"):
        known.queries(["u3", "nobody"])
    with pytest.raises(UnknownIdError, match="'u0'"):  # has a history only
        replace(known, histories=None).queries(["u0"])
    with pytest.raises(DataError, match="stores no users"):
        replace(known, histories=None, users=None).queries(["u3"])


def test_profiles_without_fields_are_none(known):
    only_ids = Users.from_table({"user_id": ["u3"]})
    assert replace(known, users=only_ids).queries(["u3"]).profiles is None


def test_a_log_gets_the_profiles_of_its_users(known, hybrid, catalog):
    log = Interactions.from_table(
        {"user_id": ["x", "u4", "u3", "u3"], "item_id": ["i1", "i2", "i3", "i4"], "timestamp": [1, 2, 3, 4]}, catalog
    )
    rows = log.users.rows(["u3", "x"]).astype(np.int64)
    asked = known.history_queries(log, rows)
    assert histories(asked) == [[3, 4], [1]]
    assert asked.profiles == {"age": [23, None], "occupation": ["writer", None]}
    assert known.history_queries(log).profiles["occupation"] == [None, "student", "writer"]
    assert hybrid.history_queries(log, rows).profiles is None


def test_profiles_are_saved_and_older_bundles_have_none(known, hybrid, tmp_path):
    again = llmrec.load(known.save(tmp_path / "with"))
    assert again.users.fingerprint == known.users.fingerprint
    assert again.queries(["u3"]).profiles == known.queries(["u3"]).profiles
    assert llmrec.load(hybrid.save(tmp_path / "without")).users is None


def test_profiles_reach_the_templates_that_show_them(known, bert):
    from llmrec.models import TextEncoder
    from llmrec.retrieve import DenseConfig, fit_dense

    config = DenseConfig(encoder=str(bert), item_template="item/title", user_template="user/profile")
    dense = fit_dense(known.catalog, config, TextEncoder.load(str(bert)))
    items = np.arange(12, dtype=np.int32)[None]
    with_profile, without = known.queries(["u3"]), replace(known, users=None).queries(["u3"])
    assert not np.allclose(dense.score(with_profile, items), dense.score(without, items), atol=1e-3)


def test_a_request_may_have_a_time(known):
    asked = known.queries(["u3", "u4"], at=[5, 7])
    assert asked.at.tolist() == [5, 7]
    assert asked.at.dtype == np.int64
    assert known.queries(["u3"]).at is None
    for bad, message in (
        ([5], "all of the same length"),
        (5, "at must be a list of times"),
        ([1.5, 2], "whole numbers"),
    ):
        with pytest.raises(DataError, match=message):
            known.queries(["u3", "u4"], at=bad)


def test_deleted_items_in_requests_are_still_understood(known):
    gone = known.remove_items(["i1"])
    asked = gone.queries(histories=[["i1"]], exclude=[["i1"]], allow=["i1", "i2"])
    assert isinstance(asked, Queries)
    found = gone.recommend(asked, 3)
    assert found.items.tolist() == [[2, -1, -1]]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, DataError, "give users or histories"),
        ({"allow": ["i0"]}, DataError, "give users or histories"),
        ({"users": ["u1"], "histories": [["i0"]]}, DataError, "give users or histories"),
        ({"users": ["u1"], "wishes": ["a", "b"]}, DataError, "same length"),
        ({"exclude": [["i0"]]}, DataError, "give users or histories"),
        ({"profiles": {"age": [3]}}, DataError, "give users or histories"),
        ({"users": ["u1"], "exclude": []}, DataError, "same length"),
        ({"users": "u1"}, DataError, r"users must be a list of ids, got one string; write \['u1'\]"),
        ({"histories": "i0"}, DataError, r"histories must be a list of lists of ids, got one string; write \[\['i0'"),
        ({"histories": ["i0"]}, DataError, r"histories\[0\] must be a list of ids, got one string; write \['i0'\]"),
        ({"histories": [["i0"], None]}, DataError, r"histories\[1\] must be a list of ids, got None"),
        ({"wishes": "red"}, DataError, r"wishes must be a list of texts, got one string; write \['red'\]"),
        ({"users": ["u1"], "exclude": ["i0"]}, DataError, r"exclude\[0\] must be a list of ids, got one string"),
        ({"users": ["u1"], "allow": "i0"}, DataError, r"allow must be a list of ids, got one string"),
        ({"users": 42}, DataError, "users must be a list of ids, got 42"),
        ({"wishes": ["  "]}, DataError, "a wish is empty"),
        ({"users": ["nobody"]}, UnknownIdError, "nobody"),
        ({"histories": [["i0", "i99"]]}, UnknownIdError, "i99"),
        ({"histories": [[]], "exclude": [["i99"]]}, UnknownIdError, "i99"),
        ({"histories": [[]], "allow": ["i99"]}, UnknownIdError, "i99"),
    ],
)
def test_queries_say_what_is_wrong(hybrid, arguments, error, message):
    with pytest.raises(error, match=message):
        hybrid.queries(**arguments)


def test_one_string_is_never_read_letter_by_letter(hybrid):
    for ask, name in ((hybrid.similar, "item_ids"), (hybrid.search, "texts")):
        with pytest.raises(DataError, match=f"{name} must be a list of .*, got one string; write"):
            ask("i1", 3)
    with pytest.raises(DataError, match="item_ids must be a list of ids"):
        hybrid.remove_items("i1")
    with pytest.raises(DataError, match="a search text is empty"):
        hybrid.search(["red", " "], 3)


def test_ids_may_come_as_any_sequence(hybrid):
    found = hybrid.queries(histories=[np.array(["i3", "i1"]), ("i2",)])
    assert [found.histories[i].tolist() for i in range(2)] == [[3, 1], [2]]
    assert len(hybrid.queries(np.array(["u1", "u2"]))) == 2


def test_a_recommender_without_users_says_so(hybrid):
    with pytest.raises(DataError, match="stores no users; pass histories"):
        replace(hybrid, histories=None).queries(["u1"])
