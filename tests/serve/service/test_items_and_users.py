"""Items and users: put, shown, found, removed, erased."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.serve.asked import Asked
from llmrec.serve.live import holds_user, without_users
from llmrec.serve.problems import BadRequest, NotFound, TooLarge, Unavailable, Unprocessable
from llmrec.serve.records import NewEvent
from llmrec.serve.service._items import items_page, title_of
from llmrec.types import Item


def test_an_item_is_shown_as_it_is_indexed(using, catalog):
    async def work(service):
        with pytest.raises(NotFound):
            await service.item("nothing")
        with pytest.raises(NotFound):
            await service.item("i1", "nowhere")
        return await service.item("i1")

    view = using(work)
    assert view.fields == {name: v for name, v in catalog.records(np.array([1]))[0].items() if name != "item_id"}
    assert list(view.texts) == ["dense"]
    assert view.fields["title"] in view.texts["dense"]
    assert (view.state, view.trained) == ("active", True)


def test_items_are_put_changed_removed_and_come_back(using):
    async def work(service):
        made = await service.put_items([Item("n1", {"title": "zoo at night", "year": 2024})], replace=False)
        new = await service.item("n1")
        found = await service.search(Asked(kind="search", text="zoo at night", k=13))
        changed = await service.put_items([Item("n1", {"genres": "Drama"})], replace=False)
        merged = await service.item("n1")
        await service.put_items([Item("n1", {"title": "only this"})], replace=True)
        replaced = await service.item("n1")
        removed = await service.remove_items(["n1", "n1"])
        gone = await service.item("n1")
        with pytest.raises(NotFound):
            await service.remove_items(["i1", "n1"])
        with pytest.raises(NotFound):
            await service.remove_items(["nothing"])
        still = await service.item("i1")
        back = await service.put_items([Item("n1", {})], replace=False)
        return (made, changed, removed, back), new, found, merged, replaced, gone, still

    counts, new, found, merged, replaced, gone, still = using(work)
    assert counts == (1, 0, 1, 1)
    assert (new.state, new.trained) == ("active", False)
    assert "zoo at night" in new.texts["dense"]
    assert "n1" in {one.item_id for one in found.items}
    assert merged.fields == {"title": "zoo at night", "year": 2024, "genres": "Drama"}
    assert replaced.fields == {"title": "only this", "year": None, "genres": None}
    assert (gone.state, still.state) == ("removed", "active")


def test_items_that_do_not_fit(using, config):
    async def work(service):
        for items, problem in (
            ([Item("n", {"colour": "red"})], Unprocessable),
            ([Item("n", {"year": "soon"})], Unprocessable),
            ([Item("n", {}), Item("n", {})], Unprocessable),
            ([Item("", {})], Unprocessable),
            ([Item("n", {"title": "x" * 3_000})], TooLarge),
            ([Item(f"n{n}", {}) for n in range(3)], TooLarge),
        ):
            with pytest.raises(problem):
                await service.put_items(items, replace=False)
        return service.store.last_item_seq()

    limits = config.limits.model_copy(update={"batch": 2})
    assert using(work, config.model_copy(update={"limits": limits})) == 0


def test_pages_hold_every_item_once(using):
    async def work(service):
        seen, cursor = [], None
        while True:
            page = await service.items(cursor, 5)
            seen += [one.item_id for one in page.entries]
            if (cursor := page.next) is None:
                return seen

    assert using(work) == [f"i{n}" for n in range(12)]


@settings(max_examples=40, deadline=None)
@given(
    find=st.sampled_from(["", "RED", "drama", "i1", "1984", "misérables", ".*", "%", "nothing"]),
    limit=st.integers(1, 13),
)
def test_finding_is_as_plain_as_it_looks(hybrid, find, limit):
    catalog = hybrid.catalog
    expected = [
        record["item_id"]
        for record in catalog.records(np.arange(len(catalog), dtype=np.int32))
        if any(find.lower() in str(value).lower() for value in record.values() if value is not None)
    ]
    found, cursor = [], None
    while True:
        page = items_page(hybrid, cursor, limit, find)
        found += [one.item_id for one in page.entries]
        if (cursor := page.next) is None:
            break
    assert found == expected


@pytest.mark.parametrize("cursor", ["?", "äö", "aQ", "eA", "aW5vdGhpbmc", "====", "\ud800"])
def test_a_strange_cursor_is_refused(hybrid, cursor):
    with pytest.raises(BadRequest):
        items_page(hybrid, cursor, 5, None)


def test_titles():
    assert title_of("i", {"year": 1, "genres": "Drama", "title": "Heat"}) == "Heat"
    assert title_of("i", {"year": 1, "genres": "Drama"}) == "Drama"
    assert title_of("i", {"title": None, "year": 1}) == "i"


def test_profiles_are_read_by_the_next_request(using):
    async def work(service):
        stored = (await service.user("u1")).profile
        await service.put_user("u1", {"age": 50})
        await service.put_user("new", {"age": 7})
        with pytest.raises(Unprocessable):
            await service.put_user("new", {"age": [1]})
        with pytest.raises(Unprocessable):
            await service.put_user("", {})
        with pytest.raises(TooLarge):
            await service.put_user("new", {"about": "x" * 3_000})
        return stored, (await service.user("u1")).profile, await service.user("new"), await service.user("who")

    stored, changed, new, nobody = using(work)
    assert stored == {"age": 21, "occupation": "student"}
    assert changed["age"] == 50
    assert (new.known, new.profile) == (True, {"age": 7})
    assert (nobody.known, nobody.history, nobody.profile) == (False, (), {})


def test_erasure_leaves_nothing_behind(using, make, config, clock):
    async def work(service):
        bundle = service.models.snapshot().bundle
        before = await service.user("u3")
        listed = await service.recommend(Asked(user_id="u3", k=5))
        await service.add_events([NewEvent("u3", listed.items[0].item_id, "buy")])
        await service.put_user("u3", {"age": 9})
        await service.recommend(Asked(user_id="u3", k=5))
        erased = await service.erase_user("u3")
        after = await service.user("u3")
        held = [holds_user(service.models.snapshot(alias).recommender, "u3") for alias in ("default", "other")]
        cold = [one.item_id for one in (await service.recommend(Asked(user_id="u3", k=12), log=False)).items]
        stranger = [one.item_id for one in (await service.recommend(Asked(user_id="who", k=12), log=False)).items]
        shown = service.store.impression(listed.impression_id)
        again = await service.erase_user("u3")
        neighbour = await service.user("u4")
        await service.deploy("default")
        reloaded = await service.user("u3")
        held += [holds_user(service.models.snapshot().recommender, "u3")]
        return bundle, before, erased, after, held, (cold, stranger), shown, again, neighbour, reloaded

    bundle, before, erased, after, held, lists, shown, again, neighbour, reloaded = using(work)
    assert before.known
    assert (erased.events, erased.impressions, erased.profile) == (1, 2, True)
    assert bundle in erased.models
    assert (after.known, after.history, after.profile, after.events) == (False, (), {}, ())
    assert held == [False, False, False]
    assert lists[0] == lists[1]
    assert shown is None
    assert (again.events, again.impressions, again.profile) == (0, 0, False)
    assert neighbour.known
    assert neighbour.history
    assert not reloaded.known

    async def later(service):
        assert not holds_user(service.models.snapshot().recommender, "u3")
        return await service.user("u3"), await service.user("u4")

    restarted, other = using(later)
    assert (restarted.known, restarted.history) == (False, ())
    assert other.history == neighbour.history


def test_a_list_that_nobody_waits_for_any_more_is_erased_too(using, monkeypatch):
    async def work(service):
        going, begun, write = threading.Event(), threading.Event(), service.store.add_impressions

        def slow(impressions):
            begun.set()
            assert going.wait(30)
            write(impressions)

        monkeypatch.setattr(service.store, "add_impressions", slow)
        asking = asyncio.ensure_future(service.recommend(Asked(user_id="u3")))
        await asyncio.to_thread(begun.wait, 30)
        asking.cancel()  # as when the client goes
        await asyncio.wait([asking])
        erasing = asyncio.ensure_future(service.erase_user("u3"))
        await asyncio.sleep(0.1)
        assert not erasing.done()
        going.set()
        erased = await erasing
        return erased.impressions, service.store.impressions_between(0, 2e9)

    assert using(work) == (1, [])


def test_feedback_on_a_list_that_is_erased_meanwhile_is_not_stored(using, monkeypatch):
    async def work(service):
        listed = await service.recommend(Asked(user_id="u3"))
        loop, read = asyncio.get_running_loop(), service.store.impression

        def erased_after(impression_id):
            found = read(impression_id)
            monkeypatch.setattr(service.store, "impression", read)
            asyncio.run_coroutine_threadsafe(service.erase_user("u3"), loop).result(30)
            return found

        monkeypatch.setattr(service.store, "impression", erased_after)
        with pytest.raises(NotFound):
            await service.feedback(listed.impression_id, listed.items[0].item_id, "click")
        return service.store.events_after(0)

    assert using(work) == []


def test_what_is_asked_during_an_erasure_is_erased_too(using):
    async def work(service):
        entered, going = asyncio.Event(), asyncio.Event()

        async def wait(_asked):
            entered.set()
            await going.wait()

        service.engine.before = wait
        asking = asyncio.ensure_future(service.recommend(Asked(user_id="u3")))
        await entered.wait()
        erasing = asyncio.ensure_future(service.erase_user("u3"))
        await asyncio.sleep(0.01)
        service.engine.before = None
        with pytest.raises(Unavailable):
            await service.recommend(Asked(user_id="u3"))
        with pytest.raises(Unavailable):
            await service.add_events([NewEvent("u3", "i1")])
        going.set()
        listed, erased = await asyncio.gather(asking, erasing)
        return service.store.impression(listed.impression_id), erased.impressions

    assert using(work) == (None, 1)


@given(row=st.integers(0, 19))
def test_a_recommender_without_a_user_keeps_everything_else(hybrid, row):
    from llmrec.testing.data import tiny_users

    before = replace(hybrid, users=tiny_users())
    user = f"u{row}"
    after = without_users(before, [user])
    assert holds_user(before, user)
    assert not holds_user(after, user)
    left = [one for one in before.histories.users if one != user]
    assert list(after.histories.users) == left
    old, new = before.queries(left), after.queries(left)
    for name in ("offsets", "items", "times"):
        np.testing.assert_array_equal(getattr(old, name), getattr(new, name))
    assert old.profiles == new.profiles
    assert without_users(after, [user]) is after
    assert after.catalog is before.catalog
