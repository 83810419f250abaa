"""Training pairs of an encoder: who was there, what was taken next, and which items are no negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llmrec.component import Proposes
from llmrec.data import Catalog, Holdout, Interactions
from llmrec.models import TextEncoder
from llmrec.retrieve import DenseConfig
from llmrec.text import load_template, render_items, render_users
from llmrec.train.examples import hard_negatives, next_item_cases
from llmrec.types import BoolArray, Csr, Float32Array, Int32Array, Int64Array

__all__ = ["EncoderPairs", "PairBatch", "PairShape", "draw_pairs", "inclusion_logs", "texts_of"]


@dataclass(frozen=True, slots=True)
class PairShape:
    """Which pairs are drawn.

    Attributes:
        pairs: how many, at most.
        per_user: only a user's last so many interactions become positives.
        history: newest items that stand for the user; 0: a user text does, one for each pair.
        decay: weight of one of them relative to the one after it.
        negatives: hard negatives per pair.
        negative_depth: drawn from the first stage's best so many.
    """

    pairs: int
    per_user: int = 20
    history: int = 1
    decay: float = 0.8
    negatives: int = 0
    negative_depth: int = 100


@dataclass(frozen=True, slots=True)
class PairBatch:
    """A batch, as indices into its distinct texts.

    Attributes:
        texts: Int64[t], rows of the list of all texts; first the candidates, then those that only stand in anchors.
        anchors: Int64[b, h], places in `texts`; 0 where the weight is 0.
        weights: Float32[b, h], how much each text counts in the anchor.
        positives: Int64[b], places among the candidates.
        hidden: Bool[b, c], candidates that are no negative of a pair: the user took them, before or after.
        log_chances: Float32[c], logarithm of the chance that a candidate is in a batch.
    """

    texts: Int64Array
    anchors: Int64Array
    weights: Float32Array
    positives: Int64Array
    hidden: BoolArray
    log_chances: Float32Array


@dataclass(frozen=True, slots=True)
class EncoderPairs:
    """All training pairs; n pairs over m items.

    Attributes:
        cases: who, with which history, took what.
        taken: everything each user took in training, one row a user.
        negatives: Int32[n, k], hard negatives, -1 where there are too few.
        shape: how they were drawn.
        frequencies: Float32[m], the share of the pairs an item is the positive of.
    """

    cases: Holdout
    taken: Csr
    negatives: Int32Array
    shape: PairShape
    frequencies: Float32Array

    def __len__(self) -> int:
        return len(self.cases)

    def batch(self, rows: Int64Array) -> PairBatch:
        """Put pairs together.

        An item is a candidate once, however many pairs it is the positive of. Texts of items are numbered by catalog
        row; where a user text stands for the user, that of pair i is number m + i.

        Args:
            rows: Int64[b], which pairs.
        """
        users, targets = self.cases.user_rows[rows], self.cases.targets[rows]
        mined = self.negatives[rows]
        candidates = np.unique(np.concatenate([targets, mined[mined >= 0]])).astype(np.int64)
        anchors, weights = self._anchors(rows)
        others = np.setdiff1d(anchors[weights > 0], candidates)
        texts = np.concatenate([candidates, others])
        places = np.zeros(len(self.frequencies) + len(self), dtype=np.int64)
        places[texts] = np.arange(len(texts))
        positives = places[targets]
        # a mined item that is nobody's positive is there for certain
        chances = np.zeros(len(candidates), dtype=np.float32)
        drawn = np.unique(positives)
        chances[drawn] = inclusion_logs(self.frequencies[candidates[drawn]], len(rows))
        hidden = _holds(self.taken.take(users), candidates)
        hidden[np.arange(len(rows)), positives] = False
        return PairBatch(texts, np.where(weights > 0, places[anchors], 0), weights, positives, hidden, chances)

    def _anchors(self, rows: Int64Array) -> tuple[Int64Array, Float32Array]:
        """Int64[b, h], numbers of the texts that stand for the users, and Float32[b, h], their weights."""
        if self.shape.history == 0:
            return (len(self.frequencies) + rows)[:, None], np.ones((len(rows), 1), np.float32)
        queries = self.cases.queries
        ages = np.arange(self.shape.history)[None, :]
        sizes = (queries.offsets[rows + 1] - queries.offsets[rows])[:, None]
        places = np.maximum(queries.offsets[rows + 1][:, None] - 1 - ages, 0)
        weights = np.where(ages < sizes, np.power(self.shape.decay, ages), 0.0).astype(np.float32)
        if queries.weights is not None:
            weights = weights * np.maximum(queries.weights[places], 0)
        return queries.items[places].astype(np.int64), weights


def inclusion_logs(frequencies: Float32Array, batch_size: int) -> Float32Array:
    """Return the logarithm of the chance that an item is among the positives of a batch.

    Yi et al. take log(frequency) off the score of every *pair's* item, so one that is drawn twice stands in the
    denominator twice. Here an item stands there once, so its weight is one over its chance to stand there at all.

    Args:
        frequencies: Float32[c], shares of the pairs, above 0.
        batch_size: pairs in a batch.

    Returns:
        Float32[c] of log(1 - (1 - frequency) ** batch_size).
    """
    shares = np.clip(frequencies.astype(np.float64), 1e-12, 1 - 1e-12)
    return np.asarray(np.log(-np.expm1(batch_size * np.log1p(-shares))), dtype=np.float32)


def draw_pairs(
    shape: PairShape, train: Interactions, *, seed: int, first_stage: Proposes | None = None
) -> EncoderPairs:
    """Draw training pairs, all of them within the training interactions.

    Args:
        shape: which.
        train: what may be learned from.
        seed: for the draw.
        first_stage: what hard negatives are mined with.

    Raises:
        ValueError: hard negatives are wanted, and there is no first stage.
    """
    cases = next_item_cases(train, shape.pairs, seed=seed, latest=shape.per_user)
    negatives = np.empty((len(cases), 0), dtype=np.int32)
    if shape.negatives:
        if first_stage is None:
            raise ValueError("hard negatives are mined with a first stage")
        negatives = hard_negatives(
            cases, train, first_stage, depth=shape.negative_depth, count=shape.negatives, seed=seed
        )
    counts = np.bincount(cases.targets, minlength=train.catalog_size)
    frequencies = (counts / max(1, len(cases))).astype(np.float32)
    return EncoderPairs(cases, train.histories, negatives, shape, frequencies)


def texts_of(
    pairs: EncoderPairs, catalog: Catalog, config: DenseConfig, counter: TextEncoder, prompts: Mapping[str, str]
) -> list[str]:
    """Write all texts of the pairs, as `TextEncoder` will put them before the network.

    Args:
        pairs: the pairs.
        catalog: where the fields are.
        config: the templates.
        counter: counts tokens; knows the budget of a user text.
        prompts: the model's prompts by name.

    Returns:
        The texts of all items and, where a user text stands for the user, those of all pairs.
    """
    of_items = _prompt(prompts, "document", "passage", "corpus")
    texts = [of_items + text for text in render_items(load_template(config.item_template), catalog)]
    if config.user_template is not None:
        user = load_template(config.user_template)
        users = render_users(user, catalog, pairs.cases.queries, counter.text_budget, counter).texts
        texts += [_prompt(prompts, "query") + text for text in users]
    return texts


def _prompt(prompts: Mapping[str, str], *names: str) -> str:
    return next((prompts[name] for name in names if name in prompts), "")


def _holds(rows: Csr, items: Sequence[int] | Int64Array) -> BoolArray:
    """Bool[n, c]: whose row holds which of the items, sorted and distinct."""
    known = np.asarray(items, dtype=np.int64)
    found = np.zeros((len(rows), len(known)), dtype=np.bool_)
    if len(known):
        owners = np.repeat(np.arange(len(rows)), np.diff(rows.offsets))
        places = np.minimum(np.searchsorted(known, rows.values), len(known) - 1)
        hit = known[places] == rows.values
        found[owners[hit], places[hit]] = True
    return found
