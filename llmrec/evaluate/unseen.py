"""The refusal to measure a recommender on what it has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from llmrec.data import Holdout, Interactions, items_hash
from llmrec.errors import DataError, LeakageError
from llmrec.evaluate.protocol import ProtocolCard
from llmrec.pipeline import Recommender
from llmrec.types import BoolArray

__all__ = ["check_honest", "check_unseen", "held_out_by"]


def held_out_by(recommender: Recommender) -> tuple[str, dict[str, Any]]:
    """Return what a recommender says was held out when it was fitted: the name of the split and its settings.

    "none" if it says nothing, or that nothing was.
    """
    about: Mapping[str, Any] = recommender.about or {}
    name = str(about.get("holdout", "none"))
    if "holdout_parameters" in about:
        return name, dict(about["holdout_parameters"])
    return name, {"min_interactions": about["min_interactions"]} if "min_interactions" in about else {}


def check_unseen(recommender: Recommender, interactions: Interactions) -> None:
    """Check that a recommender was fitted for measuring, on this very log.

    Stricter than `evaluate`, which lets pass what does not say where it comes from.

    Args:
        recommender: says in `about` what it was fitted on, and what was held out.
        interactions: the log before the split.

    Raises:
        LeakageError: it was not, or there is no telling.
        DataError: the log is of another catalog.
    """
    _check_catalog(recommender, interactions.items_hash, interactions.catalog_size)
    about = recommender.about or {}
    if about.get("data", {}).get("interactions") != interactions.fingerprint:
        raise LeakageError(
            "the bundle was fitted on another log, so whether it has seen these targets cannot be known; "
            "evaluate with the data it was fitted on"
        )
    if held_out_by(recommender)[0] == "none":
        raise LeakageError(
            "the bundle has seen every interaction of this log, the targets too; fit one for measuring with: "
            "llmrec fit --holdout last"
        )


def check_honest(recommender: object, holdout: Holdout, card: ProtocolCard) -> None:
    """Check that a recommender has not seen the cases it is measured on, as far as can be known.

    What is not a Recommender, or was fitted on another log, or does not say on which, passes. Otherwise what it
    says was held out must be what the card says is measured, settings included, and its stored histories must not
    hold what the cases hold out.

    Args:
        recommender: what is measured.
        holdout: the cases.
        card: says which log was split, and how.

    Raises:
        LeakageError: it has seen them, or may have.
        DataError: the cases are rows of another catalog.
    """
    if not isinstance(recommender, Recommender):
        return
    _check_catalog(recommender, card.items_hash, card.n_items)
    if recommender.about is None:
        return
    if recommender.about.get("data", {}).get("interactions") != card.data_hash:
        return
    name, parameters = held_out_by(recommender)
    wanted = card.holdout or "last"
    if name == "none":
        raise LeakageError(
            "LEAKAGE: the recommender was fitted on every interaction of this log, the targets too, so no figure of "
            f"it means anything; fit one for measuring with holdout={wanted!r} (llmrec fit --holdout {wanted})"
        )
    if card.holdout and (name, parameters) != (card.holdout, dict(card.parameters)):
        raise LeakageError(
            f"LEAKAGE: the recommender was fitted with holdout {_say(name, parameters)}, and is measured on "
            f"{_say(card.holdout, card.parameters)}, whose targets it may have seen; split as it was fitted, or fit "
            "it as the test is split"
        )
    if recommender.histories is not None:
        _check_stored(recommender.histories, holdout, card)


def _check_catalog(recommender: Recommender, expected: str, n_items: int) -> None:
    """Rows mean nothing but in their catalog; the recommender's may have grown since, its first rows stay."""
    if expected and items_hash(recommender.catalog.items.ids[:n_items]) != expected:
        raise DataError(
            f"the log was loaded over a catalog whose {n_items} items are not the recommender's first {n_items}, or "
            "not in this order, so its rows mean other items; load it over the recommender's catalog"
        )


def _say(name: str, parameters: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{key} {value}" for key, value in sorted(parameters.items()))
    return f"{name!r} ({shown})" if shown else repr(name)


def _check_stored(histories: Interactions, holdout: Holdout, card: ProtocolCard) -> None:
    """Whatever a split was called: the targets must not be among what the recommender stores of these users."""
    users = holdout.user_rows
    if len(users) and not 0 <= users.min() <= users.max() < histories.n_users:
        raise LeakageError("LEAKAGE: the cases are of users outside the log they are said to be split from")
    if histories.repeats == "fold":
        stored = histories.queries(users)
        rows = np.repeat(np.arange(len(users)), np.diff(stored.offsets))
        known = np.zeros(len(users), dtype=np.bool_)
        known[rows[stored.items == holdout.targets[rows]]] = True
        _complain(known, histories, holdout, "has stored the target of")
    if card.holdout == "cold-items":
        taken = np.bincount(histories.items, minlength=histories.catalog_size) > 0
        _complain(taken[holdout.targets], histories, holdout, "has stored interactions with the cold target of")
    if card.holdout == "cold-users":
        _complain(np.diff(histories.offsets)[users] > 0, histories, holdout, "has stored interactions of")


def _complain(leaks: BoolArray, histories: Interactions, holdout: Holdout, problem: str) -> None:
    if leaks.any():
        first = histories.users[int(holdout.user_rows[np.argmax(leaks)])]
        raise LeakageError(
            f"LEAKAGE: the recommender {problem} {leaks.sum()} of {len(leaks)} users, first user {first!r}, so no "
            "figure of it means anything; split the log as it was split for the fit (cases_of does)"
        )
