"""Prompts: the templates there are, a place to write one, and comparisons as jobs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response
from starlette.routing import Router

from llmrec.errors import LlmrecError
from llmrec.serve.page.drafts import Known, all_templates, check, keep, known, parse, render
from llmrec.serve.page.front import Call, Front
from llmrec.serve.page.trials import Trials
from llmrec.serve.problems import Unprocessable

if TYPE_CHECKING:
    from llmrec.serve.service import Service

__all__ = ["Prompts"]

MOST = 4


@dataclass(frozen=True, slots=True)
class Prompts:
    """Views of templates.

    Attributes:
        front: what views are made with.
        trials: runs comparisons.
    """

    front: Front
    trials: Trials

    @property
    def _service(self) -> Service:
        return self.front.service

    def add(self, routes: Router) -> None:
        """Add the views."""
        self.front.add(routes, "GET", "/prompts", self._listed)
        self.front.add(routes, "GET", "/prompts/one", self._one)
        self.front.add(routes, "POST", "/prompts/one", self._draft, "admin")
        self.front.add(routes, "POST", "/prompts/compare", self._compare, "admin")
        self.front.add(routes, "GET", "/prompts/job", self._job)

    async def _listed(self, call: Call) -> Response:
        jobs = await self._service.jobs("prompt_compare", 10)
        return self.front.page(call, "prompts", {"templates": await all_templates(self._service), "jobs": jobs})

    async def _one(self, call: Call) -> Response:
        name = call.form.one("name")
        chosen = await known(self._service, name)
        saved = call.form.one("saved") == "yes"
        return await self._shown(call, chosen, chosen.name, chosen.source, saved=saved)

    async def _draft(self, call: Call) -> Response:
        source, name, do = call.form.raw("source"), call.form.one("name"), call.form.one("do")
        if do != "save":
            return await self._shown(call, None, name, source, checked=do == "check")
        by = call.visitor.key
        try:
            numbered = await keep(self._service, name, source, now=time.time(), by="" if by is None else by.name)
        except LlmrecError as error:
            return await self._shown(call, None, name, source, wrong=str(error))
        return RedirectResponse(f"/prompts/one?name={quote(numbered, safe='')}&saved=yes", 303)

    async def _shown(
        self,
        call: Call,
        chosen: Known | None,
        name: str,
        source: str,
        *,
        checked: bool = False,
        saved: bool = False,
        wrong: str = "",
    ) -> Response:
        values: dict[str, Any] = {"chosen": chosen, "name": name, "source": source, "saved": saved, "wrong": wrong}
        values |= {"texts": [], "unit": "tokens", "checks": None, "note": "", "kind": ""}
        try:
            template = parse(source, name or "draft/new")
            values["kind"] = template.kind
            values["texts"], values["unit"] = await render(self._service, template, people=call.visitor.may("admin"))
            if checked:
                values["checks"], values["note"] = await check(self._service, template)
        except LlmrecError as error:
            values["wrong"] = values["wrong"] or str(error)
        return self.front.page(call, "prompt", values, 422 if wrong else 200)

    async def _compare(self, call: Call) -> Response:
        names = call.form.all("template")
        if not 2 <= len(names) <= MOST:
            raise Unprocessable(f"choose 2 to {MOST} templates of one kind; go back and mark them")
        templates = [(await known(self._service, name)).template for name in names]
        if len({template.kind for template in templates}) > 1:
            raise Unprocessable("the templates are of several kinds; only templates of one kind are compared")
        users = call.form.whole("users", 100, 2, 10_000)
        job = await run_in_threadpool(self.trials.begin, templates, users)
        return RedirectResponse(f"/prompts/job?id={quote(job.id, safe='')}", 303)

    async def _job(self, call: Call) -> Response:
        return self.front.page(call, "job", {"job": await self._service.job(call.form.one("id"))})
