"""Files from the Hugging Face Hub: only those needed, and never a long wait for a hub that does not answer."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from llmrec.assets.registry import check_names
from llmrec.errors import AssetError

__all__ = ["Listing", "cached_file", "cached_snapshot", "download", "hub_offline", "list_model", "watched"]

PATIENCE_S = 4.0
_CHUNK = 1 << 20
_TRUE = {"1", "on", "yes", "true"}

# Configuration, vocabulary and safetensors weights, of the model and of its sentence-transformers modules.
# No pickles, no code, no exports.
_NEEDED = re.compile(
    r"(\d+_\w+/)?("
    r"[\w.-]+\.json|(model|adapter_model)(-\d+-of-\d+)?\.safetensors|vocab\.txt|merges\.txt|[\w.-]+\.model)"
)
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Listing:
    """The needed files of a model repository.

    Attributes:
        revision: the commit.
        files: path -> sha256 (hex), or None for small files the hub keeps no sha256 of.
    """

    revision: str
    files: Mapping[str, str | None]


def hub_offline() -> bool:
    """Say whether the user forbade hub requests: HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE or LLMREC_OFFLINE."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "LLMREC_OFFLINE")
    return any(os.environ.get(name, "").lower() in _TRUE for name in names)


def cached_file(repo: str, revision: str, name: str) -> Path | None:
    """Return a file of the Hugging Face cache, at the revision or else at its main branch; asks nobody."""
    from huggingface_hub import try_to_load_from_cache

    for wanted in (revision, "main"):
        found = try_to_load_from_cache(repo, name, revision=wanted)
        if isinstance(found, str):
            return Path(found)
    return None


def cached_snapshot(repo: str) -> Path | None:
    """Return a model's folder in the Hugging Face cache if it holds all it takes; asks nobody."""
    config = cached_file(repo, "main", "config.json")
    if config is None:
        return None
    folder = config.parent
    names = [str(path.relative_to(folder).as_posix()) for path in folder.rglob("*") if path.is_file()]
    return folder if not _lacks(names) else None


def list_model(repo: str) -> Listing:
    """Ask the hub for the needed files of a model repository at its main branch.

    Raises:
        AssetError: the hub does not answer or knows no such model, or the model has no safetensors weights.
    """

    def ask(_beat: Callable[[], None]) -> Any:
        from huggingface_hub import HfApi

        return HfApi().model_info(repo, files_metadata=True, timeout=PATIENCE_S)

    info = watched(ask, f"the list of files of {repo}")
    files = {
        entry.rfilename: entry.lfs.sha256 if entry.lfs else None
        for entry in info.siblings
        if _NEEDED.fullmatch(entry.rfilename)
    }
    check_names(files)
    if lacking := _lacks(files):
        raise AssetError(f"the model {repo} has no {lacking}; llmrec loads safetensors weights and never pickles.")
    return Listing(revision=info.sha, files=files)


def download(repo: str, revision: str, names: Iterable[str], folder: Path) -> None:
    """Download files of a model repository into a folder, each once, without retries.

    Raises:
        AssetError: the hub does not answer, stops answering, or refuses.
    """

    def fetch(beat: Callable[[], None]) -> None:
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers

        for name in names:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            request = get_session().stream(
                "GET",
                hf_hub_url(repo, name, revision=revision),
                headers=build_hf_headers(),
                timeout=PATIENCE_S,
                follow_redirects=True,
            )
            with request as response, target.open("wb") as out:
                response.raise_for_status()
                for chunk in response.iter_bytes(_CHUNK):
                    beat()
                    out.write(chunk)

    watched(fetch, f"the files of {repo}")


def watched(work: Callable[[Callable[[], None]], _T], what: str, patience_s: float = PATIENCE_S) -> _T:
    """Run network work in a daemon thread and give up on it once it falls silent.

    A time-out of the HTTP client does not cover everything: looking up a name can hang for minutes, and cannot be
    interrupted. The thread is then left behind; it ends at its next sign of life, or with the process.

    Args:
        work: does the work, and calls its argument at every sign of life.
        what: what is being fetched, for messages.
        patience_s: seconds of silence after which to give up.

    Raises:
        AssetError: silence, or any error of the work.
    """
    done: Future[_T] = Future()
    pulse = [time.monotonic()]
    given_up = threading.Event()

    def beat() -> None:
        if given_up.is_set():
            raise TimeoutError("nobody waits for this any more")
        pulse[0] = time.monotonic()

    def run() -> None:
        try:
            done.set_result(work(beat))
        except BaseException as error:  # noqa: BLE001 - handed to the waiting thread, which reports it
            done.set_exception(error)

    thread = threading.Thread(target=run, name="llmrec-hub", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.05)
        if time.monotonic() - pulse[0] > patience_s and not done.done():
            given_up.set()
            raise AssetError(f"the hub did not answer within {patience_s:g} s when asked for {what}.")
    error = done.exception()
    if error is not None:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise AssetError(f"the hub did not give {what}: {reason[0]}") from error
    return done.result()


def _lacks(names: Iterable[str]) -> str:
    """Say what a model folder with these files lacks to be loaded, or nothing."""
    there = set(names)
    if "config.json" not in there:
        return "config.json"
    if not any(name.endswith(".safetensors") for name in there):
        return "safetensors weights"
    if not any(name.endswith(_VOCABULARIES) for name in there):
        return "tokenizer files"
    return ""
