"""Judges: what a template is worth to a retriever, a cross-encoder or a language model, on the same cases."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from llmrec.component import FitContext, find_component, silent
from llmrec.data import Holdout
from llmrec.errors import ConfigError, DataError
from llmrec.lab.adapt import as_chat, as_item_and_user, as_pair
from llmrec.lab.ground import FirstStage, Float64Array, Ground, Shortlists, ranks_of, reordered
from llmrec.lab.orders import ONE_BY_ONE, OrderTest, order_test
from llmrec.lab.scoring import batches, fitted, maker_of, mean_of, pair_tokens, timed
from llmrec.text import Template

__all__ = ["CrossEncoderJudge", "Judge", "LanguageJudge", "Measured", "RetrieverJudge"]

DEPTH = 50
"""Places of a retriever's list that are looked at."""

FIXED = "-log(place + 1)"
"""What a place says where that cannot be fitted."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What a judge found of a template; n cases.

    Attributes:
        ranks: Float64[n], 1-based places of the targets; infinite where they are not in the list.
        tokens: mean tokens, by what they are of: "item", "user".
        ms_per_user: milliseconds for one user's list: its text written and read, candidates scored or searched.
        seconds: all the work, what was done once for all users too.
        orders: what the order of candidates changes; None where they are read one by one.
    """

    ranks: Float64Array
    tokens: Mapping[str, float]
    ms_per_user: float
    seconds: float
    orders: OrderTest | None = None


class Judge(Protocol):
    """Measures templates on fixed cases."""

    @property
    def name(self) -> str:
        """What it is called in reports."""

    @property
    def cases(self) -> Holdout:
        """Who is asked."""

    @property
    def note(self) -> str:
        """What a reader must know of it."""

    @property
    def reads_together(self) -> bool:
        """Whether it reads several candidates at once, so that their order may matter."""

    def prompts(self, template: Template) -> tuple[Template, ...]:
        """What it really reads of a template; ConfigError if it does not read its kind."""

    def about(self) -> dict[str, Any]:
        """All that ranks depend on beside the template; JSON values."""

    def measure(self, template: Template) -> Measured:
        """Measure it."""


@dataclass(frozen=True, eq=False)
class RetrieverJudge:
    """Ranks the whole catalog by the nearness of texts, with an encoder that was not tuned on these data.

    Attributes:
        ground: the data.
        cases: who is asked.
        encoder: a named model, a folder or a hub id.
        max_tokens: longer texts are cut.
    """

    ground: Ground
    cases: Holdout
    encoder: str = "minilm"
    max_tokens: int = 128
    name: str = "retriever"
    reads_together: bool = False

    @property
    def note(self) -> str:
        """What a reader must know."""
        return f"{self.encoder}, not tuned by the lab; all {len(self.ground.catalog):,} items ranked"

    def prompts(self, template: Template) -> tuple[Template, ...]:
        """What it really reads of a template."""
        item, user = as_item_and_user(template)
        return (item,) if user is None else (item, user)

    def about(self) -> dict[str, Any]:
        """All that ranks depend on beside the template."""
        from llmrec.models import TextEncoder

        model = TextEncoder.load(self.encoder, max_tokens=self.max_tokens).fingerprint
        return {"judge": self.name, "model": model, "cases": self.cases.fingerprint, "depth": DEPTH}

    def measure(self, template: Template) -> Measured:
        """Measure a template."""
        from llmrec.retrieve.dense import Dense

        start = time.perf_counter()
        item, user = as_item_and_user(template)
        settings: dict[str, Any] = {"encoder": self.encoder, "max_tokens": self.max_tokens, "index": "exact"}
        templates = {"item_template": item} if user is None else {"item_template": item, "user_template": user}
        dense = fitted("dense", settings, templates, FitContext("dense", self.ground.catalog, self.ground.split.train))
        assert isinstance(dense, Dense)
        plain = replace(dense, encoder=self._uncached)
        plain.encoder.encode_users(["warm"])
        begin, lists = time.perf_counter(), []
        for rows in batches(len(self.cases)):
            lists.append(plain.retrieve(self.cases.queries.take(rows), DEPTH).items)
        spent = time.perf_counter() - begin
        tokens = self._tokens(dense, item, user)
        ranks = ranks_of(np.concatenate(lists), self.cases.targets)
        return Measured(ranks, tokens, 1000 * spent / len(self.cases), time.perf_counter() - start)

    @cached_property
    def _uncached(self) -> Any:
        """Reads user texts: from a cache it would be timed as one that reads nothing."""
        from llmrec.models import TextEncoder

        return TextEncoder.load(self.encoder, max_tokens=self.max_tokens)

    def _tokens(self, dense: Any, item: Template, user: Template | None) -> dict[str, float]:
        from llmrec.text import render_items, render_users

        counter, catalog = dense.encoder, self.ground.catalog
        tokens = {"item": mean_of(counter.count_tokens(render_items(item, catalog)))}
        if user is not None:
            texts = render_users(user, catalog, self.cases.queries, counter.text_budget, counter).texts
            tokens["user"] = mean_of(counter.count_tokens(texts))
        return tokens


