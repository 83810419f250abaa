"""Asking over HTTP with patience: what may be asked again, when, and what comes back instead of an answer."""

from __future__ import annotations

import email.utils
import json
import math
import random
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import TypeAdapter, ValidationError

from llmrec.client.errors import ServiceError, UnreachableError, error_class

__all__ = ["Call", "Connection", "Patience", "Repeat", "parse", "parse_line", "segment"]

T = TypeVar("T")

Repeat = Literal["any", "refused", "unsent", "never"]
"""When a request may be made again. "any": always, since twice is as good as once; "refused": where the service says
that it did nothing (429, 503), or was not reached; "unsent": where it was not reached, or never began (429)."""

REPEATED: dict[Repeat, frozenset[int]] = {
    "any": frozenset({429, 503}),
    "refused": frozenset({429, 503}),
    "unsent": frozenset({429}),
    "never": frozenset(),
}

UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
"""What goes wrong before a request leaves."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a request is made again, and after how long.

    Attributes:
        retries: at most so often.
        first: seconds before the first repeat at most; each next one doubles them.
        longest: seconds before any repeat at most; a service that asks for more is not asked again.
    """

    retries: int = 3
    first: float = 0.25
    longest: float = 20.0

    def wait(self, repeat: int, asked_for: float | None, share: float) -> float | None:
        """Seconds before a repeat; None: there is none.

        Args:
            repeat: its number, from 0.
            asked_for: what the service asked for, in seconds; None: it did not.
            share: 0 to 1, drawn by lot, so that many clients do not come back at once.
        """
        if repeat >= self.retries or (asked_for is not None and asked_for > self.longest):
            return None
        most = min(self.longest, self.first * 2.0**repeat)
        return share * most if asked_for is None else asked_for + share * self.first


@dataclass(frozen=True, slots=True)
class Call:
    """A request.

    Attributes:
        method: "GET" ...
        path: below the service's URL; ids in it are quoted.
        body: JSON; None: none. Bytes are lines of JSON, and go as they are.
        params: of the query; those that are None are left out.
        headers: beside the usual ones.
        repeat: when it may be made again.
        good: statuses that are answers, beside those below 300.
        timeout: seconds, in the place of the client's where that is less; None: the client's.
        check: says what is wrong with an answer that should be taken for a broken connection; None: nothing can be.
    """

    method: str
    path: str
    body: Any = None
    params: Mapping[str, str | int | bool | None] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    repeat: Repeat = "any"
    good: frozenset[int] = frozenset()
    timeout: float | None = None
    check: Callable[[httpx2.Response], ServiceError | None] | None = None


