"""``llmrec items``: add, change and delete items of a saved bundle, without any training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec.cli.output import print_json, progress
from llmrec.cli.source import BundleOption, JsonOption, check_place
from llmrec.errors import ConfigError

if TYPE_CHECKING:
    from llmrec.pipeline import Recommender
    from llmrec.types import Item

__all__ = ["add", "change", "delete"]

WORDS = ("added", "restored", "changed", "deleted")
"""What can have happened to an item."""

Step = Callable[["Recommender"], tuple["Recommender", dict[str, list[str]]]]

FileArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE]",
        help="A table with a column item_id and columns named as the catalog's fields; any format that --items reads.",
    ),
]
IdOption = Annotated[str | None, typer.Option("--id", metavar="ID", help="One item's id, instead of a file.")]
FieldOption = Annotated[
    list[str] | None,
    typer.Option("--field", metavar="NAME=VALUE", help="A field of that item; repeat it for more. NAME= empties it."),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="FOLDER", help="Save the changed bundle here; the default replaces the old one."),
]


def add(
    bundle: BundleOption,
    file: FileArgument = None,
    item_id: IdOption = None,
    fields: FieldOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add items to a bundle: they can be recommended at once. A deleted id comes back."""

    def step(before: Recommender) -> tuple[Recommender, dict[str, list[str]]]:
        items = _items(before, file, item_id, fields)
        back = {item.id for item in items if item.id in before.catalog.items}
        done = {"added": [i.id for i in items if i.id not in back], "restored": [i.id for i in items if i.id in back]}
        return before.add_items(items), done

    _apply(bundle, out, as_json, step)


def change(
    bundle: BundleOption,
    file: FileArgument = None,
    item_id: IdOption = None,
    fields: FieldOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change fields of items in a bundle; fields that are not named, and empty cells of a file, stay as they are."""

    def step(before: Recommender) -> tuple[Recommender, dict[str, list[str]]]:
        items = _items(before, file, item_id, fields)
        return before.change_items(items), {"changed": [item.id for item in items]}

    _apply(bundle, out, as_json, step)


def delete(
    bundle: BundleOption,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of items to delete.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="A table with a column item_id; any format that --items reads."),
    ] = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete items from a bundle: they never come back in a list; histories that hold them still count."""

    def step(before: Recommender) -> tuple[Recommender, dict[str, list[str]]]:
        gone = _ids(before, ids, file)
        after = before.remove_items(gone)
        there = before.catalog.active[before.catalog.items.rows(gone)]
        return after, {"deleted": [i for i, active in zip(gone, there, strict=True) if active]}

    _apply(bundle, out, as_json, step)


def _apply(bundle: Path, out: Path | None, as_json: bool, step: Step) -> None:
    """Load, change, save, and say what is different now."""
    from llmrec.opening import load

    place = bundle if out is None else out
    check_place(place)
    with progress() as say:
        say(f"opening {bundle}")
        before = load(bundle)
        say("applying the change")
        after, done = step(before)
        say("saving the bundle")
        path = after.save(place)
    n_items = int(after.catalog.active.sum())
    if as_json:
        print_json({"bundle": str(path), **{word: done.get(word, []) for word in WORDS}, "items": n_items})
        return
    counts = ", ".join(f"{len(ids):,} {word}" for word, ids in done.items())
    typer.echo(f"{counts}; {n_items:,} items can be recommended now")
    typer.echo(f"saved {path}")


def _items(recommender: Recommender, file: Path | None, item_id: str | None, fields: list[str] | None) -> list[Item]:
    """The items of a file, or the one that the options describe."""
    from llmrec.data import read_table
    from llmrec.types import Item

    catalog = recommender.catalog
    if file is not None and item_id is None and not fields:
        return catalog.items_of(read_table(file))
    if file is not None or item_id is None:
        raise ConfigError("name the items with a FILE, or describe one with --id ID --field NAME=VALUE")
    given = dict(_field(text) for text in fields or [])
    item = catalog.items_of({"item_id": [item_id], **{name: [value] for name, value in given.items()}})[0]
    return [Item(item.id, {**item.fields, **{name: None for name, value in given.items() if value is None}})]


def _field(text: str) -> tuple[str, str | None]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise ConfigError(f"--field {text!r} is not NAME=VALUE, such as --field 'title=Toy Story'")
    return name, value or None


def _ids(recommender: Recommender, ids: Sequence[str] | None, file: Path | None) -> list[str]:
    from llmrec.data import read_table

    if bool(ids) == (file is not None):
        raise ConfigError("name the items to delete by their ids, or with --file FILE")
    if file is None:
        return list(ids or [])
    table = read_table(file)
    column = table.select(["item_id"]) if "item_id" in table.column_names else table
    return [item.id for item in recommender.catalog.items_of(column)]
