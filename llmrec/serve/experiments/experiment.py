"""What an experiment is, and what a request is given by it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llmrec.serve.problems import Unprocessable

__all__ = ["Assignment", "Experiment", "Kind", "State"]

Kind = Literal["ab", "interleave"]
State = Literal["running", "stopped"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Experiment:
    """Which pipelines are compared, and how people are divided among them.

    Attributes:
        name: never used twice.
        variants: a name to the alias of its pipeline; the first one is what the others are compared with.
        weights: a name to the share of people who get it; they add up to 1. Halves where lists are interleaved.
        salt: goes into the hash that chooses, so that each experiment divides people anew.
        kind: "ab": each person has one variant; "interleave": each list is drawn from both.
        state: whether people are given variants now; a stopped experiment never runs again.
        created: seconds since the epoch.
        stopped: seconds since the epoch; None: it runs.
    """

    name: str
    variants: Mapping[str, str]
    weights: Mapping[str, float]
    salt: str
    kind: Kind = "ab"
    state: State = "running"
    created: float = 0.0
    stopped: float | None = None

    def __post_init__(self) -> None:
        """Check what a person may have got wrong.

        Raises:
            Unprocessable: a name, the variants or their weights do not fit.
        """
        for name in (self.name, *self.variants):
            if not NAME.fullmatch(name):
                raise Unprocessable(
                    f"{name!r} is no name for an experiment or a variant: up to 64 letters, digits, dots, dashes and "
                    "underscores, a letter or digit first"
                )
        if self.kind not in ("ab", "interleave"):
            raise Unprocessable(f"an experiment is of kind ab or interleave, not {self.kind!r}")
        if len(self.variants) < 2 or (self.kind == "interleave" and len(self.variants) != 2):
            wanted = "two variants" if self.kind == "interleave" else "at least two variants"
            raise Unprocessable(f"an experiment of kind {self.kind} needs {wanted}, got {len(self.variants)}")
        if self.kind == "interleave" and len(set(self.variants.values())) < 2:
            raise Unprocessable("a list cannot be interleaved with itself; name two aliases")
        self._check_weights()

    def _check_weights(self) -> None:
        if set(self.weights) != set(self.variants):
            raise Unprocessable("every variant needs one weight, and only variants have weights")
        if not all(math.isfinite(weight) and weight > 0 for weight in self.weights.values()):
            raise Unprocessable("weights must be numbers above 0")
        if abs(sum(self.weights.values()) - 1.0) > 1e-9:
            raise Unprocessable("weights must add up to 1")
        if self.kind == "interleave" and len(set(self.weights.values())) > 1:
            raise Unprocessable("lists are interleaved half and half; leave out the weights")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; `from_dict` is the experiment again."""
        return {
            "name": self.name,
            "kind": self.kind,
            "state": self.state,
            # A list keeps its order in every store; JSON objects need not.
            "variants": [
                {"name": name, "alias": alias, "weight": self.weights[name]} for name, alias in self.variants.items()
            ],
            "salt": self.salt,
            "created": self.created,
            "stopped": self.stopped,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Experiment:
        """Return the experiment that `to_dict` wrote."""
        variants = values["variants"]
        return cls(
            name=values["name"],
            variants={variant["name"]: variant["alias"] for variant in variants},
            weights={variant["name"]: variant["weight"] for variant in variants},
            salt=values["salt"],
            kind=values["kind"],
            state=values["state"],
            created=values["created"],
            stopped=values["stopped"],
        )


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a request is given.

    Attributes:
        experiment: its name, for `Impression.experiment`.
        kind: "ab" or "interleave".
        variant: its name, for `Impression.variant`; None where the list is drawn from both.
        variants: the variant, or both where the list is drawn from both.
        aliases: of the pipelines that answer, one for each of `variants`.
    """

    experiment: str
    kind: Kind
    variant: str | None
    variants: tuple[str, ...]
    aliases: tuple[str, ...]
