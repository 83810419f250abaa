"""Lookalikes: an item is scored as the known items that read like it are; what is new has evidence at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog
from llmrec.models import EmbeddingCache, TextEncoder
from llmrec.retrieve.dense import encoder_folder
from llmrec.retrieve.index_choice import IndexKind, build_nearest, load_nearest, sample_vectors
from llmrec.retrieve.item_item import ItemItem, load_item_item
from llmrec.retrieve.nearest import Nearest
from llmrec.retrieve.quantised import embed_items
from llmrec.retrieve.reading import AllScores, Read, best_in_blocks, score_in_blocks
from llmrec.retrieve.sequence import centred
from llmrec.retrieve.sparse import dense_product, mark_no_evidence
from llmrec.retrieve.stored import StoredVectors
from llmrec.retrieve.transition import TransitionConfig, fit_transition
from llmrec.text import Template, load_template, render_items, warn_unknown
from llmrec.types import BoolArray, Float32Array, Int32Array, Queries, Ranking, State

__all__ = ["COMPONENT", "Lookalike", "LookalikeConfig", "TextVectors", "fit_lookalike"]


class LookalikeConfig(ComponentConfig):
    """Settings of lookalikes.

    Attributes:
        neighbours: from how many of the known items nearest in text an item borrows.
        power: how much more nearer ones count: each by its cosine to this power; 0: all alike.
        encoder: a named model, a folder, or a hub id.
        item_template: renders items.
        max_tokens: longer texts are cut by the encoder.
        index: how the nearest items are found, see `DenseConfig`.
        min_recall: the least share of the true 100 nearest that an approximate index must find.
        transition: settings of the model whose scores are borrowed.
    """

    neighbours: int = Field(default=100, ge=1)
    power: float = Field(default=2.0, ge=0)
    encoder: str = "minilm"
    item_template: str = "item/genres"
    max_tokens: int = Field(default=128, ge=8)
    index: IndexKind = "auto"
    min_recall: float = Field(default=0.95, gt=0, le=1)
    transition: TransitionConfig = TransitionConfig()


@dataclass(frozen=True, slots=True, eq=False)
class TextVectors:
    """How the texts of items become vectors of length one.

    Attributes:
        encoder: embeds texts.
        template: renders items.
        mean: Float32[dim], taken off every embedding: what all texts have in common tells nothing.
    """

    encoder: TextEncoder
    template: Template
    mean: Float32Array

    def read(self, catalog: Catalog, rows: Int32Array) -> Float32Array:
        """Read the texts of some items: Float32[m, dim]."""
        texts = render_items(self.template, catalog, rows)
        warn_unknown(texts, self.encoder)
        return centred(self.encoder.encode_items(texts), self.mean)


@dataclass(frozen=True, slots=True, eq=False)
class Lookalike:
    """Scores an item by the mean, weighted by likeness, of what transitions say of the known items that read like it.

    An item never borrows from itself, so that a known item is scored just as a new one with its text is, and the two
    can be compared. Wishes are not read.

    Attributes:
        name: the score column.
        config: its settings.
        catalog: all items.
        taken: the model whose scores are borrowed.
        text: how texts are read.
        nearest: the vectors of all items, and an index over them.
        shares: Float32 CSR [m, n_items] over the m items of the catalog at fit time; column j: the share of each known
            item's score in that of item j; they sum to 1, or to 0 where nothing is like j.
    """

    component: ClassVar[str] = "lookalike"
    name: str
    config: LookalikeConfig
    catalog: Catalog
    taken: ItemItem
    text: TextVectors
    nearest: Nearest
    shares: sp.csr_matrix

    def retrieve(self, queries: Queries, k: int) -> Ranking:
        """Return the k best items per query; none for a query without a usable history."""
        return best_in_blocks(self.read(queries), k)

    def score(self, queries: Queries, items: Int32Array) -> Float32Array:
        """Score items, Float32[n, k]; NaN at pads, and where no transition leads to an item like it."""
        return score_in_blocks(self.read(queries), items)

    def read(self, queries: Queries) -> Read:
        """Read queries, to propose and to score from the same work."""
        return AllScores.of(self._all, queries, self.catalog.active, self.catalog.tie_order)

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same model over a grown catalog: one encoder call for the new and the changed items.

        What others borrow of a changed item stays as it was.
        """
        more = replace(self, catalog=catalog, taken=self.taken.with_items(catalog, changed))
        fresh = np.arange(len(self.catalog), len(catalog), dtype=np.int32)
        rows = np.concatenate([changed, fresh]).astype(np.int32)
        if len(rows) == 0:
            return more
        return replace(more, nearest=self.nearest.grown(self.text.read(catalog, rows), rows))._borrowing(rows)

    def forgetting(self, items: BoolArray) -> Self:
        """Return the same model as if some items were new: not read in histories, and no lender to each other.

        To other items they lend what they did.
        """
        taken = self.taken.forgetting(items)
        forgotten = items if taken.forgotten is None else taken.forgotten
        return replace(self, taken=taken)._borrowing(np.flatnonzero(forgotten).astype(np.int32))

    def state(self) -> State:
        """Return transitions, vectors and their index, shares, the template, settings and the encoder's files."""
        nearest = self.nearest.state()
        config = {
            "settings": self.config.model_dump(),
            "index": nearest.config,
            "item_template": self.text.template.to_dict(),
        }
        arrays: dict[str, NDArray[Any]] = {
            **nearest.arrays,
            **{f"transition.{name}": array for name, array in self.taken.state().arrays.items()},
            "mean": self.text.mean,
            "shares.values": self.shares.data,
            "shares.columns": self.shares.indices.astype(np.int32),
            "shares.offsets": self.shares.indptr.astype(np.int64),
        }
        return State(config, arrays, {f"encoder/{name}": path for name, path in self.text.encoder.files().items()})

    def _all(self, queries: Queries) -> Float32Array:
        scores = dense_product(sp.csr_matrix(self.taken.added(queries)), self.shares)
        mark_no_evidence(scores)
        return scores

    def _borrowing(self, rows: Int32Array) -> Self:
        """Return the same with the shares of some items made anew, from the items that are known now."""
        lenders, values = self._nearest_known(rows)
        old = self.shares.tocoo()
        kept = ~np.isin(old.col, rows)
        columns = np.broadcast_to(rows[:, None], lenders.shape)[lenders >= 0]
        data = np.concatenate([old.data[kept], values[lenders >= 0]])
        place = np.concatenate([old.row[kept], lenders[lenders >= 0]]), np.concatenate([old.col[kept], columns])
        return replace(self, shares=sp.csr_matrix((data, place), shape=(old.shape[0], len(self.catalog))))

    def _nearest_known(self, rows: Int32Array) -> tuple[Int32Array, Float32Array]:
        """Int32[r, k], the known items that read like some others, -1 pads; Float32[r, k], their shares."""
        offsets = np.arange(len(rows) + 1, dtype=np.int64)
        alone = Queries(offsets=offsets, items=rows, exclude=Queries(offsets=offsets, items=rows).histories)
        known = replace(self.catalog, active=self.taken.known)  # removed items have been taken too
        k = min(self.config.neighbours, len(self.catalog))
        found = self.nearest.search(self.nearest.vectors.take(rows), alone, k, known)
        like = (found.items >= 0) & (found.scores > 0)
        weights = np.where(like, np.maximum(found.scores, 0).astype(np.float64) ** self.config.power, 0.0)
        shares = weights / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        return np.where(like, found.items, -1).astype(np.int32), shares.astype(np.float32)


