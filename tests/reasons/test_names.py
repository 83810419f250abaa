"""Names are found in a text however they are written, and no others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.reasons.names import ItemNames, words

TITLES = ["Heat", "Body Heat", "Toy Story (1995)", "Godfather, The (1972)", "霸王别姬", "Alien", "Alien 3", "Up", "It"]
NAMES = ItemNames.of([*TITLES, "Batman", "Batman Returns", "Misérables, Les (1995)"])


@pytest.mark.parametrize(
    ("text", "named", "others"),
    [
        ("You liked Heat.", ["Heat"], []),
        ("You liked heat.", [], [("heat",)]),
        ("You liked BODY-HEAT!", ["Heat"], [("body", "heat")]),
        ("You liked Body Heat.", ["Body Heat"], []),  # "Heat" is a part of what may be named
        ("You liked Body Heat and Heat.", ["Body Heat"], [("heat",)]),
        ("Alien 3 is like Alien.", ["Alien"], [("alien", "3")]),
        ("Alien is like Alien.", ["Alien 3"], [("alien",), ("alien",)]),
        ("Aliens are everywhere.", [], []),
        ("toy story, then", [], [("toy", "story")]),
        ("toy story 1995", ["Toy Story (1995)"], []),
        ("The Godfather of all", [], [("godfather",), ("the", "godfather")]),
        ("Les Misérables", ["Misérables, Les (1995)"], []),
        ("because of batman returns", ["Batman"], [("batman", "returns")]),
        ("因为您看过霸王别姬。", [], [tuple("霸王别姬")]),
        ("因为您看过霸王别姬。", ["霸王别姬"], []),
        ("it goes up", [], []),  # too short to tell from words
        ("H\u200be\u00adat", [], [("heat",)]),  # invisible signs hide nothing
        ("Ｈｅａｔ", [], [("heat",)]),  # noqa: RUF001 - full-width letters
        ("", [], []),
    ],
)
def test_others(text, named, others):
    assert NAMES.others(text, named) == others


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=6), st.data())
def test_every_name_is_found_unless_it_may_stand_there(titles, data):
    names = ItemNames.of(titles)
    one = data.draw(st.sampled_from(titles))
    assert names.others(f"so: {one}.", [one, "so"]) == [] or words(one) not in names.known
    if len("".join(words(one))) >= 4 and one.strip() == one:
        assert words(one) in names.others(f"so | {one} | so", [])
