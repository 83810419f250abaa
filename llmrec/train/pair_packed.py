"""Several candidates of one history in one sequence, for a cross-encoder that reads the history once.

Imports torch; `llmrec.train.pair_model` imports it when training begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

__all__ = ["Packed", "pack", "packed_logits"]


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """m pairs in b sequences, each a history without its first token, then candidates with theirs.

    Attributes:
        ids: Int64[b, length], tokens.
        types: Int64[b, length], segments.
        positions: Int64[b, length], as in the pair alone.
        parts: Int64[b, length]: 0 the history, 1 and up its candidates, -1 pads.
        rows: Int64[m], in which sequence a pair is.
        places: Int64[m], where its first token is.
    """

    ids: torch.Tensor
    types: torch.Tensor
    positions: torch.Tensor
    parts: torch.Tensor
    rows: torch.Tensor
    places: torch.Tensor

    def allowed(self) -> torch.Tensor:
        """Bool[b, 1, length, length]: which token may look at which: all at the history, a candidate at itself."""
        asking, asked = self.parts[:, None, :, None], self.parts[:, None, None, :]
        return (asked == 0) | ((asking == asked) & (asked >= 0))


def pack(ids: Sequence[Sequence[int]], types: Sequence[Sequence[int]]) -> Packed:
    """Put neighbouring pairs of one history into one sequence.

    Args:
        ids: m pairs as BERT frames them: first token, history, separator, candidate, separator.
        types: their segments, 0 up to the first separator, 1 from there.
    """
    histories = [row[1 : kinds.index(1)] for row, kinds in zip(ids, types, strict=True)]
    found: list[list[torch.Tensor]] = []
    rows, places = np.empty(len(ids), np.int64), np.empty(len(ids), np.int64)
    for row, (history, members) in enumerate(groupby(range(len(ids)), key=histories.__getitem__)):
        border = len(history) + 1
        whole, positions, parts = list(history), list(range(1, border)), [0] * len(history)
        for part, pair in enumerate(members, start=1):
            rows[pair], places[pair] = row, len(whole)
            whole += [ids[pair][0], *ids[pair][border:]]
            positions += [0, *range(border, len(ids[pair]))]
            parts += [part] * (len(whole) - len(parts))
        kinds = [int(part > 0 and position > 0) for part, position in zip(parts, positions, strict=True)]
        found.append([torch.tensor(column) for column in (whole, kinds, positions, parts)])
    columns = zip(*found, strict=True)
    ids_, types_, positions_, parts_ = (
        pad_sequence(list(column), batch_first=True, padding_value=pad)
        for column, pad in zip(columns, (0, 0, 0, -1), strict=True)
    )
    return Packed(ids_, types_, positions_, parts_, torch.from_numpy(rows), torch.from_numpy(places))


def packed_logits(module: Any, packed: Packed) -> torch.Tensor:
    """Float[m] of transformers' `BertForSequenceClassification` with one output."""
    device = module.device
    hidden = module.bert(
        input_ids=packed.ids.to(device),
        token_type_ids=packed.types.to(device),
        position_ids=packed.positions.to(device),
        attention_mask=packed.allowed().to(device),
    ).last_hidden_state
    firsts = hidden[packed.rows.to(device), packed.places.to(device)]
    logits: torch.Tensor = module.classifier(module.dropout(module.bert.pooler(firsts[:, None])))
    return logits[:, 0]
