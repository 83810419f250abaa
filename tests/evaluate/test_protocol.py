"""Protocol cards."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from llmrec.errors import DataError
from llmrec.evaluate import ProtocolCard, leave_last_out_card

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
    ):
        with pytest.raises(DataError, match=next(iter(change))):
            CARD.check_comparable(replace(CARD, **change))


def test_leave_last_out_card_describes_the_log():
    class Log(SimpleNamespace):
        def __len__(self) -> int:
            return 12

    card = leave_last_out_card(Log(catalog_size=5, fingerprint="abc"), range(3), seen_excluded=False, note="n")
    assert (card.name, card.n_users, card.n_items, card.n_interactions) == ("LOO", 3, 5, 12)
    assert (card.data_hash, card.seen_excluded, card.note) == ("abc", False, "n")
