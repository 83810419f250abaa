from itertools import pairwise

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from llmrec.models import TextEncoder
from llmrec.retrieve.text_kernel import TextKernelConfig, add_text_kernel, text_vectors, tfidf
from llmrec.retrieve.words import split_words

TEXTS = ["red night red night star", "night red", "star of the night", "", "lonely", "star star star", "007 [SEP] red"]


@pytest.mark.parametrize("min_texts", [1, 2])
def test_terms_weigh_what_scikit_learn_says(min_texts):
    expected = TfidfVectorizer(analyzer=_terms, min_df=min_texts, sublinear_tf=True).fit_transform(TEXTS)
    found = tfidf([split_words(text) for text in TEXTS], min_texts)
    assert found.shape == expected.shape
    np.testing.assert_allclose((found @ found.T).toarray(), (expected @ expected.T).toarray(), rtol=1e-5, atol=1e-7)


def _terms(text):
    words = split_words(text)
    return words + [f"{a} {b}" for a, b in pairwise(words)]


def test_texts_without_a_shared_word_are_all_alike():
    found = tfidf([["a"], ["b"], []])
    assert found.shape == (3, 0)


@pytest.mark.parametrize("block", [2, 2048])
def test_the_kernel_is_the_cosines_of_known_items(catalog, monkeypatch, block):
    monkeypatch.setattr("llmrec.retrieve.text_kernel.BLOCK", block)
    config = TextKernelConfig(text_weight=2.0, item_template="item/title")
    known, gram = np.arange(12) % 4 != 1, np.ones((12, 12))
    add_text_kernel(gram, catalog, known, config)
    words = text_vectors(catalog, config).toarray() * known[:, None]
    np.testing.assert_allclose(gram, 1 + 2 * words @ words.T, rtol=1e-6)
    assert (gram[0] != 1).sum() > 1


def test_the_dense_kernel_is_the_encoders_centred_cosines(catalog, bert):
    config = TextKernelConfig(text_weight=1.0, text_kernel="dense", encoder=str(bert), item_template="item/title")
    gram = np.zeros((12, 12))
    add_text_kernel(gram, catalog, np.ones(12, np.bool_), config)
    titles = [record["title"] for record in catalog.records(np.arange(12, dtype=np.int32))]
    vectors = TextEncoder.load(str(bert)).encode_items(titles)
    np.testing.assert_allclose(gram.diagonal(), 1, rtol=1e-5)
    centred = vectors - vectors.mean(axis=0)
    norms = np.linalg.norm(centred, axis=1)
    np.testing.assert_allclose(gram, centred @ centred.T / np.outer(norms, norms), atol=1e-4)


def test_without_a_weight_no_text_is_read(catalog):
    gram = np.zeros((12, 12))
    config = TextKernelConfig(text_kernel="dense", encoder="no/such/encoder", item_template="no/such/template")
    add_text_kernel(gram, catalog, np.ones(12, np.bool_), config)
    assert not gram.any()
