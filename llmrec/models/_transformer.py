"""The forward pass of a transformer, by transformers' own code: every architecture, every device."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.errors import ModelError
from llmrec.models._bert import bert_forward
from llmrec.models._folder import read_config
from llmrec.models._network import Forward, Network
from llmrec.models._pooling import Output, pool
from llmrec.models.device import Placement
from llmrec.models.quiet import quiet_transformers
from llmrec.types import Float32Array, Int64Array

__all__ = ["load_module", "load_network", "pad_id", "traceable", "transformers_forward"]


def load_network(folder: Path, output: Output, placement: Placement) -> Network:
    """Load safetensors weights: by our own code for BERT on a CPU, by transformers otherwise.

    Args:
        folder: holds config.json and the weights.
        output: what is made of a sequence.
        placement: where it runs, and in which number format.

    Raises:
        ModelError: the weights do not fit the configuration, or some are missing.
    """
    forward = bert_forward(folder, output, placement) or transformers_forward(folder, output, placement)
    return Network(forward, placement, pad_id(folder))


def pad_id(folder: Path) -> int:
    """The token that fills up, by a folder's config.json; 0 if it names none."""
    found = read_config(folder).get("pad_token_id")
    return 0 if found is None else int(found)


def transformers_forward(folder: Path, output: Output, placement: Placement) -> Forward:
    """The forward pass of any architecture that transformers has; see `load_network`."""
    import torch

    module = traceable(load_module(folder, output, placement), output)

    def forward(ids: Int64Array, types: Int64Array) -> Float32Array:
        with torch.inference_mode():
            given = (torch.from_numpy(part).to(placement.device) for part in (ids, types))
            return np.asarray(module(*given).cpu().numpy())

    return forward


def traceable(module: Any, output: Output) -> Any:
    """A torch module that takes ids and segment ids, Int64[b, length], and gives Float32[b, dim]."""
    import torch

    takes_types = "token_type_ids" in inspect.signature(module.forward).parameters

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, ids: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
            found = self.module(input_ids=ids, **({"token_type_ids": types} if takes_types else {}))
            return found.logits.float() if output == "logits" else pool(output, found.last_hidden_state)

    return Whole().eval()


def load_module(folder: Path, output: Output, placement: Placement) -> Any:
    """Load a transformer for inference with one of transformers' Auto classes; raises as `load_network`."""
    import transformers

    kind = "AutoModelForSequenceClassification" if output == "logits" else "AutoModel"
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
    return module.eval().to(placement.device)
