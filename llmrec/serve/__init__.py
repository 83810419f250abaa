"""The service: an HTTP API over saved recommenders, what people did with its lists, and a web page.

Data flow one way: store <- live (recommenders as they are now) <- engine (queue and batches) <- learning, experiments
<- service (all of it as one object) <- http <- API and page.
"""

from __future__ import annotations

from importlib.util import find_spec

from llmrec.errors import MissingExtraError

__all__ = ["check_installed"]

_PACKAGES = ("alembic", "fastapi", "markdown_it", "prometheus_client", "sqlalchemy", "uvicorn")


def check_installed() -> None:
    """Say in one sentence what is missing, before an import says it in many.

    Raises:
        MissingExtraError: a package of the extra `serve` is not installed.
    """
    for package in _PACKAGES:
        if find_spec(package) is None:
            raise MissingExtraError(package, "serve")
