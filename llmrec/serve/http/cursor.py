"""Cursors nobody can read meaning into or change: what is inside is signed, with what it was made for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from llmrec.serve.problems import BadRequest

__all__ = ["Cursors"]

_MAC = 16


class Cursors:
    """Seals the places where pages go on.

    Args:
        secret: random bytes, the same in all processes that serve one store.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def seal(self, place: str, purpose: str) -> str:
        """A cursor for a place.

        Args:
            place: where the next page begins.
            purpose: the list it is of, with its filters; it opens only for the same.
        """
        inside = place.encode()
        return base64.urlsafe_b64encode(self._mac(inside, purpose) + inside).decode().rstrip("=")

    def open(self, cursor: str | None, purpose: str) -> str | None:
        """The place a cursor stands for; None for None.

        Raises:
            BadRequest: it is none of ours, or was made for another list.
        """
        if cursor is None:
            return None
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            place = raw[_MAC:].decode()
        except (binascii.Error, ValueError):
            raise _not_ours() from None
        # a text that decodes to the same bytes is not the same cursor
        if not hmac.compare_digest(raw[:_MAC], self._mac(raw[_MAC:], purpose)) or self.seal(place, purpose) != cursor:
            raise _not_ours()
        return place

    def _mac(self, inside: bytes, purpose: str) -> bytes:
        whole = len(purpose).to_bytes(4, "big") + purpose.encode("utf-8", "surrogatepass") + inside
        return hashlib.blake2b(whole, key=self._secret[:64], digest_size=_MAC, person=b"llmrec-cursor").digest()


def _not_ours() -> BadRequest:
    return BadRequest("The cursor is not one that this list gave; begin again without one.")
