"""What a data set is made of: its files, what their columns mean, and what to do with rows that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from llmrec.data._arrow import missing_column
from llmrec.data._clean_log import MOST_KINDS
from llmrec.data.columns import InteractionColumns, usual_columns
from llmrec.errors import ConfigError

__all__ = ["DataConfig", "LogColumns", "OnError"]

Repeats = Literal["fold", "keep"]
OnError = Literal["fail", "skip", "quarantine"]
MOST_WEIGHT = 1e30
"""More than this would not be finite any more when it is multiplied and added up in float32."""

Column = str | Literal[False] | None


class LogColumns(BaseModel):
    """Which columns of a log hold what. A name; None for the usual one, if it is there; False for none.

    Attributes:
        user: user ids; usually "user_id" or "user".
        item: item ids; usually "item_id" or "item".
        time: when; usually "timestamp", "time", "t" or "datetime". None or False: rows are in order, oldest first.
        weight: how much each interaction counts; usually "weight".
        kind: what kind of interaction it was; usually "kind", "event_type" or "event".
        rating: how the user rated the item; usually "rating".
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: str | None = None
    item: str | None = None
    time: Column = None
    weight: Column = None
    kind: Column = None
    rating: Column = None

    def resolve(self, names: Sequence[str], what: str) -> InteractionColumns:
        """Return the columns of a log that has columns of these names.

        Args:
            names: the columns there are.
            what: the log in words, for messages.

        Raises:
            DataError: a column that is named here is not there, or no column looks like user or item ids.
        """
        usual = usual_columns(names)
        found: dict[str, str | None] = {}
        for role in LogColumns.model_fields:
            named = getattr(self, role)
            found[role] = None if named is False else named or getattr(usual, role)
            if found[role] is not None and found[role] not in names:
                hint = f"Name the column of the {role} in columns.{role}."
                raise missing_column(what, str(found[role]), names, hint)
        return InteractionColumns(**found)  # type: ignore[arg-type]


class DataConfig(BaseModel):
    """A data set: files, columns, and what to do with rows that cannot be used.

    Attributes:
        dataset: a named data set or a folder; gives the parts that are not named below.
        items: the catalog's file.
        interactions: the log's file.
        users: the user profiles' file.
        item_id: the catalog's column of ids; None: "item_id", or "item".
        item_fields: old to new names of item fields.
        required: item fields, by their new names, that must hold something; an item without is not used.
        user_id: the profiles' column of ids; None: "user_id", or "user".
        user_fields: old to new names of profile fields.
        columns: what the columns of the log mean.
        kinds: weight of each kind of interaction, at least 0; 0 leaves the kind out. Other kinds cannot be used. Empty:
            all kinds weigh 1.
        repeats: "fold" keeps the oldest of a user's interactions with an item, "keep" keeps all.
        on_error: what becomes of rows that cannot be used: "fail" stops with an error that lists them, "skip" leaves
            them out and counts them, "quarantine" also writes them to a file.
        quarantine: that file (JSON lines); "rejected.jsonl" if not given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str | None = None
    items: str | None = None
    interactions: str | None = None
    users: str | None = None
    item_id: str | None = None
    item_fields: dict[str, str] = Field(default_factory=dict)
    required: tuple[str, ...] = ()
    user_id: str | None = None
    user_fields: dict[str, str] = Field(default_factory=dict)
    columns: LogColumns = LogColumns()
    kinds: dict[str, float] = Field(default_factory=dict)
    repeats: Repeats = "fold"
    on_error: OnError = "fail"
    quarantine: str | None = None

    @field_validator("kinds")
    @classmethod
    def _check_kinds(cls, kinds: dict[str, float]) -> dict[str, float]:
        for name, weight in kinds.items():
            if not 0 <= weight <= MOST_WEIGHT:
                raise ConfigError(f"kinds.{name}: a weight is a number from 0 to {MOST_WEIGHT:.0e}, got {weight!r}")
        if kinds and not any(kinds.values()):
            raise ConfigError("kinds: all weights are 0, which leaves nothing; give one kind a weight")
        if len(kinds) > MOST_KINDS:
            raise ConfigError(f"kinds: {len(kinds)} kinds are more than {MOST_KINDS}")
        return kinds

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.quarantine is not None and self.on_error != "quarantine":
            raise ConfigError(f"quarantine names a file, but on_error is {self.on_error!r}; set it to 'quarantine'")
        if self.kinds and self.columns.kind is False:
            raise ConfigError("kinds gives weights, but columns.kind is false; name the column of the kind")
        return self
