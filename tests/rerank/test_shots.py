"""Examples in a prompt: what they show, and what they must not."""

from dataclasses import replace

import numpy as np
import pytest

from llmrec.data import Interactions, Users
from llmrec.errors import ConfigError
from llmrec.rerank.language import TITLE, YES_NO, TitleConfig, YesNoConfig
from llmrec.rerank.shots import draw_examples, histories_of
from llmrec.testing.contracts import reload
from llmrec.types import Queries


def test_an_example_is_what_someone_took_next(context):
    examples = draw_examples(context, 8, 3)
    assert len({example.user for example in examples}) == 8
    for example, history in zip(
        examples, map(histories_of(context, examples).histories.__getitem__, range(8)), strict=True
    ):
        whole = context.train.histories[example.user].tolist()
        assert [*history.tolist(), example.shown[example.taken]] == whole
        others = np.delete(example.shown, example.taken)
        assert len(set(others.tolist())) == 3
        assert not set(others.tolist()) & set(whole)
    assert len({example.taken for example in examples}) > 1, "not always in the same place"


def test_the_same_seed_draws_the_same(context):
    def users(seed):
        return [one.user for one in draw_examples(replace(context, seed=seed), 4, 1)]

    assert users(3) == users(3)
    assert len({tuple(users(seed)) for seed in range(6)}) > 1


def test_what_was_removed_is_not_shown(context):
    catalog = context.catalog.without_items(["i0", "i4"])
    for example in draw_examples(replace(context, catalog=catalog), 3, 4):
        assert not {0, 4} & set(example.shown.tolist())


def test_what_was_disliked_is_no_right_answer_and_not_popular(context):
    """Of five users three end with a dislike, and what is disliked most is liked by nobody."""
    taken = [(user, [(f"i{user}", 1.0), ("i9", -1.0), ("i5", 1.0)]) for user in range(5)]
    rows = [(f"u{user}", item, weight) for user, some in taken for item, weight in some]
    rows += [(f"u{user}", "i6", 0.0 if user == 0 else -1.0) for user in range(3)]
    users, items, weights = zip(*rows, strict=True)
    table = {"user_id": users, "item_id": items, "weight": weights}
    some = replace(context, train=Interactions.from_table(table, context.catalog))
    drawn = draw_examples(some, 2, 2)
    assert {one.user for one in drawn} == {3, 4}
    assert not {6, 9} & {item for one in drawn for item in one.shown.tolist()}
    with pytest.raises(ConfigError, match="only 2 users"):
        draw_examples(some, 3, 2)


def test_too_many_are_an_error(context):
    with pytest.raises(ConfigError, match=r"it asks for 9 examples \(shots\), but only 8 users"):
        draw_examples(context, 9, 1)


def test_profiles_come_along(context):
    people = Users.from_table({"user_id": [f"u{row}" for row in range(9)], "age": list(range(20, 29))})
    examples = draw_examples(context, 4, 1)
    queries = histories_of(replace(context, users=people), examples)
    ids = context.train.users.decode(np.array([example.user for example in examples]))
    assert list(queries.profiles["age"]) == [20 + int(id_[1:]) for id_ in ids]


def test_a_yes_for_every_no(folder, context):
    config = YesNoConfig(model=str(folder), max_tokens=1200, shots=4)
    scorer = YES_NO.fit(context, config)
    assert [answer for _, answer in scorer.reader.shots] == ["Yes", "No", "Yes", "No"]
    titles = context.catalog.table["title"].to_pylist()
    lasts = [titles[row[-1]] for row in map(context.train.histories.__getitem__, range(8))]
    for asked, answer in scorer.reader.shots:
        item = asked.split("next: ")[1].split("?")[0]
        assert answer == "No" or item in lasts


def test_they_stand_before_the_question_and_are_stored(folder, context, tmp_path):
    scorer = TITLE.fit(context, TitleConfig(model=str(folder), max_tokens=900, shots=2))
    (prompt,) = scorer.reader.chats(["and now?"])
    text = scorer.reader.model.tokens.read(prompt)
    order = [text.index(part) for shot in scorer.reader.shots for part in shot] + [text.index("and now?")]
    assert order == sorted(order)
    titles = context.catalog.table["title"].to_pylist()
    assert all(answer in titles for _, answer in scorer.reader.shots)
    queries, items = Queries.from_lists([[0]]), np.array([[1, 2, 3]], np.int32)
    again = reload(scorer, context.catalog, tmp_path)
    assert again.reader.shots == scorer.reader.shots
    np.testing.assert_array_equal(again.score(queries, items), scorer.score(queries, items))


def test_none_change_nothing(folder, context):
    without = TITLE.fit(context, TitleConfig(model=str(folder), max_tokens=900))
    assert without.reader.shots == ()
