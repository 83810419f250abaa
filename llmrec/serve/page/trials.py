"""Comparisons of templates, as jobs: one at a time, in a thread of their own, their progress in the store."""

from __future__ import annotations

import logging
import re
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.errors import LlmrecError
from llmrec.serve.problems import Conflict, Unprocessable
from llmrec.serve.records import Job
from llmrec.text import bounded_rendering

if TYPE_CHECKING:
    from llmrec.pipeline import Recommender
    from llmrec.serve.service import Service
    from llmrec.text import Template

__all__ = ["Measure", "Trials", "measure"]

LONGEST_S = 6 * 3600.0
"""Seconds after which a comparison fails that still writes texts."""

PLACE = re.compile(r"\((\d+) of (\d+)\)")

Measure = Callable[["Recommender", "Sequence[Template]", int, Callable[[str], None]], Mapping[str, Any]]

log = logging.getLogger(__name__)


class Trials:
    """Runs comparisons. Thread-safe.

    Args:
        service: whose items, users and store.
        measure: what compares; see `measure`.
    """

    def __init__(self, service: Service, measure: Measure) -> None:
        self._service, self._measure = service, measure
        self._one = threading.Lock()

    def begin(self, templates: Sequence[Template], users: int) -> Job:
        """Begin a comparison.

        Args:
            templates: of one kind, the baseline first.
            users: how many are asked for, a sample.

        Raises:
            Conflict: one is under way.
            Unprocessable: the pipeline holds no histories to judge on.
        """
        recommender = self._service.models.snapshot("default").recommender
        if recommender.histories is None:
            raise Unprocessable("the bundle holds no histories, so templates cannot be judged on it; fit one with them")
        if not self._one.acquire(blocking=False):
            raise Conflict("a comparison is under way; wait until it is done")
        try:
            asked = {"templates": [one.name for one in templates], "users": users}
            self._service.job_book.bury()
            job = self._service.job_book.begin("prompt_compare", asked)
            work = threading.Thread(
                target=self._run, args=(job, recommender, templates, users), name="llmrec-prompts", daemon=True
            )
            work.start()
        except BaseException:
            self._one.release()
            raise
        return job

    def _run(self, job: Job, recommender: Recommender, templates: Sequence[Template], users: int) -> None:
        store = self._service.store

        def say(words: str) -> None:
            done = 0.02
            if found := PLACE.search(words):
                done = (int(found[1]) - 1) / int(found[2])
            store.update_job(job.id, now=time.time(), state="running", message=words, progress=done)

        ended: dict[str, Any]
        try:
            say("reading the data")
            with bounded_rendering(LONGEST_S), self._service.job_book.alive(job):
                result = self._measure(recommender, templates, users, say)
            ended = {"state": "done", "message": "", "progress": 1.0, "result": result}
        except LlmrecError as error:
            ended = {"state": "failed", "message": str(error)}
        except Exception as error:  # noqa: BLE001 - a thread's error has nowhere else to go
            log.warning("a comparison of prompts failed: %s", type(error).__name__)
            ended = {"state": "failed", "message": f"it broke ({type(error).__name__})"}
        finally:
            self._one.release()
        try:
            store.update_job(job.id, now=time.time(), **ended)
        except LlmrecError as error:  # the store is away; the page tells from the time of the last news
            log.warning("the end of a comparison of prompts is not stored: %s", type(error).__name__)


def measure(
    recommender: Recommender, templates: Sequence[Template], users: int, say: Callable[[str], None]
) -> Mapping[str, Any]:
    """Compare templates over the histories of a pipeline, with the judge that reads their kind.

    Args:
        recommender: with histories.
        templates: of one kind, the baseline first.
        users: how many are asked for, a sample.
        say: told what is going on.

    Returns:
        JSON: "verdict", and "judged": heading, remarks and tables (the header first) of each judge.
    """
    from llmrec import lab

    if recommender.histories is None:
        raise Unprocessable("the bundle holds no histories")
    ground = lab.Ground.of(recommender.catalog, recommender.histories, recommender.users)
    wanted = lab.Wanted(users=users, rerank_users=users, encoder=_encoder(recommender))
    with tempfile.TemporaryDirectory(prefix="llmrec-prompts-") as work:
        setup = lab.Setup(wanted, ground, Path(work), say)
        room = lab.Lab(ground, lab.Store(lab.default_store()), "this bundle", wanted.seed, say)
        judges = [setup.judge(name) for name in lab.usual_judges(templates)]
        found = lab.compare_templates(room, judges, templates)
    judged = [
        {
            "heading": f"{one.judge}: {one.card}",
            "remarks": lab.remarks(one),
            "tables": [[list(row) for row in rows] for rows in (lab.score_rows(one), lab.difference_rows(one))],
        }
        for one in found.judged
    ]
    return {"verdict": lab.verdict(found), "judged": judged}


def _encoder(recommender: Recommender) -> str:
    """The text encoder the pipeline itself uses, else the usual one."""
    for stage in recommender.stages:
        for retriever, _ in stage.retrievers:
            name = getattr(getattr(retriever, "config", None), "encoder", None)
            if isinstance(name, str):
                return name
    return "minilm"
