"""What a component is, how it is found by name, and what it is given when it is fitted.

A component is a retriever, scorer, fusion or policy. Each is registered under the entry-point group
``llmrec.components``, llmrec's own and everybody else's alike, so a new one needs no change here.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from llmrec.data import Catalog, Holdout, Interactions, Users
from llmrec.errors import ConfigError
from llmrec.types import BoolArray, Candidates, Int32Array, Int64Array, Queries, Ranking, State

__all__ = [
    "Compares",
    "Component",
    "ComponentConfig",
    "FitContext",
    "Forgets",
    "HoldsItems",
    "Learns",
    "Proposes",
    "Role",
    "Saves",
    "Simulated",
    "component_names",
    "find_component",
    "nothing_simulated",
    "silent",
]

Role = Literal["retriever", "scorer", "fusion", "policy"]
GROUP = "llmrec.components"


class ComponentConfig(BaseModel):
    """Base of every component's settings: frozen; an unknown key is an error, and so is a number that is not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Saves(Protocol):
    """Has a name within the pipeline, and can come back from its state."""

    @property
    def name(self) -> str:
        """The component's name in this pipeline: its column, its folder in the bundle."""

    @property
    def component(self) -> str:
        """The registered name that `find_component` knows."""

    def state(self) -> State:
        """Everything needed to come back, as JSON, arrays and files."""


