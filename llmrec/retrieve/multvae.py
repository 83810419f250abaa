"""Mult-VAE: a variational autoencoder of whole histories, read with recency."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext, silent
from llmrec.data import Catalog, Interactions
from llmrec.errors import DataError
from llmrec.models import set_threads
from llmrec.retrieve.base import recency_matrix
from llmrec.retrieve.reading import AllScores, Read, best_in_blocks, score_in_blocks
from llmrec.types import BoolArray, Float32Array, Int32Array, Queries, Ranking, State

if TYPE_CHECKING:
    import torch

__all__ = ["COMPONENT", "Layers", "MultVae", "MultVaeConfig", "fit_multvae"]


class MultVaeConfig(ComponentConfig):
    """Settings of Mult-VAE.

    Attributes:
        hidden: width of the layer on either side.
        latent: length of a user's vector.
        dropout: share of a history's items that are hidden from the encoder in training.
        kl: the most that the distance of the user vectors from a normal distribution counts; it rises to it over the
            first half of the training.
        epochs: passes over the users.
        batch_size: users a step.
        learning_rate: of Adam.
        decay: weight of an interaction relative to the one after it when a history is read.
    """

    hidden: int = Field(default=300, ge=1)
    latent: int = Field(default=100, ge=1)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    kl: float = Field(default=0.2, ge=0)
    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    decay: float = Field(default=0.8, gt=0, le=1)


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """The weights, for m items: m to hidden to latent (mean, and in training a spread) to hidden to m.

    Attributes:
        read: Float32[m, hidden].
        read_bias: Float32[hidden].
        mean: Float32[hidden, latent].
        mean_bias: Float32[latent].
        open: Float32[latent, hidden].
        open_bias: Float32[hidden].
        write: Float32[m, hidden].
        write_bias: Float32[m].
    """

    read: Float32Array
    read_bias: Float32Array
    mean: Float32Array
    mean_bias: Float32Array
    open: Float32Array
    open_bias: Float32Array
    write: Float32Array
    write_bias: Float32Array

    def __call__(self, histories: sp.csr_matrix) -> Float32Array:
        """Float32 CSR [n, m], rows of length one, to Float32[n, m]: a score an item."""
        # einsum, not BLAS: the result for one query must not depend on how many others are in the batch.
        hidden = np.tanh(histories @ self.read + self.read_bias)
        latent = np.einsum("nh,hd->nd", hidden, self.mean) + self.mean_bias
        opened = np.tanh(np.einsum("nd,dh->nh", latent, self.open) + self.open_bias)
        return np.asarray(np.einsum("nh,mh->nm", opened, self.write) + self.write_bias, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class MultVae:
    """Scores an item by how likely the autoencoder finds it in a history like the one given.

    Attributes:
        name: the score column.
        config: its settings.
        layers: the weights, over the m items of the catalog at fit time.
        known: Bool[n_items], True for items that somebody took in training.
        active: Bool[n_items], False for deleted items.
        tie_order: UInt64[n_items].
    """

    component: ClassVar[str] = "multvae"
    name: str
    config: MultVaeConfig
    layers: Layers
    known: BoolArray
    active: BoolArray
    tie_order: NDArray[np.uint64]

    def retrieve(self, queries: Queries, k: int) -> Ranking:
        """Return the k best items per query; none for a query without a usable history."""
        return best_in_blocks(self.read(queries), k)

    def score(self, queries: Queries, items: Int32Array) -> Float32Array:
        """Score items, Float32[n, k]; NaN at pads, for items unseen in training, and without a usable history."""
        return score_in_blocks(self.read(queries), items)

    def read(self, queries: Queries) -> Read:
        """Read queries, to propose and to score from the same work."""
        return AllScores.of(self._all, queries, self.active, self.tie_order)

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same model over a grown catalog; it has no evidence on the new items."""
        known = np.pad(self.known, (0, len(catalog) - len(self.known)))
        return replace(self, known=known, active=catalog.active, tie_order=catalog.tie_order)

    def forgetting(self, items: BoolArray) -> Self:
        """Return the same model without evidence on some items."""
        return replace(self, known=self.known & ~items)

    def state(self) -> State:
        """Return the weights and settings."""
        weights = {field.name: getattr(self.layers, field.name) for field in fields(self.layers)}
        return State(self.config.model_dump(), {**weights, "known": self.known})

    def _all(self, queries: Queries) -> Float32Array:
        m = len(self.layers.write)
        history = recency_matrix(queries, self.config.decay, len(self.known))[:, :m]
        history.data *= self.known[history.indices]
        history.eliminate_zeros()
        scores = np.full((len(queries), len(self.known)), np.nan, dtype=np.float32)
        scores[:, :m] = self.layers(_unit_rows(history))
        scores[np.diff(history.indptr) == 0] = np.nan
        scores[:, ~self.known] = np.nan
        return scores


