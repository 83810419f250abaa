"""What is in a model's folder: its settings, its files and their fingerprint, without loading a weight."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from llmrec.errors import ConfigError, ModelError

__all__ = [
    "OpenedFiles",
    "SentenceLayout",
    "check_max_tokens",
    "check_pair_modules",
    "licence_files",
    "model_files",
    "read_config",
    "read_json",
    "read_layout",
    "short_name",
]

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
)
_LAYOUT_FILES = ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json")
_PAPERS = ("README.md", "LICENSE*", "NOTICE*")
_LEGACY_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_POOLINGS = ("cls", "max", "mean")
# A tokenizer without a limit says so with a number like 1e30.
_NO_LIMIT = 10**6


@dataclass(frozen=True, slots=True)
class SentenceLayout:
    """How a folder turns token vectors into one text vector, in sentence-transformers' terms.

    Attributes:
        transformer: the folder with config.json, tokenizer and weights.
        pooling: "mean", "cls" or "max".
        lowercase: whether texts are lower-cased before the tokenizer.
        prompts: named texts put before the input, such as "query" and "document".
        default_prompt: the text put before an input that is neither a user's nor an item's.
        extra: the other files that plain SentenceTransformer needs, by their path in the folder.
    """

    transformer: Path
    pooling: Literal["mean", "cls", "max"] = "mean"
    lowercase: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str = ""
    extra: Mapping[str, Path] = field(default_factory=dict)

    def prompt(self, *names: str) -> str:
        """The first prompt the model has of these names, else no prompt."""
        return next((self.prompts[name] for name in names if name in self.prompts), "")


def read_json(path: Path) -> Any:
    """Read a JSON file of a model folder.

    Raises:
        ModelError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path.parent} is not a model folder: {path.name} cannot be read ({error})") from error
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON ({error}); fetch or save the model again") from error


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.json of a transformer's folder."""
    config = read_json(folder / "config.json")
    if not isinstance(config, dict) or "model_type" not in config:
        raise ModelError(f"{folder / 'config.json'} names no model_type, so it is not a transformers model")
    return config


def read_layout(folder: Path) -> SentenceLayout:
    """Read a sentence-transformers folder, or take a plain transformer's folder as mean pooling.

    Raises:
        ModelError: the folder has a module or pooling this library does not run.
    """
    if not (folder / "modules.json").exists():
        read_config(folder)
        return SentenceLayout(folder)
    modules = [(str(m["type"]).rsplit(".", 1)[-1], str(m["path"])) for m in read_json(folder / "modules.json")]
    kinds = [kind for kind, _ in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ModelError(
            f"{folder} is built of {' + '.join(kinds)}; only Transformer + Pooling (+ Normalize) can be run. "
            "Choose another encoder, or merge its last layers into the transformer"
        )
    transformer, pooling_file = folder / modules[0][1], folder / modules[1][1] / "config.json"
    texts = _read_prompts(folder)
    extra = {f"{modules[1][1]}/config.json": pooling_file}
    extra |= {name: folder / name for name in _LAYOUT_FILES if (folder / name).exists()}
    if transformer != folder and (transformer / _LAYOUT_FILES[1]).exists():
        extra[f"{modules[0][1]}/{_LAYOUT_FILES[1]}"] = transformer / _LAYOUT_FILES[1]
    return SentenceLayout(
        transformer=transformer,
        pooling=_read_pooling(pooling_file, has_prompts=any(texts[0].values())),
        lowercase=_read_lowercase(transformer),
        prompts=texts[0],
        default_prompt=texts[1],
        extra=extra,
    )


def check_pair_modules(folder: Path) -> dict[str, Path]:
    """The files of sentence-transformers in a cross-encoder's folder, by name; none in a plain transformer's.

    Raises:
        ModelError: there are modules beside the transformer.
    """
    found = {name: folder / name for name in _LAYOUT_FILES if (folder / name).exists()}
    if "modules.json" in found:
        kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in read_json(found["modules.json"])]
        if kinds != ["Transformer"]:
            raise ModelError(
                f"{folder} is built of {' + '.join(kinds)}, so it is not a cross-encoder with a classification head; "
                "a pair scorer needs one trained with num_labels=1"
            )
    return found


def _read_pooling(path: Path, *, has_prompts: bool) -> Literal["mean", "cls", "max"]:
    config = read_json(path)
    modes = config.get("pooling_mode") or [mode for key, mode in _LEGACY_POOLING.items() if config.get(key)]
    modes = [modes] if isinstance(modes, str) else list(modes or ["mean"])
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise ModelError(f"{path} asks for {'+'.join(modes)} pooling; only {', '.join(_POOLINGS)} can be run")
    if has_prompts and not config.get("include_prompt", True):
        raise ModelError(f"{path} leaves the prompt out of the pooling (include_prompt false); that cannot be run")
    return cast("Literal['mean', 'cls', 'max']", modes[0])


