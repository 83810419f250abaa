"""Run a model over framed sequences in batches of one length, several at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np

from llmrec.models._tokens import Framed, length_batches
from llmrec.models.device import Placement
from llmrec.models.sharing import in_threads
from llmrec.models.threads import set_threads
from llmrec.types import Float32Array, Int64Array

__all__ = ["Forward", "Network", "side_by_side", "token_budget"]

Part = TypeVar("Part")

Forward = Callable[[Int64Array, Int64Array], Float32Array]
"""Token ids and segment ids, each Int64[b, length] without pads, to Float32[b, dim]. May be called by many threads."""

# Tokens per batch. On a CPU small batches stay in its caches; a GPU wants to be filled.
_CPU_BUDGET = 4096
_ACCELERATOR_BUDGET = 65536
# Tokens that are worth a batch of their own, where there are too few for all threads.
_LEAST = 256


@dataclass(frozen=True, slots=True)
class Network:
    """Weights on a device, ready to run.

    Attributes:
        forward: from tokens to vectors or scores.
        placement: where it runs.
        pad_id: the token that stands for a sequence of none.
    """

    forward: Forward
    placement: Placement
    pad_id: int

    def run(self, framed: Framed) -> Float32Array:
        """Run all sequences.

        A sequence's result does not depend on what runs beside it, as a batch holds sequences of one length, so
        that nothing is padded: attention adds up its terms in blocks that depend on the padded length, and
        padding to the longest neighbour moved results by 1e-3 in bfloat16. (It is faster too: without pads
        attention needs no mask.) What is left is how the machine's matrix product rounds a row beside few or
        many other rows: equal bit for bit in bfloat16 on CPUs with AVX-512 BF16, about 1e-6 in float32.
        Emulated bfloat16, float16 and accelerators promise no more than their own rounding.

        On a CPU, batches are shared out to one thread a core: that is faster than all cores on one small matrix
        product after the other, and threads that never wait for each other do not suffer from a busy machine.

        Args:
            framed: n sequences.

        Returns:
            Float32[n, dim], in the order of the sequences.
        """
        batches = list(length_batches(framed.lengths, token_budget(int(framed.lengths.sum()), self.placement)))
        parts = side_by_side(lambda rows: self._part(framed, rows), batches, self.placement)
        ordered = np.empty((len(framed.lengths), parts[0].shape[1]), np.float32)
        ordered[np.fromiter(chain.from_iterable(batches), np.int64)] = np.concatenate(parts)
        return ordered

    def _part(self, framed: Framed, rows: Int64Array) -> Float32Array:
        return self.forward(*framed.stacked(rows, self.pad_id))


def token_budget(tokens: int, placement: Placement) -> int:
    """Tokens of a batch, where there are so many in all; few are shared out to all threads."""
    if not placement.is_cpu:
        return _ACCELERATOR_BUDGET
    return min(_CPU_BUDGET, max(_LEAST, -(-tokens // set_threads())))


def side_by_side(
    work: Callable[[Part], Float32Array], parts: Sequence[Part], placement: Placement
) -> list[Float32Array]:
    """Do a model's work on all parts: on a CPU several at a time, each on one thread."""
    threads = set_threads() if placement.is_cpu else 1
    if threads == 1 or len(parts) < threads // 2:
        return [work(part) for part in parts]  # each with all threads
    return in_threads(work, parts)
