import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from llmrec.fuse import column_ranks

VALUES = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5, float("nan"), float("-inf")])


@given(hnp.arrays(np.float32, st.tuples(st.integers(0, 4), st.integers(0, 8)), elements=VALUES))
@settings(max_examples=150, deadline=None)
def test_a_rank_is_one_more_than_the_number_of_better_ones(column):
    ranks = column_ranks(column)
    assert ranks.dtype == np.int32
    for row, found in zip(column.tolist(), ranks.tolist(), strict=True):
        known = [s for s in row if s == s]
        assert found == [0 if s != s else 1 + sum(other > s for other in known) for s in row]


def test_by_hand():
    nan = np.nan
    found = column_ranks(np.float32([[5, nan, 7, 5, 1], [nan, nan, nan, nan, nan]]))
    np.testing.assert_array_equal(found, [[2, 0, 1, 2, 4], [0, 0, 0, 0, 0]])
