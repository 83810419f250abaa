"""The bodies of requests."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field

from llmrec.serve.api.fields import (
    LATEST,
    WHOLE,
    Alias,
    FieldName,
    Fields,
    Id,
    In,
    Kind,
    LimitedIds,
    Name,
    Text,
    limited,
)
from llmrec.serve.records import ACTIONS

__all__ = [
    "EventIn",
    "EventsIn",
    "ExperimentIn",
    "ExplainIn",
    "FeedbackIn",
    "FieldsIn",
    "ItemIn",
    "ItemsIn",
    "RecommendIn",
    "RefitIn",
    "SearchIn",
    "SimilarIn",
    "TraceIn",
    "UserIn",
]

Action = Literal["impression", "click", "like", "buy", "dismiss", "restore"]
assert get_args(Action) == ACTIONS  # a type cannot be made of a value
Time = Annotated[int, Field(ge=0, le=LATEST, description="Seconds since the epoch."), WHOLE]


def _example(**body: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [body]})


class ListIn(In):
    """What every list can be told."""

    alias: Alias | None = Field(default=None, description='The pipeline; none: "default".')
    k: Annotated[int, Field(ge=1, json_schema_extra=limited("maximum", "k")), WHOLE] | None = Field(
        default=None, description="Items wanted; none: 10."
    )
    exclude: LimitedIds = Field(default=[], description="Items that must not come back.")
    allow: LimitedIds | None = Field(default=None, description="Only these items may come back.")
    filters: Annotated[dict[FieldName, LimitedIds], Field(max_length=20)] = Field(
        default={}, description="Field of the catalog to the values that are accepted, all fields together."
    )
    diversity: Annotated[float, Field(ge=0.0, le=1.0)] | None = Field(
        default=None, description="In the place of the strength of the pipeline's diversity policy."
    )


class PersonIn(ListIn):
    """For whom a list is, and what they wish for; all of it may be missing."""

    user_id: Id | None = Field(default=None, description="A user; of one who is not known nothing is known.")
    history: Annotated[list[Id], Field(fail_fast=True, json_schema_extra=limited("maxItems", "history"))] | None = (
        Field(default=None, description="Item ids, oldest first, instead of what is known of the user.")
    )
    wish: Text | None = Field(default=None, description="What is wished for, in words.")
    profile: Fields | None = Field(default=None, description="Fields of the user, instead of stored ones.")
    at: Time | None = Field(default=None, description="The time of the request; none: now.")


class RecommendIn(PersonIn):
    """A list for a user, a history, a wish, or nobody known."""

    model_config = _example(user_id="u1", k=3, wish="something quiet for the evening")

    log: bool = Field(default=True, description="Whether the list is recorded, so that feedback can name it.")
    anonymous: Id | None = Field(
        default=None, description="A stable key of somebody without a user id; experiments treat the same key alike."
    )


class SimilarIn(ListIn):
    """Items like one."""

    model_config = _example(item_id="i1", k=3)

    item_id: Id = Field(description="To which item others are similar.")


class SearchIn(ListIn):
    """Items by text."""

    model_config = _example(text="a quiet film", k=3)

    text: Text = Field(description="What to search for.")


class ExplainIn(PersonIn):
    """Why items are recommended."""

    model_config = _example(user_id="u1", item_ids=["i2"], reasons=2)

    item_ids: (
        Annotated[list[Id], Field(fail_fast=True, min_length=1, json_schema_extra=limited("maxItems", "k"))] | None
    ) = Field(default=None, description="Which items; none: the k best.")
    reasons: Annotated[int, Field(ge=1, le=10), WHOLE] = Field(default=3, description="Of each item at most.")


class TraceIn(PersonIn):
    """How a list comes about."""

    model_config = _example(user_id="u1", k=3, candidates=5)

    candidates: Annotated[int, Field(ge=1, json_schema_extra=limited("maximum", "candidates")), WHOLE] | None = Field(
        default=None, description="Candidates of each stage at most; none: 50."
    )


class EventIn(In):
    """Something a person did."""

    user_id: Id = Field(description="Who.")
    item_id: Id = Field(description="With which item.")
    kind: Kind = Field(default="view", description='"view", "buy", ... as the log of the bundle names them.')
    time: Time | None = Field(default=None, description="Seconds since the epoch; none: now.")
    rating: Annotated[float, Field(ge=-1e9, le=1e9)] | None = Field(default=None, description="How it was rated.")
    event_id: Id | None = Field(default=None, description="The caller's own id of it; one that is there is a repeat.")
    impression_id: Id | None = Field(default=None, description="The list on which it was done.")
    place: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] | None = Field(default=None, description="In that list.")


class EventsIn(In):
    """Events; all or none are stored."""

    model_config = _example(events=[{"user_id": "u1", "item_id": "i3", "kind": "view", "time": 1_760_000_000}])

    events: Annotated[
        list[EventIn], Field(fail_fast=True, min_length=1, json_schema_extra=limited("maxItems", "batch"))
    ]


class FeedbackIn(In):
    """What was done with an item of a list."""

    model_config = _example(impression_id="imp-example", item_id="i2", kind="click")

    impression_id: Id = Field(description="As the list said it.")
    item_id: Id = Field(description="An item of that list.")
    kind: Action = Field(description='"impression": it was seen; "dismiss": never again; "restore": undo that.')
    event_id: Id | None = Field(default=None, description="The caller's own id of it; one that is there is a repeat.")


class FieldsIn(In):
    """Fields of an item."""

    model_config = _example(fields={"title": "A quiet night", "year": 1999})

    fields: Fields = Field(description="By name, as in the catalog; null empties a field.")


class ItemIn(FieldsIn):
    """An item."""

    item_id: Id = Field(description="Its id.")


class ItemsIn(In):
    """Items, each id once."""

    model_config = _example(items=[{"item_id": "new1", "fields": {"title": "A new one", "year": 2020}}], replace=True)

    items: Annotated[list[ItemIn], Field(fail_fast=True, min_length=1, json_schema_extra=limited("maxItems", "batch"))]
    replace: bool = Field(default=True, description="Whether fields that are not named become empty.")


class UserIn(In):
    """What is known of a user besides interactions."""

    model_config = _example(profile={"age": 30, "country": "NL"})

    profile: Fields = Field(description="By field; takes the place of the profile before.")


class RefitIn(In):
    """A fit on everything that is known now."""

    model_config = _example(alias="default", force=False)

    alias: Alias = "default"
    force: bool = Field(default=False, description="Deploy it even where it is surely worse on the newest events.")


class ExperimentIn(In):
    """An experiment over the users of the alias "default"."""

    model_config = _example(name="ranker-3", variants={"old": "default", "new": "other"})

    name: Name = Field(description="New.")
    variants: Annotated[dict[Name, Alias], Field(min_length=2, max_length=20)] = Field(description="Name to alias.")
    weights: dict[Name, Annotated[float, Field(gt=0.0, le=1e6)]] | None = Field(
        default=None, description="Share of users by variant; none: equal."
    )
    kind: Literal["ab", "interleave"] = Field(default="ab", description="By user, or mixed within lists.")
