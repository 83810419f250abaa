import numpy as np

from llmrec.data import InteractionColumns, Interactions
from llmrec.retrieve import fit_popularity
from llmrec.types import Queries


def test_counts_by_hand_and_unseen_items_last_in_hash_order(catalog):
    table = {"user_id": ["a", "a", "b", "c"], "item_id": ["i3", "i5", "i5", "i5"]}
    model = fit_popularity(Interactions.from_table(table, catalog, InteractionColumns(time=None)), catalog)
    queries = Queries.from_lists([[], [5]])
    found = model.retrieve(queries, 12)
    rest = sorted((i for i in range(12) if i not in (3, 5)), key=lambda i: catalog.tie_order[i])
    for row in range(2):
        assert found.items[row].tolist() == [5, 3, *rest]
        assert found.scores[row].tolist() == [3.0, 1.0, *[0.0] * 10]
    scores = model.score(queries, np.int32([[5, 3, 0, -1]] * 2))
    np.testing.assert_array_equal(scores, np.float32([[3, 1, np.nan, np.nan]] * 2))
