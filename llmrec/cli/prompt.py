"""``llmrec prompt list``, ``show``, ``new``, ``test``, ``diff``: templates themselves, and what data make of them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec.cli.complete import complete_templates
from llmrec.cli.output import print_json, print_rows, printable, progress, results
from llmrec.cli.prompt_source import (
    FINGERPRINT,
    SHOWN,
    BundleChoice,
    ItemOption,
    ItemsFile,
    MaxTokensOption,
    ModelOption,
    Named,
    Source,
    TemplateArgument,
    UserOption,
    known_users,
    open_model,
    queries_of,
    read_source,
    templates_in,
)
from llmrec.cli.source import (
    ConfigOption,
    DatasetOption,
    InteractionsOption,
    JsonOption,
    ProfilesOption,
    SetOption,
    split_ids,
)
from llmrec.errors import DataError

if TYPE_CHECKING:
    from llmrec.lab import Pair
    from llmrec.text import Template
    from llmrec.types import Queries

__all__ = ["check", "diff", "list_prompts", "new", "show"]

PromptsOption = Annotated[
    Path | None, typer.Option("--prompts", metavar="FOLDER", help="Templates of your own, beside those of llmrec.")
]
KindOption = Annotated[
    str | None, typer.Option("--kind", metavar="KIND", help="Only item, user, pair, chat or explain.")
]
NewKindOption = Annotated[str, typer.Option("--kind", metavar="KIND", help="item, user, pair or chat.")]
FieldsOption = Annotated[
    str | None,
    typer.Option("--fields", metavar="NAMES", help="Columns of the catalog to begin with, the required one first."),
]
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; it must not be there yet.")]
OtherArgument = Annotated[
    str, typer.Argument(metavar="OTHER", autocompletion=complete_templates, help="What it is compared with.")
]


def list_prompts(prompts: PromptsOption = None, kind: KindOption = None, as_json: JsonOption = False) -> None:
    """List the templates that come with llmrec, and those of a folder of yours."""
    from llmrec.errors import ConfigError
    from llmrec.text import list_templates

    shipped = list_templates()
    kinds = dict.fromkeys(template.kind for template in shipped)
    if kind is not None and kind not in kinds:
        raise ConfigError(f"--kind {kind!r} is not one of {', '.join(kinds)}")
    found = [*shipped, *(templates_in(prompts) if prompts is not None else [])]
    told = [_about(template) for template in found if kind in (None, template.kind)]
    if as_json:
        print_json(told)
        return
    rows = [("template", "language", "version", "fingerprint", "description")]
    rows += [
        (t["name"], t["language"], str(t["version"]), t["fingerprint"][:FINGERPRINT], t["description"]) for t in told
    ]
    print_rows(results(), rows, left=5)


def show(template: TemplateArgument, as_json: JsonOption = False) -> None:
    """Show a template: what it is for, which fields it reads, its source."""
    from llmrec.lab import template_toml
    from llmrec.text import load_template

    chosen = load_template(template)
    if as_json:
        print_json(_about(chosen))
        return
    console = results()
    console.print(printable(_title(chosen)), style="bold", soft_wrap=True)
    console.print(printable(chosen.description), soft_wrap=True)
    rows = [("field", "of", "required", "meaning")]
    rows += [(name, f.scope, "yes" if f.required else "no", f.description) for name, f in chosen.fields.items()]
    print_rows(console, rows, left=4)
    for line in template_toml(chosen).splitlines():
        console.print(printable(line), soft_wrap=True)


def new(
    file: FileArgument, kind: NewKindOption = "item", fields: FieldsOption = None, as_json: JsonOption = False
) -> None:
    """Write a commented template to start from; nothing is ever written over."""
    from llmrec.lab import new_template, write_new

    made = new_template(kind, f"{kind}/{file.stem}", [] if fields is None else split_ids(fields, "--fields"))
    write_new(file, made)
    if as_json:
        print_json({"file": str(file), **_about(made)})
        return
    typer.echo(f"saved {file}")
    typer.echo(f"next: llmrec prompt render {file} --dataset ml-100k")


def check(
    template: TemplateArgument,
    dataset: DatasetOption = None,
    items: ItemsFile = None,
    interactions: InteractionsOption = None,
    profiles: ProfilesOption = None,
    bundle: BundleChoice = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    model: ModelOption = None,
    max_tokens: MaxTokensOption = None,
    as_json: JsonOption = False,
) -> None:
    """Test a template against data: missing fields, empty and doubled texts, what is cut. Exit code 3: an error."""
    from llmrec.lab import check_template
    from llmrec.text import load_template

    chosen = load_template(template)
    with progress() as say:
        source = read_source(Named(dataset, items, interactions, profiles, bundle), config, sets, say)
        reader, limits = open_model(chosen, source.catalog, model, max_tokens, say)
        say("rendering everything")
        checks = check_template(chosen, source.catalog, _everybody(source), reader, limits)
    failed = any(check.level == "error" for check in checks)
    if as_json:
        named = {"name": chosen.name, "kind": chosen.kind, "fingerprint": chosen.fingerprint}
        told = {"name": reader.name, "max_tokens": reader.max_tokens, "limits": limits}
        print_json({"template": named, "model": told, "ok": not failed, "checks": [c.to_dict() for c in checks]})
    else:
        rows = [("", "check", "found", "of", "what it means")]
        rows += [(c.level, c.name, f"{c.count:,}", f"{c.of:,}", c.detail) for c in checks]
        print_rows(results(), rows, left=5, title=f"{_title(chosen)}, read by {reader.name}")
    if failed:
        raise typer.Exit(DataError.exit_code)


def _everybody(source: Source) -> Queries | None:
    """All users with a history; None where there are none."""
    return None if source.log is None or source.log.n_users == 0 else known_users(source, list(source.log.users))


def diff(
    template: TemplateArgument,
    other: OtherArgument,
    dataset: DatasetOption = None,
    items: ItemsFile = None,
    interactions: InteractionsOption = None,
    profiles: ProfilesOption = None,
    bundle: BundleChoice = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    item: ItemOption = None,
    user: UserOption = None,
    model: ModelOption = None,
    max_tokens: MaxTokensOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two templates of one kind: their sources, and what they write of the same items and users."""
    from llmrec.lab import check_alike, rendered_pairs, source_diff
    from llmrec.text import load_template

    before, after = load_template(template), load_template(other)
    check_alike(before, after)
    with progress() as say:
        source = read_source(Named(dataset, items, interactions, profiles, bundle), config, sets, say)
        reader, limits = open_model(before, source.catalog, model, max_tokens, say)
    names = list(islice(source.catalog.items, SHOWN)) if item is None else split_ids(item, "--item")
    shown = None
    if before.kind != "item" and (source.log is not None or user is not None):
        shown = queries_of(source, user)
    rows = source.catalog.items.rows(names)
    pairs = rendered_pairs(before, after, source.catalog, rows, shown, reader, limits["user"])
    lines = source_diff(before, after)
    if as_json:
        named = {"before": _about(before), "after": _about(after)}
        print_json({**named, "source": lines, "texts": [pair.to_dict() for pair in pairs]})
    else:
        _print_diff(before, after, lines, pairs)


def _print_diff(before: Template, after: Template, lines: list[str], pairs: list[Pair]) -> None:
    console = results()
    for line in lines or [f"the sources of {before.name} and {after.name} are the same"]:
        console.print(printable(line), soft_wrap=True)
    for pair in pairs:
        change = pair.tokens[1] - pair.tokens[0]
        same = ", the same text" if pair.before == pair.after else ""
        heading = f"{pair.part} of {pair.id}: {pair.tokens[0]} and {pair.tokens[1]} tokens ({change:+d}){same}"
        console.print()
        console.print(printable(heading), style="bold", soft_wrap=True)
        for mark, text in (("-", pair.before), ("+", pair.after)):
            console.print(printable(f"{mark} {text or '(empty)'}"), soft_wrap=True)


def _title(template: Template) -> str:
    told = f"version {template.version}, {template.language}, {template.fingerprint[:FINGERPRINT]}"
    return f"{template.name} ({template.kind}), {told}"


def _about(template: Template) -> dict[str, Any]:
    told = template.to_dict()
    fields = [{"name": name, **field} for name, field in told["fields"].items()]
    return {**told, "fields": fields, "fingerprint": template.fingerprint}
