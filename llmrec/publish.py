"""A bundle on the Hugging Face Hub: verified before it leaves, and without what single users did unless told so."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmrec.assets import hub_offline
from llmrec.bundle import read_bundle, write_bundle
from llmrec.card import model_card
from llmrec.errors import BundleError
from llmrec.types import State

__all__ = ["USER_PARTS", "push_to_hub", "what_to_push"]

USER_PARTS = ("histories", "users")
"""Parts that say what single users did or who they are."""


def push_to_hub(
    path: str | Path,
    repo_id: str,
    *,
    private: bool = True,
    with_users: bool = False,
    license: str | None = None,  # noqa: A002 - the Hub's word
    token: str | None = None,
) -> str:
    """Upload a bundle as a model repository; what the repository held of an earlier one is replaced, in one commit.

    Stored histories and profiles stay behind: personal data is not published by accident. The bundle then still
    serves queries that bring their own history. Weights learned from a log (counts, item-item weights) do go along.

    Args:
        path: the bundle.
        repo_id: "owner/name", or "name" for the token's owner; made if it is not there.
        private: whether a new repository is private.
        with_users: also upload stored histories and profiles.
        license: the whole's licence for its card, as the Hub writes it, such as "apache-2.0".
        token: the Hub's access token; none: HF_TOKEN or what `hf auth login` stored.

    Returns:
        The repository's address.

    Raises:
        BundleError: the bundle is missing or damaged, the repository is public though `private` was asked for, or
            the Hub is out of reach or refuses.
    """
    from huggingface_hub import HfApi

    with _prepared(Path(path), with_users, license) as folder:
        if hub_offline():
            raise BundleError(
                f"cannot push to {repo_id}: hub requests are forbidden; unset HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE "
                "and LLMREC_OFFLINE"
            )
        api = HfApi(token=token, library_name="llmrec")
        try:
            return _upload(api, repo_id, private, folder)
        except (OSError, ValueError) as error:  # the Hub's errors, and those of the network, are among these
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise BundleError(
                f"cannot push to {repo_id}: {reason} Check the name, the network, and that HF_TOKEN holds a token "
                "that may write (or run: hf auth login)"
            ) from error


def what_to_push(path: str | Path, *, with_users: bool = False) -> list[tuple[str, int]]:
    """List what `push_to_hub` would upload: the name and size in bytes of each file. Asks nobody.

    Raises:
        BundleError: the bundle is missing or damaged.
    """
    with _prepared(Path(path), with_users, None) as folder:
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        return [(file.relative_to(folder).as_posix(), file.stat().st_size) for file in files]


@contextmanager
def _prepared(path: Path, with_users: bool, license_name: str | None) -> Iterator[Path]:
    """A copy of a bundle, verified, as it is to be uploaded."""
    structure, parts = read_bundle(path)
    structure = _without_paths(structure)
    kept = {
        name: State(_without_paths(state.config), state.arrays, state.files)
        for name, state in parts.items()
        if with_users or name not in USER_PARTS
    }
    if license_name is not None:
        structure = {**structure, "about": {**structure["about"], "license": license_name}}
    with tempfile.TemporaryDirectory(prefix="llmrec-push-") as work:
        yield write_bundle(Path(work) / "bundle", structure, kept, model_card(structure, kept))


def _without_paths(value: Any) -> Any:
    """JSON values in which a path of this machine is but its last name: the rest is nobody's business."""
    if isinstance(value, Mapping):
        return {key: _without_paths(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(part) for part in value]
    return Path(value).name if isinstance(value, str) and _is_path(value) else value


def _is_path(text: str) -> bool:
    """Whether a text is the absolute path of something on this machine."""
    try:
        return Path(text).is_absolute() and Path(text).exists()
    except (OSError, ValueError):  # too long for a path, or with a zero byte
        return False


def _upload(api: Any, repo_id: str, private: bool, folder: Path) -> str:
    repo = api.create_repo(repo_id, private=private, exist_ok=True)
    if private and not api.repo_info(repo.repo_id).private:
        raise BundleError(
            f"{repo.repo_id} is a public repository, and a private one was asked for; make it private on the Hub, "
            "choose another name, or say that it may be public (--public, private=False)"
        )
    api.upload_folder(
        repo_id=repo.repo_id,
        folder_path=folder,
        commit_message="Upload a bundle made with llmrec",
        delete_patterns="*",
    )
    return str(repo)