@dataclass(frozen=True, eq=False)
class CrossEncoderJudge:
    """Puts the candidates of a first stage in order, reading each beside the user.

    Scores are added to what the place in the first stage's list says, as in the tuning of the component
    `cross_encoder`: weights that say nothing leave the list as it is.

    Without weights of its own, a small cross-encoder is tuned for each template, on targets that come before those
    that are judged; see `Ground.earlier`.

    Attributes:
        ground: the data.
        lists: who is asked, and the candidates.
        work: folder for models that are tuned.
        weights: a cross-encoder, by folder or hub id; None: tune one.
        tuning: settings of the tuning, as of the component `cross_encoder`.
        teach: makes the first stage that the tuning learns from.
        seed: of the tuning.
        progress: told what is going on.
    """

    ground: Ground
    lists: Shortlists
    work: Path
    weights: str | None = None
    tuning: Mapping[str, Any] = field(default_factory=dict)
    teach: Callable[[Ground], FirstStage] | None = None
    seed: int = 0
    progress: Callable[[str], None] = silent
    name: str = "cross-encoder"
    reads_together: bool = False

    @property
    def cases(self) -> Holdout:
        """Who is asked."""
        return self.lists.cases

    @property
    def note(self) -> str:
        """What a reader must know."""
        reads = f"the best {self.lists.items.shape[1]} of {self.lists.first} put in order"
        if self.weights is not None:
            fixed = f"; too few interactions a user to fit what a place says, so it is {FIXED}" if self._fixed else ""
            return f"{self._short}, the same weights for all templates, not tuned by the lab; {reads}{fixed}"
        told = ", ".join(f"{key} = {value}" for key, value in self._settings.items())
        return f"one tuned for each template, shortly ({told}), on targets before those judged; {reads}"

    @property
    def _short(self) -> str:
        return Path(str(self.weights)).name

    @property
    def _settings(self) -> dict[str, Any]:
        return {**TUNING, **self.tuning}

    def prompts(self, template: Template) -> tuple[Template, ...]:
        """What it really reads of a template."""
        return (as_pair(template),)

    def about(self) -> dict[str, Any]:
        """All that ranks depend on beside the template."""
        from llmrec.models import PairScorer, TextEncoder
        from llmrec.train.pair_config import CrossEncoderConfig

        told: dict[str, Any] = {"judge": self.name, "lists": self.lists.fingerprint, "first": self.lists.first}
        if self.weights is not None:
            told |= {"item_tokens": self._limits[1], "prior": FIXED if self._fixed else "fitted"}
            return {**told, "model": PairScorer.load(self.weights, max_tokens=self._limits[0]).fingerprint}
        config = CrossEncoderConfig.model_validate(self._settings)
        model = TextEncoder.load(config.base, max_tokens=config.max_tokens).fingerprint
        return {**told, "model": model, "tuning": config.model_dump(exclude={"base"}), "seed": self.seed}

    @property
    def _limits(self) -> tuple[int, int]:
        """Tokens of a pair, and of the item in it."""
        from llmrec.train.pair_config import CrossEncoderConfig

        config = CrossEncoderConfig.model_validate(self._settings)
        return config.max_tokens, config.item_tokens

    def measure(self, template: Template) -> Measured:
        """Measure a template."""
        start = time.perf_counter()
        scorer = self._scorer(as_pair(template))
        scores, ms = timed(scorer, self.lists)
        tokens = pair_tokens(scorer, self.lists, as_pair(template))
        both = (np.nan_to_num(scores) + self._prior).astype(np.float32)
        order = reordered(self.lists.items, both, self.ground.catalog.tie_order)
        return Measured(ranks_of(order, self.cases.targets), tokens, ms, time.perf_counter() - start)

    def _scorer(self, template: Template) -> Any:
        from llmrec.models import PairScorer
        from llmrec.rerank import CrossEncoder

        max_tokens, item_tokens = self._limits
        if self.weights is not None:
            model = PairScorer.load(self.weights, max_tokens=max_tokens)
            return CrossEncoder("cross_encoder", model, template, item_tokens, self.ground.catalog)
        context = FitContext(
            "cross_encoder",
            self.ground.catalog,
            self._before.split.train,
            self._before.cases,
            first_stage=self._teacher,
            work=self.work,
            seed=self.seed,
            progress=self.progress,
        )
        return fitted("cross_encoder", self._settings, {"template": template}, context)

    @cached_property
    def _prior(self) -> Float64Array:
        """Float64[depth]: what the place in the first stage's list says, in the same unit as the scores."""
        from llmrec.train.pair_lists import rank_prior

        depth = self.lists.items.shape[1]
        if self._fixed:
            return np.asarray(-np.log(np.arange(depth) + 2.0), dtype=np.float64)
        places = ranks_of(self._teacher.recommend(self._before.cases.queries, depth).items, self._before.cases.targets)
        found = places[np.isfinite(places)].astype(np.int64) - 1
        return rank_prior(found, depth) if len(found) else np.zeros(depth)

    @cached_property
    def _fixed(self) -> bool:
        """Whether the logs are too short for places to be fitted, which weights that are given do not need."""
        if self.weights is None:
            return False
        try:
            return not len(self._before.cases)
        except DataError:
            return True

    @cached_property
    def _before(self) -> Ground:
        try:
            return self.ground.earlier()
        except DataError as error:
            raise DataError(
                f"no cross-encoder can be tuned on these data ({error}); give one with --cross-encoder FOLDER"
            ) from error

    @cached_property
    def _teacher(self) -> FirstStage:
        if self.teach is None:
            raise ConfigError("a cross-encoder is tuned on the lists of a first stage; none was given")
        return self.teach(self._before)


