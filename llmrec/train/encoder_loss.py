"""The loss an encoder is tuned with: softmax over the items of a batch, corrected for how it was drawn.

Imports torch and sentence-transformers; `llmrec.train.encoder` imports it when training begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from sentence_transformers.base.losses.gradcache import CachedLossMixin
from torch import Tensor

__all__ = ["InBatchLoss", "in_batch_softmax"]


def in_batch_softmax(
    anchors: Tensor, candidates: Tensor, positives: Tensor, hidden: Tensor, corrections: Tensor, temperature: float
) -> Tensor:
    """Return the mean over the pairs of -log softmax(score of the positive), over the candidates of the batch.

    A score is cosine / temperature - correction; the positive's too, so that the softmax estimates the one over the
    whole catalog (Yi et al., RecSys 2019, equation 5, with the chance of being in the batch as correction).

    Args:
        anchors: Float[b, dim], length one.
        candidates: Float[c, dim], length one.
        positives: Int64[b], places among the candidates.
        hidden: Bool[b, c], candidates that are left out of a pair's denominator; never its positive.
        corrections: Float[c], taken off the scores.
        temperature: above 0.
    """
    scores = anchors @ candidates.T / temperature - corrections
    return F.cross_entropy(scores.masked_fill(hidden, float("-inf")), positives)


class InBatchLoss(CachedLossMixin, torch.nn.Module):  # type: ignore[misc]
    """`in_batch_softmax` for the sentence-transformers trainer.

    It takes one column, the distinct texts of the batch, and as labels which of them make which pair: the arrays of
    a `PairBatch` as tensors. `CachedMultipleNegativesRankingLoss` knows pairs of columns only, so what is used of
    sentence-transformers is the machinery below it.

    Attributes:
        model: the SentenceTransformer.
        mini_batch_size: texts that go through it at once.
        cached: whether activations are thrown away and computed again.
        temperature: cosines are divided by it.
        correction: how much of the logarithm of the chances is taken off.
        dims: lengths of the vectors that are trained; the loss is the mean over them.
    """

    def __init__(
        self, model: Any, *, chunk: int, cached: bool, temperature: float, correction: float, dims: Sequence[int]
    ) -> None:
        super().__init__()
        self.model = model
        self.mini_batch_size = chunk
        self.cached = cached
        self.temperature = temperature
        self.correction = correction
        self.dims = tuple(dims)

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: dict[str, Tensor]) -> Tensor:
        """Return the loss of a batch, whose texts should be sorted by length: a chunk is padded to its longest."""
        features = list(sentence_features)
        machinery: CachedLossMixin = self
        if self.cached:
            loss: Tensor = machinery.forward_cached(features, labels)
            return loss
        grad = torch.is_grad_enabled()
        parts = machinery.embed_minibatch_iter(features[0], with_grad=grad, copy_random_state=False)
        return self.calculate_loss([[vectors for vectors, _ in parts]], labels)

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: dict[str, Tensor], *, with_backward: bool = False
    ) -> Tensor:
        """Return the loss of vectors that are there already; with `with_backward`, their gradients too."""
        vectors = torch.cat(reps[0]).float()
        if not self.dims:
            loss = self._loss(vectors, labels)
        else:
            loss = torch.stack([self._loss(vectors[:, :dim], labels) for dim in self.dims]).mean()
        if with_backward:
            loss.backward()  # type: ignore[no-untyped-call]
            loss = loss.detach()
        return loss

    def _loss(self, vectors: Tensor, labels: dict[str, Tensor]) -> Tensor:
        vectors = F.normalize(vectors, dim=1)[labels["order"]]
        anchors = (vectors[labels["anchors"]] * labels["weights"].unsqueeze(-1)).sum(dim=1)
        return in_batch_softmax(
            F.normalize(anchors, dim=1),
            vectors[: labels["hidden"].shape[1]],
            labels["positives"],
            labels["hidden"],
            self.correction * labels["log_chances"],
            self.temperature,
        )