def fit_multvae(
    interactions: Interactions,
    catalog: Catalog,
    config: MultVaeConfig,
    *,
    name: str = "multvae",
    seed: int = 0,
    progress: Callable[[str], None] = silent,
) -> MultVae:
    """Train on whole histories.

    Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018. A step costs the catalog times
    `hidden` for each user of the batch.

    Args:
        interactions: what users did; the order does not matter for training, nor do the weights of what was liked;
            interactions of weight 0 or less are left out.
        catalog: all items.
        config: its settings.
        name: the score column.
        seed: for the weights to start from, the order of users, and dropout.
        progress: told about every tenth of the epochs.

    Raises:
        DataError: no interaction has a positive weight.
    """
    matrix = interactions.matrix()
    matrix.data = (matrix.data > 0).astype(np.float32)
    matrix.eliminate_zeros()
    matrix = matrix[np.diff(matrix.indptr) > 0]
    if matrix.nnz == 0:
        raise DataError("multvae has nothing to learn from: no interaction has a positive weight")
    known = np.bincount(matrix.indices, minlength=len(catalog)) > 0
    layers = _train(matrix, config, seed, progress)
    return MultVae(name, config, layers, known, catalog.active, catalog.tie_order)


def _train(matrix: sp.csr_matrix, config: MultVaeConfig, seed: int, progress: Callable[[str], None]) -> Layers:
    import torch

    set_threads()
    random = torch.Generator().manual_seed(seed)
    weights = _new_weights(matrix.shape[1], config, random)
    optimizer = torch.optim.Adam(weights.values(), lr=config.learning_rate)
    steps, step = config.epochs * math.ceil(matrix.shape[0] / config.batch_size), 0
    for epoch in range(config.epochs):
        total = 0.0
        for batch in _batches(matrix, config.batch_size, random):
            loss = _loss(weights, batch, config, config.kl * min(1.0, 2 * step / steps), random)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total, step = total + loss.item() * len(batch), step + 1
        if (epoch + 1) % max(1, config.epochs // 10) == 0:
            progress(f"multvae: epoch {epoch + 1} of {config.epochs}, loss {total / matrix.shape[0]:.3f}")
    arrays = {name: weight.detach().numpy() for name, weight in weights.items()}
    latent = config.latent
    arrays |= {"mean": arrays["mean"][:, :latent].copy(), "mean_bias": arrays["mean_bias"][:latent].copy()}
    return Layers(**arrays)


def _new_weights(m: int, config: MultVaeConfig, random: torch.Generator) -> dict[str, torch.Tensor]:
    """Weights as in the paper: Xavier's for the matrices, small ones for the biases; `mean` holds the spread too."""
    import torch

    hidden, latent = config.hidden, config.latent
    shapes = {"read": (m, hidden), "mean": (hidden, 2 * latent), "open": (latent, hidden), "write": (m, hidden)}
    weights = {}
    for name, (rows, columns) in shapes.items():
        spread = math.sqrt(2 / (rows + columns))
        weights[name] = torch.randn(rows, columns, generator=random).mul_(spread).requires_grad_()
        width = rows if name == "write" else columns
        weights[f"{name}_bias"] = torch.randn(width, generator=random).mul_(0.001).requires_grad_()
    return weights


def _batches(matrix: sp.csr_matrix, size: int, random: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield all users once, in random order, as dense Float32[<= size, m]."""
    import torch

    order = torch.randperm(matrix.shape[0], generator=random).numpy()
    for start in range(0, len(order), size):
        yield torch.from_numpy(matrix[order[start : start + size]].toarray())


def _loss(
    weights: dict[str, torch.Tensor], taken: torch.Tensor, config: MultVaeConfig, kl: float, random: torch.Generator
) -> torch.Tensor:
    """The negative evidence bound of the paper (eq. 7), a mean over users."""
    import torch

    rows = taken / taken.norm(dim=1, keepdim=True)
    shown = torch.rand(rows.shape, generator=random) >= config.dropout
    hidden = torch.tanh(rows * shown / (1 - config.dropout) @ weights["read"] + weights["read_bias"])
    mean, log_variance = (hidden @ weights["mean"] + weights["mean_bias"]).chunk(2, dim=1)
    latent = mean + torch.randn(mean.shape, generator=random) * torch.exp(0.5 * log_variance)
    opened = torch.tanh(latent @ weights["open"] + weights["open_bias"])
    logits = opened @ weights["write"].T + weights["write_bias"]
    surprise = -(torch.log_softmax(logits, dim=1) * taken).sum(dim=1).mean()
    distance = 0.5 * (log_variance.exp() + mean**2 - 1 - log_variance).sum(dim=1).mean()
    return surprise + kl * distance


def _unit_rows(history: sp.csr_matrix) -> sp.csr_matrix:
    norms = np.sqrt(np.asarray(history.multiply(history).sum(axis=1)).ravel())
    scaled = history.data / np.repeat(np.maximum(norms, 1e-12), np.diff(history.indptr))
    return sp.csr_matrix((scaled.astype(np.float32), history.indices, history.indptr), shape=history.shape)


def _fit(context: FitContext, config: MultVaeConfig) -> MultVae:
    return fit_multvae(
        context.train, context.catalog, config, name=context.name, seed=context.seed, progress=context.progress
    )


def _load(name: str, state: State, catalog: Catalog) -> MultVae:
    arrays = state.arrays
    layers = Layers(**{field.name: arrays[field.name] for field in fields(Layers)})
    known = np.pad(arrays["known"], (0, len(catalog) - len(arrays["known"])))
    return MultVae(name, MultVaeConfig.model_validate(state.config), layers, known, catalog.active, catalog.tie_order)


COMPONENT = Component("retriever", MultVaeConfig, _fit, _load)