def _read_lowercase(transformer: Path) -> bool:
    path = transformer / "sentence_bert_config.json"
    return bool(read_json(path).get("do_lower_case", False)) if path.exists() else False


def _read_prompts(folder: Path) -> tuple[dict[str, str], str]:
    """The named prompts, and the one for input of no kind."""
    path = folder / "config_sentence_transformers.json"
    config = read_json(path) if path.exists() else {}
    prompts = {str(name): str(text) for name, text in (config.get("prompts") or {}).items()}
    return prompts, prompts.get(config.get("default_prompt_name") or "", "")


def model_files(folder: Path, transformer: Path) -> dict[str, Path]:
    """The files that config, tokenizer and weights consist of, by their path in the folder.

    Raises:
        ModelError: there are no safetensors weights.
    """
    weights = sorted(transformer.glob("model*.safetensors"))
    if not weights:
        raise ModelError(
            f"{transformer} has no model.safetensors; weights in other formats (.bin, .pt) can run code when "
            "they are opened and are not read. Convert them with save_pretrained(..., safe_serialization=True)"
        )
    names = ("config.json", *_TOKENIZER_FILES, "model.safetensors.index.json")
    found = [transformer / name for name in names if (transformer / name).exists()] + weights
    return {path.relative_to(folder).as_posix(): path for path in found}


def licence_files(folder: Path) -> dict[str, Path]:
    """The model's own card, licence and notice, by name, where there are any: a copy of the weights carries them."""
    found = [path for name in _PAPERS for path in sorted(folder.glob(name)) if path.is_file()]
    return {path.name: path for path in found}


class OpenedFiles:
    """A model's files as they were when it was opened, though they are read later, or more than once.

    Without this, a folder that is replaced meanwhile would put other weights behind the first one's tokenizer.
    """

    def __init__(self, folder: Path, files: Mapping[str, Path]) -> None:
        self._folder = folder
        self._paths = sorted(files.values(), key=lambda path: path.name)
        self._stamps = [_stamp(path) for path in self._paths]
        self._digests: list[bytes] | None = None

    def check(self) -> None:
        """Raise ModelError unless the files are the same still; ones of known content may have been rewritten."""
        stamps = [_stamp(path) for path in self._paths]
        if stamps == self._stamps:
            return
        changed = [path for path, old, new in zip(self._paths, self._stamps, stamps, strict=True) if old != new]
        if None not in stamps and self._digests is not None and self._read() == self._digests:
            self._stamps = stamps
            return
        raise ModelError(
            f"the model in {self._folder} changed since it was opened; load it again ({changed[0].name} is "
            f"{'another file now' if _stamp(changed[0]) else 'gone'})"
        )

    def fingerprint(self, settings: Mapping[str, Any]) -> str:
        """Sha256 over settings and the bytes of the files; neither folder names nor times count."""
        if self._digests is None:
            self.check()
            digests = self._read()
            self.check()
            self._digests = digests
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for path, content in zip(self._paths, self._digests, strict=True):
            digest.update(f"\0{path.name}\0".encode())
            digest.update(content)
        return digest.hexdigest()

    def _read(self) -> list[bytes]:
        digests = []
        for path in self._paths:
            with path.open("rb") as stream:
                digests.append(hashlib.file_digest(stream, "sha256").digest())
        return digests


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is replaced or written to; None if it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def check_max_tokens(max_tokens: int, overhead: int, folder: Path, config: Mapping[str, Any]) -> None:
    """Raise ConfigError unless the model reads `max_tokens` and at least one of them is text."""
    limits = [config.get("max_position_embeddings")]
    path = folder / "tokenizer_config.json"
    limits.append(read_json(path).get("model_max_length") if path.exists() else None)
    limit = min((int(n) for n in limits if n is not None and 0 < n < _NO_LIMIT), default=_NO_LIMIT)
    if not overhead < max_tokens <= limit:
        raise ConfigError(f"max_tokens={max_tokens} is out of range for {folder.name}: {overhead + 1} to {limit}")


def short_name(name_or_path: str, folder: Path) -> str:
    """What to call a model: the asset's name as given, or a folder's last name, never a machine's path."""
    given = Path(name_or_path).expanduser()
    return folder.resolve().name if given == folder else name_or_path
