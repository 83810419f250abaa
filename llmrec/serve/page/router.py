"""The page put together: its views on one router, its files beside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope as AsgiScope

from llmrec.serve.page.catalogs import Catalogs
from llmrec.serve.page.compares import Compares
from llmrec.serve.page.evaluation import evaluation
from llmrec.serve.page.front import Front
from llmrec.serve.page.lists import Lists
from llmrec.serve.page.monitor import monitor
from llmrec.serve.page.prompts import Prompts
from llmrec.serve.page.signing import signing
from llmrec.serve.page.traces import Traces
from llmrec.serve.page.trials import Measure, Trials, measure

if TYPE_CHECKING:
    from llmrec.serve.service import Service

__all__ = ["mount", "router"]


class _Files(StaticFiles):
    """Files that browsers ask about again each time, so that a new version of the page is whole at once."""

    async def get_response(self, path: str, scope: AsgiScope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def router(service: Service, judge: Measure = measure) -> APIRouter:
    """The views of the page.

    Args:
        service: what answers; started before the first request comes.
        judge: what compares templates.
    """
    routes, front = APIRouter(), Front(service)
    Lists(front).add(routes)
    Traces(front).add(routes)
    Compares(front).add(routes)
    Prompts(front, Trials(service, judge)).add(routes)
    Catalogs(front).add(routes)
    for add in (monitor, evaluation, signing):
        add(front, routes)
    return routes


def mount(app: FastAPI, service: Service) -> None:
    """Serve the page's own files below /static; anybody may read them.

    Args:
        app: where to.
        service: not read; every part of the app is put together with it.
    """
    del service
    app.mount("/static", _Files(directory=Path(__file__).parent / "static"), name="static")