@runtime_checkable
class HoldsItems(Protocol):
    """Holds data per item, and can be given the catalog as it is after items were added, changed or removed."""

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same component over the catalog as it is now; the old component stays as it is.

        What was learned from interactions still holds for every row it was learned for; what was made of an item's
        fields is made anew for new and changed rows.

        Args:
            catalog: its first rows are the rows the component knows, more may follow; any may be inactive now.
            changed: Int32[m], sorted, distinct; the known rows whose fields are not what they were.
        """


@runtime_checkable
class Forgets(Protocol):
    """Can be had as it would be if some items were new, so that a fusion can learn how far to trust it on new items."""

    def forgetting(self, items: BoolArray) -> Self:
        """Return the same component without what interactions taught it of some items; the old one stays as it is.

        Of these items, as candidates and in histories, it then knows what it knows of an item that `with_items` has
        brought and nobody has taken. What they taught it of other items stays.

        Args:
            items: Bool[n_items], True for the items to forget.
        """


@runtime_checkable
class Learns(Protocol):
    """Can be brought up to date with what users did since it was fitted, without being fitted again.

    What comes out is what fitting the same settings on the whole log, as it is then, gives, but for the rounding of
    sums; the work goes with what changed and the items it touches, not with the log.
    """

    @property
    def learns(self) -> bool:
        """Whether it does; of a class that some models share, those of them that cannot say so here."""

    def with_counts(self, log: Interactions) -> Self:
        """Return the same component with what it needs to learn and does not keep in its state.

        Called once, before the first `learning`; takes about as long as fitting. Without it, or where the counts would
        not fit into memory, a component that needs them stays as it is when it should learn.

        Args:
            log: what it was fitted on; its catalog may have grown since.
        """

    def learning(self, before: Interactions, after: Interactions) -> Self:
        """Return the component as it is after users did more; the old one stays as it is.

        Args:
            before: all that some users had done, over the catalog as it is now.
            after: all that the same users, in the same order, have done now. Of all others nothing changed.
        """


@runtime_checkable
class Compares(Protocol):
    """A scorer that compares the candidates of a list, so that a score depends on the list and on its order.

    Its `score` is given each list as it came in, best first, pads on the right: as the stage before ranked it, behind
    that what retrievers of its own stage proposed, by their reciprocal ranks.

    Attributes:
        compares: only says that it does.
    """

    compares: ClassVar[Literal[True]]


class Proposes(Protocol):
    """Anything that ranks the catalog for a batch of queries: a retriever, or a whole recommender."""

    def recommend(self, queries: Queries, k: int) -> Ranking:
        """Return the k best items per query."""


def silent(message: str) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True, slots=True, eq=False)
class Simulated:
    """Validation cases asked again of models that have forgotten some items, as if these were new; m cases.

    Attributes:
        forgotten: Bool[n_items], the items that count as new.
        rows: Int64[m], which of the validation cases these are.
        cases: the cases; no forgotten item is in a history.
        candidates: what the stage's columns then are, one row per case; items that really are new are not among them.
        weights: Float64[m], how many of all validation cases each stands for: those with a forgotten target are sought
            out, and weigh less for it.
    """

    forgotten: BoolArray
    rows: Int64Array
    cases: Holdout
    candidates: Candidates
    weights: NDArray[np.float64]

    @property
    def is_new(self) -> BoolArray:
        """Bool[m]: True where the target is a forgotten item."""
        return np.asarray(self.forgotten[self.cases.targets])


def nothing_simulated(count: int) -> tuple[Simulated, ...]:
    """Simulate nothing."""
    return ()


@dataclass(frozen=True, slots=True)
class FitContext:
    """What a component may learn from.

    Attributes:
        name: the component's name in this pipeline.
        catalog: all items.
        train: the interactions to learn from.
        validation: cases for tuning, or None; models in `first_stage` have never seen their targets.
        candidates: for a fusion, the stage's columns on the validation queries, one row per case; or None.
        simulate: for a fusion: asks at most so many validation cases again as if some items were new; see `Simulated`.
            Nothing where there is no way to do so.
        wish_columns: for a fusion, the columns that understand a free-text wish.
        users: profiles of users, which serving shows to templates, so training must too; or None.
        first_stage: what the stages before rank, for components that learn from their mistakes; or None.
        earlier: on a refit, what the same fit gave when the validation cases were still to be foretold: how long to
            train was tuned then. Else None.
        work: a folder for what training writes.
        seed: for every random choice.
        progress: told what is going on, in a few words.
    """

    name: str
    catalog: Catalog
    train: Interactions
    validation: Holdout | None = None
    candidates: Candidates | None = None
    simulate: Callable[[int], tuple[Simulated, ...]] = nothing_simulated
    wish_columns: tuple[str, ...] = ()
    users: Users | None = None
    first_stage: Proposes | None = None
    earlier: Any = None
    work: Path = field(default_factory=lambda: Path("runs"))
    seed: int = 0
    progress: Callable[[str], None] = silent


@dataclass(frozen=True, slots=True)
class Component:
    """A registered component.

    Attributes:
        role: what it is in the cascade.
        config: its settings.
        fit: learns it from a context.
        load: brings it back: `load(name, state, catalog)`.
        requires: packages that only fitting needs; missing ones are found before any work is done.
        extra: the extra of llmrec that installs them.
        takes_cases: of a scorer, whether fitting learns from `FitContext.validation` as others do from `train`. Then it
            gets validation cases of its own: nothing else is tuned on these, and it sees no others.
    """

    role: Role
    config: type[ComponentConfig]
    fit: Callable[[FitContext, Any], Any]
    load: Callable[[str, State, Catalog], Any]
    requires: tuple[str, ...] = ()
    extra: str = ""
    takes_cases: bool = False

    def __post_init__(self) -> None:
        if self.takes_cases and self.role != "scorer":
            raise ValueError(f"only a scorer takes cases of its own, not a {self.role}")


@cache
def _registered() -> tuple[EntryPoint, ...]:
    """Whatever any installed package registers; to find it takes as long as to open many a bundle."""
    return tuple(entry_points(group=GROUP))


@cache
def component_names() -> tuple[str, ...]:
    """All registered names, sorted."""
    return tuple(sorted({point.name for point in _registered()}))


@cache
def find_component(name: str) -> Component:
    """Find a component by its registered name.

    Raises:
        ConfigError: no component, or more than one, has this name.
    """
    found = {point.value: point for point in _registered() if point.name == name}
    if not found:
        near = difflib.get_close_matches(name, component_names(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"no component is called {name!r}; {hint}known: {', '.join(component_names())}")
    if len(found) > 1:
        raise ConfigError(f"{len(found)} installed packages register a component {name!r}: {', '.join(found)}")
    loaded = next(iter(found.values())).load()
    if not isinstance(loaded, Component):
        raise ConfigError(f"the entry point {name!r} of {GROUP} must name an llmrec.component.Component")
    return loaded
