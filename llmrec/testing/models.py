"""Tiny models with random weights, in the file layout of real ones: for tests that must run in moments."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmrec.models.quiet import quiet_transformers

if TYPE_CHECKING:
    from transformers import BertConfig

__all__ = ["tiny_bert", "tiny_cross_encoder", "tiny_llama"]

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def tiny_bert(
    folder: Path,
    *,
    layers: int = 2,
    hidden: int = 32,
    words: Sequence[str] = (),
    seed: int = 0,
    pooling: Literal["mean", "cls", "max"] = "mean",
) -> Path:
    """Write a tiny random BERT text encoder in sentence-transformers' layout.

    Any ASCII text can be tokenized: the vocabulary has all letters, digits and signs, plus `words`.

    Args:
        folder: where to write; made if it is missing.
        layers: transformer layers.
        hidden: length of a vector; a multiple of 4.
        words: whole words of the vocabulary, one token each.
        seed: of the random weights.
        pooling: how token vectors become one.

    Returns:
        The folder.
    """
    from transformers import BertModel

    _write(folder, BertModel, _config(layers, hidden, words), words, seed)
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    _write_json(
        folder / "modules.json",
        [
            {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for place, (kind, path) in enumerate(modules)
        ],
    )
    names = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}
    modes = {f"pooling_mode_{name}": kind == pooling for kind, name in names.items()}
    _write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": hidden, **modes})
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": 128, "do_lower_case": False})
    (folder / "2_Normalize").mkdir(exist_ok=True)
    return folder


def tiny_cross_encoder(
    folder: Path, *, layers: int = 2, hidden: int = 32, words: Sequence[str] = (), seed: int = 0
) -> Path:
    """Write a tiny random BERT cross-encoder with one output; see `tiny_bert`."""
    from transformers import BertForSequenceClassification

    _write(folder, BertForSequenceClassification, _config(layers, hidden, words, num_labels=1), words, seed)
    return folder


_CHAT = """{% for message in messages %}<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def tiny_llama(
    folder: Path, *, layers: int = 2, hidden: int = 32, words: Sequence[str] = (), seed: int = 0, positions: int = 512
) -> Path:
    """Write a tiny random causal language model with a chat template, as Llama and SmolLM are built.

    Any text can be tokenized, byte by byte; `words` are one token each, with a space in front too.

    Args:
        folder: where to write; made if it is missing.
        layers: transformer layers.
        hidden: length of a vector; a multiple of 8.
        words: whole words of the vocabulary.
        seed: of the random weights.
        positions: tokens it reads at most; its weights do not depend on it.

    Returns:
        The folder.
    """
    import torch
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    pieces = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges: list[tuple[str, str]] = []
    for word in (start + word for word in words for start in ("", "\u0120")):
        for end in range(1, len(word)):
            merges.append((word[:end], word[end]))
            pieces.append(word[: end + 1])
    ids = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    backend = Tokenizer(BPE(ids, list(dict.fromkeys(merges))))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    backend.add_special_tokens(special)
    config = LlamaConfig(
        vocab_size=len(ids),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
    )
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
        PreTrainedTokenizerFast(
            tokenizer_object=backend, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>",
            chat_template=_CHAT,
        ).save_pretrained(folder)  # fmt: skip
    return folder


def _vocabulary(words: Sequence[str]) -> list[str]:
    signs = string.ascii_lowercase + string.digits
    pieces = [*signs, *(f"##{sign}" for sign in signs), *string.punctuation]
    return list(dict.fromkeys([*_SPECIAL, *pieces, *(word.lower() for word in words)]))


def _config(layers: int, hidden: int, words: Sequence[str], **extra: Any) -> BertConfig:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(_vocabulary(words)),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * hidden,
        max_position_embeddings=128,
        # Wider than real models start, so that texts differ by more than rounding.
        initializer_range=0.3,
        **extra,
    )


def _write(folder: Path, kind: Any, config: BertConfig, words: Sequence[str], seed: int) -> None:
    """Write config, weights and tokenizer."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import BertProcessing
    from transformers import BertTokenizerFast

    ids = {piece: place for place, piece in enumerate(_vocabulary(words))}
    backend = Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = BertNormalizer(lowercase=True), BertPreTokenizer()
    backend.post_processor = BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    backend.add_special_tokens(list(_SPECIAL))
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        kind(config).save_pretrained(folder)
        BertTokenizerFast(tokenizer_object=backend, model_max_length=128).save_pretrained(folder)


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
