"""A search on disk: Optuna's journal, to which every finished trial is added in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.errors import ConfigError
from llmrec.tune.parameters import Parameter
from llmrec.tune.sampler import as_optuna, quiet_optuna
from llmrec.tune.trials import Trial

if TYPE_CHECKING:
    from optuna.study import Study

__all__ = ["Record", "open_record"]

JOURNAL, STUDY = "trials.journal", "llmrec"


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """The trials of one search.

    Attributes:
        study: on disk.
        parameters: what is searched.
        metric: what is searched for.
    """

    study: Study
    parameters: Sequence[Parameter]
    metric: str

    def trials(self) -> list[Trial]:
        """Every finished trial, in order."""
        return [Trial.from_dict(known.user_attrs["trial"]) for known in self.study.get_trials(deepcopy=False)]

    def add(self, trial: Trial) -> None:
        """Write a finished trial."""
        with quiet_optuna():
            self.study.add_trial(as_optuna(self.parameters, trial, self.metric))


@contextmanager
def open_record(
    folder: Path, about: Mapping[str, Any], parameters: Sequence[Parameter], metric: str
) -> Iterator[Record]:
    """Open the search in a folder, or begin it; nobody else can meanwhile.

    Args:
        folder: where it is kept.
        about: what its trials depend on, JSON values; a folder holds trials of one search only.
        parameters: what is searched.
        metric: what is searched for.

    Raises:
        ConfigError: the folder holds another search, cannot be read, or somebody else is at it.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(f"another process is tuning in {folder}; wait for it, or use another folder") from None
    try:
        with quiet_optuna():
            study = _study(folder, json.loads(json.dumps(about)))
        yield Record(study, parameters, metric)
    finally:
        lock.release()


def _study(folder: Path, about: dict[str, Any]) -> Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    path = folder / JOURNAL
    _mend(path)
    try:
        storage = JournalStorage(JournalFileBackend(str(path), JournalFileOpenLock(str(path))))
        study = optuna.create_study(storage=storage, study_name=STUDY, direction="maximize", load_if_exists=True)
        known = study.user_attrs.get("about")
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); remove it, or use another folder") from None
    if known is None:
        study.set_user_attr("about", about)
    elif known != about:
        part, before, now = _difference(known, about)
        raise ConfigError(
            f"{folder} holds the trials of another search: {part} was {_short(before)} and is {_short(now)}; "
            "use another folder for this one"
        )
    return study


def _mend(path: Path) -> None:
    """Undo what a kill may have left: half a line, and the lock of a process that is no more."""
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if path.is_file():
        written = path.read_bytes()
        whole = written[: written.rfind(b"\n") + 1]
        if whole != written:
            path.write_bytes(whole)


def _difference(before: Any, now: Any, path: str = "") -> tuple[str, Any, Any]:
    """The first place where two JSON values differ, and what stands there."""
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        before, now = (dict(enumerate(values)) for values in (before, now))
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            if before.get(key) != now.get(key):
                return _difference(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    return path, before, now


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
