import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data import Catalog
from llmrec.errors import TemplateError
from llmrec.text import Field, Template, load_template, render_users
from llmrec.types import Queries

TITLES = [
    "Toy Story",
    "Heat",
    "Twelve Monkeys",
    "Babe",
    "Seven",
    "A Very Long Title Made Of Eleven Words For This Test",
]
CATALOG = Catalog.from_table({"item_id": [f"i{n}" for n in range(len(TITLES))], "title": TITLES})


class Words:
    """Counts words and signs, and remembers what it was asked."""

    def __init__(self):
        self.calls = []

    def count_tokens(self, texts):
        self.calls.append(list(texts))
        spaced = [text.replace(";", " ; ").replace(":", " : ").replace(".", " . ") for text in texts]
        return np.array([len(text.split()) for text in spaced], np.int32)


class Characters:
    """Counts pairs of characters: the tokens of a text are not the sum of its parts'."""

    def count_tokens(self, texts):
        return np.array([-(-len(text) // 2) for text in texts], np.int32)


class Growing:
    """A long text costs more than its parts, so that any estimate from parts is too low."""

    def count_tokens(self, texts):
        words = np.array([len(text.split()) for text in texts])
        return (words + words**2 // 8).astype(np.int32)


def render(histories, budget=100, name="user/recent", counter=None, **rest):
    queries = Queries.from_lists(histories, texts=rest.pop("texts", None))
    queries = Queries(queries.offsets, queries.items, texts=queries.texts, profiles=rest.pop("profiles", None))
    return render_users(load_template(name), CATALOG, queries, budget, counter or Words(), **rest)


def test_newest_first():
    assert render([[0, 1, 2]]).texts == ["Twelve Monkeys; Heat; Toy Story"]


def test_the_oldest_are_left_out_and_counted():
    # "Twelve Monkeys; Heat" is 4 tokens; the separator and "Toy Story" would make it 7.
    for budget, kept in ((7, 3), (6, 2), (4, 2), (3, 1), (2, 1)):
        got = render([[0, 1, 2]], budget)
        assert got.kept.tolist() == [kept]
        assert got.truncated.tolist() == [3 - kept]
        assert not got.shortened.any()


def test_the_frame_counts():
    profiles = {"age": [30], "gender": [None], "occupation": ["writer"]}
    text = "Age: 30. Occupation: writer. Most recent first: Heat; Toy Story"
    whole = render([[0, 1]], 16, "user/profile", profiles=profiles)
    assert (whole.texts, Words().count_tokens([text])[0]) == ([text], 16)
    less = render([[0, 1]], 15, "user/profile", profiles=profiles)
    assert less.texts == ["Age: 30. Occupation: writer. Most recent first: Heat"]
    assert less.truncated.tolist() == [1]


def test_wish_comes_first_and_one_without_is_blank():
    got = render([[1], [1], []], texts=["something\nfunny", None, "only a wish"])
    assert got.texts == ["something funny; Heat", "Heat", "only a wish"]


def test_no_history_no_wish_is_an_empty_text():
    got = render([[]])
    assert (got.texts, got.kept.tolist(), got.truncated.tolist()) == ([""], [0], [0])


def test_no_queries():
    got = render([])
    assert (got.texts, got.kept.shape, got.kept.dtype) == ([], (0,), np.int32)


def test_a_wish_over_the_budget_is_cut_after_a_word_and_marked():
    got = render([[1], [1]], 4, texts=["one two three four five six", None])
    assert got.texts == ["one two three four", "Heat"]
    assert got.shortened.tolist() == [True, False]
    assert got.truncated.tolist() == [1, 0]


def test_where_not_even_the_newest_fits_it_is_cut_after_a_word_and_marked():
    got = render([[0, 5]], 5)
    assert got.texts == ["A Very Long Title Made"]
    assert (got.kept.tolist(), got.truncated.tolist(), got.shortened.tolist()) == ([1], [1], [True])


def test_a_cut_is_within_a_word_only_where_nothing_else_would_be_left():
    # Two characters a token: "wo" fits into one, "A V" into two.
    got = render([[1], [], [5]], 1, counter=Characters(), texts=["wonderful", "wonderful films", None])
    assert got.texts == ["wo", "wo", "A"]
    assert got.shortened.tolist() == [True, True, True]
    beside = render([[2], [2]], 5, counter=Characters(), texts=["a wish", None])
    assert beside.texts == ["a wish", "Twelve"]
    assert (beside.kept.tolist(), beside.truncated.tolist()) == ([0, 1], [1, 0])
    assert beside.shortened.tolist() == [False, True]


def test_a_frame_over_the_budget_says_what_to_do():
    profiles = {"age": [30], "gender": ["F"], "occupation": ["writer"]}
    with pytest.raises(TemplateError, match=r"user/profile.*takes 12 tokens.*budget is 6; raise max_tokens"):
        render([[0]], 6, "user/profile", profiles=profiles)


def test_each_distinct_entry_is_counted_once():
    counter = Words()
    render([[0, 1], [1, 0], [0, 1, 0]] * 20, counter=counter)
    assert [call for call in counter.calls if "Heat" in call] == [["Toy Story", "Heat"]]


def test_pair_template_has_a_user_part_and_no_text_part():
    assert render([[0, 1]], name="pair/history", part="user").texts == ["Heat; Toy Story"]
    with pytest.raises(TemplateError, match=r"no user part 'text'; it has: user"):
        render([[0]], name="pair/history")
    with pytest.raises(TemplateError, match="no user part 'text'; it has: none"):
        render([[0]], name="item/title")


def test_required_profile_field_must_be_there():
    fields = {"age": Field(True, "", "user"), "title": Field(True, "")}
    template = Template("user/own", "user", 1, "", fields, {"entry": "{{ title }}", "text": "{{ age }} {{ history }}"})
    queries = Queries.from_lists([[0], [1]])
    with pytest.raises(TemplateError, match=r"requires the profile field 'age', but query 0 has none"):
        render_users(template, CATALOG, queries, 50, Words())
    queries = Queries(queries.offsets, queries.items, profiles={"age": [30, None]})
    with pytest.raises(TemplateError, match="query 1 has none"):
        render_users(template, CATALOG, queries, 50, Words())


histories = st.lists(st.lists(st.integers(0, len(TITLES) - 1), max_size=12), min_size=1, max_size=6)
wishes = st.lists(
    st.none() | st.sampled_from(["short", "a rather long wish of many, many words: ten"]), min_size=6, max_size=6
)


@settings(max_examples=60, deadline=None)
@given(histories, wishes, st.integers(4, 40), st.sampled_from([Words, Characters, Growing]))
def test_no_text_is_over_the_budget_and_nothing_is_lost_uncounted(rows, texts, budget, counter):
    got = render(rows, budget, counter=counter(), texts=texts[: len(rows)])
    assert (counter().count_tokens(got.texts) <= budget).all()
    assert (got.kept + got.truncated).tolist() == [len(row) for row in rows]
    assert (got.kept >= 0).all()
    assert (got.truncated >= 0).all()


@settings(max_examples=40, deadline=None)
@given(histories, wishes, st.integers(4, 30))
def test_as_many_as_fit_are_kept_where_tokens_add_up(rows, texts, budget):
    got = render(rows, budget, texts=texts[: len(rows)])
    for row, text, kept, short in zip(rows, texts, got.kept, got.shortened, strict=False):
        if kept < len(row) and not short:
            parts = ([text] if text else []) + [TITLES[item] for item in row[::-1][: kept + 1]]
            assert Words().count_tokens(["; ".join(parts)])[0] > budget


@settings(max_examples=30, deadline=None)
@given(histories, wishes, st.integers(4, 30), st.sampled_from([Words, Characters, Growing]))
def test_a_users_text_does_not_depend_on_the_batch(rows, texts, budget, counter):
    together = render(rows, budget, counter=counter(), texts=texts[: len(rows)])
    alone = [
        render([row], budget, counter=counter(), texts=[text]).texts[0] for row, text in zip(rows, texts, strict=False)
    ]
    assert together.texts == alone
