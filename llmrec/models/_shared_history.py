"""A cross-encoder that reads a user's history once for all candidates.

The history's tokens attend to each other only, so what they are does not depend on the candidate; the candidate's
tokens, and the first token whose vector becomes the score, attend to the history and to themselves. For a hundred
candidates of twelve tokens and a history of eighty that is a sixth of the tokens. The model has to be tuned to it:
`train_pair_scorer` with `shared_history`. (MacAvaney et al., "Efficient Document Re-Ranking for Transformers by
Precomputing Term Representations", SIGIR 2020, keep queries and documents apart like this in the lower layers.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llmrec.errors import ModelError
from llmrec.models._bert import LEAST, MOST, Bert, attend, logits, read_bert
from llmrec.models._network import side_by_side, token_budget
from llmrec.models._tokens import Framed
from llmrec.models.device import Placement
from llmrec.types import BoolArray, Float32Array, Int64Array

if TYPE_CHECKING:
    import torch

__all__ = ["Shared", "SharedHistory", "attend_both", "load_shared_history", "shared_parts"]

ROUND_TO = 8
"""Lengths of candidates are rounded up to multiples of this for attention among their own tokens."""


@dataclass(frozen=True, slots=True)
class Block:
    """Candidates of about one length.

    Attributes:
        places: Int64[n, length], where their tokens stand among those of the `Shared`; 0 at pads.
        real: Bool[n, length], False at pads.
    """

    places: Int64Array
    real: BoolArray


@dataclass(frozen=True, slots=True)
class Shared:
    """A history and some candidates, as the model reads them: m tokens, the history's first.

    Attributes:
        rows: Int64[n], which pairs these are.
        ids: Int64[m], tokens.
        types: Int64[m], segments.
        positions: Int64[m], as in the pair.
        history: tokens of the history.
        blocks: all candidates, in the order of `rows` and of their tokens.
    """

    rows: Int64Array
    ids: Int64Array
    types: Int64Array
    positions: Int64Array
    history: int
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class SharedHistory:
    """Weights on a device, ready to run.

    Attributes:
        forward: scores Float32[n] of a history and n candidates. May be called by many threads.
        placement: where it runs.
    """

    forward: Callable[[Shared], Float32Array]
    placement: Placement

    def run(self, framed: Framed, owners: Int64Array) -> Float32Array:
        """Score pairs; a pair's score is the same alone and in any company, as `Network.run` has it.

        Args:
            framed: n pairs.
            owners: Int64[n], pairs of one number have the same first text.

        Returns:
            Float32[n].
        """
        candidates = int((framed.lengths - framed.borders + 1).sum())
        parts = list(shared_parts(framed, owners, token_budget(candidates, self.placement)))
        scores = np.empty(len(owners), np.float32)
        for part, found in zip(parts, side_by_side(self.forward, parts, self.placement), strict=True):
            scores[part.rows] = found
        return scores


def shared_parts(framed: Framed, owners: Int64Array, budget: int) -> Iterator[Shared]:
    """Put pairs of one history together, as long as their candidates are of some `budget` tokens or fewer.

    Pairs whose history was cut to another length, as their item is long, are parts of their own.
    """
    lengths = framed.lengths - framed.borders + 1  # of candidates, with the first token of the pair
    order = np.lexsort((-lengths, framed.borders, owners))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(owners[order]) != 0) | (np.diff(framed.borders[order]) != 0)
    groups = np.flatnonzero(new)
    before = np.cumsum(lengths[order]) - lengths[order]
    within = before - np.repeat(before[groups], np.diff(np.append(groups, len(order))))
    chunk = within // budget
    new[1:] |= np.diff(chunk) != 0
    starts = np.flatnonzero(new)
    for start, end in zip(starts, np.append(starts[1:], len(order)), strict=True):
        yield _shared(framed, order[start:end], lengths[order[start:end]])


def _shared(framed: Framed, rows: Int64Array, lengths: Int64Array) -> Shared:
    """One part: pairs of one history, longest candidates first."""
    border, start = int(framed.borders[rows[0]]), int(framed.offsets[rows[0]])
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    positions = np.where(within == 0, 0, border - 1 + within)
    tokens = np.concatenate([start + np.arange(1, border), np.repeat(framed.offsets[rows], lengths) + positions])
    return Shared(
        rows=rows,
        ids=framed.ids[tokens].astype(np.int64),
        types=framed.types[tokens].astype(np.int64),
        positions=np.concatenate([np.arange(1, border), positions]),
        history=border - 1,
        blocks=tuple(_blocks(lengths, border - 1)),
    )


def _blocks(lengths: Int64Array, first: int) -> Iterator[Block]:
    """Candidates by rounded length; `first` is the place of the first one's first token."""
    starts = first + np.cumsum(lengths) - lengths
    rounded = -(-lengths // ROUND_TO) * ROUND_TO
    for length in dict.fromkeys(rounded.tolist()):
        chosen = rounded == length
        columns = np.arange(length)
        real = columns < lengths[chosen][:, None]
        yield Block(np.where(real, starts[chosen][:, None] + columns, 0), real)


def load_shared_history(folder: Path, placement: Placement) -> SharedHistory:
    """Load the weights of a cross-encoder that was tuned to read histories once.

    Raises:
        ModelError: it is no plain BERT with a head for one number.
    """
    found = read_bert(folder, placement, headed=True)
    if found is None or found[1] is None:
        raise ModelError(
            f"{folder} says shared_history, which a plain BERT with one output can do only, and it holds another model "
            "or lacks weights; tune it again, with a BERT as base or without shared_history"
        )
    bert, head = found[0], found[1]

    def forward(part: Shared) -> Float32Array:
        import torch

        with torch.inference_mode():
            return np.asarray(logits(head, _first_tokens(bert, part, placement.device))[:, 0].float().cpu().numpy())

    return SharedHistory(forward, placement)


def _first_tokens(bert: Bert, part: Shared, device: str) -> torch.Tensor:
    """[n, dim]: the vector of each candidate's first token after the last layer."""
    import torch
    from torch.nn.functional import linear

    ids, types, positions = (torch.from_numpy(a).to(device) for a in (part.ids, part.types, part.positions))
    blocks = [(torch.from_numpy(b.places).to(device), torch.from_numpy(b.real).to(device)) for b in part.blocks]
    vectors = bert.embedded(ids, types, positions)
    dim = vectors.shape[1]
    for layer in bert.layers[:-1]:
        parts = linear(vectors, *layer.attend).view(len(ids), 3, bert.heads, -1)
        history = parts[: part.history].permute(1, 2, 0, 3)
        read = [attend(*history[:, None])[0].transpose(0, 1).flatten(1)]
        for places, real in blocks:
            own = parts[places].permute(2, 3, 0, 1, 4)
            read.append(attend_both(own[0], own[1:], real, history[1:])[real])
        vectors = bert.finished(layer, torch.cat(read), vectors)
    weight, bias = bert.layers[-1].attend
    keys = linear(vectors, weight[dim:], bias[dim:]).view(len(ids), 2, bert.heads, -1)
    firsts = vectors[torch.cat([places[:, 0] for places, _ in blocks])]
    queries = linear(firsts, weight[:dim], bias[:dim]).view(len(firsts), 1, bert.heads, -1).permute(2, 0, 1, 3)
    history = keys[: part.history].permute(1, 2, 0, 3)
    read, done = [], 0
    for places, real in blocks:
        own = keys[places].permute(2, 3, 0, 1, 4)
        read.append(attend_both(queries[:, done : done + len(places)], own, real, history)[:, 0])
        done += len(places)
    return bert.finished(bert.layers[-1], torch.cat(read), firsts)


def attend_both(query: torch.Tensor, own: torch.Tensor, real: torch.Tensor, history: torch.Tensor) -> torch.Tensor:
    """Attention of n candidates to their own tokens and to a history; the query is scaled already.

    In bfloat16 without the row's maximum, as `attend` has it; where that is not as exact, with it, row by row.

    Args:
        query: [heads, n, queries, d].
        own: [2, heads, n, length, d], their keys and values.
        real: Bool[n, length], False at pads.
        history: [2, heads, history, d], its keys and values.

    Returns:
        [n, queries, heads * d].
    """
    import torch

    near = query @ own[0].transpose(-1, -2)
    far = (query.flatten(1, 2) @ history[0].transpose(-1, -2)).view(*query.shape[:3], -1)
    pads = ~real[:, None]
    if query.dtype == torch.bfloat16:
        read, total = _weighed(near.exp().masked_fill(pads, 0.0), far.exp(), own[1], history[1])
        usable = (total > LEAST) & (total < MOST)
        if usable.all():
            return _side_by_side(read / total, query.dtype)
    near, far = near.float().masked_fill(pads, -torch.inf), far.float()
    most = torch.maximum(near.amax(dim=-1, keepdim=True), far.amax(dim=-1, keepdim=True))
    near, far = ((scores - most).exp().to(query.dtype) for scores in (near, far))
    exact, exact_total = _weighed(near, far, own[1], history[1])
    found = exact / exact_total
    if query.dtype == torch.bfloat16:
        found = torch.where(usable, read / total, found)
    return _side_by_side(found, query.dtype)


def _weighed(
    near: torch.Tensor, far: torch.Tensor, own: torch.Tensor, history: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of values by weights [heads, n, queries, length or history], and of the weights; in float32."""
    import torch

    total = near.sum(dim=-1, keepdim=True, dtype=torch.float32) + far.sum(dim=-1, keepdim=True, dtype=torch.float32)
    there = (far.flatten(1, 2) @ history).view(*far.shape[:3], -1)
    return (near @ own).float() + there.float(), total


def _side_by_side(read: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """[n, queries, heads * d] of [heads, n, queries, d]."""
    return read.to(dtype).permute(1, 2, 0, 3).flatten(2)
