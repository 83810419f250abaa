"""A SentenceTransformer to train: opened as it will be served, with adapters or without, and saved without them.

Imports torch and sentence-transformers; `llmrec.train.encoder` imports it when training begins.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from llmrec.models import best_placement
from llmrec.train.encoder_config import EncoderConfig

__all__ = ["new_encoder", "plain_copy", "save_adapter", "save_encoder"]


def new_encoder(folder: Path, config: EncoderConfig, *, seed: int) -> Any:
    """Open a model in float32, which it is trained in, computing in less where the machine does.

    Args:
        folder: the model.
        config: says whether there are adapters.
        seed: of the adapters.
    """
    model = SentenceTransformer(
        str(folder),
        device=best_placement().device,
        local_files_only=True,
        model_kwargs={"dtype": torch.float32},
        # as in serving: a "[SEP]" in a title is text, not control
        processor_kwargs={"split_special_tokens": True},
    )
    if config.lora_rank:
        _add_adapters(model, config.lora_rank, seed)
    return model


def _add_adapters(model: Any, rank: int, seed: int) -> None:
    """Put adapters into every linear layer of the transformer; only they are trained from now on."""
    from peft import LoraConfig, inject_adapter_in_model

    settings = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.05, target_modules="all-linear")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(settings, model.transformers_model)


def plain_copy(model: Any) -> Any:
    """Return a copy with any adapters merged into its weights."""
    plain = copy.deepcopy(model)
    if any("lora_" in name for name, _ in plain.named_parameters()):
        from peft.tuners.tuners_utils import BaseTunerLayer

        for name, module in list(plain.named_modules()):
            if isinstance(module, BaseTunerLayer):
                module.merge(safe_merge=True)
                plain.set_submodule(name, module.get_base_layer())
    return plain


def save_adapter(model: Any, base: str, folder: Path) -> None:
    """Save the adapters of a model as PEFT does, for `PeftModel.from_pretrained(base, folder)`.

    Args:
        model: has adapters.
        base: what the model they belong to is called.
        folder: where to; made.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    inner = model.transformers_model
    settings = copy.deepcopy(inner.peft_config["default"])
    settings.base_model_name_or_path, settings.inference_mode = base, True
    settings.save_pretrained(str(folder))
    weights = {f"base_model.model.{name}": part.contiguous() for name, part in get_peft_model_state_dict(inner).items()}
    save_file(weights, folder / "adapter_model.safetensors")


def save_encoder(model: Any, base: Path, out: Path) -> None:
    """Save a model without adapters so that it loads anywhere.

    Args:
        model: what `plain_copy` returned.
        base: the folder it was made from; its licence goes along.
        out: the folder; written to last, by moving files that are whole.
    """
    with tempfile.TemporaryDirectory(prefix=".model-", dir=out) as place:
        model.save_pretrained(place, create_model_card=False)
        for path in [path for kind in ("LICENSE*", "NOTICE*") for path in base.glob(kind)]:
            shutil.copy(path, place)
        for path in sorted(Path(place).iterdir()):
            target = out / path.name
            if target.is_dir():
                shutil.rmtree(target)
            path.rename(target)
