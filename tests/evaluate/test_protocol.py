"""Protocol cards."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from llmrec.data import SPLITS, split_by
from llmrec.errors import DataError
from llmrec.evaluate import ProtocolCard, leave_last_out_card, split_card
from llmrec.testing.data import tiny_catalog, tiny_interactions

CARD = ProtocolCard("LOO", "leave last out", "file order", 943, 1682, 100_000, "0123456789abcdef")


def test_one_line_names_everything():
    line = str(CARD)
    assert "\n" not in line
    for part in (
        "LOO",
        "leave last out",
        "file order",
        "943",
        "1,682",
        "100,000",
        "0123456789ab",
        "excluded",
    ):
        assert part in line
    assert "history not excluded" in str(replace(CARD, seen_excluded=False))
    assert str(replace(CARD, note="seed 3")).endswith("seed 3")


def test_dict_survives_json():
    assert ProtocolCard(**json.loads(json.dumps(CARD.to_dict()))) == CARD


def test_only_notes_may_differ():
    CARD.check_comparable(replace(CARD, note="another"))
    for change in (
        {"name": "time"},
        {"split": "x"},
        {"ties": "x"},
        {"n_users": 1},
        {"n_items": 1},
        {"n_interactions": 1},
        {"data_hash": "x"},
        {"seen_excluded": False},
        {"holdout": "last"},
        {"parameters": {"min_interactions": 5}},
        {"n_ranked": 5},
        {"items_hash": "x"},
    ):
        with pytest.raises(DataError, match=next(iter(change))):
            CARD.check_comparable(replace(CARD, **change))


def test_leave_last_out_card_describes_the_log():
    class Log(SimpleNamespace):
        def __len__(self) -> int:
            return 12

    log = Log(catalog_size=5, fingerprint="abc", items_hash="def")
    card = leave_last_out_card(log, range(3), seen_excluded=False, note="n")
    assert (card.holdout, card.parameters, card.items_hash) == ("last", {"min_interactions": 3}, "def")
    other = leave_last_out_card(log, range(3), min_interactions=5)
    assert "users with at least 5 interactions" in str(other)
    assert other.parameters == {"min_interactions": 5}
    assert (card.name, card.n_users, card.n_items, card.n_interactions) == ("LOO", 3, 5, 12)
    assert (card.data_hash, card.seen_excluded, card.note) == ("abc", False, "n")


CATALOG = tiny_catalog(40)
LOG = tiny_interactions(1, CATALOG, n_users=80)


@pytest.mark.parametrize("name", SPLITS)
def test_the_card_of_any_split(name):
    split = split_by(name, LOG, CATALOG.items)
    names = set()
    for tests, holdout in split.tests.items():
        card = split_card(split, tests, LOG, seen_excluded=False, note="n")
        assert (card.holdout, card.parameters) == (name, dict(split.parameters))
        assert (card.n_users, card.n_items, card.n_interactions) == (len(holdout), 40, len(LOG))
        assert (card.data_hash, card.items_hash, card.seen_excluded, card.note) == (
            LOG.fingerprint,
            LOG.items_hash,
            False,
            "n",
        )
        assert ProtocolCard(**json.loads(json.dumps(card.to_dict()))) == card
        names.add(card.name)
    assert len(names) == len(split.tests)
    with pytest.raises(DataError, match="no test cases 'x'; it has"):
        split_card(split, "x", LOG)


def test_cards_say_what_the_split_did():
    split = split_by("time", LOG, CATALOG.items)
    line = str(split_card(split, "time", LOG))
    for part in (
        "global time",
        f"train before {split.cuts[0]}",
        f"validation before {split.cuts[1]}",
        "80% and 90%",
        "left out",
    ):
        assert part in line
    split = split_by("cold-items", LOG, CATALOG.items)
    n_cold = int(split.cold.sum())
    assert f"cold items, among all ({n_cold} items" in str(split_card(split, "among all", LOG))
    assert "all 40 items ranked" in str(split_card(split, "among all", LOG))
    assert f"{n_cold} of 40 items ranked" in str(split_card(split, "among cold", LOG))
    split = split_by("cold-users", LOG, CATALOG.items, 4)
    line = str(split_card(split, "history 2", LOG))
    assert f"cold users, history 2 ({int(split.cold.sum())} users" in line
    assert "divisible by 10" in line
    assert "at least 4" in line


def test_two_ways_with_histories_are_told_what_to_do():
    one = ProtocolCard("LOO", "last", "file order", 3, 9, 20, "hash")
    with pytest.raises(DataError, match="make the lists without those items, or take the `seen` policy out"):
        one.check_comparable(replace(one, seen_excluded=False))
    with pytest.raises(DataError, match="evaluate both on one split"):
        one.check_comparable(replace(one, seen_excluded=False, n_users=4))
