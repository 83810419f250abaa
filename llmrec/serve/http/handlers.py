"""Which answer an exception becomes."""

from __future__ import annotations

from typing import cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from llmrec.errors import BundleError, ConfigError, DataError, LlmrecError, UnknownIdError
from llmrec.serve.http.problem import NotAllowed, pointers, problem_response
from llmrec.serve.problems import BadRequest, Conflict, NotFound, Problem, Unprocessable

__all__ = ["add_handlers"]


def add_handlers(app: FastAPI) -> None:
    """Turn everything that is refused into a problem."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(LlmrecError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)


async def _on_problem(request: Request, error: Exception) -> Response:
    return problem_response(cast(Problem, error))


async def _on_error(request: Request, error: Exception) -> Response:
    """Errors of llmrec below the service that the caller can do something about; others are our fault."""
    kinds: tuple[tuple[type[LlmrecError], type[Problem]], ...] = (
        (UnknownIdError, NotFound),
        (DataError, Unprocessable),
        (ConfigError, Unprocessable),
        (BundleError, Conflict),
    )
    for kind, problem in kinds:
        if isinstance(error, kind):
            # what is wrong with data names ids and values; who sent them knows which, and others must not
            told = "What is asked for does not fit the data of this pipeline." if kind is DataError else str(error)
            return problem_response(problem("An id is not known." if kind is UnknownIdError else told))
    raise error


async def _on_invalid(request: Request, error: Exception) -> Response:
    errors = pointers(cast(RequestValidationError, error).errors())
    first = errors[0] if errors else {"in": "body", "pointer": "", "detail": "A value does not fit."}
    more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
    detail = f"{first['in']} {first['pointer']}".strip() + f": {first['detail']}{more}"
    return problem_response(Unprocessable(detail), errors=errors)


async def _on_http(request: Request, error: Exception) -> Response:
    """What Starlette and FastAPI refuse themselves: unknown addresses, wrong methods."""
    refused = cast(HTTPException, error)
    if refused.status_code == 404:
        return problem_response(NotFound("There is nothing at this address."))
    if refused.status_code == 405:
        allowed = ", ".join(_methods(request)) or (refused.headers or {}).get("Allow", "")
        return problem_response(NotAllowed(f"This address takes {allowed}."), headers={"Allow": allowed})
    problem = BadRequest("The request cannot be understood.")
    problem.status = refused.status_code
    return problem_response(problem, headers=refused.headers)


def _methods(request: Request) -> list[str]:
    """The methods of all routes of this path; the router itself names those of the first one only."""
    path = request.url.path
    found: set[str] = set()
    for route in request.app.routes:
        regex = getattr(route, "path_regex", None)
        if regex is not None and regex.match(path):
            found |= set(getattr(route, "methods", None) or ())
    return sorted(found)
