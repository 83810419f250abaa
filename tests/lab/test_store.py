"""Results on disk: written one by one, found again, shared by processes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmrec.errors import ConfigError
from llmrec.lab import Lab, Measured, OrderTest, Store, compare_templates
from llmrec.lab.store import APPLICATION, new_run, run_key


def run_of(ground, template, key="k", ranks=None, orders=None):
    found = Measured(
        np.array([1.0, np.inf, 7.0]) if ranks is None else ranks, {"item": 4.5, "user": 20.0}, 1.25, 3.5, orders
    )
    cases = replace(
        ground.cases,
        user_rows=ground.cases.user_rows[:3],
        queries=ground.cases.queries.take(np.arange(3)),
        targets=ground.cases.targets[:3],
    )
    return new_run(key, "fake", "a note", template, ground.data_hash, cases, found)


def test_a_result_comes_back_as_it_was(ground, store, templates):
    run = run_of(ground, templates[0], orders=OrderTest(4, 0.75, 0.1, 0.2))
    store.add(run, {"model": "m", "seed": 3})
    again = Store(store.path).get("k")
    np.testing.assert_array_equal(again.measured.ranks, run.measured.ranks)
    np.testing.assert_array_equal(again.user_rows, ground.cases.user_rows[:3])
    assert (again.measured.tokens, again.measured.ms_per_user, again.measured.seconds) == (
        {"item": 4.5, "user": 20.0},
        1.25,
        3.5,
    )
    assert again.measured.orders == OrderTest(4, 0.75, 0.1, 0.2)
    assert again.template == templates[0]
    assert (again.judge, again.note, again.data_hash, again.cases) == ("fake", "a note", ground.data_hash, run.cases)
    assert store.get("other") is None
    (row,) = sqlite3.connect(store.path).execute("SELECT model, seed, fingerprint FROM runs").fetchall()
    assert row == ("m", 3, templates[0].fingerprint)


def test_the_first_of_two_writers_stays(ground, store, templates):
    store.add(run_of(ground, templates[0]), {})
    store.add(run_of(ground, templates[0], ranks=np.array([9.0, 9.0, 9.0])), {})
    assert store.get("k").measured.ranks[0] == 1.0
    assert len(store.runs()) == 1


def test_many_write_and_read_at_once(ground, store, templates):
    def work(number):
        own = Store(store.path)
        own.add(run_of(ground, templates[0], key=str(number)), {})
        return own.get(str(number)).key

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(work, range(24)), key=int) == [str(number) for number in range(24)]
    assert len(store.runs()) == 24
    assert sqlite3.connect(store.path).execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_key_depends_on_the_text_and_on_all_that_is_told(templates):
    first = run_key((templates[0],), {"seed": 0})
    renamed = replace(templates[0], name="user/other", description="other words", version=9)
    assert run_key((renamed,), {"seed": 0}) == first
    assert run_key((templates[1],), {"seed": 0}) != first
    assert run_key((templates[0],), {"seed": 1}) != first
    assert run_key((templates[0], templates[1]), {"seed": 0}) != first


def test_what_was_measured_is_not_measured_again(ground, store, templates, fake):
    lab = Lab(ground, store)
    first = compare_templates(lab, [fake], templates[:2])
    assert fake.asked == ["user/recent", "user/genres"]
    second = compare_templates(lab, [fake], templates)
    assert fake.asked == ["user/recent", "user/genres", "user/sentence"]
    assert (first.judged[0].fresh, second.judged[0].fresh) == (("user/recent", "user/genres"), ("user/sentence",))
    assert first.judged[0].reports["user/genres"].metrics == second.judged[0].reports["user/genres"].metrics


def test_a_killed_run_loses_one_template_at_most(ground, store, templates, fake):
    class KilledError(Exception):
        pass

    def measure(template):
        if template.name == "user/sentence":
            raise KilledError
        return type(fake).measure(fake, template)

    broken = replace(fake)
    broken.measure = measure
    with pytest.raises(KilledError):
        compare_templates(Lab(ground, store), [broken], templates)
    assert [run.template.name for run in store.runs()] == ["user/recent", "user/genres"]
    compare_templates(Lab(ground, Store(store.path)), [fake], templates)
    assert fake.asked[-1] == "user/sentence"
    assert fake.asked.count("user/recent") == 1


def test_a_process_killed_while_it_writes_leaves_a_file_that_opens(ground, store, templates):
    store.add(run_of(ground, templates[0]), {})
    code = """
        import os, signal, sqlite3, sys
        database = sqlite3.connect(sys.argv[1], isolation_level=None)
        database.execute("BEGIN IMMEDIATE")
        database.execute("DELETE FROM runs")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(store.path)], check=False, timeout=60)
    again = Store(store.path)
    assert [run.key for run in again.runs()] == ["k"]
    again.add(run_of(ground, templates[1], key="l"), {})
    assert len(again.runs()) == 2


def test_a_method_raised_by_hand_makes_another_key(templates, monkeypatch):
    before = run_key((templates[0],), {})
    monkeypatch.setattr("llmrec.lab.store.METHOD", 2)
    assert run_key((templates[0],), {}) != before


@pytest.mark.parametrize("pragma", ["user_version = 0", "user_version = 1", "application_id = 77"])
def test_a_database_of_another_program_is_left_alone(tmp_path, pragma):
    path = tmp_path / "theirs.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE songs (name TEXT)")
        database.execute(f"PRAGMA {pragma}")
    database.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"theirs\.sqlite is a database of another program; name another.*--store"):
        Store(path)
    assert path.read_bytes() == before


def test_a_file_of_before_is_marked_and_kept(ground, store, templates):
    store.add(run_of(ground, templates[0]), {})
    with sqlite3.connect(store.path) as database:
        database.execute("PRAGMA application_id = 0")
    database.close()
    assert Store(store.path).get("k").key == "k"
    assert sqlite3.connect(store.path).execute("PRAGMA application_id").fetchone() == (APPLICATION,)


def test_a_file_that_breaks_meanwhile_is_said_to(ground, store, templates):
    with sqlite3.connect(store.path) as database:
        database.execute("DROP TABLE runs")
    database.close()
    for work in (lambda: store.get("k"), store.runs, lambda: store.add(run_of(ground, templates[0]), {})):
        with pytest.raises(ConfigError, match=r"lab\.sqlite cannot be used as a store.*no such table.*--store"):
            work()


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert Store(Path("~/lab.sqlite")).path == tmp_path / "lab.sqlite"
    assert (tmp_path / "lab.sqlite").is_file()


def test_something_else_is_refused(tmp_path):
    (tmp_path / "text.sqlite").write_text("this is no database " * 100)
    with pytest.raises(ConfigError, match=r"text\.sqlite cannot be used as a store.*--store"):
        Store(tmp_path / "text.sqlite")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used as a store"):
        Store(tmp_path / "file" / "lab.sqlite")
    newer = Store(tmp_path / "lab.sqlite").path
    with sqlite3.connect(newer) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ConfigError, match="newer llmrec"):
        Store(newer)
