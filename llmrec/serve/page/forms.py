"""What a browser sends: the fields of a query string or of a form, bounded, and whether it came from this page."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import Request

from llmrec.serve.problems import BadRequest, Forbidden, TooLarge, Unprocessable

__all__ = ["Form", "check_origin", "read_form"]

FIELDS = 5_000
KIND = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Form:
    """Fields in the order they came; a name may come several times.

    Attributes:
        pairs: names and values.
    """

    pairs: tuple[tuple[str, str], ...] = ()

    def one(self, name: str, default: str = "") -> str:
        """The last value of a name, without blanks around it; `default` where it did not come."""
        return next((value.strip() for key, value in reversed(self.pairs) if key == name), default)

    def raw(self, name: str) -> str:
        """The last value of a name as it was typed, its line ends as one sign."""
        value = next((value for key, value in reversed(self.pairs) if key == name), "")
        return _one_line_end(value)

    def all(self, name: str) -> tuple[str, ...]:
        """All values of a name that are not empty, each once, in order."""
        return tuple(dict.fromkeys(value for key, value in self.pairs if key == name and value))

    def starting(self, prefix: str) -> dict[str, str]:
        """Values of names that begin so, as they were typed, by the rest of the name."""
        found = {key.removeprefix(prefix): value for key, value in self.pairs if key.startswith(prefix)}
        return {key: _one_line_end(value) for key, value in found.items()}

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number.

        Raises:
            Unprocessable: it is none, or out of bounds.
        """
        text = self.one(name) or str(default)
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
        if number is None or not low <= number <= high:
            raise Unprocessable(f"{name} must be a whole number from {low} to {high}; change it and send again")
        return number

    def share(self, name: str) -> float | None:
        """A number from 0 to 1, or None where the field is empty.

        Raises:
            Unprocessable: it is none, or out of bounds.
        """
        text = self.one(name)
        if not text:
            return None
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not 0.0 <= number <= 1.0:
            raise Unprocessable(f"{name} must be a number from 0 to 1, or empty; change it and send again")
        return number


def _one_line_end(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


async def read_form(request: Request, limit: int) -> Form:
    """Read the fields of a request: of its query where it only asks, else of its body.

    Args:
        request: the request.
        limit: bytes of a body.

    Raises:
        BadRequest: it is no form, or not text.
        TooLarge: it is longer.
    """
    if request.method in {"GET", "HEAD"}:
        return Form(_pairs(request.url.query))
    if request.headers.get("content-type", KIND).partition(";")[0].strip().lower() != KIND:
        raise BadRequest(f"this page reads forms of the type {KIND} only")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise TooLarge(f"the form is longer than {limit:,} bytes; shorten it")
    try:
        return Form(_pairs(body.decode("ascii")))
    except UnicodeDecodeError:
        raise BadRequest("the form is not encoded as forms are") from None


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS)
    except ValueError:
        raise BadRequest("the form has too many fields, or is not UTF-8") from None
    if any("\0" in part for pair in pairs for part in pair):
        raise BadRequest("a field holds a sign that no text has (NUL)")
    return tuple(pairs)


def check_origin(request: Request) -> None:
    """Refuse a change that another site asks for, as far as the browser says where it comes from.

    Raises:
        Forbidden: it comes from elsewhere.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        elsewhere = site not in {"same-origin", "none"}
    else:
        elsewhere = origin is not None and origin.partition("://")[2].lower() != request.headers.get("host", "").lower()
    if elsewhere:
        raise Forbidden("this was sent from another site; open the page itself and send it from there")
