import warnings

import numpy as np
import pytest

from llmrec.text import UnknownTokensWarning, check_vocabulary, warn_unknown


class Letters:
    """One token a character; only letters of ASCII are known."""

    name = "letters"

    def __init__(self):
        self.seen = []

    def count_tokens(self, texts):
        self.seen.append(list(texts))
        return np.array([len(text) for text in texts], np.int32)

    def count_unknown(self, texts):
        return np.array([sum(not sign.isascii() for sign in text) for text in texts], np.int32)


def test_share_and_the_worst_examples_first():
    report = check_vocabulary(["abcd", "ab中文", "中文中文", "abc中", "中文中文"], Letters())
    assert (report.texts, report.tokens, report.unknown, report.share) == (5, 20, 11, 0.55)
    assert report.examples == ("中文中文", "ab中文", "abc中")
    assert report.poor


def test_nothing_to_read_is_nothing_unknown():
    for texts in ([], [""]):
        report = check_vocabulary(texts, Letters())
        assert (report.share, report.examples, report.poor) == (0.0, (), False)


def test_many_texts_are_sampled_evenly():
    counter = Letters()
    texts = [str(n) for n in range(10_000)]
    report = check_vocabulary(texts, counter)
    assert (report.texts, counter.seen[0][0], counter.seen[0][-1]) == (2000, "0", "9999")
    gaps = np.diff([int(text) for text in counter.seen[0]])
    assert gaps.min() >= 4
    assert gaps.max() <= 6


def test_the_warning_says_who_how_much_which_and_what_to_do():
    with pytest.warns(UnknownTokensWarning) as caught:
        warn_unknown(["abcdef", "电影 电影" * 30], Letters())
    assert len(caught) == 1
    said = str(caught[0].message)
    assert all(word in said for word in ("letters", "77%", "2 texts", "'电影 电影", "multilingual"))
    assert "'" + ("电影 电影" * 30)[:60] + "'" in said
    assert caught[0].filename == __file__


@pytest.mark.parametrize(("unknown", "warns"), [(5, False), (6, True)])
def test_five_percent_are_tolerated(unknown, warns):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_unknown(["a" * (100 - unknown) + "中" * unknown], Letters())
    assert bool(caught) is warns
