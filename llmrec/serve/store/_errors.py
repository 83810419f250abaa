"""What goes wrong with a database, in the service's words; nothing that was stored is repeated in them."""

from __future__ import annotations

import logging

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from llmrec.errors import LlmrecError
from llmrec.serve.problems import Broken, Problem, Unavailable

__all__ = ["StoreError", "code_of", "is_down", "is_lost", "problem_of"]

_LOG = logging.getLogger(__name__)


class StoreError(LlmrecError):
    """The store cannot be opened: a wrong URL, a file that is none of ours, a database that does not answer."""


def code_of(error: BaseException) -> str:
    """The database's own short name of an error ("SQLITE_FULL", a SQLSTATE), or its class: never its text.

    Texts name hosts and, with PostgreSQL, the values that were refused.
    """
    origin = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    code = getattr(origin, "sqlite_errorname", None) or getattr(origin, "sqlstate", None)
    return str(code or type(origin).__name__)


def is_down(error: BaseException) -> bool:
    """Whether the database as a whole fails (away, full, locked), so that every other write would fail, too."""
    return isinstance(error, OperationalError | InterfaceError | PoolTimeout)


def is_lost(error: BaseException) -> bool:
    """Whether the connection broke, so that a fresh one may do."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def problem_of(error: BaseException) -> Problem:
    """The problem that the caller gets; the log gets the code.

    Args:
        error: what was raised while reading or writing.
    """
    if isinstance(error, Problem):
        return error
    if is_down(error):
        _LOG.warning("the store does not answer: %s", code_of(error))
        return Unavailable(f"The store cannot be read or written now ({code_of(error)}); ask again.", retry_after=1.0)
    if isinstance(error, SQLAlchemyError):
        _LOG.error("the store failed: %s", code_of(error))
    else:
        _LOG.error("the store failed: %s", type(error).__name__)
    return Broken("The store failed; its log says with which code.")
