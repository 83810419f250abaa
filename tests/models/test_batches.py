"""A text's result does not depend on its company, in the number format this machine chooses by itself."""

import numpy as np
import pytest

from llmrec.models import PairScorer, TextEncoder, best_placement

WORDS = ("toy", "story", "heat", "babe", "seven", "monkeys", "and", "a", "or", "of", "the")


@pytest.fixture
def placement(monkeypatch):
    monkeypatch.delenv("LLMREC_DTYPE")
    return best_placement("cpu")


def random_texts(rng, n, longest=40):
    return [" ".join(rng.choice(WORDS, rng.integers(1, longest))) for _ in range(n)]


def check(run, inputs, rng):
    """`run` gives the same alone, in batches of several sizes, in another order."""
    together = run(inputs)
    for size in (1, 3, 20):
        order = rng.permutation(len(inputs))
        parts = [run([inputs[row] for row in order[at : at + size]]) for at in range(0, len(order), size)]
        np.testing.assert_allclose(np.concatenate(parts), together[order], rtol=0, atol=1e-5)


def test_vectors_do_not_depend_on_the_batch(bert_folder, placement, rng):
    encoder = TextEncoder.load(str(bert_folder), placement=placement)
    check(encoder.encode, list(dict.fromkeys(random_texts(rng, 60))), rng)


def test_scores_do_not_depend_on_the_batch(cross_folder, placement, rng):
    scorer = PairScorer.load(str(cross_folder), placement=placement)
    check(scorer.score, list(zip(random_texts(rng, 60), random_texts(rng, 60, 12), strict=True)), rng)


@pytest.mark.e2e
def test_real_vectors_do_not_depend_on_the_batch(placement, rng):
    check(TextEncoder.load("minilm", placement=placement).encode, list(dict.fromkeys(random_texts(rng, 80))), rng)
