"""Many threads at one store: group commit, one answer for one key, no event behind one that was seen."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmrec.serve.problems import Conflict, Unavailable, Unprocessable
from llmrec.serve.records import NewEvent
from llmrec.serve.store import _writer, open_store


@pytest.fixture
def held(both):
    """A store whose writer waits in a transaction; and what lets it go on."""
    entered, going = threading.Event(), threading.Event()

    def wait(_connection):
        entered.set()
        assert going.wait(60)

    holder = threading.Thread(target=both._writer.run, args=(wait,))
    holder.start()
    assert entered.wait(60)
    yield both, going
    going.set()
    holder.join()


def until_waiting(store, count):
    """Wait until so many writes are in the queue."""
    while store._writer._waiting.qsize() < count:
        threading.Event().wait(0.002)


def test_those_who_wait_share_a_transaction(held):
    store, going = held
    commits = []
    run = store._writer._transaction
    store._writer._transaction = lambda group, **named: commits.append(len(group)) or run(group, **named)
    with ThreadPoolExecutor(24) as pool:
        waiting = [pool.submit(store.add_events, [NewEvent(str(n), "i")], now=1.0) for n in range(20)]
        waiting += [pool.submit(store.put_user, str(n), {}) for n in range(4)]
        until_waiting(store, 24)
        going.set()
        answers = [one.result() for one in waiting]
    assert commits == [24]
    assert sorted(added.last_seq for added in answers[:20]) == list(range(1, 21))
    assert store.last_seq() == 20
    assert store.profile("3") == {}


def test_one_key_at_the_same_time_is_stored_once(held):
    store, going = held
    with ThreadPoolExecutor(16) as pool:
        events = [NewEvent("u", "i")]
        same = [pool.submit(store.add_events, events, now=1.0, idempotency_key="k") for _ in range(15)]
        until_waiting(store, 15)
        other = pool.submit(store.add_events, [NewEvent("u", "j")], now=1.0, idempotency_key="k")
        until_waiting(store, 16)
        going.set()
        assert len({one.result() for one in same}) == 1
        with pytest.raises(Conflict):
            other.result()
    assert store.last_seq() == 1


def test_a_problem_of_one_is_no_problem_of_the_others(held):
    store, going = held
    with ThreadPoolExecutor(3) as pool:
        good = pool.submit(store.put_value, "s", "a", {"x": 1})
        until_waiting(store, 1)
        bad = pool.submit(store.put_value, "s", "a", {"x": 2}, expect_absent=True)
        until_waiting(store, 2)
        last = pool.submit(store.put_value, "s", "b", {})
        until_waiting(store, 3)
        going.set()
        good.result()
        last.result()
        with pytest.raises(Conflict):
            bad.result()
    assert store.values("s") == {"a": {"x": 1}, "b": {}}


def test_a_write_that_the_database_refuses_fails_alone(held):
    store, going = held

    def refused(connection):
        store_row = {"name": "events", "value": 5}
        connection.execute(_writer.COUNTERS.insert(), [store_row])  # it is there already

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(store.put_user, "u", {})
        bad = pool.submit(store._writer.run, refused)
        second = pool.submit(store.add_events, [NewEvent("u", "i")], now=1.0)
        until_waiting(store, 3)
        going.set()
        first.result()
        second.result()
        with pytest.raises(Exception, match="store failed") as found:
            bad.result()
    assert found.value.status == 500
    assert store.profile("u") == {}
    assert store.last_seq() == 1


def test_a_bug_in_a_write_does_not_end_the_writer(store):
    with pytest.raises(Exception, match="store failed"):
        store._writer.run(lambda _connection: 1 // 0)
    store.put_user("u", {})


def test_whoever_waits_too_long_is_told(held, monkeypatch):
    store, going = held
    monkeypatch.setattr(_writer, "PATIENCE_S", 0.05)
    with pytest.raises(Unavailable, match="too long"):
        store.add_events([NewEvent("u", "i")], now=1.0)
    monkeypatch.undo()
    going.set()
    store.add_events([NewEvent("v", "i")], now=1.0)
    assert [event.user_id for event in store.events_after(0)] == ["v"]  # who gave up is not written after all


def test_a_full_queue_is_refused(held, monkeypatch):
    store, _going = held
    monkeypatch.setattr(store._writer._waiting, "maxsize", 1)
    waiting = threading.Thread(target=store.put_user, args=("u", {}))
    waiting.start()
    until_waiting(store, 1)
    with pytest.raises(Unavailable, match="Too many"):
        store.put_user("v", {})
    _going.set()
    waiting.join()


def test_what_waits_is_written_before_a_store_closes(held):
    store, going = held
    with ThreadPoolExecutor(2) as pool:
        waits = pool.submit(store.add_events, [NewEvent("u", "i")], now=1.0)
        until_waiting(store, 1)
        closing = pool.submit(store.close)
        until_waiting(store, 2)
        going.set()
        assert waits.result().last_seq == 1
        closing.result()


def test_readers_follow_writers_without_a_gap(url):
    """Two stores on one database, as two processes have them, eight threads each; a reader follows."""
    each, threads = 15, 4
    with open_store(url) as one, open_store(url) as other, open_store(url) as reader:

        def write(store, name):
            for number in range(each):
                events = [NewEvent(name, f"{number}.{part}") for part in range(3)]
                store.add_events(events, now=1.0, idempotency_key=f"{name}{number}")

        seen = []
        with ThreadPoolExecutor(2 * threads) as pool:
            writers = [pool.submit(write, (one, other)[n % 2], f"w{n}") for n in range(2 * threads)]
            while not all(writer.done() for writer in writers):
                seen += reader.events_after(seen[-1].seq if seen else 0)
            for writer in writers:
                writer.result()
        seen += reader.events_after(seen[-1].seq if seen else 0)
        total = 2 * threads * each * 3
        assert [event.seq for event in seen] == list(range(1, total + 1))
        assert reader.last_seq() == total
        for n in range(2 * threads):
            mine = [event.item_id for event in seen if event.user_id == f"w{n}"]
            assert mine == [f"{number}.{part}" for number in range(each) for part in range(3)]


def test_one_name_is_taken_once_across_stores(url):
    with open_store(url) as one, open_store(url) as other, ThreadPoolExecutor(8) as pool:
        tries = [
            pool.submit((one, other)[n % 2].put_value, "s", "name", {"n": n}, expect_absent=True) for n in range(8)
        ]
        failed = [one_try for one_try in tries if one_try.exception() is not None]
        assert len(failed) == 7
        assert all(isinstance(one_try.exception(), Conflict) for one_try in failed)


def test_bad_values_are_refused_before_the_queue(held):
    store, _going = held
    with pytest.raises(Unprocessable):
        store.add_events([NewEvent("u\0", "i")], now=1.0)
