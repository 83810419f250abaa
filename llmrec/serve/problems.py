"""What the service refuses, and how it says so (RFC 9457): every problem has a status, a type and a sentence.

::

    Problem                     base; the HTTP layer turns it into application/problem+json
    ├── BadRequest       400    cannot be understood
    ├── Unauthorized     401    no key, or none that opens anything
    ├── Forbidden        403    the key may not do this
    ├── NotFound         404    an id, alias or impression is not known
    ├── Conflict         409    an idempotency key was used for something else; an item is there already
    ├── TooLarge         413    body, k, history or text over the limit
    ├── Unprocessable    422    understood, and refused: a value does not fit
    ├── TooMany          429    rate limit or queue; `retry_after` seconds
    ├── Broken           500    our fault; the details are in the log only
    ├── Unavailable      503    not ready, draining, a worker died; `retry_after` seconds
    └── TooLate          504    the deadline passed
"""

from __future__ import annotations

from llmrec.errors import LlmrecError

__all__ = [
    "BadRequest",
    "Broken",
    "Conflict",
    "Forbidden",
    "NotFound",
    "Problem",
    "TooLarge",
    "TooLate",
    "TooMany",
    "Unauthorized",
    "Unavailable",
    "Unprocessable",
]


class Problem(LlmrecError):  # noqa: N818 - the word of RFC 9457
    """Something the service refuses to do, or cannot do now.

    Attributes:
        status: of the HTTP answer.
        type: a short name, the last part of the problem's type URI.
        title: the same for every problem of this type.
        detail: what, where, and what to do; safe to show to the caller.
        retry_after: seconds after which to ask again; None: no sense in that.
    """

    status: int = 500
    type: str = "problem"
    title: str = "Problem"

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after


class BadRequest(Problem):
    """The request cannot be understood."""

    status, type, title = 400, "bad-request", "Bad request"


class Unauthorized(Problem):
    """There is no key, or none that opens anything."""

    status, type, title = 401, "unauthorized", "A valid key is needed"


class Forbidden(Problem):
    """The key may not do this."""

    status, type, title = 403, "forbidden", "The key may not do this"


class NotFound(Problem):
    """An id, alias, impression or job is not known."""

    status, type, title = 404, "not-found", "Not found"


class Conflict(Problem):
    """It contradicts what is there."""

    status, type, title = 409, "conflict", "Conflict"


class TooLarge(Problem):
    """It is over a limit."""

    status, type, title = 413, "too-large", "Over a limit"


class Unprocessable(Problem):
    """It is understood, and a value does not fit."""

    status, type, title = 422, "unprocessable", "A value does not fit"


class TooMany(Problem):
    """The queue is full, or the key's rate is used up."""

    status, type, title = 429, "too-many", "Too many requests"


class Broken(Problem):
    """Our fault; what happened is in the log."""

    status, type, title = 500, "internal", "Internal error"


class Unavailable(Problem):
    """Not ready, draining, or what worked on it died."""

    status, type, title = 503, "unavailable", "Not available now"


class TooLate(Problem):
    """The deadline passed."""

    status, type, title = 504, "too-late", "The deadline passed"