class Connection:
    """A pool of connections to one service. Threads may share it."""

    def __init__(
        self,
        url: str,
        key: str | None,
        timeout: float,
        patience: Patience,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        headers = {"Accept": "application/json"}
        if key is not None:
            headers["Authorization"] = f"Bearer {_checked(key)}"
        self.url = _checked_url(url)
        self._patience = patience
        self._timeout = timeout
        self._sleep: Callable[[float], None] = time.sleep
        self._http = httpx2.Client(
            base_url=self.url, headers=headers, timeout=timeout, follow_redirects=False, transport=transport
        )

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def send(self, call: Call) -> httpx2.Response:
        """Make a request, again where that is safe and makes sense.

        Raises:
            ServiceError: it was not done; the class says why.
        """
        request_id = uuid.uuid4().hex
        repeat = 0
        while True:
            answer = self._once(call, request_id)
            if isinstance(answer, httpx2.Response):
                return answer
            wait = None
            if _may_repeat(call, answer):
                wait = self._patience.wait(repeat, answer.retry_after, random.random())
            if wait is None:
                raise answer
            self._sleep(wait)
            repeat += 1

    def _once(self, call: Call, request_id: str) -> httpx2.Response | ServiceError:
        content, media = _content(call.body)
        try:
            response = self._http.request(
                call.method,
                call.path,
                content=content,
                params={name: value for name, value in call.params.items() if value is not None},
                headers={"X-Request-ID": request_id, **media, **call.headers},
                timeout=max(self._timeout, call.timeout or 0.0),
            )
        except httpx2.RequestError as error:
            return _unreachable(error, request_id)
        if response.is_success or response.status_code in call.good:
            return (call.check(response) if call.check is not None else None) or response
        return _refusal(response, request_id)


def parse(kind: Any, response: httpx2.Response, part: str | None = None) -> Any:
    """Read an answer as values of a type.

    Args:
        kind: the type.
        response: its body is JSON.
        part: the member of the body that is wanted; None: all of it.

    Raises:
        ServiceError: the answer is not what this client knows; the two may be of different versions.
    """
    return parse_line(kind, response.content, response, part)


def parse_line(kind: Any, line: bytes, response: httpx2.Response, part: str | None = None) -> Any:
    """Read a part of an answer, such as one line of it, as values of a type.

    Raises:
        ServiceError: as `parse`.
    """
    try:
        body = json.loads(line)
        return _adapter(kind).validate_python(body if part is None else body[part])
    except (ValueError, KeyError, TypeError) as error:  # what pydantic raises is a ValueError
        raise _unknown_answer(response, error) from None


def _unknown_answer(response: httpx2.Response, error: Exception) -> ServiceError:
    """The error for an answer that cannot be read; what stands in it is not told, since it may be anybody's."""
    where = f" at {'.'.join(map(str, error.errors()[0]['loc']))}" if isinstance(error, ValidationError) else ""
    return ServiceError(
        f"the answer is not what this client knows{where}; is the URL that of an llmrec service of this version?",
        response.status_code,
        "Unknown answer",
        response.headers.get("X-Request-ID"),
    )


def segment(text: str) -> str:
    """An id as a part of a path.

    Raises:
        ValueError: a path cannot name it.
    """
    if text in ("", ".", ".."):
        raise ValueError(f"{text!r} cannot be asked for by its path")
    return quote(text, safe="")


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _content(body: Any) -> tuple[bytes | None, dict[str, str]]:
    """The bytes of a body, and the header that says what they are."""
    if body is None:
        return None, {}
    if isinstance(body, bytes):
        return body, {"Content-Type": "application/x-ndjson"}
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode(), {"Content-Type": "application/json"}


def _may_repeat(call: Call, error: ServiceError) -> bool:
    if isinstance(error, UnreachableError):
        return call.repeat == "any" or (not error.sent and call.repeat != "never")
    return error.status in REPEATED[call.repeat]


def _unreachable(error: httpx2.RequestError, request_id: str) -> ServiceError:
    what = "no answer in time" if isinstance(error, httpx2.TimeoutException) else "no connection, or it broke"
    told = f": {error}" if str(error) else f" ({type(error).__name__})"
    failure = UnreachableError(f"{what}{told}", request_id=request_id, sent=not isinstance(error, UNSENT))
    failure.__cause__ = error
    return failure


def _refusal(response: httpx2.Response, request_id: str) -> ServiceError:
    """What an answer that is none says: problem+json, or whatever a proxy on the way wrote."""
    try:
        told = json.loads(response.content)
    except ValueError:
        told = {}
    told = told if isinstance(told, dict) else {}
    status = response.status_code
    detail = str(told.get("detail") or f"the service answered {status} to {response.request.method}")
    return error_class(status)(
        detail,
        status,
        str(told.get("title") or response.reason_phrase),
        response.headers.get("X-Request-ID") or request_id,
        _retry_after(response.headers.get("Retry-After")),
    )


def _retry_after(text: str | None) -> float | None:
    """Seconds; the header holds them, or a date."""
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _checked(key: str) -> str:
    """A key as a header can hold it; what is wrong is told without it.

    Raises:
        ValueError: no key looks like this.
    """
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("the key is empty, or holds signs that no key has, such as a line break or a space")
    return key


def _checked_url(url: str) -> httpx2.URL:
    """The service's URL.

    Raises:
        ValueError: it is not one of http or https, or holds a password, which would show up in logs.
    """
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise ValueError(f"the service's URL cannot be read: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError("the service's URL must begin with http:// or https:// and name a host")
    if parsed.userinfo:
        raise ValueError("the service's URL must not hold a password; give `key` instead")
    return parsed
