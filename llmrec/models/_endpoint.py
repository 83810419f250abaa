"""A server that speaks OpenAI's protocol: where it is, whether it may be asked, and asking it with patience."""

from __future__ import annotations

import email.utils
import ipaddress
import os
import re
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llmrec.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import httpx2

__all__ = ["LISTED", "Connection", "Endpoint", "Patience", "RefusedError", "is_endpoint"]

LISTED = "LLMREC_ENDPOINTS"
"""The environment variable that lists servers, each with its key: "https://api.example.com=KEY http://gpu:8000"."""

PAUSE = 0.5
"""Seconds before the first repeat; each next one waits twice as long."""

LONGEST = 60.0
"""Seconds before any repeat at most, whatever a server asks for."""

BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Answers that may be others a moment later."""

UNKNOWN = frozenset({400, 404, 405, 415, 422, 501})
"""Answers of servers that do not know what was asked of them, or not in this way."""

NAME = r"[\w.:-]+"
"""Of a host."""

PORTS = {"http": 80, "https": 443}


class RefusedError(ModelError):
    """The server does not do what was asked; another question may suit it."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How a server is asked.

    Attributes:
        timeout: seconds to wait for an answer.
        retries: repeats of a request that failed for want of a connection, or of which the server said that it is busy
            or broken (429, 5xx); they wait half a second, a second, two, or as long as it asks for.
        concurrency: requests under way at a time.
    """

    timeout: float = 120.0
    retries: int = 4
    concurrency: int = 4

    def __post_init__(self) -> None:
        if not self.timeout > 0 or self.retries < 0 or self.concurrency < 1:
            raise ConfigError(
                f"timeout={self.timeout}, retries={self.retries}, concurrency={self.concurrency}: a timeout is above "
                "0, retries are 0 or more, concurrency is 1 or more"
            )


def is_endpoint(name: str) -> bool:
    """Whether a model's name is the URL of a server."""
    return name.lower().startswith(("http://", "https://"))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is.

    Attributes:
        url: what paths such as "chat/completions" are added to, "http://localhost:8000/v1"; without a slash at its end.
        origin: scheme, host and port, these only if it is not the usual one.
        local: whether it is this machine.
    """

    url: str
    origin: str
    local: bool

    @classmethod
    def of(cls, url: str) -> Endpoint:
        """Read a URL.

        Raises:
            ConfigError: it is not one of http or https, or holds a name, a password, a query or a fragment.
        """
        try:
            parts = urlsplit(url)
            host, port, scheme = (parts.hostname or "").rstrip("."), parts.port, parts.scheme.lower()
        except ValueError:
            host, scheme, parts, port = "", "", urlsplit(""), None
        if scheme not in PORTS or not _is_host(host) or re.search(r"[\s\\]", url):
            raise ConfigError('the URL of a server is "http://HOST:PORT/v1" or "https://HOST/v1"; this one is not')
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ConfigError(  # without the URL: there may be a key in it
                f"the URL of the server {host} may hold no name, password or query: keys come from the environment only"
            )
        shown = f"[{host}]" if ":" in host else host
        origin = f"{scheme}://{shown}" + ("" if port in (None, PORTS[scheme]) else f":{port}")
        return cls(origin + parts.path.rstrip("/"), origin, _is_local(host))


def _is_host(host: str) -> bool:
    """Whether the name of a host can be asked for: one with other letters than ASCII has to have an ASCII form."""
    if host.isascii() or not re.fullmatch(NAME, host):
        return re.fullmatch(NAME, host) is not None
    import httpx2

    try:
        httpx2.URL(f"http://{host}/")
    except httpx2.InvalidURL:
        return False
    return True


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Connection:
    """Requests to one server; made at once, connected when the first is sent. Threads may share it.

    Attributes:
        endpoint: the server.
        patience: how it is asked.
    """

    def __init__(self, endpoint: Endpoint, patience: Patience, *, key_from_env: str | None, own_choice: bool) -> None:
        """Hold what is needed to connect.

        Args:
            endpoint: the server.
            patience: how it is asked.
            key_from_env: the environment variable with its key; None: as `LLMREC_ENDPOINTS` says.
            own_choice: whether the user named the server; else, as in a bundle from elsewhere, it has to be this
                machine, or listed.
        """
        self.endpoint = endpoint
        self.patience = patience
        self._key_from_env = key_from_env
        self._own_choice = own_choice
        self._client: httpx2.Client | None = None
        self._lock = threading.Lock()

    def ask_all(self, path: str, bodies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """What the server answers to each of some requests, in their order; see `ask`."""
        if not bodies:
            return []
        with ThreadPoolExecutor(min(self.patience.concurrency, len(bodies)), "llmrec-endpoint") as pool:
            return list(pool.map(lambda body: self.ask(path, body), bodies))  # an error ends those that wait

    def ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What the server answers, as JSON.

        Raises:
            ConfigError: the server is not one that may be asked, or wants a key, or another.
            RefusedError: it does not do what was asked.
            ModelError: it cannot be reached, is busy or broken, too slow, or does not answer in JSON.
        """
        import httpx2

        client, headers = self._open(), self._headers()
        for left in range(self.patience.retries, -1, -1):
            wait = min(PAUSE * 2 ** (self.patience.retries - left), LONGEST)
            try:
                response = client.post(f"{self.endpoint.url}/{path}", json=body, headers=headers)
            except (httpx2.ReadTimeout, httpx2.WriteTimeout):
                raise ModelError(
                    f"{self.endpoint.url} did not answer within {self.patience.timeout:g} s; give it more time or less "
                    "to read"
                ) from None
            except httpx2.TransportError as error:
                if not left:
                    raise ModelError(
                        f"cannot reach {self.endpoint.url}: {error or type(error).__name__}; does the server run, and "
                        "is the URL right?"
                    ) from None
            except (httpx2.RequestError, httpx2.InvalidURL) as error:  # such as a body that is not the gzip it claims
                raise ModelError(
                    f"what {self.endpoint.url} answers cannot be read ({type(error).__name__}); is it an "
                    "OpenAI-compatible URL, and is there a proxy before it?"
                ) from None
            else:
                if not left or response.status_code not in BUSY:
                    return self._read(response)
                wait = max(wait, _asked_pause(response.headers.get("retry-after", "")))
            time.sleep(wait)
        raise AssertionError  # the last turn returns or raises

    def _open(self) -> httpx2.Client:
        import httpx2

        if not (self._own_choice or self.endpoint.local or self.endpoint.origin in _listed()):
            raise ConfigError(
                f"this bundle asks a server, {self.endpoint.origin}, and would send it what users did. If you trust "
                f"it, list it: export {LISTED}={self.endpoint.origin}"
            )
        with self._lock:
            if self._client is None:
                limits = httpx2.Limits(max_connections=self.patience.concurrency)
                timeout = httpx2.Timeout(
                    self.patience.timeout, pool=None
                )  # threads wait for each other as long as it takes
                self._client = httpx2.Client(
                    timeout=timeout,
                    limits=limits,
                    follow_redirects=False,  # a redirect could take texts and key elsewhere
                    trust_env=not self.endpoint.local,  # what is on this machine does not pass a proxy
                )
                weakref.finalize(self, self._client.close)
            return self._client

    def _headers(self) -> dict[str, str]:
        variable = self._key_from_env or LISTED
        key = os.environ.get(self._key_from_env, "") if self._key_from_env else _listed().get(self.endpoint.origin, "")
        if self._key_from_env and not key:
            raise ConfigError(
                f"the environment variable {variable} is to hold the key of {self.endpoint.url}, but does not"
            )
        if not re.fullmatch(r"[!-~]*", key):
            raise ConfigError(
                f"the key of {self.endpoint.url} in {variable} holds spaces or signs that keys do not have"
            )
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _read(self, response: httpx2.Response) -> dict[str, Any]:
        url, status = self.endpoint.url, response.status_code
        if status in (401, 403):
            raise ConfigError(
                f"{url} wants a key, or another one ({status}): export {LISTED}={self.endpoint.origin}=KEY, or name "
                "the environment variable that holds it"
            )
        try:
            content = response.json()
        except ValueError:
            content = None
        if status in UNKNOWN:
            raise RefusedError(f"{url} refuses what it was asked ({status}{_reason(content)}); does it know the model?")
        if status != 200:  # without the answer: it may repeat what it was sent
            hint = "; redirects are not followed, give the URL itself" if 300 <= status < 400 else ""
            raise ModelError(f"{url} answered {status}{_reason(content)}{hint}")
        if not isinstance(content, dict):
            raise ModelError(
                f"{url} answered with something that is not a JSON object; is it an OpenAI-compatible URL?"
            )
        return content


def _listed() -> dict[str, str]:
    """The servers that the environment lists, and their keys, "" without one."""
    found = {}
    for place, entry in enumerate(os.environ.get(LISTED, "").split(), 1):
        url, _, key = entry.partition("=")
        try:
            found[Endpoint.of(url).origin] = key
        except ConfigError:  # without the entry: there may be a key in it
            raise ConfigError(
                f'entry {place} of {LISTED} is not of the form "https://HOST" or "https://HOST=KEY"; entries stand '
                "apart by spaces"
            ) from None
    return found


def _asked_pause(text: str) -> float:
    """Seconds that the header Retry-After asks to wait: a number, or a date; 0 if it says nothing."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (TypeError, ValueError):
            return 0.0
    return min(max(seconds, 0.0), LONGEST) if seconds == seconds else 0.0  # NaN asks for nothing


def _reason(content: Any) -> str:
    """What kind of error the server names, in its short words; never its message, which may repeat what it was sent."""
    error = content.get("error") if isinstance(content, dict) else None
    words = [error.get(name) for name in ("code", "type")] if isinstance(error, dict) else []
    return next((f", {word}" for word in words if isinstance(word, str) and re.fullmatch(r"[a-z_]{1,40}", word)), "")
