import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from llmrec.train.sequence_data import cut_windows, epoch_batches, read_window

histories = st.lists(st.lists(st.integers(0, 9), max_size=12), min_size=1, max_size=8)


def windows_of(lists, max_length):
    offsets = np.concatenate([[0], np.cumsum([len(h) for h in lists])]).astype(np.int64)
    items = np.array([i for h in lists for i in h], dtype=np.int32)
    return offsets, cut_windows(offsets, items, max_length)


@given(histories, st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_every_item_but_the_first_is_a_target_once(lists, max_length):
    offsets, windows = windows_of(lists, max_length)
    targets = np.zeros(offsets[-1], dtype=int)
    for start, length in zip(windows.starts, windows.lengths, strict=True):
        assert 2 <= length <= max_length + 1
        targets[start + 1 : start + length] += 1
        owner = np.searchsorted(offsets, start, side="right") - 1
        assert start + length <= offsets[owner + 1]
    expected = np.ones(offsets[-1], dtype=int)
    expected[offsets[:-1][np.diff(offsets) > 0]] = 0
    np.testing.assert_array_equal(targets, expected)


def test_the_latest_window_is_whole():
    _, windows = windows_of([list(range(8))], 3)
    assert sorted(zip(windows.starts.tolist(), windows.lengths.tolist(), strict=True)) == [(0, 2), (1, 4), (4, 4)]


@given(histories, st.integers(1, 6), st.integers(1, 4), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_an_epoch_has_every_window_once_and_always_as_many_batches(lists, max_length, size, seed):
    _, windows = windows_of([[0, 1], *lists], max_length)
    batches = epoch_batches(windows, size, np.random.default_rng(seed))
    assert len(batches) == -(-len(windows) // size)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(windows)))


def test_order_is_by_chance_and_batches_have_like_lengths():
    _, windows = windows_of([list(range(2 + n % 40)) for n in range(400)], 60)
    one, other = (epoch_batches(windows, 8, np.random.default_rng(seed)) for seed in (0, 1))
    assert any((a != b).any() for a, b in zip(one, other, strict=True))
    spreads = [np.ptp(windows.lengths[rows]) for rows in one]
    assert np.mean(spreads) < 0.2 * np.ptp(windows.lengths)


@given(histories, st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_windows_are_read_with_pads_on_the_right(lists, max_length):
    _, windows = windows_of([[3, 4], *lists], max_length)
    rows = np.arange(len(windows))[::-1].copy()
    items, lengths = read_window(windows, rows)
    assert items.shape == (len(rows), windows.lengths.max())
    for row, line, length in zip(rows, items, lengths, strict=True):
        start = windows.starts[row]
        assert line.tolist() == [*windows.items[start : start + length].tolist(), *[-1] * (items.shape[1] - length)]
