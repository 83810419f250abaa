"""Whole data sets by name or folder: items, interactions and, where there are any, users."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from llmrec.assets import ASSETS, find_asset
from llmrec.data.catalog import Catalog
from llmrec.data.interactions import Interactions, Repeats
from llmrec.data.recbole import find_recbole, read_recbole
from llmrec.data.users import Users
from llmrec.errors import DataError

__all__ = ["Dataset", "load_dataset"]

_EXTENSIONS = (".csv", ".tsv", ".parquet")


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named catalog with its interactions and user profiles.

    Attributes:
        name: the name it was loaded by, or its folder's.
        catalog: the items.
        interactions: the log.
        users: user profiles, or None.
    """

    name: str
    catalog: Catalog
    interactions: Interactions
    users: Users | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Sha256 (hex) over items, interactions and users."""
        parts = [self.catalog.fingerprint, self.interactions.fingerprint]
        parts += [self.users.fingerprint] if self.users is not None else []
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()


# Fields of known data sets under our names; fields that are not listed keep theirs.
_RENAMED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {"ml-100k": {"movie_title": "title", "release_year": "year", "class": "genres"}}
)


def load_dataset(
    name_or_folder: str | Path,
    progress: Callable[[str], None] | None = None,
    repeats: Repeats = "fold",
) -> Dataset:
    """Load a data set.

    Args:
        name_or_folder: "ml-100k", or a folder with `items.*`, `interactions.*` and maybe `users.*` (.csv, .tsv or
            .parquet; columns "item_id"; "user_id", "item_id" and, for the time, "timestamp", "time" or "t", without
            which rows must be in order, and maybe "weight"; "user_id"), or a folder of RecBole atomic files.
        progress: told, in words, what is being fetched.
        repeats: as for `Interactions.from_table`.

    Raises:
        AssetError: a named data set cannot be fetched or verified.
        DataError: the folder or a file in it is not as described.
    """
    name = str(name_or_folder)
    folder = find_asset(name, progress=progress)
    if stem := find_recbole(folder):
        title = name if name in ASSETS else folder.resolve().name
        return _load_recbole(title, folder / stem, _RENAMED.get(name, {}), repeats)
    return _load_folder(folder, repeats)


def _load_recbole(name: str, stem: Path, rename: Mapping[str, str], repeats: Repeats) -> Dataset:
    catalog = Catalog.from_table(read_recbole(stem, ".item"), rename=rename)
    interactions = Interactions.from_table(read_recbole(stem, ".inter"), catalog, repeats=repeats)
    users = Users.from_table(read_recbole(stem, ".user")) if Path(f"{stem}.user").is_file() else None
    return Dataset(name, catalog, interactions, users)


def _load_folder(folder: Path, repeats: Repeats) -> Dataset:
    items, log, users = (_file(folder, part) for part in ("items", "interactions", "users"))
    missing = [part for part, path in (("items", items), ("interactions", log)) if path is None]
    if items is None or log is None:
        there = ", ".join(sorted(p.name for p in folder.iterdir())[:10]) or "nothing"
        raise DataError(
            f"the folder {folder} has no {' and no '.join(missing)} file; it holds {there}. A data set needs items "
            f"and interactions, each as {', '.join(_EXTENSIONS)}."
        )
    catalog = Catalog.from_file(items)
    interactions = Interactions.from_file(log, catalog, repeats=repeats)
    return Dataset(folder.resolve().name, catalog, interactions, Users.from_file(users) if users else None)


def _file(folder: Path, part: str) -> Path | None:
    found = [path for suffix in _EXTENSIONS if (path := folder / f"{part}{suffix}").is_file()]
    if len(found) > 1:
        raise DataError(f"{folder} has {' and '.join(p.name for p in found)}; keep one of them.")
    return found[0] if found else None
