"""The memorisation probe: a model that learned the titles by heart knows them, a random one guesses."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data import Catalog
from llmrec.errors import ConfigError, DataError
from llmrec.evaluate import memorisation, obfuscated
from llmrec.models import LanguageModel, Placement
from llmrec.testing.models import tiny_llama

CPU = Placement("cpu", "float32")
WORDS = [first + last for first in ("Red", "Lost", "Iron", "Last", "Blue") for last in ("moon", "road", "king", "sea")]
RNG = np.random.default_rng(5)
TITLES = [" ".join(RNG.choice(WORDS, 4, replace=False)) for _ in range(30)]


def catalog_of(titles):
    return Catalog.from_table({"item_id": [f"i{n}" for n in range(len(titles))], "title": titles})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("llama") / "random", words=[*WORDS, "Title:"])


@pytest.fixture(scope="module")
def guessing(folder):
    return LanguageModel.load(str(folder), placement=CPU)


@pytest.fixture(scope="module")
def learned(folder, tmp_path_factory):
    """A model that was trained on nothing but the titles until it knew them."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = tokenizer([f"Title: {title}" for title in TITLES], return_tensors="pt", padding=True)
    labels = ids["input_ids"].where(ids["attention_mask"].bool(), -100)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01)
    for _ in range(90):
        module(**ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    own = tmp_path_factory.mktemp("llama") / "learned"
    module.save_pretrained(own)
    tokenizer.save_pretrained(own)
    return LanguageModel.load(str(own), placement=CPU)


def test_what_was_learned_by_heart_is_known(learned):
    found = memorisation(learned, catalog_of(TITLES), among=10)
    assert found.hits.mean() > 0.9
    assert found.beaten.mean() > 0.95
    assert found.obfuscated.mean() < 0.4
    assert found.known.low > 0.5
    np.testing.assert_allclose(found.known.mean, found.hits.mean() - found.obfuscated.mean())
    np.testing.assert_allclose(found.beyond_chance.mean, found.hits.mean() - found.chances.mean())
    assert found.recited.mean > 0.8
    assert str(found).startswith("of 30 titles learned recites ")


def test_who_learned_nothing_guesses(guessing):
    rng = np.random.default_rng(7)
    titles = [" ".join(rng.choice(WORDS, 4, replace=False)) for _ in range(120)]
    found = memorisation(guessing, catalog_of(titles), among=10)
    assert found.known.low < 0 < found.known.high
    assert found.beyond_chance.low < 0 < found.beyond_chance.high
    assert found.beaten.mean() == pytest.approx(0.5, abs=0.08)
    assert found.recited.mean == 0


def test_the_likeliest_rest_against_its_mean_is_taken(guessing):
    titles = TITLES[:6]
    found = memorisation(guessing, catalog_of(titles), among=6)
    rests = [" ".join(title.split()[2:]) for title in titles]
    raw = np.empty((6, 6))
    for row, title in enumerate(titles):
        head = guessing.tokens.text("Title: " + " ".join(title.split()[:2]))
        for column, rest in enumerate(rests):
            raw[row, column] = guessing.log_likelihood([head], [[" " + rest]])[0][0]
    scores = raw - raw.mean(axis=0)
    expected = [np.mean(scores[row] < scores[row, row]) * 6 / 5 for row in range(6)]
    np.testing.assert_allclose(found.beaten, expected, atol=1e-6)
    np.testing.assert_array_equal(found.hits, np.array(expected) == 1)
    np.testing.assert_allclose(found.chances, 1 / 6)


def test_the_same_again_and_otherwise_by_another_seed(guessing):
    catalog = catalog_of(TITLES)
    first, again, other = (memorisation(guessing, catalog, among=5, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.beaten, again.beaten)
    assert first.to_dict() == again.to_dict()
    assert not np.array_equal(first.beaten, other.beaten)


def test_which_titles(guessing):
    titles = ["Heat", "Usual Suspects, The", None, "", "Red Moon", "Last  Road", " ".join(["long"] * 30)]
    found = memorisation(guessing, catalog_of(titles), np.array([6, 5, 4, 1, 0, 2, 3], np.int32))
    assert found.rows.tolist() == [6, 5, 4, 1]
    assert found.skipped == 3
    turned = memorisation(guessing, catalog_of(["The Usual Suspects", "Red Moon", "Last Road", "long " * 8]))
    assert sorted(found.beaten) == pytest.approx(sorted(turned.beaten))


def test_the_same_rest_is_there_once(guessing):
    found = memorisation(guessing, catalog_of(["Red moon", "Lost moon", "Iron sea", "Last sea"]), among=4)
    np.testing.assert_allclose(found.chances, 0.5)
    assert set(found.hits) <= {0.0, 1.0}
    nothing = memorisation(guessing, catalog_of(["Red moon", "Lost moon"]))
    assert nothing.known.mean == 0
    assert nothing.beaten.tolist() == [0.5, 0.5]


def test_by_popularity(learned):
    popularity = np.arange(30) ** 2
    found = memorisation(learned, catalog_of(TITLES), popularity=popularity, among=10)
    groups = found.by_popularity()
    assert list(groups) == ["head", "mid", "tail", "cold"]
    assert sum(count for count, _, _ in groups.values()) == 30
    values = json.loads(json.dumps(found.to_dict()))
    assert values["by_popularity"]["head"]["titles"] == groups["head"][0]
    assert values["known"] == found.known.to_dict()
    assert memorisation(learned, catalog_of(TITLES)).by_popularity() == {}


def test_who_goes_on_by_heart_recites(guessing, monkeypatch):
    titles = ["Red moon", "Iron sea road", "Last - -", "Lost king", "Blue Road"]
    said = {"Title: Red": ' "Moon", a', "Title: Iron sea": " roads", "Title: Last -": " - and", "Title: Lost": "king\n"}

    def generate(prompts, *, max_new_tokens):
        return [said.get(guessing.tokens.read(prompt), "Blue Road") for prompt in prompts]

    monkeypatch.setattr(guessing, "generate", generate)
    assert memorisation(guessing, catalog_of(titles)).verbatim.tolist() == [1, 0, 0, 1, 0]


def test_what_cannot_be_asked(guessing):
    with pytest.raises(DataError, match="1 of 2 titles have two words or more"):
        memorisation(guessing, catalog_of(["Heat", "Red Moon"]))
    with pytest.raises(ConfigError, match="the catalog has no field 'name'; it has title"):
        memorisation(guessing, catalog_of(TITLES), field="name")
    with pytest.raises(ConfigError, match="among=1 is out of range"):
        memorisation(guessing, catalog_of(TITLES), among=1)


@settings(max_examples=60)
@given(st.text(min_size=1), st.integers(0, 3))
def test_letters_are_mixed_and_nothing_else(word, seed):
    found = obfuscated(word, seed)
    assert found == obfuscated(word, seed)
    assert sorted(found.lower()) == sorted(word.lower())
    for before, after in zip(word, found, strict=True):
        assert before == after or (before.isalpha() and after.isalpha())
        assert before.isupper() == after.isupper() or not after.isascii()


def test_words_are_mixed_alike_everywhere():
    assert obfuscated("Gundam") != "Gundam"
    assert obfuscated("gundam") == obfuscated("GUNDAM").lower() == obfuscated("(Gundam)")[1:-1].lower()
    assert obfuscated("PS2") == "SP2"
    assert [obfuscated(word) for word in ("a", "1998", "II", "")] == ["a", "1998", "II", ""]
