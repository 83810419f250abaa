"""Aliases: none is in a text, none is the start of another, an answer names each once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import ModelError
from llmrec.models import LanguageModel
from llmrec.rerank.aliases import SEPARATOR, AliasPool, seeded


@pytest.fixture(scope="session")
def tokens(folder):
    return LanguageModel.load(str(folder)).tokens


@pytest.fixture(scope="session")
def pool(tokens):
    return AliasPool.of(tokens)


def test_all_take_the_same_number_of_tokens(pool, tokens):
    assert len(pool.first) >= 100
    assert pool.first.keys() == pool.later.keys()
    assert {len(tokens.text(name)) for name in pool.first} == {2}
    assert {len(ids) for ids in pool.first.values()} == {2}
    assert len({len(ids) for ids in pool.later.values()}) == 1
    assert not {"TO", "IN", "II", "MY"} & pool.first.keys(), "no words"


def test_none_is_a_word_that_is_shown(pool):
    shown = [
        "Rocky " + next(iter(pool.first)),
        " ".join(list(pool.first)[1:40]).lower(),
        "[" + list(pool.first)[40] + "]3",
    ]
    drawn = pool.draw(seeded(1), 50, shown)
    assert len(set(drawn)) == 50
    assert not set(drawn) & set(list(pool.first)[:41])
    everything = [" ".join(pool.first)]
    assert len(set(pool.draw(seeded(1), 50, everything))) == 50, "there is nothing else to take"


def test_the_same_content_draws_the_same(pool):
    assert pool.draw(seeded(0, "user", [1, 2]), 9, []) == pool.draw(seeded(0, "user", [1, 2]), 9, [])
    assert pool.draw(seeded(0, "user", [1, 2]), 9, []) != pool.draw(seeded(1, "user", [1, 2]), 9, [])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(0, 1000))
def test_whatever_is_allowed_becomes_a_permutation(pool, tokens, count, seed):
    rng = np.random.default_rng(seed)
    aliases, said = pool.draw(rng, count, []), []
    for _ in range(pool.answer_tokens(count)):
        allowed = pool.next_ids(aliases, said)
        assert allowed
        said.append(int(rng.choice(allowed)))
    assert pool.next_ids(aliases, said) == []
    text = tokens.read(said)
    assert sorted(text.split(SEPARATOR)) == sorted(aliases)


def test_a_tokenizer_without_letters_cannot_rank():
    class Blind:
        def text(self, text):
            return [0] * len(text)

    with pytest.raises(ModelError, match="does not tell pairs of letters apart"):
        AliasPool.of(Blind())
