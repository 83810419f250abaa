"""Who may do what: keys, their rates, and the open door of a machine nobody else reaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from starlette.requests import Request

from llmrec.serve.http.keys import KeyCache
from llmrec.serve.http.rate import Buckets
from llmrec.serve.problems import Forbidden, TooMany, Unauthorized
from llmrec.serve.records import Key, Scope
from llmrec.serve.service.hosts import is_loopback

__all__ = ["Caller", "Gate", "Need", "check_local"]

Need = Scope | Literal["public"]
"""What a route needs; "public": nothing."""

_FAILURES_A_MINUTE = 30.0
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""Headers of proxies: who asks through one is somewhere else, whatever host the proxy names."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        key: what was shown; None: nothing is needed here.
    """

    key: Key | None

    @property
    def id(self) -> str:
        """The key's public id; empty without one."""
        return self.key.id if self.key else ""

    def may(self, scope: Scope) -> bool:
        """Whether it may do what needs this scope."""
        return self.key is None or self.key.may(scope)


class Gate:
    """Lets requests in. Of one event loop.

    While the service listens to this machine alone and no key was ever made, everybody here may do everything, except
    pages of other sites in a browser of this machine: a request must name this machine as its host, and not come from
    another origin.

    Args:
        keys: where secrets are looked up.
        host: the address the service listens at.
        per_minute: requests of a key that names no rate of its own.
    """

    def __init__(self, keys: KeyCache, host: str, per_minute: int) -> None:
        self._keys = keys
        self._local = is_loopback(host)
        self._per_minute = per_minute
        self._rates = Buckets()
        self._failures = Buckets()

    async def enter(self, request: Request, need: Need) -> Caller:
        """Let a request in by its header Authorization.

        Raises:
            Unauthorized: no key, or none that opens anything.
            Forbidden: the key may not do this; or the request comes from a page of another site.
            TooMany: the key's rate is used up, or the address showed too many wrong keys.
            Unavailable: the store does not answer.
        """
        if need == "public":
            return Caller(None)
        shown = request.headers.getlist("authorization")
        if not shown:
            if await self.open():
                check_local(request)
                return Caller(None)
            raise Unauthorized("Send a key: the header 'Authorization: Bearer SECRET'. `llmrec key add` makes one.")
        scheme, _, secret = shown[0].partition(" ")
        if len(shown) > 1 or scheme.lower() != "bearer":
            raise Unauthorized("The header Authorization must be there once, as 'Bearer SECRET'.")
        return self.admit(await self.find(secret.strip(), request), need)

    async def open(self) -> bool:
        """Whether no key is needed: only this machine reaches the service, and no key was ever made."""
        return self._local and not await self._keys.any()

    async def find(self, secret: str, request: Request) -> Key:
        """The key a secret is of; also for a sign-in by other ways than the header.

        Raises:
            Unauthorized: of none.
            TooMany: the address showed too many wrong keys; one that opened something lately is still let in.
        """
        address = request.client.host if request.client else ""
        if not self._keys.known(secret):
            self._count_failure(address, cost=0.0)
        key = await self._keys.find(secret)
        if key is None:
            self._count_failure(address, cost=1.0)
            raise Unauthorized("The key opens nothing: it is wrong, or was revoked.")
        return key

    def admit(self, key: Key, need: Scope) -> Caller:
        """Let a key in, by its scopes and its rate.

        Raises:
            Forbidden: it may not do this.
            TooMany: its rate is used up.
        """
        wait = self._rates.take(key.id, float(key.per_minute or self._per_minute))
        if wait:
            raise TooMany("The key's requests of this minute are used up.", retry_after=wait)
        if not key.may(need):
            raise Forbidden(f"This needs a key with the scope {need!r}.")
        return Caller(key)

    def _count_failure(self, address: str, cost: float) -> None:
        wait = self._failures.take(address, _FAILURES_A_MINUTE, cost=cost)
        if wait:
            raise TooMany("Too many wrong keys from this address.", retry_after=wait)


def check_local(request: Request) -> None:
    """No page of another site may use a door that is open to this machine (cross-site requests, rebound names).

    Raises:
        Forbidden: the request does not name this machine, comes through a proxy, or from another site's page.
    """
    if any(name in request.headers for name in _FORWARDED):
        raise Forbidden("Without a key the service answers no requests that come through a proxy; make a key.")
    if not is_loopback(_hostname(request)):
        raise Forbidden("Without a key the service answers only requests to this machine by its own name.")
    site = request.headers.get("sec-fetch-site")
    if site in {"same-origin", "none"}:
        return  # the browser says so, not the page; a form of ours has the origin "null", as we send no referrers
    origin = request.headers.get("origin")
    foreign = origin is not None and origin.partition("://")[2].lower() != request.headers["host"].lower()
    if foreign or (site is not None and request.method not in _SAFE):
        raise Forbidden("Without a key the service answers no requests from pages of other sites.")


def _hostname(request: Request) -> str:
    """The host that a request names; empty for none, and for what is no host."""
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""
