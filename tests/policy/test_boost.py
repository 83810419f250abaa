import numpy as np
import pytest

from llmrec.errors import ConfigError
from llmrec.types import Item, Ranking


def test_items_move_by_id_and_by_value_and_both_add_up(fitted, plain, listed):
    policy = fitted("boost", ids={"i9": 2, "i0": -1}, fields={"kind": {"c": 1, "b": -0.0}}, separator="|")
    np.testing.assert_array_equal(policy.places, [-1, 0, 0, 0, 0, 0, 0, 1, 0, 3, 1, 0])
    found = policy.apply(plain(), listed([0, 1, 3, 4, 6, 9, 7, 5]), 8).items.tolist()
    assert found == [[1, 0, 9, 3, 4, 6, 7, 5]]  # 7 would pass 9 only, which moves farther


def test_the_scale_of_the_scores_does_not_matter(fitted, plain, listed):
    policy = fitted("boost", fields={"kind": {"d": 3}})
    lists = listed([0, 1, 2, 3, 4, 11, 5])
    tiny = Ranking(lists.items, np.linspace(1e-6, 1e-7, 7, dtype=np.float32)[None])
    level = Ranking(lists.items, np.full((1, 7), -1, np.float32))
    for ranking in (lists, tiny, level):
        assert policy.apply(plain(), ranking, 7).items.tolist() == [[0, 1, 11, 2, 3, 4, 5]]


def test_whatever_can_enter_the_list_is_seen(fitted, plain, rng):
    policy = fitted("boost", ids={"i1": 2.5, "i2": -3, "i7": 1, "i8": 2.5})
    for _ in range(200):
        items = rng.permutation(12).astype(np.int32)[None]
        ranking = Ranking(items, np.linspace(1, 0, 12, dtype=np.float32)[None])
        for k in (1, 3, 5):
            deep = min(policy.depth(k), 12)
            seen = Ranking(items[:, :deep], ranking.scores[:, :deep])
            np.testing.assert_array_equal(policy.apply(plain(), seen, k).items, policy.apply(plain(), ranking, k).items)


def test_wrong_settings(fitted):
    with pytest.raises(ConfigError, match="'i99'"):
        fitted("boost", ids={"i99": 1})
    with pytest.raises(ConfigError, match="no field 'kinds'"):
        fitted("boost", fields={"kinds": {"a": 1}})
    said = []
    fitted("boost", said=said, fields={"kind": {"z": 1, "a": 2}})
    assert said == ["boost: no item has kind = z"]


def test_new_items_are_boosted_too(fitted, shelves):
    policy = fitted("boost", fields={"kind": {"new kind": 4}})
    later = shelves.with_items([Item("n", {"kind": "new kind"})]).with_changes([Item("i1", {"kind": "new kind"})])
    np.testing.assert_array_equal(np.flatnonzero(policy.with_items(later, np.int32([1])).places), [1, 12])
    assert policy.depth(3) == 4