def fit_lookalike(context: FitContext, config: LookalikeConfig, encoder: TextEncoder) -> Lookalike:
    """Count transitions, embed a catalog's item texts, and find the known items that each item reads like.

    After the k-nearest-neighbour mapping of attributes (Gantner et al., "Learning Attribute-to-Feature Mappings for
    Cold-Start Recommendations", ICDM 2010), of scores in the place of factors: with w the scores of transitions, item j
    has the sum of cos(j, i) ** power * w_i over the `neighbours` known items i nearest to it, not itself, divided by
    the sum of cos(j, i) ** power. Cosines are of embeddings less their mean; only positive ones count.

    Args:
        context: what to learn from.
        config: its settings.
        encoder: embeds texts; texts in its cache cost no model call.
    """
    catalog, template = context.catalog, load_template(config.item_template)
    texts = render_items(template, catalog)
    warn_unknown(texts, encoder)
    embedded = embed_items(encoder, texts, context.train)
    embeddings = embedded.vectors
    mean = embeddings.mean(axis=0).astype(np.float32)
    vectors = StoredVectors.pack(centred(embeddings, mean), "float32")
    nearest = build_nearest(vectors, config.index, config.min_recall, sample_vectors(vectors), context.progress)
    taken = fit_transition(context.train, catalog, config.transition, name=context.name)
    model = Lookalike(
        name=context.name,
        config=config,
        catalog=catalog,
        taken=taken,
        text=TextVectors(embedded.encoder, template, mean),
        nearest=nearest,
        shares=sp.csr_matrix(np.empty((len(catalog), 0), np.float32)),  # none yet
    )
    return model._borrowing(np.arange(len(catalog), dtype=np.int32))


def _fit(context: FitContext, config: LookalikeConfig) -> Lookalike:
    encoder = TextEncoder.load(
        config.encoder, max_tokens=config.max_tokens, cache=EmbeddingCache.default(), progress=context.progress
    )
    return fit_lookalike(context, config, encoder)


def _load(name: str, state: State, catalog: Catalog) -> Lookalike:
    config, arrays = LookalikeConfig.model_validate(state.config["settings"]), state.arrays
    counted = {key.removeprefix("transition."): a for key, a in arrays.items() if key.startswith("transition.")}
    transitions = State(config.transition.model_dump(), counted)
    taken = load_item_item("transition", TransitionConfig, name, transitions, catalog)
    shares = arrays["shares.values"], arrays["shares.columns"], arrays["shares.offsets"]
    encoder = TextEncoder.load(str(encoder_folder(state.files)), max_tokens=config.max_tokens)
    return Lookalike(
        name=name,
        config=config,
        catalog=catalog,
        taken=taken,
        text=TextVectors(encoder, Template.from_dict(state.config["item_template"]), arrays["mean"]),
        nearest=load_nearest(State(state.config["index"], arrays), config.min_recall),
        shares=sp.csr_matrix(shares, shape=(taken.weights.shape[0], len(catalog))),
    )


COMPONENT = Component("retriever", LookalikeConfig, _fit, _load)
