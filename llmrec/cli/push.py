"""``llmrec push``: a bundle onto the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.output import print_json, print_rows, progress, results
from llmrec.cli.source import JsonOption
from llmrec.errors import ConfigError

__all__ = ["push"]


def push(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle saved by `llmrec fit`.")],
    repo_id: Annotated[str, typer.Argument(metavar="REPO", help="The repository, OWNER/NAME; made if it is missing.")],
    public: Annotated[
        bool, typer.Option("--public", help="The repository may be public; without it, it is not.")
    ] = False,
    with_users: Annotated[
        bool, typer.Option("--with-users", help="Also upload stored histories and profiles, which are personal data.")
    ] = False,
    license_name: Annotated[
        str | None, typer.Option("--license", metavar="NAME", help="The licence its card states, such as apache-2.0.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be uploaded, and ask nobody.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Upload a bundle to the Hugging Face Hub, verified and without what single users did; HF_TOKEN lets it in."""
    from llmrec.publish import push_to_hub, what_to_push

    if not re.fullmatch(r"([\w.-]+/)?[\w.-]+", repo_id):
        raise ConfigError(f"{repo_id!r} cannot name a repository; write OWNER/NAME, such as my-name/shop")
    files = what_to_push(bundle, with_users=with_users)
    found = {"repo": repo_id, "private": not public, "files": [{"path": path, "bytes": size} for path, size in files]}
    if not dry_run:
        with progress() as say:
            say(f"uploading {len(files)} files, {sum(size for _, size in files):,} bytes")
            found["url"] = push_to_hub(bundle, repo_id, private=not public, with_users=with_users, license=license_name)
    if as_json:
        print_json({**found, "url": found.get("url")})
    elif dry_run:
        print_rows(results(), [("file", "bytes"), *((path, f"{size:,}") for path, size in files)])
    else:
        typer.echo(f"pushed {found['url']}")
