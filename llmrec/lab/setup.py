"""From what is wanted to judges: which of them, over whom, with which models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from llmrec.component import silent
from llmrec.data import Holdout
from llmrec.errors import ConfigError
from llmrec.lab.ground import FirstStage, Ground, first_stage, halves, shortlists
from llmrec.lab.judges import CrossEncoderJudge, Judge, LanguageJudge, RetrieverJudge
from llmrec.text import Template

__all__ = ["JUDGES", "Setup", "Wanted", "usual_judges"]

JUDGES = ("retriever", "cross-encoder", "lm")

USUAL = {"item": "retriever", "user": "retriever", "pair": "cross-encoder", "chat": "lm"}
"""Who judges templates of a kind where nobody says."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How templates are to be judged.

    Attributes:
        users: cases of the retriever, a random sample; None: all.
        rerank_users: cases of the cross-encoder and the language model; None: all.
        first: the retriever whose candidates these put in order.
        depth: how many.
        encoder: of the retriever; a cross-encoder is tuned from it too.
        cross_encoder: a cross-encoder's folder or hub id; None: a small one is tuned for each template.
        lm: the language model.
        scorer: how it is asked: a registered scorer.
        orders: random orders of candidates that are tried, where several are read at once.
        seed: of samples, tuning and orders.
    """

    users: int | None = None
    rerank_users: int | None = 100
    first: str = "item_knn"
    depth: int = 20
    encoder: str = "minilm"
    cross_encoder: str | None = None
    lm: str = "smollm2"
    scorer: str = "title_likelihood"
    orders: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("users", "rerank_users"):
            count = getattr(self, name)
            if count is not None and count < 2:
                raise ConfigError(f"{name} must be at least 2, got {count}: a difference needs users to be told over")
        if self.depth < 2 or self.orders < 0:
            raise ConfigError(f"depth must be at least 2 and orders at least 0, got {self.depth} and {self.orders}")


def usual_judges(templates: Sequence[Template]) -> tuple[str, ...]:
    """Who judges templates of one kind where nobody says.

    Raises:
        ConfigError: there are several kinds.
    """
    kinds = list(dict.fromkeys(template.kind for template in templates))
    if len(kinds) > 1:
        raise ConfigError(
            f"these templates are of several kinds ({', '.join(kinds)}): say with --on who is to judge them"
        )
    return (USUAL.get(kinds[0], "retriever"),)


@dataclass(frozen=True, eq=False)
class Setup:
    """Makes judges; what they share is made once.

    Attributes:
        wanted: how templates are to be judged.
        ground: the data.
        work: folder for models that are tuned.
        progress: told what is going on.
    """

    wanted: Wanted
    ground: Ground
    work: Path
    progress: Callable[[str], None] = field(default=silent)

    def judge(self, name: str) -> Judge:
        """A judge over the users that are wanted.

        Raises:
            ConfigError: there is no such judge.
        """
        return self._over(name, self._cases(name))

    def halved(self, name: str) -> tuple[Judge, Judge]:
        """The same judge over one half of the users that are wanted, and over the other."""
        first, second = halves(self._cases(name), self.wanted.seed)
        return self._over(name, first), self._over(name, second)

    def _cases(self, name: str) -> Holdout:
        if name not in JUDGES:
            raise ConfigError(f"--on {name!r} is not one of {', '.join(JUDGES)}")
        users = self.wanted.users if name == "retriever" else self.wanted.rerank_users
        return self.ground.sample(users, self.wanted.seed)

    def _over(self, name: str, cases: Holdout) -> Judge:
        wanted = self.wanted
        if name == "retriever":
            return RetrieverJudge(self.ground, cases, wanted.encoder)
        lists = shortlists(self._first, cases, wanted.depth, wanted.first)
        if name == "lm":
            return LanguageJudge(
                self.ground,
                lists,
                scorer=wanted.scorer,
                model=wanted.lm,
                orders=wanted.orders,
                seed=wanted.seed,
                progress=self.progress,
            )
        return CrossEncoderJudge(
            self.ground,
            lists,
            self.work,
            weights=wanted.cross_encoder,
            tuning={"base": wanted.encoder},
            teach=self._fitted,
            seed=wanted.seed,
            progress=self.progress,
        )

    @cached_property
    def _first(self) -> FirstStage:
        return self._fitted(self.ground)

    def _fitted(self, ground: Ground) -> FirstStage:
        return first_stage(ground, self.wanted.first, self.wanted.seed, self.work, self.progress)
