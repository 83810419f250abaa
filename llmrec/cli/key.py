"""``llmrec key``: who may ask the service for what."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from llmrec.cli.output import print_json, print_rows, results
from llmrec.cli.source import JsonOption
from llmrec.serve import check_installed

if TYPE_CHECKING:
    from llmrec.serve.records import Key, Scope
    from llmrec.serve.store import Store

__all__ = ["StoreOption", "add", "list_keys", "opened_store", "revoke"]


class ScopeChoice(StrEnum):
    """What a key may do."""

    read = "read"
    feedback = "feedback"
    admin = "admin"


StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="URL",
        envvar="LLMREC_STORE",
        help="The service's database: a file (SQLite), or postgresql://USER:PASSWORD@HOST/NAME.",
    ),
]

DEFAULT_STORE = "llmrec-store.sqlite"


def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is, for people.")],
    scope: Annotated[
        list[ScopeChoice] | None,
        typer.Option(
            "--scope",
            help="What it may do: ask (read); also report what people did (feedback); everything (admin).  [read]",
        ),
    ] = None,
    per_minute: Annotated[
        int | None,
        typer.Option("--per-minute", metavar="N", min=1, help="Requests a minute; default: as the service is told."),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Make a key. Its secret is shown once and stored nowhere: only its hash is kept."""
    wanted = dict.fromkeys(one.value for one in scope or [ScopeChoice.read])
    scopes = cast("tuple[Scope, ...]", tuple(wanted))
    with opened_store(store) as found:
        key, secret = found.add_key(name, scopes, per_minute=per_minute, now=time.time())
    if as_json:
        print_json({**_as_json(key), "secret": secret})
        return
    typer.echo(secret)
    typer.echo(f"key {key.id} of {name!r}, {', '.join(scopes)}; the line above is shown this once", err=True)


def list_keys(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """List keys; what they are made of cannot be shown again."""
    with opened_store(store) as found:
        keys = found.keys()
    if as_json:
        print_json([_as_json(key) for key in keys])
        return
    rows = [("id", "name", "scopes", "made", "state", "per minute")]
    rows += [
        (
            key.id,
            key.name,
            ", ".join(key.scopes),
            time.strftime("%Y-%m-%d", time.gmtime(key.created)),
            "revoked" if key.revoked else "",
            "" if key.per_minute is None else f"{key.per_minute:,}",
        )
        for key in keys
    ]
    print_rows(results(), rows, left=5)


def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `llmrec key list` shows it.")],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Revoke a key: it opens nothing any more."""
    with opened_store(store) as found:
        found.revoke_key(key_id)
        there = found.keys()
    (key,) = [key for key in there if key.id == key_id]
    if as_json:
        print_json(_as_json(key))
    else:
        typer.echo(f"revoked {key.id}, {key.name!r}")


@contextmanager
def opened_store(url: str) -> Iterator[Store]:
    """Open a store for a command, and close it.

    Raises:
        MissingExtraError: the extra `serve` is not installed.
        StoreError: it cannot be opened.
    """
    check_installed()
    from llmrec.serve.store import open_store

    store = open_store(url)
    try:
        yield store
    finally:
        store.close()


def _as_json(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "per_minute": key.per_minute,
        "created": key.created,
        "revoked": key.revoked,
    }
