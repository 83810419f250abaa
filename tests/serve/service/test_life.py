"""Start, readiness, status, deployments, refits, stop."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap

import pytest

from llmrec.errors import ConfigError
from llmrec.serve.asked import Asked
from llmrec.serve.problems import Conflict, NotFound, Unavailable
from llmrec.serve.records import NewEvent
from llmrec.serve.service import Service
from llmrec.serve.service._refit_process import main
from llmrec.serve.service._refits import Refits
from llmrec.serve.service.jobs import DEAD, JobBook
from llmrec.serve.store import open_store


def process(code: str) -> list[str]:
    """The command line of a process that has read what is asked for as `asked`, and can `tell`."""
    head = """
    import json, sys, time
    asked = json.loads(sys.stdin.readline())
    def tell(**values):
        print(json.dumps(values), flush=True)
    """
    return [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(code)]


async def ended(service, job):
    """The job once it has ended."""
    while job.state in ("waiting", "running"):
        await asyncio.sleep(0.02)
        job = await service.job(job.id)
    return job


def refitting(service, code: str) -> None:
    """Let refits be done by another process."""
    service._life._refits = Refits(service._parts, lambda: process(code))


def test_other_machines_need_a_key(using, config):
    outside = config.model_copy(update={"host": "0.0.0.0"})

    async def work(service):
        return service.ready()

    with pytest.raises(ConfigError, match="llmrec key add"):
        using(work, outside)
    store = open_store(config.store)
    store.add_key("me", ["admin"], now=0.0)
    store.close()
    assert using(work, outside).ok


def test_ready_says_why_not(make, config):
    async def work():
        service = make(config)
        before = service.ready()
        await service.start()
        during = service.ready()
        await service.stop()
        await service.stop()
        with pytest.raises(Unavailable):
            await service.recommend(Asked(user_id="u1"))
        with pytest.raises(Unavailable):
            await service.add_events([NewEvent("u1", "i1")])
        return before, during, service.ready(), service.learner.running

    before, during, after, running = asyncio.run(work())
    assert (before.ok, before.reasons) == (False, ("the pipelines are being loaded",))
    assert (during.ok, during.reasons) == (True, ())
    assert (after.ok, after.reasons) == (False, ("stopping",))
    assert not running


def test_a_store_that_is_gone_is_told(using, monkeypatch):
    monkeypatch.setattr("llmrec.serve.service._watch.PING_EVERY", 0.01)

    async def work(service):
        def gone():
            raise Unavailable("away")

        service.store.ping = gone
        while service.ready().ok:
            await asyncio.sleep(0.01)
        reasons, status = service.ready().reasons, await service.status()
        del service.store.ping
        while not service.ready().ok:
            await asyncio.sleep(0.01)
        return reasons, status

    reasons, status = using(work)
    assert reasons == ("the store does not answer",)
    assert not status.store_ok


def test_opening_needs_a_default(config):
    with pytest.raises(ConfigError, match="default"):
        Service.open(config.model_copy(update={"bundles": {"other": config.bundles["other"]}}))


def test_status_shows_everything(using, clock, hybrid):
    async def work(service):
        listed = await service.recommend(Asked(user_id="u3", k=3))
        await service.feedback(listed.impression_id, listed.items[0].item_id, "click")
        await service.recommend(Asked(user_id="nobody", wish="a heist", k=3), log=False)
        clock.now += 60
        return listed, await service.status()

    listed, status = using(work)
    assert status.started == clock.now - 60
    assert status.ready.ok
    default, other = status.aliases
    assert (default.alias, other.alias) == ("default", "other")
    assert (default.items, default.users, default.stages) == (12, hybrid.histories.n_users, ("hybrid",))
    assert default.fitted > 0
    assert default.bundle == listed.bundle != other.bundle
    (day,) = status.days
    assert (day.day, day.alias, day.impressions, day.clicks) == ("2023-11-14", "default", 1, 1)
    assert (status.events, status.learner_lag, status.store_ok) == (1, 3, True)
    assert 3 / 12 <= status.coverage["default"] <= 6 / 12
    assert status.coverage["other"] == 0.0
    shares = {view.name: view.now for view in status.drift}
    assert shares["unknown users"]["unknown"] == shares["unknown users"]["known"] == 0.5
    assert status.engine.answered == 2


def test_deploy_and_rollback(using, config):
    async def work(service):
        old = service.models.snapshot().bundle
        await service.recommend(Asked(user_id="u3", k=3))
        new = await service.deploy("default", config.bundles["other"])
        served = await service.recommend(Asked(user_id="u3", k=3))
        back = await service.rollback("default")
        with pytest.raises(Conflict):
            await service.rollback("default")
        with pytest.raises(NotFound):
            await service.deploy("nowhere")
        why = [one.why for one in await service.deployments("default")]
        return old, new.bundle, served.bundle, back.bundle, why

    old, new, served, back, why = using(work)
    assert old == back != new == served
    assert why[0] == "rollback"


def test_a_refit_that_passes_is_deployed(using, config):
    async def work(service):
        path = str(config.bundles["other"])
        refitting(service, f"tell(message='fitting'); tell(result={{'passed': True, 'path': {path!r}, 'n': 40}})")
        before = service.models.snapshot().bundle
        job = await service.refit()
        done = await ended(service, job)
        return before, job, done, service.models.snapshot().bundle, await service.jobs("refit")

    before, job, done, after, jobs = using(work)
    assert job.kind == "refit"
    assert (done.state, done.progress, done.message) == ("done", 1.0, "deployed")
    assert done.result["deployed"]
    assert done.result["n"] == 40
    assert done.result["bundle"] == after != before
    assert [one.id for one in jobs] == [job.id]


@pytest.mark.parametrize(
    ("code", "state", "message"),
    [
        ("tell(result={'passed': False, 'path': None})", "done", "not deployed"),
        ("tell(error='ConfigError: no histories')", "failed", "no histories"),
        ("print('no json', flush=True); time.sleep(20)", "failed", "JSONDecodeError"),
        ("sys.exit(3)", "failed", "without a word"),
        ("tell(result={'passed': True, 'path': '/nowhere'})", "failed", "cannot be served"),
    ],
)
def test_a_refit_that_leads_nowhere_leaves_the_old_one(using, code, state, message):
    async def work(service):
        refitting(service, code)
        before = service.models.snapshot().bundle
        done = await ended(service, await service.refit())
        return done, before == service.models.snapshot().bundle

    done, same = using(work)
    assert done.state == state
    assert message in done.message
    assert same


def test_one_refit_of_an_alias_at_a_time(using, clock):
    async def work(service):
        refitting(service, "time.sleep(60)")
        first, second = await asyncio.gather(service.refit(), service.refit(), return_exceptions=True)
        other = await service.refit("other")
        with pytest.raises(NotFound):
            await service.refit("nowhere")
        await service._life._refits.stop()
        stopped = [await service.job(one.id) for one in (first, other)]
        elsewhere = service.store.add_job("refit", {"alias": "default"}, now=clock.now)
        with pytest.raises(Conflict):
            await service.refit()
        clock.now += DEAD + 1
        refitting(service, "sys.exit(0)")
        await ended(service, await service.refit())
        return second, stopped, await service.job(elsewhere.id)

    second, stopped, gone = using(work)
    assert isinstance(second, Conflict)
    assert {one.state for one in stopped} == {"failed"}
    assert (gone.state, gone.message) == ("failed", "what worked on it is gone")


def test_a_stop_ends_a_refit(make, config):
    async def work():
        service = make(config)
        await service.start()
        refitting(service, "tell(message='begun'); time.sleep(60)")
        job = await service.refit()
        while (await service.job(job.id)).message != "begun":
            await asyncio.sleep(0.02)
        await service.stop()
        return job

    job = asyncio.run(work())
    store = open_store(config.store)
    assert (store.job(job.id).state, store.job(job.id).message) == ("failed", "the service was stopped")
    store.close()


def test_unknown_jobs(using):
    async def work(service):
        with pytest.raises(NotFound):
            await service.job("nothing")
        return await service.jobs()

    assert using(work) == []


def test_the_process_fits_what_it_is_asked_for(bundle, tmp_path):
    old = shutil.copytree(bundle, tmp_path / "old")
    store = open_store(str(tmp_path / "s.sqlite"))
    store.add_events([NewEvent("new", f"i{n}", "view", n) for n in range(4)], now=5.0)
    store.close()
    asked = {
        "bundle": str(old),
        "store": str(tmp_path / "s.sqlite"),
        "out": str(tmp_path / "new"),
        "learn": {},
        "force": False,
    }
    out = io.StringIO()
    assert main(asked, out) == 0
    said = [json.loads(line) for line in out.getvalue().splitlines()]
    assert all(list(one) == ["message"] for one in said[:-1])
    assert said[-1]["result"]["passed"]
    assert (tmp_path / "new" / "manifest.json").is_file()


def test_the_process_says_what_is_wrong_without_data(tmp_path):
    out = io.StringIO()
    asked = {
        "bundle": str(tmp_path),
        "store": str(tmp_path / "s"),
        "out": str(tmp_path / "o"),
        "learn": {},
        "force": False,
    }
    assert main(asked, out) == 1
    assert "error" in json.loads(out.getvalue().splitlines()[-1])


def test_whose_data_a_bundle_was_fitted_with_is_noted(using):
    async def work(service):
        bundle = service.models.snapshot().bundle
        while service.store.value("models noted", bundle) is None:
            await asyncio.sleep(0.01)
        return bundle, service.store.erase_user("u5", now=1.0)

    bundle, erased = using(work)
    assert bundle in erased.models


def left_behind(store, kind, owner, updated):
    """A job that runs, as the store has it."""
    job = store.add_job(kind, {"alias": "default"}, now=updated)
    store.update_job(job.id, now=updated, state="running", message="on it")
    if owner is not None:
        store.put_value("job owners", job.id, owner)
    return job.id


def test_a_start_fails_what_an_earlier_process_left_running(using, config, clock):
    store = open_store(config.store)
    other = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    here, gone = socket.gethostname(), int(other.stdout)
    dead = [
        left_behind(store, "prompt_compare", {"host": here, "pid": gone, "token": "a"}, clock.now),
        left_behind(store, "refit", {"host": here, "pid": gone, "token": "a"}, clock.now),
        left_behind(store, "prompt_compare", {"host": here, "pid": os.getpid(), "token": "before"}, clock.now),
        left_behind(store, "of an older version", None, clock.now),
        left_behind(store, "refit", {"host": "elsewhere", "pid": 1, "token": "a"}, clock.now - DEAD - 1),
    ]
    alive = [
        left_behind(store, "prompt_compare", {"host": here, "pid": os.getppid(), "token": "a"}, clock.now),
        left_behind(store, "refit", {"host": "elsewhere", "pid": 1, "token": "a"}, clock.now),
    ]
    store.close()

    async def work(service):
        return {job.id: job for job in await service.jobs()}

    jobs = using(work)
    assert {(jobs[one].state, jobs[one].message) for one in dead} == {("failed", "what worked on it is gone")}
    assert {jobs[one].state for one in alive} == {"running"}


def test_who_worked_on_a_job_is_forgotten_once_it_has_ended(config, clock):
    with open_store(config.store) as store:
        book = JobBook(store, clock)
        job = book.begin("refit", {})
        with book.alive(job):
            book.bury(starting=True)
        assert store.job(job.id).state == "waiting"
        assert list(store.values("job owners")) == [job.id]
        store.update_job(job.id, now=clock.now, state="done")
        book.bury()
        assert store.values("job owners") == {}
