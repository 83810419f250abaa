"""Whole data sets by name, folder or files: items, interactions and, where there are any, users; cleaned."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from llmrec.assets import ASSETS, find_asset
from llmrec.data._clean_log import LogShape, clean_log
from llmrec.data._clean_table import TableShape, clean_table
from llmrec.data._tally import RejectFile, Tally
from llmrec.data.catalog import Catalog
from llmrec.data.config import DataConfig, Repeats
from llmrec.data.interactions import Interactions
from llmrec.data.recbole import find_recbole
from llmrec.data.report import CleaningReport, Part
from llmrec.data.sources import EXTENSIONS, Source, open_source
from llmrec.data.users import Users
from llmrec.errors import ConfigError, DataError

__all__ = ["Dataset", "clean_data", "load_data", "load_dataset"]

_QUARANTINE = "rejected.jsonl"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named catalog with its interactions and user profiles.

    Attributes:
        name: the name it was loaded by, or its folder's.
        catalog: the items.
        interactions: the log.
        users: user profiles, or None.
        cleaning: what became of every row that was read; None if it was not made from a source.
    """

    name: str
    catalog: Catalog
    interactions: Interactions
    users: Users | None = None
    cleaning: CleaningReport | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Sha256 (hex) over items, interactions and users."""
        parts = [self.catalog.fingerprint, self.interactions.fingerprint]
        parts += [self.users.fingerprint] if self.users is not None else []
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Parts:
    """Where the parts of a data set are: paths or tables."""

    name: str
    items: Any
    interactions: Any
    users: Any = None
    item_fields: Mapping[str, str] = field(default_factory=dict)


# Fields of known data sets under our names; fields that are not listed keep theirs.
_RENAMED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {"ml-100k": {"movie_title": "title", "release_year": "year", "class": "genres"}}
)


def load_dataset(
    name_or_folder: str | Path,
    progress: Callable[[str], None] | None = None,
    repeats: Repeats = "fold",
) -> Dataset:
    """Load a data set by name or from a folder; rows that cannot be used are an error.

    Args:
        name_or_folder: "ml-100k", or a folder with `items.*`, `interactions.*` and maybe `users.*` (see `read_table`
            for the kinds of files; columns "item_id"; those of `usual_columns`; "user_id"), or a folder of RecBole
            atomic files.
        progress: told, in words, what is being fetched.
        repeats: as for `Interactions.from_table`.

    Raises:
        AssetError: a named data set cannot be fetched or verified.
        DataError: the folder or a file in it is not as described.
    """
    return load_data(DataConfig(dataset=str(name_or_folder), repeats=repeats), progress=progress)


def load_data(config: DataConfig, folder: str | Path = ".", progress: Callable[[str], None] | None = None) -> Dataset:
    """Load what a configuration describes, and clean it.

    Args:
        config: files, columns, and what to do with rows that cannot be used.
        folder: what paths are relative to: the folder of the configuration file.
        progress: told, in words, what is being fetched.

    Returns:
        The data set; its `cleaning` says what became of every row.

    Raises:
        ConfigError: the configuration names no items or no interactions.
        AssetError: a named data set cannot be fetched or verified.
        DataError: a file is missing or damaged, lacks a column, or has rows that cannot be used.
    """
    folder = Path(folder)
    found = _Parts("", None, None) if config.dataset is None else _find(config.dataset, folder, progress)
    items, log, users = (
        found_path if named is None else folder / named
        for named, found_path in (
            (config.items, found.items),
            (config.interactions, found.interactions),
            (config.users, found.users),
        )
    )
    if items is None or log is None:
        raise ConfigError("the data needs items and interactions: name a dataset, or a file for each")
    name = found.name or Path(log).resolve().parent.name
    renames = found.item_fields if config.items is None else {}
    return _clean(_Parts(name, items, log, users, renames), config, folder)


def clean_data(
    items: Any, interactions: Any, users: Any = None, config: DataConfig | None = None, name: str = "data"
) -> Dataset:
    """Make a data set of tables or files, and clean it.

    Args:
        items: a path, or anything that `Catalog.from_table` takes.
        interactions: likewise.
        users: likewise, or None.
        config: columns, and what to do with rows that cannot be used; the files it names are not looked at.
        name: what to call the data set.

    Raises:
        DataError: a table lacks a column or has rows that cannot be used.
    """
    return _clean(_Parts(name, items, interactions, users), config or DataConfig(), Path())


def _clean(parts: _Parts, config: DataConfig, folder: Path) -> Dataset:
    target = folder / (config.quarantine or _QUARANTINE) if config.on_error == "quarantine" else None
    with ExitStack() as stack:
        sink = stack.enter_context(RejectFile(target)) if target is not None else None
        tallies: list[Tally] = []

        def begin(part: Part, source: Source) -> Tally:
            tallies.append(Tally(part, source.name, source.unit, sink))
            return tallies[-1]

        catalog = _clean_items(parts, config, begin)
        interactions = _clean_interactions(parts, config, catalog, begin)
        users = None if parts.users is None else _clean_users(parts, config, begin)
    report = CleaningReport(tuple(tally.report() for tally in tallies), None if target is None else str(target))
    return Dataset(parts.name, catalog, interactions, users, report)


_Begin = Callable[[Part, Source], Tally]


def _clean_items(parts: _Parts, config: DataConfig, begin: _Begin) -> Catalog:
    source = open_source(parts.items, "catalog")
    tally = begin("catalog", source)
    shape = TableShape(
        config.item_id or _usual_id(source, "item"),
        "item_id",
        {**parts.item_fields, **config.item_fields},
        config.required,
    )
    table = clean_table(source, shape, tally)
    _check(tally, config)
    if table.num_rows == 0 and tally.read:
        counts = ", ".join(f"{f.count:,} {f.name}" for f in tally.report().findings if f.outcome == "rejected")
        raise DataError(f"none of the {tally.read:,} rows of the {source.what} can be used: {counts}.")
    return Catalog.from_table(table)


def _clean_users(parts: _Parts, config: DataConfig, begin: _Begin) -> Users:
    source = open_source(parts.users, "users")
    tally = begin("users", source)
    shape = TableShape(config.user_id or _usual_id(source, "user"), "user_id", config.user_fields)
    table = clean_table(source, shape, tally)
    _check(tally, config)
    return Users.from_table(table)


def _clean_interactions(parts: _Parts, config: DataConfig, catalog: Catalog, begin: _Begin) -> Interactions:
    source = open_source(parts.interactions, "interactions")
    tally = begin("interactions", source)
    columns = config.columns.resolve(source.columns, source.what)
    if config.kinds and columns.kind is None:
        raise DataError(
            f"kinds gives weights, but the {source.what} has no column of kinds; its columns are "
            f"{list(source.columns)}. Name it in columns.kind."
        )
    shape = LogShape(columns, config.kinds, config.repeats == "fold")
    clean = clean_log(source, catalog.items, shape, tally)
    _check(tally, config, catalog)
    return Interactions.from_clean(clean, catalog, config.repeats)


def _check(tally: Tally, config: DataConfig, catalog: Catalog | None = None) -> None:
    if config.on_error == "fail":
        tally.check(None if catalog is None else catalog.items)


def _usual_id(source: Source, kind: str) -> str:
    """Return the column of ids: "item_id", or "item" if only that is there."""
    return kind if kind in source.columns and f"{kind}_id" not in source.columns else f"{kind}_id"


def _find(dataset: str, folder: Path, progress: Callable[[str], None] | None) -> _Parts:
    """Find a named data set, or the files of a folder."""
    here = dataset in ASSETS or folder == Path()  # "./ml-100k" must not lose its "./": it is a folder
    name = dataset if here else str(folder / Path(dataset).expanduser())
    found = find_asset(name, progress=progress)
    title = dataset if dataset in ASSETS else found.resolve().name
    if stem := find_recbole(found):
        users = found / f"{stem}.user"
        parts = _Parts(title, found / f"{stem}.item", found / f"{stem}.inter", users if users.is_file() else None)
        return replace(parts, item_fields=_RENAMED.get(dataset, {}))
    items, log, profiles = (_file(found, part) for part in ("items", "interactions", "users"))
    missing = [part for part, path in (("items", items), ("interactions", log)) if path is None]
    if missing:
        there = ", ".join(sorted(p.name for p in found.iterdir())[:10]) or "nothing"
        raise DataError(
            f"the folder {found} has no {' and no '.join(missing)} file; it holds {there}. A data set needs items "
            f"and interactions, each as {', '.join(EXTENSIONS)}."
        )
    return _Parts(title, items, log, profiles)


def _file(folder: Path, part: str) -> Path | None:
    found = [path for suffix in EXTENSIONS if (path := folder / f"{part}{suffix}").is_file()]
    if len(found) > 1:
        raise DataError(f"{folder} has {' and '.join(p.name for p in found)}; keep one of them.")
    return found[0] if found else None
