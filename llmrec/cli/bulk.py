"""``llmrec bulk``: files of JSON lines through a service that runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec.cli.output import print_json, printable, progress, results
from llmrec.cli.source import JsonOption
from llmrec.errors import ConfigError, DataError, LlmrecError

if TYPE_CHECKING:
    from llmrec.client import BulkLine, Client

__all__ = ["BulkKind", "bulk"]

EVERY = 10_000
"""Lines between two words about how far it is."""

SHOWN = 20
"""Refused lines that are told; the file of --out holds all."""


class BulkKind(StrEnum):
    """What the lines are."""

    interactions = "interactions"
    items = "items"
    recommend = "recommend"


def bulk(
    kind: Annotated[
        BulkKind, typer.Argument(metavar="KIND", help="What the lines are: interactions, items, or recommend.")
    ],
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON lines, as bodies of the API; `-`: standard input.")],
    url: Annotated[
        str, typer.Option("--url", metavar="URL", envvar="LLMREC_URL", help="Of the service.")
    ] = "http://127.0.0.1:8080",
    key_env: Annotated[
        str, typer.Option("--key-env", metavar="NAME", help="The environment variable that holds the key, if any.")
    ] = "LLMREC_KEY",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where the answers go, a line of JSON each.")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            "--idempotency-key", metavar="TEXT", help="Interactions: the same key and file again store nothing twice."
        ),
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="Lists: record them, so that feedback can name them.")] = False,
    merge: Annotated[bool, typer.Option("--merge", help="Items: fields that are not named stay as they are.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Send a file of JSON lines to a running service: events to store, items to put, lists to make.

    What is wrong with a line stops only that line; the exit code is then 3.
    """
    from llmrec.client import Client, ServiceError

    if idempotency_key is not None and kind is not BulkKind.interactions:
        raise ConfigError("--idempotency-key is for interactions; items and lists need none")
    if kind is BulkKind.recommend and out is None:
        raise ConfigError("name a file for the lists: --out lists.jsonl")
    found = _Outcome(kind.value, None if out is None else str(out))
    try:
        with _lines(file) as lines, Client(url, key=os.environ.get(key_env) or None) as client, progress() as say:
            sent = _sent(client, kind, lines, idempotency_key, log, merge)
            with _written(sent, out) as answers:
                for line in answers:
                    found.count(line)
                    if found.lines % EVERY == 0:
                        say(f"{found.lines:,} lines, {found.refused:,} refused")
    except ServiceError as error:
        raise LlmrecError(f"{error}; {found.lines:,} lines were answered before that") from error
    except ValueError as error:
        raise ConfigError(str(error)) from error
    _show(found, as_json)
    if found.refused:
        raise typer.Exit(DataError.exit_code)


@dataclass(slots=True)
class _Outcome:
    """What became of a file."""

    kind: str
    out: str | None
    lines: int = 0
    refused: int = 0
    repeats: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)

    def count(self, line: BulkLine) -> None:
        self.lines += 1
        self.repeats += line.repeat
        if not line.ok:
            self.refused += 1
            if len(self.problems) < SHOWN:
                told = {"line": line.line, "status": line.status, "title": line.title, "detail": line.detail}
                self.problems.append(told)


def _show(found: _Outcome, as_json: bool) -> None:
    if as_json:
        print_json(asdict(found))
        return
    console = results()
    for problem in found.problems:
        console.print(printable(f"line {problem['line']}: {problem['status']} {problem['title']}: {problem['detail']}"))
    repeats = f", {found.repeats:,} were there before" if found.repeats else ""
    console.print(f"{found.lines:,} lines, {found.refused:,} refused{repeats}")


def _sent(
    client: Client, kind: BulkKind, lines: Iterator[bytes], key: str | None, log: bool, merge: bool
) -> Iterator[BulkLine]:
    if kind is BulkKind.interactions:
        return client.bulk_interactions(lines, idempotency_key=key)
    if kind is BulkKind.items:
        return client.bulk_items(lines, replace=not merge)
    return client.bulk_recommend(lines, log=log)


@contextmanager
def _written(lines: Iterator[BulkLine], out: Path | None) -> Iterator[Iterator[BulkLine]]:
    """The same lines, written to a file as they pass; the file is there when all of them were.

    Raises:
        DataError: it cannot be written.
    """
    if out is None:
        yield lines
        return
    from pydantic import TypeAdapter

    from llmrec.client import BulkLine

    adapter = TypeAdapter(BulkLine)
    part = out.with_name(f"{out.name}.part")
    try:
        with part.open("wb") as target:

            def passed() -> Iterator[BulkLine]:
                for line in lines:
                    target.write(adapter.dump_json(line, exclude_defaults=True) + b"\n")
                    yield line

            yield passed()
        part.replace(out)
    except OSError as error:
        raise DataError(f"cannot write {out}: {error.strerror or error}") from error


@contextmanager
def _lines(file: str) -> Iterator[Iterator[bytes]]:
    """The lines of a file, read as they are sent.

    Raises:
        DataError: it cannot be read.
    """
    if file == "-":
        yield iter(sys.stdin.buffer)
        return
    try:
        with Path(file).open("rb") as opened:
            yield iter(opened)
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error
