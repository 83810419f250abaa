"""What every answer tells a browser to refuse, and where the time went."""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.datastructures import MutableHeaders

__all__ = ["secure", "server_timing"]

_PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_DATA = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_NO_TOKEN = re.compile(r"[^A-Za-z0-9_.-]+")


def secure(headers: MutableHeaders) -> None:
    """Add the headers that keep a browser safe; nothing is cached unless the answer itself says so."""
    for name, value in _ALWAYS.items():
        headers.setdefault(name, value)
    html = headers.get("content-type", "").startswith("text/html")
    headers["Content-Security-Policy"] = _PAGE if html else _DATA  # not for a route to loosen
    headers.setdefault("Cache-Control", "no-store")


def server_timing(timings: Mapping[str, float]) -> str:
    """The value of the header Server-Timing.

    Args:
        timings: seconds by name.
    """
    return ", ".join(f"{_NO_TOKEN.sub('_', name) or '_'};dur={1e3 * s:.2f}" for name, s in timings.items())
