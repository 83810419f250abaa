"""Which addresses reach this machine alone."""

from __future__ import annotations

import ipaddress

__all__ = ["is_loopback"]


def is_loopback(host: str) -> bool:
    """Whether whoever listens at an address is reached from this machine alone.

    Args:
        host: an address or a name; a name other than "localhost" may be anything, and is not.
    """
    bare = host.strip("[]").rstrip(".").lower()
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False
