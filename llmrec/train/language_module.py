"""A causal language model to train: opened with adapters or without, and saved without them.

Imports torch and transformers; `llmrec.train.language_model` imports it when training begins.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from llmrec.errors import ConfigError
from llmrec.models import LanguageModel, best_placement, quiet_transformers
from llmrec.train.language_config import TuningConfig

__all__ = ["lora_settings", "new_module", "save_module"]


def lora_settings(rank: int) -> Any:
    """Adapters of this rank in every linear layer but the last, which foretells tokens; None for rank 0."""
    if rank == 0:
        return None
    from peft import LoraConfig, TaskType

    # no dropout: on a CPU its random numbers cost as much as the adapters, and one pass over the data overfits little
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM, r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear"
    )


def new_module(folder: Path, config: TuningConfig) -> Any:
    """Open a model to train.

    Weights that are trained are float32. Those that adapters are added to are as in serving, or in 4 bits.

    Raises:
        ConfigError: 4 bits are asked for where they cannot be had.
    """
    placement = best_placement().floating
    if config.quantised:
        return _quantised(folder)
    halved = config.lora_rank and placement.dtype == "bfloat16"
    dtype = torch.bfloat16 if halved else torch.float32
    return _opened(folder, dtype).to(placement.device)


def _quantised(folder: Path) -> Any:
    if not torch.cuda.is_available():
        raise ConfigError("quantised = true (QLoRA) takes an NVIDIA GPU, and there is none; leave it out")
    from transformers import BitsAndBytesConfig

    four = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    with quiet_transformers():
        return AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, quantization_config=four, device_map={"": 0}
        )


def _opened(folder: Path, dtype: torch.dtype) -> Any:
    with quiet_transformers():
        return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=dtype)


def save_module(trained: Any | None, base: LanguageModel, out: Path, *, adapter: Path | None = None) -> None:
    """Save a model without adapters so that it loads anywhere, in the number format of the model it began as.

    Args:
        trained: what was trained; None: nothing was, the model it began as.
        base: the model it began as; its tokenizer, chat template and licence go along.
        out: the folder; written to last, by moving files that are whole.
        adapter: where any adapters go too, as PEFT saves them; None: nowhere.
    """
    files = base.files()
    folder = files["config.json"].parent
    plain = _opened(folder, torch.float32)
    if trained is not None:
        plain = _with_weights(plain, trained)
        if adapter is not None and hasattr(trained, "peft_config"):
            trained.peft_config["default"].base_model_name_or_path = base.name
            with quiet_transformers():
                trained.save_pretrained(adapter, save_embedding_layers=False)  # else it asks the Hub
    with tempfile.TemporaryDirectory(prefix=".model-", dir=out) as place, quiet_transformers():
        plain.to(_kept_format(folder)).save_pretrained(place)
        for name, path in files.items():
            if not name.startswith(("config", "model", "generation_config")):
                shutil.copy(path, Path(place) / name)
        for path in sorted(Path(place).iterdir()):
            path.rename(out / path.name)


def _kept_format(folder: Path) -> torch.dtype:
    """The number format that a model's configuration says it is stored in."""
    found = AutoConfig.from_pretrained(folder, local_files_only=True).dtype
    return found if isinstance(found, torch.dtype) else torch.float32


def _with_weights(plain: Any, trained: Any) -> Any:
    """The model as it was read, in float32, with what was learned."""
    if not hasattr(trained, "peft_config"):
        plain.load_state_dict(trained.state_dict())
        return plain
    from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict

    adapted = PeftModel(plain, trained.peft_config["default"])
    learned = get_peft_model_state_dict(trained, save_embedding_layers=False)
    weights = {name: part.float().cpu() for name, part in learned.items()}
    set_peft_model_state_dict(adapted, weights)
    return adapted.merge_and_unload(safe_merge=True)
