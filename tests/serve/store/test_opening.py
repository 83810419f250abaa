"""Opening a store: URLs, migrations, settings of the database, and what is said when it cannot be."""

import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

import llmrec.serve.store
from llmrec.errors import LlmrecError
from llmrec.serve.problems import Unavailable
from llmrec.serve.records import NewEvent
from llmrec.serve.store import StoreError, _database, open_store
from llmrec.serve.store._database import parse_url
from llmrec.serve.store._opening import migrate
from llmrec.serve.store._tables import METADATA, VERSION_TABLE


def engine_of(url):
    return create_engine(parse_url(url))


def test_tables_are_as_the_newest_migration_leaves_them(url):
    open_store(url).close()
    engine = engine_of(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


def test_an_old_store_is_brought_up_to_date(url):
    engine = engine_of(url)
    row = "INSERT INTO llmrec_impressions (id, alias, bundle, items, scores, time, degraded, day) VALUES "
    with engine.begin() as connection:
        migrate(connection, "0001")
        connection.execute(text(row + "('l', 'default', 'b', '[\"i\"]', '[1.0]', 1.0, false, 0)"))
        values = "(1, 'e', 'u', 'i', 'click', 1, 'l')"
        columns = "seq, event_id, user_id, item_id, kind, time, impression_id"
        connection.execute(text(f"INSERT INTO llmrec_events ({columns}) VALUES {values}"))
        connection.execute(text("INSERT INTO llmrec_counters VALUES ('events', 1)"))
    engine.dispose()
    with open_store(url) as store:
        assert store.impression("l").items == ("i",)
        assert store.add_events([NewEvent("u", "j")], now=1.0).last_seq == 2
        assert [event.item_id for event in store.events_after(0)] == ["i", "j"]
        assert store.counts_between(0.0, 2.0)[0]["clicks"] == 1


def test_a_store_of_a_newer_llmrec_is_refused(url):
    open_store(url).close()
    engine = engine_of(url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(StoreError, match="newer llmrec"):
        open_store(url)
    engine.dispose()


def test_several_open_a_new_store_at_once(url):
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda _: open_store(url), range(6)))
    for store in stores:
        store.add_events([NewEvent("u", "i")], now=1.0)
    assert stores[0].last_seq() == 6
    for store in stores:
        assert store._secret == stores[0]._secret
        store.close()


def test_migrations_need_no_folder_to_start_from(tmp_path):
    """As from an installed wheel: from anywhere, without alembic.ini."""
    code = "from llmrec.serve.store import open_store; open_store('sub.sqlite').close()"
    root = str(Path(llmrec.__file__).parents[1])
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, check=True)
    assert (tmp_path / "sub.sqlite").stat().st_size > 0
    migrations = Path(llmrec.serve.store.__file__).parent / "_migrations"
    assert {path.name for path in migrations.iterdir()} >= {"__init__.py", "env.py", "versions"}


def test_sqlite_waits_for_the_disk_and_forgets_what_is_deleted(store):
    with store._database.writing.begin() as connection:
        said = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete", "busy_timeout")
        }
    assert said == {
        "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1, "busy_timeout": 20_000,
    }  # fmt: skip


