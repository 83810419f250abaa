"""``llmrec serve``: answer over HTTP, learn from what people do, show a page."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec.cli.output import print_json
from llmrec.cli.source import JsonOption
from llmrec.errors import ConfigError
from llmrec.serve import check_installed

if TYPE_CHECKING:
    from llmrec.serve.config import ServeConfig

__all__ = ["read_config", "serve"]

BundleArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[BUNDLE]",
        envvar="LLMREC_BUNDLE",
        help="A bundle saved by `llmrec fit`, as the pipeline 'default'; may also stand in --config.",
    ),
]
AliasOption = Annotated[
    list[str] | None,
    typer.Option(
        "--alias", metavar="NAME=BUNDLE", help="One more pipeline, by the name that clients know; may be repeated."
    ),
]
ConfigFileOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        envvar="LLMREC_SERVE_CONFIG",
        help="A TOML file of settings, paths in it beside the file; options win over it.",
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        envvar="LLMREC_STORE",
        help="Where events, lists and keys are kept: a file (SQLite), or postgresql://USER:PASSWORD@HOST/NAME.  "
        "[llmrec-store.sqlite]",
    ),
]
HostOption = Annotated[
    str | None,
    typer.Option(
        "--host",
        metavar="ADDRESS",
        help="Address to listen at; others than this machine's own need a key.  [127.0.0.1]",
    ),
]
PortOption = Annotated[
    int | None, typer.Option("--port", metavar="N", min=0, max=65_535, help="0 takes a free one.  [8080]")
]
NoPageOption = Annotated[bool, typer.Option("--no-page", help="Without the web page.")]


def serve(
    bundle: BundleArgument = None,
    alias: AliasOption = None,
    config: ConfigFileOption = None,
    store: StoreOption = None,
    host: HostOption = None,
    port: PortOption = None,
    no_page: NoPageOption = False,
    as_json: JsonOption = False,
) -> None:
    """Serve bundles over HTTP, with a web page; learn from what people do. Ctrl-C or SIGTERM stops it in order."""
    check_installed()
    given = {"store": store, "host": host, "port": port, "page": False if no_page else None}
    settings = read_config(config, bundle, alias or (), {name: v for name, v in given.items() if v is not None})
    from llmrec.serve.app import run

    run(settings, partial(_announce, settings.page, as_json))


def _announce(page: bool, as_json: bool, address: str) -> None:
    """Say where, now that requests are answered."""
    if as_json:
        print_json({"url": f"{address}/v1", "page": f"{address}/" if page else None})
        sys.stdout.flush()
    shown = f", page at {address}/" if page else ""
    typer.echo(f"serving at {address}/v1{shown} (Ctrl-C stops)", err=True)


def read_config(file: Path | None, bundle: Path | None, aliases: Sequence[str], given: dict[str, Any]) -> ServeConfig:
    """Put options over a file of settings.

    Args:
        file: the value of --config.
        bundle: the bundle of the alias "default".
        aliases: the values of --alias.
        given: other settings.

    Raises:
        ConfigError: the file or a value is wrong, or there is no bundle for "default".
    """
    from llmrec.config import read_values
    from llmrec.serve.config import ServeConfig

    values = {} if file is None else _read_file(file)
    bundles = {**values.get("bundles", {}), **dict(map(_alias, aliases))}
    if bundle is not None:
        bundles["default"] = bundle
    if "default" not in bundles:
        raise ConfigError(
            "name a bundle: llmrec serve BUNDLE, or [bundles] default = 'FOLDER' in --config FILE; "
            "`llmrec demo` makes one to try"
        )
    return read_values(ServeConfig, {**values, **given, "bundles": bundles}, str(file or "llmrec serve"))


def _read_file(file: Path) -> dict[str, Any]:
    """The settings of a file; relative paths are beside it."""
    from llmrec.config import read_toml

    values = read_toml(file)
    bundles = values.get("bundles", {})
    if not isinstance(bundles, dict) or not all(isinstance(path, str) for path in bundles.values()):
        raise ConfigError(f"{file}: [bundles] must be a table of NAME = 'FOLDER'")
    folder = file.resolve().parent
    values["bundles"] = {name: folder / Path(path).expanduser() for name, path in bundles.items()}
    if isinstance(store := values.get("store"), str) and "://" not in store:
        values["store"] = os.fspath(folder / Path(store).expanduser())
    return values


def _alias(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise ConfigError(f"--alias {text!r} is not NAME=BUNDLE, such as --alias new=bundles/new")
    return name, Path(path)
