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

__all__ = ["load_module", "load_network", "transformers_forward"]


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
    pad_id = read_config(folder).get("pad_token_id")
    return Network(forward, placement, 0 if pad_id is None else int(pad_id))


def transformers_forward(folder: Path, output: Output, placement: Placement) -> Forward:
    """The forward pass of any architecture that transformers has; see `load_network`."""
    import torch

    module = load_module(folder, output, placement)
    takes_types = "token_type_ids" in inspect.signature(module.forward).parameters

    def forward(ids: Int64Array, types: Int64Array) -> Float32Array:
        with torch.inference_mode():
            given = {"input_ids": torch.from_numpy(ids).to(placement.device)}
            if takes_types:
                given["token_type_ids"] = torch.from_numpy(types).to(placement.device)
            found = module(**given)
            result = found.logits.float() if output == "logits" else pool(output, found.last_hidden_state)
            return np.asarray(result.cpu().numpy())

    return forward


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
