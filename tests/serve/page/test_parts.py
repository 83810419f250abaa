"""What pages are made of: sessions, numbers, charts, outlines of reports, traces."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.serve.page.cards import card_html
from llmrec.serve.page.catalogs import read_field
from llmrec.serve.page.charts import bars, lines, nice_top, ranges
from llmrec.serve.page.compares import moves
from llmrec.serve.page.evaluation import measured, outline
from llmrec.serve.page.looks import ago, number, others, title_of
from llmrec.serve.page.monitor import rates
from llmrec.serve.page.sessions import MOST, OF_ONE_KEY, Sessions
from llmrec.serve.page.traces import stage_table
from llmrec.serve.problems import Unprocessable
from llmrec.serve.views import CandidateView, DayCounts, Listed, ListedItem, StageView

CARD = """---
license: x
---
# T

<b onclick=x>b</b> ![p](http://a/b.png)

|a|b|
|-:|-|
|1|2|

[l](javascript:x) [m](https://e.org)
"""
numbers = st.one_of(st.just(0.0), st.floats(1e-9, 1e9))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_session_ends_when_idle_and_after_its_longest():
    clock = Clock()
    sessions = Sessions(clock, idle_s=10, longest_s=25)
    token = sessions.open("k")
    for clock.now in (9, 18, 25):
        assert sessions.find(token).key_id == "k"
    clock.now = 26
    assert sessions.find(token) is None
    idle = sessions.open("k")
    clock.now = 37
    assert sessions.find(idle) is None
    assert len(sessions) == 0


def test_sessions_are_bounded_and_one_key_cannot_end_those_of_others():
    sessions = Sessions(Clock())
    first = sessions.open("other")
    own = [sessions.open("busy") for _ in range(OF_ONE_KEY + 5)]
    assert sessions.find(first) is not None
    assert [sessions.find(token) is None for token in own] == [True] * 5 + [False] * OF_ONE_KEY
    for number_ in range(MOST):
        sessions.open(f"k{number_}")
    assert len(sessions) == MOST


@given(st.text(max_size=50))
def test_tokens_that_were_not_given_out_open_nothing(token):
    sessions = Sessions(Clock())
    assert sessions.open("k") != sessions.open("k")
    assert sessions.find(token) is None
    sessions.close(token)


@given(st.lists(st.one_of(st.none(), numbers), min_size=1, max_size=20))
def test_lines_stay_inside_the_drawing_and_higher_is_more(values):
    drawn = lines({"a": values}, [str(place) for place in range(len(values))])
    dots = drawn.series[0].dots
    assert len(dots) == sum(value is not None for value in values)
    assert all(drawn.left <= x <= drawn.right and 0 <= y <= drawn.height for x, y, _, _ in dots)
    by_value = sorted(dots, key=lambda dot: dot[3])
    assert all(low[1] >= high[1] for low, high in itertools.pairwise(by_value))


@given(st.dictionaries(st.text(max_size=4), numbers, max_size=6))
def test_bars_are_shares_of_the_longest(values):
    drawn = bars(values)
    assert [bar.value for bar in drawn.bars] == list(values.values())
    assert all(0 <= bar.share <= 100 for bar in drawn.bars)
    if any(values.values()):
        assert max(bar.share for bar in drawn.bars) == 100


@given(numbers)
def test_a_nice_top_is_not_below_and_not_far_above(value):
    top = nice_top(value)
    assert top >= value * (1 - 1e-9)
    assert top == 1.0 if value == 0 else top <= 2.5 * value * (1 + 1e-9)


@given(st.dictionaries(st.text(max_size=4), st.tuples(*[st.floats(-1, 1)] * 3).map(sorted), max_size=5))
def test_intervals_are_placed_in_order(found):
    drawn = ranges({name: (mean, low, high) for name, (low, mean, high) in found.items()})
    for one in drawn.ranges:
        assert -0.01 <= one.start <= one.at <= one.end <= 100.01


def test_numbers_are_short():
    assert [number(value) for value in (0.0, 0.31234, 12.3456, 1234.5, 7, 1e-7)] == [
        "0",
        "0.312",
        "12.3",
        "1,234",
        "7",
        "1.0e-07",
    ]
    assert number(None) == number(math.nan) == "-"
    assert [ago(100.0, now) for now in (90.0, 130.0, 160.0, 8_000.0, 180_000.0)] == [
        "just now",
        "just now",
        "1 minute ago",
        "2 hours ago",
        "2 days ago",
    ]


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_any_number_can_be_written(value):
    assert number(value)


def test_items_are_called_by_title_name_text_or_id():
    assert title_of("i", {"genre": "x", "Name": "N"}) == "N"
    assert title_of("i", {"year": 3, "genre": "x"}) == "x"
    assert title_of("i", {"year": 3, "title": None}) == "i"
    assert others("i", {"title": "T", "year": None, "tags": ["a", "b"], "long": "x" * 500}) == [
        ("tags", "a, b"),
        ("long", "x" * 159 + "…"),
    ]


def test_a_card_holds_no_markup_of_its_own():
    text = card_html(CARD)
    assert "license" not in text
    assert "<b" not in text
    assert "<img" not in text
    assert "style=" not in text
    assert 'href="javascript' not in text
    assert '<a href="https://e.org">' in text
    assert '<div class="scroll" tabindex="0"' in text
    assert "<h3>T</h3>" in text


def test_typed_values_have_the_types_of_the_catalog():
    import pyarrow as pa

    assert read_field("f", pa.int64(), " 7 ") == 7
    assert read_field("f", pa.float64(), "7") == 7.0
    assert read_field("f", pa.bool_(), "No") is False
    assert read_field("f", pa.list_(pa.string()), "a, b,") == ["a", "b"]
    assert read_field("f", pa.string(), "  ") is None
    for kind, text in ((pa.int64(), "x"), (pa.bool_(), "perhaps"), (pa.list_(pa.int64()), "1,x")):
        with pytest.raises(Unprocessable, match="'f'"):
            read_field("f", kind, text)


def test_reports_of_any_shape_have_an_outline():
    @dataclasses.dataclass(frozen=True, slots=True)
    class Inner:
        users: int
        mean: float

    @dataclasses.dataclass(frozen=True, slots=True)
    class Outer:
        name: str
        p: float
        variants: dict
        looks: tuple
        shares: dict
        empty: dict
        values: object

    told = outline(
        Outer("x", 0.5, {"a": Inner(3, 0.25)}, (Inner(1, 0.1), Inner(2, 0.2)), {"a": 0.5}, {}, np.array([1, 2]))
    )
    assert told["facts"] == {"name": "x", "p": 0.5, "values": "1, 2"}
    assert told["tables"]["variants"] == [["", "users", "mean"], ["a", 3, "0.25"]]
    assert told["tables"]["looks"] == [["users", "mean"], [1, "0.1"], [2, "0.2"]]
    assert told["tables"]["shares"] == [["", "shares"], ["a", "0.5"]]
    assert outline(None) == {"facts": {}, "tables": {}}


def test_notes_of_another_shape_are_left_out():
    assert measured({"a": "text", "b": {"metrics": 3}}) == []
    (one,) = measured({"c": {"metrics": {"M": {"mean": 1, "low": 0, "high": 2}, "N": "x"}}})
    assert [r.name for r in one["ranges"].ranges] == ["M"]


def test_rates_are_clicks_a_list_over_bundles_with_gaps():
    def day(name, alias, bundle, shown, clicks):
        return DayCounts(name, alias, bundle, shown, clicks, 0, 0, 0)

    days = [
        day("2026-01-01", "a", "x", 10, 1),
        day("2026-01-01", "a", "y", 10, 4),
        day("2026-01-02", "default", "x", 4, 2),
    ]
    drawn = rates(days)
    assert [(line.name, [dot[3] for dot in line.dots]) for line in drawn.series] == [("default", [0.5]), ("a", [0.25])]
    assert rates([]) is None


def test_scores_become_shares_of_each_column():
    def one(rank, score):
        return CandidateView(f"i{rank}", "t", rank, None, {"s": score, "flat": 2.0}, {"knn": rank}, rank < 3)

    table = stage_table(StageView("r", 3, 2, ("s", "flat"), (one(1, 3.0), one(2, None), one(3, -1.0))))
    assert [share["s"] for share in table.shares] == [1.0, None, 0.0]
    assert [share["flat"] for share in table.shares] == [1.0, 1.0, 1.0]
    assert (table.sources, table.dropped) == (("knn",), 1)


@given(st.permutations("abcdef"), st.permutations("abcdefgh"))
def test_moves_of_one_list_are_those_of_the_other_turned_round(first, second):
    def listed(ids):
        return Listed(tuple(ListedItem(one, rank, 0.0, None, {}) for rank, one in enumerate(ids, 1)), None, "a", "b")

    here = {move.item.item_id: move for move in moves(listed(first), listed(second[:6]))}
    there = {move.item.item_id: move for move in moves(listed(second[:6]), listed(first))}
    for name, move in here.items():
        assert (move.other is None) is (name not in there)
        if name in there:
            assert move.up == -there[name].up


def test_intervals_of_a_report_are_written_as_such():
    rows = outline({"variants": [{"name": "a", "ctr": {"value": 0.5, "low": None, "high": 0.75}}], "salt": "x"})
    assert rows == {"facts": {}, "tables": {"variants": [["name", "ctr"], ["a", "0.5 [-, 0.75]"]]}}


@pytest.mark.parametrize(
    ("words", "nearest"), [("Alien", "Alien"), ("ali", "Alien"), ("res", "Resurrection"), ("lien", "Alien")]
)
def test_titles_are_found_by_what_was_typed_and_not_by_their_place(words, nearest):
    from llmrec.serve.page.lists import _distance

    titles = ["A film of some alienation", "Aliens", "The Ali resort", "Alien", "Resurrection", "Nothing of it"]
    assert min(titles, key=lambda one: _distance(one.lower(), words.lower())) == nearest


def test_templates_that_come_with_llmrec_are_read_once():
    from llmrec.serve.page.drafts import _shipped, parse

    assert _shipped() is _shipped()
    source = _shipped()[0].source
    assert parse(source, "item/mine") is parse(source, "item/mine")


def test_retrievers_without_a_column_stand_apart_in_a_trace():
    from llmrec.serve.page.traces import stage_table
    from llmrec.serve.views import CandidateView, StageView

    one = CandidateView("a", "A", 1, None, {"dense": 0.5}, {"dense": 3, "random": 1}, True, None)
    table = stage_table(StageView("retrieve", 1, 1, ("dense",), (one,)))
    assert table.sources == ("dense", "random")
    assert table.apart == ("random",)