def test_postgres_waits_for_the_disk(postgres_url):
    engine = engine_of(postgres_url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        name = parse_url(postgres_url).database
        connection.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
    engine.dispose()
    with open_store(postgres_url) as store, store._database.writing.begin() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"


def test_readers_cannot_write(both):
    with pytest.raises(LlmrecError):
        both._database.read(lambda connection: connection.execute(text("DELETE FROM llmrec_counters")))
    assert both.last_seq() == 0


def test_nothing_of_an_erased_user_stays_in_the_file(tmp_path, shown):
    path = tmp_path / "s.sqlite"
    with open_store(str(path)) as store:
        words = ["someone-7", "secret-wish", "their-click"]
        for number in range(50):
            event = NewEvent(words[0], "item", event_id=f"{words[2]}-{number}", impression_id=f"l{number}")
            store.add_events([event], now=1.0, idempotency_key=words[2] + str(number))
            store.add_impressions([shown(f"l{number}", words[0], items=("item", "other"))])
        store.put_user(words[0], {"wish": words[1]})
        store.note_models("b", [words[0]])
        files = [path, path.with_name(path.name + "-wal")]
        assert all(any(word.encode() in file.read_bytes() for file in files) for word in words)
        assert store.erase_user(words[0], now=2.0).events == 50
        for file in files:
            assert not any(word.encode() in file.read_bytes() for word in words)


def test_erasing_while_somebody_reads(tmp_path, monkeypatch, caplog):
    """The log is emptied as far as the reader lets it; the erasure itself is done."""
    monkeypatch.setattr(_database, "_CHECKPOINT_S", 0.1)
    with open_store(str(tmp_path / "s.sqlite")) as store:
        store.add_events([NewEvent("u", "i")], now=1.0)
        other = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None)
        other.execute("BEGIN")
        other.execute("SELECT * FROM llmrec_events").fetchall()
        assert store.erase_user("u", now=1.0).events == 1
        assert store.user_events("u") == []
        assert "could not be emptied" in caplog.text
        other.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://host/db", "cannot be a 'mysql' database"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("postgresql://host:port/db", "cannot be read"),
        ("postgresql://someone:hidden@127.0.0.1:1/db", "cannot be opened"),
        ("missing-folder/store.sqlite", "unable to open database file"),
        (".", "unable to open database file"),
    ],
)
def test_wrong_urls_get_one_clear_error(url, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=said) as found:
        open_store(url)
    told = str(found.value)
    assert "\n" not in told
    assert "hidden" not in told
    assert found.value.__suppress_context__ or found.value.__context__ is None


def test_paths_and_urls():
    assert parse_url("a/b.sqlite").database == str(Path("a/b.sqlite"))
    assert parse_url("sqlite:////abs/b").database == "/abs/b"
    assert parse_url("C:\\x\\y").get_backend_name() == "sqlite"
    for url in ("postgresql://h/d", "postgres://h/d", "postgresql+psycopg://h/d"):
        assert parse_url(url).drivername == "postgresql+psycopg"


def test_files_of_something_else_are_left_alone(tmp_path):
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE runs (a)")
    connection.close()
    with pytest.raises(StoreError, match="something else"):
        open_store(str(other))
    (tmp_path / "text").write_text("not a database at all, but long enough to be read as one" * 20)
    with pytest.raises(StoreError, match="not a database"):
        open_store(str(tmp_path / "text"))


def test_a_read_only_store_is_refused(tmp_path):
    path = tmp_path / "s.sqlite"
    open_store(str(path)).close()
    with pytest.raises(StoreError, match="readonly"):
        open_store(f"sqlite:///file:{path}?mode=ro&uri=true")


FULL = """
import resource, sys
from llmrec.serve.problems import Unavailable
from llmrec.serve.records import NewEvent
from llmrec.serve.store import open_store
store = open_store(sys.argv[1])
kept, limit = 0, 600_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    for number in range(10_000):
        store.add_events([NewEvent("u", "i" * 500)] * 50, now=1.0)
        kept += 50
except Unavailable as problem:
    assert problem.retry_after and "SQLITE_" in problem.detail and "iii" not in problem.detail, problem.detail
else:
    raise SystemExit("nothing failed")
assert store.last_seq() == kept > 0
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert store.add_events([NewEvent("u", "after")], now=1.0).last_seq == kept + 1
store.close()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="limits of file sizes are POSIX's")
def test_a_full_disk_is_said_and_survived(tmp_path):
    subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "s.sqlite")], check=True)
    with open_store(str(tmp_path / "s.sqlite")) as store:
        assert store.events_after(store.last_seq() - 1)[0].item_id == "after"


def test_postgres_that_comes_back_is_used_again(postgres_url, postgres_server):
    import psycopg

    with open_store(postgres_url) as store:
        store.add_events([NewEvent("u", "i")], now=1.0)
        store.last_seq()
        name = parse_url(postgres_url).database
        with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        assert store.last_seq() == 1
        assert store.add_events([NewEvent("u", "i")], now=1.0).last_seq == 2
        with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            for call in (store.ping, lambda: store.add_events([NewEvent("u", "i")], now=1.0)):
                with pytest.raises(Unavailable, match="ask again") as found:
                    call()
                assert name not in found.value.detail
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert store.add_events([NewEvent("u", "i")], now=1.0).last_seq == 3
