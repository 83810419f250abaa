"""Search the settings of a pipeline for those that are best on validation cases."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmrec.build import fit
from llmrec.component import silent
from llmrec.config import Config
from llmrec.data import Catalog, Interactions, Users, split_by
from llmrec.errors import ConfigError, LlmrecError, MissingExtraError, ModelError
from llmrec.evaluate import ACCURACY, ProtocolCard, Report, Wanted, benchmark_of, benchmark_on
from llmrec.kept import forget_kept
from llmrec.space import Space
from llmrec.tune.parameters import Parameter, changed, read_parameters, standing
from llmrec.tune.record import Record, open_record
from llmrec.tune.sampler import importance, propose
from llmrec.tune.trials import Trial, TuneResult, best_of

__all__ = ["HOLDOUTS", "TuneOptions", "check_space", "tune"]

HOLDOUTS = ("last", "time")
"""The splits that leave, before their test, a log that can be split in the same way."""

_RECORDED = (ConfigError, ModelError, MemoryError, ArithmeticError, ValueError, RuntimeError)
"""What other settings may mend; a want of data, of a package or of disk is the same for all, and stops the search."""


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """How to search.

    Attributes:
        trials: stop when so many are done, earlier runs included; None: when the time is up.
        minutes: begin no trial when so many minutes of this run have passed; None: however long it takes.
        metric: what is searched for: a metric of accuracy and a cut-off, such as "NDCG@10".
        users: measure on a fixed random sample of so many; None: on all.
        holdout: "last" or "time"; what may be seen of the log, and what is foretold, see `tune`.
        seed: of the search.
        work: folder for trials and for what training writes; None: a temporary one, so that nothing is left.
    """

    trials: int | None = 30
    minutes: float | None = None
    metric: str = "NDCG@10"
    users: int | None = None
    holdout: str = "last"
    seed: int = 0
    work: Path | None = None

    def __post_init__(self) -> None:
        if self.trials is None and self.minutes is None:
            raise ConfigError("say when to stop: after so many trials, or minutes")
        if (self.trials is not None and self.trials < 1) or (self.minutes is not None and self.minutes <= 0):
            raise ConfigError(f"trials and minutes must be above 0, got {self.trials} and {self.minutes}")
        name, _, cut = self.metric.partition("@")
        if name not in ACCURACY or not re.fullmatch(r"[1-9]\d{0,8}", cut):
            raise ConfigError(f"metric {self.metric!r} must be one of {', '.join(ACCURACY)} with @K, such as NDCG@10")
        if self.users is not None and self.users < 2:
            raise ConfigError(f"users must be at least 2, got {self.users}")
        if self.holdout not in HOLDOUTS:
            raise ConfigError(f"holdout must be one of {', '.join(map(repr, HOLDOUTS))}, got {self.holdout!r}")

    @property
    def cut(self) -> int:
        """The cut-off of the metric."""
        return int(self.metric.partition("@")[2])


@dataclass(frozen=True, slots=True)
class _Search:
    """What every trial shares; `log` ends before the test."""

    config: Config
    parameters: tuple[Parameter, ...]
    catalog: Catalog
    log: Interactions
    users: Users | None
    options: TuneOptions
    progress: Callable[[str], None]


def tune(
    config: Config,
    space: Space,
    catalog: Catalog,
    interactions: Interactions,
    *,
    users: Users | None = None,
    options: TuneOptions | None = None,
    progress: Callable[[str], None] = silent,
) -> TuneResult:
    """Search the settings of a pipeline for those that are best on validation cases; the test is never seen.

    What the test of the split would ask is put aside first, unseen: with `holdout="last"` every user's last
    interaction, with `"time"` whatever came after the last cut. What is left is split again in the same way, and each
    trial is fitted and measured on that, by full ranking: with `"last"`, on every user's second-last interaction, while
    fusions are tuned on the third last. Changing what was put aside changes nothing.

    The first trial is the pipeline as it stands. A finished trial is on disk at once; a search that was stopped goes on
    where it was, and gives what it would have given. Retrievers of the first stage none of whose settings are searched
    are fitted once, as long as no policy is searched that changes what may be shown; `sequence` and `tuned_dense` are
    trained once for the same settings. A trial whose settings do not go together, or that runs out of memory, is
    recorded as failed.

    Args:
        config: the pipeline.
        space: which settings, and where to look; see `Space`.
        catalog: all items.
        interactions: the whole log.
        users: what else is known of users.
        options: how long to search, and for what.
        progress: told what is going on.

    Returns:
        The trials and the best of them. Its metric is too good: it is the largest of many, on the users it was chosen
        on. Measure it on the test, once.

    Raises:
        ConfigError: a path or value of the space is wrong, `work` holds another search, or every trial failed.
        DataError: the log cannot be split so.
        MissingExtraError: Optuna, or a package a component needs, is not installed.
    """
    options = options or TuneOptions()
    parameters = check_space(space, config)
    log = split_by(options.holdout, interactions, catalog.items, config.min_interactions).known
    search = _Search(config, parameters, catalog, log, users, options, progress)
    with _folder(options.work) as folder, open_record(folder, _about(search), parameters, options.metric) as record:
        _run(search, record, folder / "models")
        trials = tuple(record.trials())
    best = best_of(trials, options.metric)
    if best is None:
        raise ConfigError(f"all {len(trials)} trials failed; the last one: {trials[-1].error}")
    return TuneResult(
        options.metric,
        trials,
        best,
        changed(config, parameters, best.values),
        importance(parameters, trials, options.metric),
        _card(search),
    )


def check_space(space: Space, config: Config) -> tuple[Parameter, ...]:
    """Check, before data are loaded, that a search could begin.

    Args:
        space: which settings, and where to look.
        config: the pipeline.

    Returns:
        What is searched.

    Raises:
        ConfigError: a path or value of the space is wrong, or there is nothing to search.
        MissingExtraError: Optuna is not installed.
    """
    if find_spec("optuna") is None:
        raise MissingExtraError("optuna", "tune")
    return read_parameters(space, config)


@contextmanager
def _folder(work: Path | None) -> Iterator[Path]:
    if work is not None:
        yield work
        return
    with tempfile.TemporaryDirectory(prefix="llmrec-") as folder:
        yield Path(folder)


def _about(search: _Search) -> dict[str, Any]:
    """What the trials depend on; JSON values."""
    data = {"catalog": search.catalog.fingerprint, "interactions": search.log.fingerprint}
    users = {} if search.users is None else {"users": search.users.fingerprint}
    return {
        "llmrec": version("llmrec"),
        "data": {**data, **users},
        "pipeline": search.config.filled(),
        "tune": {one.path: one.values.model_dump(mode="json") for one in search.parameters},
        "metric": search.options.metric,
        "users": search.options.users,
        "holdout": search.options.holdout,
        "seed": search.options.seed,
    }


def _run(search: _Search, record: Record, models: Path) -> None:
    """Do trials until there are enough, or the time is up; one at least where there is none."""
    options, trials, begin = search.options, record.trials(), time.monotonic()
    if trials:
        search.progress(f"going on after {len(trials)} trials")
    while options.trials is None or len(trials) < options.trials:
        if trials and options.minutes is not None and time.monotonic() - begin >= 60 * options.minutes:
            break
        trial = _trial(search, trials, models)
        if trial is None:
            search.progress(f"everything has been tried: {len(trials)} trials")
            break
        record.add(trial)
        trials.append(trial)
        search.progress(_told(trial, best_of(trials, options.metric), options.metric))


def _trial(search: _Search, trials: list[Trial], models: Path) -> Trial | None:
    """The next trial; None: there is nothing left to try."""
    values: dict[str, Any] | None = standing(search.parameters, search.config)
    if trials:
        values = propose(search.parameters, trials, search.options.metric, search.options.seed)
    if values is None:
        return None
    start, name = time.monotonic(), f"trial {len(trials)}"
    search.progress(f"{name}: {', '.join(f'{path} = {value}' for path, value in values.items())}")
    try:
        config = changed(search.config, search.parameters, values)
        report = _measured(search, config, models, lambda message: search.progress(f"{name}: {message}"))
    except _RECORDED as error:
        said = str(error) if isinstance(error, LlmrecError) else f"{type(error).__name__}: {error}"
        return Trial(len(trials), values, {}, time.monotonic() - start, said)
    finally:  # hardly another trial has the same settings; what is not searched is kept for all
        forget_kept(models, {str(one.place[3]) for one in search.parameters if "retrievers" in one.place})
    return Trial(len(trials), values, dict(report.metrics), time.monotonic() - start)


def _measured(search: _Search, config: Config, models: Path, progress: Callable[[str], None]) -> Report:
    options = search.options
    recommender = fit(
        config,
        search.catalog,
        search.log,
        users=search.users,
        holdout=options.holdout,
        work=models,
        progress=progress,
    )
    benchmark = benchmark_of(recommender, search.log, Wanted((options.cut,), users=options.users))
    progress("measuring")
    return benchmark.measure(recommender, options.holdout)


def _card(search: _Search) -> ProtocolCard:
    """How trials are measured."""
    options, bar = search.options, search.config.min_interactions
    wanted = Wanted((options.cut,), users=options.users)
    card = benchmark_on(options.holdout, search.catalog, search.log, wanted, bar).trials[options.holdout].card
    notes = [card.note, "validation: what the test asks was put aside before the split"]
    return replace(card, note="; ".join(filter(None, notes)))


def _told(trial: Trial, best: Trial | None, metric: str) -> str:
    if trial.error:
        return f"trial {trial.number} failed: {trial.error}"
    beside = "" if best is None or best is trial else f"; best {best.metrics[metric].mean:.4f} (trial {best.number})"
    return f"trial {trial.number}: {metric} {trial.metrics[metric]}, {trial.seconds:.1f} s{beside}"
