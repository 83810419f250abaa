"""Problems as HTTP answers (RFC 9457): one shape for everything that is refused or goes wrong."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from llmrec.serve.http.trace import CURRENT
from llmrec.serve.problems import Problem

__all__ = ["MEDIA_TYPE", "ClientGone", "NotAllowed", "TooSlow", "Unsupported", "pointers", "problem_response"]

MEDIA_TYPE = "application/problem+json"
_SANE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MOST_ERRORS = 20


class NotAllowed(Problem):
    """The address is known, and not for this method."""

    status, type, title = 405, "method-not-allowed", "Method not allowed"


class TooSlow(Problem):
    """The body did not come in time."""

    status, type, title = 408, "too-slow", "The request did not come in time"


class Unsupported(Problem):
    """The body is of another media type than JSON."""

    status, type, title = 415, "unsupported-media-type", "Unsupported media type"


class ClientGone(Problem):
    """The caller closed the connection; nobody reads the answer. The status is nginx's, and stands in logs only."""

    status, type, title = 499, "client-gone", "The client is gone"


def problem_response(
    problem: Problem,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[Mapping[str, str]] = (),
    members: Mapping[str, Any] | None = None,
) -> Response:
    """The answer that says a problem.

    Args:
        problem: which.
        headers: further ones.
        errors: what is wrong where, from `pointers`; left out where there is none.
        members: further ones of the body, by name.
    """
    trace = CURRENT.get()
    body: dict[str, Any] = {
        "type": f"urn:llmrec:problem:{problem.type}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "request_id": trace.request_id if trace else "",
    }
    if errors:
        body["errors"] = list(errors)
    body |= members or {}
    more = dict(headers or {})
    if problem.retry_after is not None:
        more["Retry-After"] = str(max(1, math.ceil(problem.retry_after)))
    if problem.status == 401:
        more.setdefault("WWW-Authenticate", 'Bearer realm="llmrec"')
    # ASCII escapes: a detail that names an odd id can always be written
    return Response(json.dumps(body), problem.status, headers=more, media_type=MEDIA_TYPE)


def pointers(errors: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """What is wrong where, from pydantic's errors: never the value itself, which could be anybody's secret.

    Returns:
        "in" ("body", "path", "query", "header"), "pointer" (JSON pointer or the parameter's name) and "detail" of each,
        of the first ones.
    """
    return [_pointer(error) for error in errors[:_MOST_ERRORS]]


def _pointer(error: Mapping[str, Any]) -> dict[str, str]:
    place, *path = error["loc"] or ("body",)
    unknown = error["type"] == "extra_forbidden"
    message = "This field is not known; leave it out." if unknown else str(error["msg"])
    # names may be the caller's own; they are said only where they look like names
    names = [str(part) if isinstance(part, int) or _SANE_NAME.fullmatch(part) else "?" for part in path]
    pointer = "/" + "/".join(names) if place == "body" else "/".join(names)
    return {"in": str(place), "pointer": pointer if names else "", "detail": message}
