"""Load a transformer and run it over framed sequences in batches of one length."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec.errors import ModelError
from llmrec.models._tokens import Framed, length_batches
from llmrec.models.device import Placement
from llmrec.models.quiet import quiet_transformers
from llmrec.types import Float32Array

if TYPE_CHECKING:
    import torch

__all__ = ["Network", "load_network"]

# Padded tokens per batch. On a CPU small batches stay in its caches; a GPU wants to be filled.
_CPU_BUDGET = 4096
_ACCELERATOR_BUDGET = 65536


@dataclass(frozen=True, slots=True)
class Network:
    """Weights on a device, ready to run.

    Attributes:
        module: the transformer, in evaluation mode.
        placement: where it runs.
        pad_id: the token id that fills up a batch.
        takes_types: whether its forward pass wants segment ids.
    """

    module: torch.nn.Module
    placement: Placement
    pad_id: int
    takes_types: bool

    def run(self, framed: Framed, head: Callable[[Any, torch.Tensor], torch.Tensor]) -> Float32Array:
        """Run all sequences and return what `head` makes of each batch.

        A sequence's result does not depend on what runs beside it, as a batch holds sequences of one length, so
        that nothing is padded: attention adds up its terms in blocks that depend on the padded length, and
        padding to the longest neighbour moved results by 1e-3 in bfloat16. (It is faster too: without pads
        attention needs no mask.) What is left is how the machine's matrix product rounds a row beside few or
        many other rows: equal bit for bit in bfloat16 on CPUs with AVX-512 BF16, about 1e-6 in float32.
        Emulated bfloat16, float16 and accelerators promise no more than their own rounding.

        Args:
            framed: n sequences.
            head: takes the model's output and the attention mask [b, length]; returns float32 [b, dim].

        Returns:
            Float32[n, dim], in the order of the sequences.
        """
        import torch

        budget = _CPU_BUDGET if self.placement.is_cpu else _ACCELERATOR_BUDGET
        batches = list(length_batches(framed.lengths, budget))
        parts = []
        with torch.inference_mode():
            for rows in batches:
                ids, mask, types = (
                    torch.from_numpy(part).to(self.placement.device) for part in framed.padded(rows, self.pad_id)
                )
                extra = {"token_type_ids": types} if self.takes_types else {}
                parts.append(head(self.module(input_ids=ids, attention_mask=mask, **extra), mask))
            result = torch.cat(parts).cpu().numpy()
        ordered = np.empty_like(result)
        ordered[np.concatenate(batches)] = result
        return ordered


def load_network(folder: Path, kind: str, placement: Placement) -> Network:
    """Load safetensors weights with one of transformers' Auto classes.

    Args:
        folder: holds config.json and the weights.
        kind: name of the class, such as "AutoModel".
        placement: where it runs, and in which number format.

    Raises:
        ModelError: the weights do not fit the configuration, or some are missing.
    """
    import transformers

    try:
        with quiet_transformers():
            module, info = getattr(transformers, kind).from_pretrained(
                folder,
                dtype=placement.torch_dtype,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ModelError(f"the model in {folder} cannot be loaded: {error}") from error
    # A pooler is never used here, and many encoders are published without one.
    missing = sorted(name for name in info["missing_keys"] if "pooler" not in name.split("."))
    if missing or info["mismatched_keys"]:
        lost = ", ".join(missing[:3] + [str(key) for key in list(info["mismatched_keys"])[:3]])
        raise ModelError(
            f"the weights in {folder} do not make a whole {type(module).__name__}: {lost} missing or of another "
            "shape. Random numbers would take their place, so fine-tune the model first or choose another"
        )
    pad_id = module.config.pad_token_id
    return Network(
        module=module.eval().to(placement.device),
        placement=placement,
        pad_id=0 if pad_id is None else int(pad_id),
        takes_types="token_type_ids" in inspect.signature(module.forward).parameters,
    )
