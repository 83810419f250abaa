"""What somebody wants to be recommended, as the form has it, and as the service is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np
from starlette.concurrency import run_in_threadpool

from llmrec.serve.asked import Asked
from llmrec.serve.page.forms import Form
from llmrec.serve.page.looks import title_of
from llmrec.serve.problems import TooLarge, Unprocessable

if TYPE_CHECKING:
    from llmrec.serve.service import Service

__all__ = ["Chosen", "Wanted", "chosen_items", "some_users"]

Mode = Literal["user", "history", "wish"]
MODES = ("user", "history", "wish")
USERS = 12
NAMED = 50


@dataclass(frozen=True, slots=True)
class Wanted:
    """The state of the form.

    Attributes:
        mode: for whom: a user of whom something is known, somebody with a typed history, or a wish alone.
        alias: the pipeline.
        user_id: of mode "user".
        history: item ids, oldest first, of mode "history".
        wish: free text, of any mode.
        k: items wanted.
        diversity: 0 to 1, or None.
        exclude: ids that must not come back.
    """

    mode: Mode = "user"
    alias: str = "default"
    user_id: str = ""
    history: tuple[str, ...] = ()
    wish: str = ""
    k: int = 10
    diversity: float | None = None
    exclude: tuple[str, ...] = ()

    @classmethod
    def of(cls, form: Form, service: Service) -> Self:
        """Read a form.

        Raises:
            Unprocessable: a number is out of bounds.
            TooLarge: a text or list is over a limit of the service.
        """
        limits = service.config.limits
        mode = form.one("mode", "user")
        found = cls(
            mode=cast(Mode, mode if mode in MODES else "user"),
            alias=form.one("alias") or "default",
            user_id=form.one("pick") or form.one("user_id"),
            history=form.all("history"),
            wish=form.one("wish"),
            k=form.whole("k", 10, 1, min(50, limits.k)),
            diversity=form.share("diversity"),
            exclude=form.all("exclude"),
        )
        if len(found.wish) > limits.text_chars:
            raise TooLarge(f"the wish is longer than {limits.text_chars:,} signs; shorten it")
        if len(found.history) > limits.history or len(found.exclude) > limits.ids:
            raise TooLarge("too many items were chosen; take some out")
        return found

    def asked(self) -> Asked:
        """What the service is asked.

        Raises:
            Unprocessable: it says nothing of whom it is for.
        """
        if self.mode == "user" and not self.user_id:
            raise Unprocessable("no user is named; type a user id, or choose one of those shown")
        if self.mode == "history" and not (self.history or self.wish):
            raise Unprocessable("no item is chosen; search for a title and add it, or write a wish")
        if self.mode == "wish" and not self.wish:
            raise Unprocessable("the wish is empty; say in a few words what it should be like")
        return Asked(
            alias=self.alias,
            k=self.k,
            user_id=self.user_id if self.mode == "user" else None,
            history={"user": None, "history": self.history, "wish": ()}[self.mode],
            wish=self.wish or None,
            exclude=self.exclude,
            diversity=self.diversity,
        )

    def after(self, kind: str, item_id: str) -> Wanted:
        """The form once something was done with an item; of a user, the service itself remembers it."""
        if self.mode == "user":
            return self
        if kind == "like":
            history = (*(one for one in self.history if one != item_id), item_id)
            return replace(self, mode="history", history=history)
        without = tuple(one for one in self.exclude if one != item_id)
        return replace(self, exclude=(*without, item_id) if kind == "dismiss" else without)

    def without(self, item_id: str) -> Wanted:
        """The form with an item taken out of the history."""
        return replace(self, history=tuple(one for one in self.history if one != item_id))


@dataclass(frozen=True, slots=True)
class Chosen:
    """An item by what to call it.

    Attributes:
        item_id: its id.
        title: what to call it.
    """

    item_id: str
    title: str


async def chosen_items(service: Service, item_ids: Sequence[str], alias: str = "default") -> list[Chosen]:
    """What to call some items; those that are not known are called by their ids."""
    if not item_ids:
        return []
    catalog = service.models.snapshot(alias).recommender.catalog

    def look() -> list[Chosen]:
        named = list(item_ids[-NAMED:])  # of a long history, the newest have names
        rows = catalog.items.get(named)
        there = [(item_id, row) for item_id, row in zip(named, rows.tolist(), strict=True) if row >= 0]
        records = catalog.records(np.array([row for _, row in there], dtype=np.int32))
        titles = {one: title_of(one, _without_id(record)) for (one, _), record in zip(there, records, strict=True)}
        return [Chosen(item_id, titles.get(item_id, item_id)) for item_id in item_ids]

    return await run_in_threadpool(look)


def _without_id(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "item_id"}


async def some_users(service: Service, most: int = USERS) -> list[str]:
    """Ids of some users whose lists can be asked for: of the bundle first, then of the store."""

    def look() -> list[str]:
        histories = service.models.snapshot("default").recommender.histories
        known = [] if histories is None else [histories.users[row] for row in range(min(most, len(histories.users)))]
        newer, _ = service.store.users_page(None, most)
        both = dict.fromkeys((*known, *newer))
        return [user for user in both if not service.store.is_erased(user)][:most]

    return await run_in_threadpool(look)
