from dataclasses import replace

import numpy as np

from llmrec.policy import Seen
from llmrec.types import Csr, Queries, Ranking


def test_histories_are_excluded():
    queries = Queries.from_lists([[3, 1], [], [2]])
    prepared = Seen().prepare(queries)
    assert [prepared.exclude[row].tolist() for row in range(3)] == [[3, 1], [], [2]]
    assert queries.exclude is None


def test_what_was_excluded_before_stays_excluded():
    queries = replace(Queries.from_lists([[3, 1], [], [2]]), exclude=Csr.from_lists([[7], [8, 9], []]))
    prepared = Seen().prepare(queries)
    assert [prepared.exclude[row].tolist() for row in range(3)] == [[7, 3, 1], [8, 9], [2]]
    twice = Seen().prepare(prepared)
    assert [set(twice.exclude[row].tolist()) for row in range(3)] == [{7, 3, 1}, {8, 9}, {2}]


def test_lists_are_cut_with_all_that_belongs_to_them():
    ranking = Ranking(np.int32([[3, 1, 2]]), np.float32([[3, 2, 1]]), np.float32([[0.5, 0.3, 0.2]]))
    done = Seen().apply(Queries.from_lists([[0]]), ranking, 2)
    np.testing.assert_array_equal(done.items, [[3, 1]])
    np.testing.assert_array_equal(done.scores, [[3, 2]])
    np.testing.assert_array_equal(done.propensities, np.float32([[0.5, 0.3]]))


def test_it_wants_to_see_no_more_than_is_asked_for():
    assert Seen().depth(7) == 7
