"""What can go wrong between a program and the service.

::

    ServiceError                base; the service answered what it should not (500 ...), or something else than itself
    ├── UnreachableError        no answer: no connection, one that broke, or none in time
    ├── KeyRefusedError         401, 403: no key, a wrong one, or one that may not do this
    ├── NotFoundError           404: an id, alias, impression or job is not known
    ├── ConflictError           409: it contradicts what is there
    ├── InvalidRequestError     400, 413, 422: it cannot be understood, is over a limit, or a value does not fit
    ├── BusyError               429, 503: later; `retry_after` seconds
    └── DeadlineError           504: the deadline passed
"""

from __future__ import annotations

__all__ = [
    "BusyError",
    "ConflictError",
    "DeadlineError",
    "InvalidRequestError",
    "KeyRefusedError",
    "NotFoundError",
    "ServiceError",
    "UnreachableError",
    "error_class",
]


class ServiceError(Exception):
    """The service did not do what was asked.

    Attributes:
        status: of the HTTP answer; 0: there was none.
        title: what kind of problem it is, the same for all of its kind.
        detail: what, where, and what to do.
        request_id: by which the service's log names the request; None: unknown.
        retry_after: seconds after which it makes sense to ask again; None: the service does not say.
        sent: whether the request may have reached the service.
    """

    def __init__(
        self,
        detail: str,
        status: int = 0,
        title: str = "",
        request_id: str | None = None,
        retry_after: float | None = None,
        sent: bool = True,
    ) -> None:
        super().__init__(detail, status, title, request_id, retry_after, sent)  # all of them: it can be pickled
        self.detail = detail
        self.status = status
        self.title = title
        self.request_id = request_id
        self.retry_after = retry_after
        self.sent = sent

    def __str__(self) -> str:
        head = " ".join(part for part in (str(self.status or ""), self.title) if part)
        tail = f" (request {self.request_id})" if self.request_id else ""
        return f"{head}: {self.detail}{tail}" if head else f"{self.detail}{tail}"


class UnreachableError(ServiceError):
    """There was no answer: no connection, one that broke, or none in time."""


class KeyRefusedError(ServiceError):
    """There is no key, a wrong one, or one that may not do this."""


class NotFoundError(ServiceError):
    """An id, alias, impression or job is not known."""


class ConflictError(ServiceError):
    """It contradicts what is there."""


class InvalidRequestError(ServiceError):
    """It cannot be understood, is over a limit, or a value does not fit."""


class BusyError(ServiceError):
    """The service cannot now: its queue is full, the key's rate is used up, or it starts or stops."""


class DeadlineError(ServiceError):
    """The deadline of the request passed."""


def error_class(status: int) -> type[ServiceError]:
    """The class of the error that an HTTP status stands for."""
    known: dict[int, type[ServiceError]] = {
        400: InvalidRequestError,
        401: KeyRefusedError,
        403: KeyRefusedError,
        404: NotFoundError,
        409: ConflictError,
        413: InvalidRequestError,
        422: InvalidRequestError,
        429: BusyError,
        503: BusyError,
        504: DeadlineError,
    }
    return known.get(status, ServiceError)