TUNING: Mapping[str, Any] = {
    "layers": 2,
    "shared_history": True,
    "cases": 300,
    "epochs": 1,
    "learning_rate": 3e-4,
    "minutes": None,
    "checks": 1,
}
"""Small, so that one can be tuned for each of several templates in minutes on two cores; as large as that allows."""


@dataclass(frozen=True, eq=False)
class LanguageJudge:
    """Puts the candidates of a first stage in order by a language model.

    Attributes:
        ground: the data.
        lists: who is asked, and the candidates.
        scorer: a registered scorer with the settings `model` and `template`: yes_no, title_likelihood ...
        model: a named model, a folder or a hub id.
        settings: others of the scorer.
        orders: how often candidates are shown in another order, where the scorer reads several at once.
        seed: of these orders.
        progress: told what is going on.
    """

    ground: Ground
    lists: Shortlists
    scorer: str = "yes_no"
    model: str = "smollm2"
    settings: Mapping[str, Any] = field(default_factory=dict)
    orders: int = 3
    seed: int = 0
    progress: Callable[[str], None] = silent
    name: str = "lm"

    @property
    def reads_together(self) -> bool:
        """Whether the scorer reads several candidates at once."""
        return self.scorer not in ONE_BY_ONE

    @property
    def cases(self) -> Holdout:
        """Who is asked."""
        return self.lists.cases

    @property
    def note(self) -> str:
        """What a reader must know."""
        model = Path(self.model).name
        reads = f"the best {self.lists.items.shape[1]} of {self.lists.first} put in order"
        return f"{model} by {self.scorer}, not tuned by the lab; {reads}"

    @property
    def _settings(self) -> dict[str, Any]:
        usual = {"max_tokens": 256} if self.scorer in ONE_BY_ONE else {}  # lists need the room that is usual for them
        return {"model": self.model, **usual, **self.settings}

    def prompts(self, template: Template) -> tuple[Template, ...]:
        """What it really reads of a template."""
        return (as_chat(template, self.scorer),)

    def about(self) -> dict[str, Any]:
        """All that ranks depend on beside the template."""
        from llmrec.models import LanguageModel

        component = find_component(self.scorer)
        known = component.config.model_fields
        if component.role != "scorer" or not {"model", "template"} <= set(known):
            raise ConfigError(f"{self.scorer!r} is no scorer that puts a template to a language model; take yes_no")
        settings = {key: value for key, value in self._settings.items() if key in known}
        config = component.config.model_validate(settings).model_dump(exclude={"model", "template"}, mode="json")
        model = LanguageModel.load(self.model, max_tokens=settings.get("max_tokens")).fingerprint
        told: dict[str, Any] = {"judge": self.name, "lists": self.lists.fingerprint, "first": self.lists.first}
        told |= {"model": model, "scorer": self.scorer, "settings": config}
        told |= {"by": maker} if (maker := maker_of(self.scorer)) else {}
        told |= {"orders": self.orders} if self.reads_together else {}
        return {**told, "seed": self.seed} if self.reads_together or config.get("shots") else told

    def measure(self, template: Template) -> Measured:
        """Measure a template."""
        start = time.perf_counter()
        known = find_component(self.scorer).config.model_fields
        settings = {key: value for key, value in self._settings.items() if key in known}
        context = FitContext(
            self.scorer, self.ground.catalog, self.ground.split.train, seed=self.seed, progress=self.progress
        )
        prompt = as_chat(template, self.scorer)
        scorer = fitted(self.scorer, settings, {"template": prompt}, context)
        scores, ms = timed(scorer, self.lists)
        order = reordered(self.lists.items, scores, self.ground.catalog.tie_order)
        test = None
        if self.reads_together and self.orders:
            test = order_test(scorer, self.lists, self.ground.catalog.tie_order, count=self.orders, seed=self.seed)
        tokens = pair_tokens(scorer, self.lists, prompt)
        return Measured(ranks_of(order, self.cases.targets), tokens, ms, time.perf_counter() - start, test)
