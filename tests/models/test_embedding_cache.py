import os
import sqlite3
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmrec.models import EmbeddingCache


@pytest.fixture
def cache(tmp_path):
    return EmbeddingCache(tmp_path / "embeddings" / "vectors.sqlite")


def vectors(n, dim=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def test_empty(cache):
    found_vectors, found = cache.get("f", ["a", "b"])
    assert (found_vectors.shape, found.tolist(), len(cache)) == ((2, 0), [False, False], 0)
    assert not cache.path.exists(), "asking must not make a file"
    assert cache.get("f", [])[0].shape == (0, 0)


def test_what_is_put_comes_back_exactly_and_in_order(cache):
    stored = vectors(3)
    cache.put("f", ["a", "b", "c"], stored)
    got, found = cache.get("f", ["c", "x", "a", "c"])
    assert found.tolist() == [True, False, True, True]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, stored[[2, 2, 0, 2]] * np.array([1, 0, 1, 1], np.float32)[:, None])
    assert len(cache) == 3


def test_fingerprint_is_part_of_the_key(cache):
    cache.put("f", ["ab"], vectors(1))
    assert not cache.get("g", ["ab"])[1].any()
    assert not cache.get("fa", ["b"])[1].any()


def test_put_again_replaces(cache):
    cache.put("f", ["a"], vectors(1))
    cache.put("f", ["a"], vectors(1, seed=1))
    np.testing.assert_array_equal(cache.get("f", ["a"])[0], vectors(1, seed=1))
    assert len(cache) == 1


def test_more_texts_than_one_question_holds(cache):
    texts = [f"text {n}" for n in range(2500)]
    cache.put("f", texts, vectors(2500))
    got, found = cache.get("f", texts)
    assert found.all()
    np.testing.assert_array_equal(got, vectors(2500))


def test_a_later_process_finds_it(cache):
    cache.put("f", ["a"], vectors(1))
    assert EmbeddingCache(cache.path).get("f", ["a"])[1].all()


def test_lengths_must_agree(cache):
    with pytest.raises(ValueError, match="2 texts but 1 vectors"):
        cache.put("f", ["a", "b"], vectors(1))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(alphabet=st.characters()), unique=True, min_size=1, max_size=5))
def test_any_text_can_be_a_key(cache, texts):
    cache.put("any", texts, vectors(len(texts)))
    np.testing.assert_array_equal(cache.get("any", texts)[0], vectors(len(texts)))


def test_a_file_that_is_no_database_is_set_aside_with_a_warning(cache):
    cache.path.parent.mkdir(parents=True)
    cache.path.write_bytes(b"this is not a database" * 100)
    with pytest.warns(RuntimeWarning, match=r"is damaged .*set aside as vectors\.sqlite\.damaged-"):
        _, found = cache.get("f", ["a"])
    assert not found.any()
    assert len(list(cache.path.parent.glob("*.damaged-*"))) == 1
    cache.put("f", ["a"], vectors(1))
    assert cache.get("f", ["a"])[1].all()


def test_a_damaged_database_is_set_aside_with_a_warning(cache):
    cache.put("f", [f"text {n}" for n in range(400)], vectors(400, dim=64))
    with cache.path.open("r+b") as stream:
        stream.seek(4096)
        stream.write(os.urandom(cache.path.stat().st_size - 4096))
    with pytest.warns(RuntimeWarning, match="damaged"):
        cache.get("f", [f"text {n}" for n in range(400)])
    cache.put("f", ["a"], vectors(1))
    assert cache.get("f", ["a"])[1].all()


def test_another_programs_database_is_not_written_to(cache):
    cache.path.parent.mkdir(parents=True)
    with sqlite3.connect(cache.path) as database:
        database.execute("CREATE TABLE vectors (name TEXT)")
    database.close()
    with pytest.warns(RuntimeWarning, match="cannot be used now"):
        cache.put("f", ["a"], vectors(1))
    with pytest.warns(RuntimeWarning, match="cannot be used now"):
        assert not cache.get("f", ["a"])[1].any()
    assert [path.name for path in cache.path.parent.iterdir() if "damaged" in path.name] == []


def test_a_cut_vector_is_not_found(cache):
    cache.put("f", ["a", "b"], vectors(2))
    database = sqlite3.connect(cache.path)
    with database:
        database.execute("UPDATE vectors SET vector = x'00112233445566' WHERE key = (SELECT min(key) FROM vectors)")
    database.close()
    _, found = cache.get("f", ["a", "b"])
    assert found.sum() == 1


def test_a_place_that_cannot_be_written_warns_and_goes_on(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = EmbeddingCache(tmp_path / "file" / "vectors.sqlite")
    with pytest.warns(RuntimeWarning, match="cannot be used now"):
        cache.put("f", ["a"], vectors(1))
    assert (tmp_path / "file").read_text() == "in the way"


def test_threads_share_a_file(cache):
    barrier = threading.Barrier(4)

    def use(seed):
        barrier.wait()
        texts = [f"{seed} {n}" for n in range(50)]
        cache.put("f", texts, vectors(50, seed=seed))
        return bool(cache.get("f", texts)[1].all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(use, range(4)))
    assert len(cache) == 200


def write(path, seed):
    EmbeddingCache(path).put("f", [f"{seed} {n}" for n in range(20)], vectors(20, seed=seed))


def test_processes_share_a_file(cache):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(write, [cache.path] * 3, range(3)))
    assert len(cache) == 60


def test_default_is_in_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))
    assert tmp_path in EmbeddingCache.default().path.parents
