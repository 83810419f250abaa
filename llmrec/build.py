"""From a configuration and data to a fitted recommender: the one place where everything is put together."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from llmrec.bundle import check_outside
from llmrec.component import FitContext, silent
from llmrec.config import Config, Settings, StageConfig, resolve
from llmrec.data import (
    SPLITS,
    Catalog,
    Holdout,
    Interactions,
    Users,
    items_hash,
    leave_last_out,
    split_by,
    split_parameters,
    with_profiles,
)
from llmrec.errors import ConfigError, DataError, MissingExtraError
from llmrec.kept import fit_kept, fit_key, kept_folder
from llmrec.pipeline import Recommender, Searches
from llmrec.policy import Policy
from llmrec.simulate import Columns, Simulation
from llmrec.stage import Stage
from llmrec.types import Int64Array

__all__ = ["describe_fit", "fit"]


@dataclass(frozen=True, slots=True)
class _Material:
    """What may be learned from.

    Attributes:
        train: for every model while fusions are tuned and rerankers trained.
        validation: the cases tuned on; `train` does not hold their targets.
        final: for the retrievers of the finished recommender.
        histories: what the finished recommender knows that its users did.
        users: what else it knows of them, or None.
    """

    train: Interactions
    validation: Holdout
    final: Interactions
    histories: Interactions
    users: Users | None


def fit(
    config: Config,
    catalog: Catalog,
    interactions: Interactions,
    *,
    users: Users | None = None,
    holdout: str = "none",
    work: Path | None = None,
    progress: Callable[[str], None] = silent,
) -> Recommender:
    """Fit a recommender.

    Retrievers are fitted, fusions tuned and rerankers trained so that no model is tuned on an interaction it has
    seen: each user's last usable interaction is set aside for tuning.

    Args:
        config: the pipeline.
        catalog: all items.
        interactions: what users did, loaded over this very catalog.
        users: what else is known of users; training and tuning ask for them with their profiles, as serving will.
        holdout: `"none"`: use everything; after tuning, retrievers are fitted again with the interactions used
            for tuning. Otherwise for measuring, the name of a split (`SPLITS`): base models are fitted on what it
            trains on, its validation cases are for tuning only, its test is never seen. `"last"`: each user's last
            interaction. `"time"`: whatever came after a moment. `"cold-items"`: every tenth item altogether, and
            each user's last interaction. `"cold-users"`: every tenth user altogether.
        work: folder for what training writes, and for every retriever of the first stage once it is fitted: the same
            fit in the same folder goes on where it was, another one takes from it what is the same. None: a temporary
            one, removed when Python ends.
        progress: told what is going on, in a few words.

    Returns:
        The recommender; its stored histories hold what it was allowed to see.

    Raises:
        ConfigError: the configuration asks for what cannot be done, or `holdout` is none of these.
        DataError: there is nothing to learn from, the interactions are of another catalog, or they cannot be split
            so (by time without times).
        MissingExtraError: a component needs a package that is not installed.
        BundleError: `work` lies in a bundle, which what is written there would damage.
    """
    _check_holdout(holdout)
    _check_installed(config)
    kept = _kept(work)
    material = _material(config, catalog, interactions, users, holdout)
    if len(material.validation) == 0:
        progress(f"no user has {config.min_interactions} interactions: nothing to tune on, all sources count alike")
    context = FitContext(
        name="",
        catalog=catalog,
        train=material.train,
        validation=material.validation,
        users=users,
        work=work or _temporary_folder(),
        seed=config.seed,
        progress=progress,
    )
    policies = tuple(_fit_one(resolve(n, t, "policy", "policies"), context) for n, t in config.policies.items())
    cases, own = _shared(_prepared(material.validation, policies), config)
    context = replace(context, validation=cases)
    stages: tuple[Stage, ...] = ()
    recommender: Recommender | None = None
    for stage in config.stages:
        stages = (*stages, _fit_stage(stage, context, recommender, own, kept))
        recommender = _assemble(config, material, catalog, stages, policies)
    if material.final is not material.train:
        progress("fitting the retrievers again, now on all interactions")
        stages = _refitted(stages, config, context, material.final, kept)
    about = describe_fit(config, catalog, interactions, holdout, users)
    return replace(_assemble(config, material, catalog, stages, policies), about=about)


def _kept(work: Path | None) -> Path | None:
    """Where fitted retrievers are kept, if there is a folder to work in.

    Raises:
        BundleError: it lies in a bundle.
    """
    if work is None:
        return None
    check_outside(kept_folder(work))
    return kept_folder(work)


def _check_holdout(holdout: str) -> None:
    if holdout not in ("none", *SPLITS):
        raise ConfigError(f"holdout must be one of {', '.join(map(repr, ('none', *SPLITS)))}, got {holdout!r}")


def _check_installed(config: Config) -> None:
    """Find a missing package now, not after minutes of work."""
    for stage in config.stages:
        fusion = resolve(f"{stage.name}_fusion", {"type": "rrf", **stage.fusion}, "fusion", stage.name)
        for settings in (*_settings(stage, "retriever"), *_settings(stage, "scorer"), fusion):
            for package in settings.component.requires:
                if find_spec(package) is None:
                    raise MissingExtraError(package, settings.component.extra)


def describe_fit(
    config: Config, catalog: Catalog, interactions: Interactions, holdout: str, users: Users | None = None
) -> dict[str, Any]:
    """Return what a recommender fitted so says of itself: JSON values; equal ones were made from the same."""
    _check_holdout(holdout)
    data = {"catalog": catalog.fingerprint, "interactions": interactions.fingerprint}
    return {
        "llmrec": version("llmrec"),
        "holdout": holdout,
        "holdout_parameters": {} if holdout == "none" else split_parameters(holdout, config.min_interactions),
        "min_interactions": config.min_interactions,
        "config": config.filled(),
        "data": data if users is None else {**data, "users": users.fingerprint},
    }


def _material(
    config: Config, catalog: Catalog, interactions: Interactions, users: Users | None, holdout: str
) -> _Material:
    _check_data(catalog, interactions)
    if holdout != "none":
        split = split_by(holdout, interactions, catalog.items, config.min_interactions)
        cases = with_profiles(split.validation, interactions, users)
        return _Material(split.train, cases, split.train, split.known, users)
    if np.diff(interactions.offsets).max() < config.min_interactions:
        nobody = np.empty(0, dtype=np.int64)
        cases = Holdout(nobody, interactions.queries(nobody), np.empty(0, dtype=np.int32))
        return _Material(interactions, cases, interactions, interactions, users)
    split = leave_last_out(interactions, config.min_interactions)
    cases = with_profiles(split.test, interactions, users)
    return _Material(split.known, cases, interactions, interactions, users)


def _check_data(catalog: Catalog, interactions: Interactions) -> None:
    if len(interactions) == 0:
        raise DataError("there are no interactions to learn from; give at least one (user, item) row")
    if interactions.catalog_size != len(catalog):
        raise DataError(
            f"the interactions were loaded over a catalog of {interactions.catalog_size} items, this one has "
            f"{len(catalog)}; load them again with this catalog"
        )
    if interactions.items_hash and interactions.items_hash != items_hash(catalog.items.ids):
        raise DataError(
            f"the interactions were loaded over another catalog of {len(catalog)} items, or over this one in another "
            "order, so their rows mean other items; load them again with this catalog"
        )


def _assemble(
    config: Config,
    material: _Material,
    catalog: Catalog,
    stages: tuple[Stage, ...],
    policies: tuple[Policy, ...],
) -> Recommender:
    fallback = next(r for r, _ in stages[0].retrievers if r.name == config.fallback)
    return Recommender(catalog, stages, policies, fallback, material.histories, material.users)


def _fit_stage(
    config: StageConfig,
    context: FitContext,
    before: Recommender | None,
    own: Mapping[str, Holdout],
    kept: Path | None,
) -> Stage:
    """Fit a stage's components, those that take cases on their own ones, then tune its fusion on validation cases."""
    context = replace(context, first_stage=before)
    kept = kept if before is None else None  # what learns from the stages before it is not kept
    retrievers = tuple((_fit_one(s, context, kept), s.depth) for s in _settings(config, "retriever"))
    scorers = tuple(
        _fit_one(s, replace(context, validation=own.get(s.name, context.validation)))
        for s in _settings(config, "scorer")
    )
    cases = _some(context.validation, config.tuning_users, context.seed)
    context.progress(f"tuning the fusion of stage {config.name!r} on {len(cases.targets)} validation cases")
    columns = Columns(before, retrievers, scorers)
    simulate = Simulation(columns, cases, context.train, context.seed, context.progress)
    readers = tuple(r.name for r, _ in retrievers if isinstance(r, Searches))
    context = replace(
        context, validation=cases, candidates=columns.of(cases.queries), simulate=simulate, wish_columns=readers
    )
    fusion = resolve(f"{config.name}_fusion", {"type": "rrf", **config.fusion}, "fusion", config.name)
    return Stage(config.name, retrievers, scorers, _fit_one(fusion, context), config.keep)


def _refitted(
    stages: tuple[Stage, ...], config: Config, tuned: FitContext, final: Interactions, kept: Path | None
) -> tuple[Stage, ...]:
    """Fit all retrievers again; of the first stage they are kept."""
    folders = (kept, *[None] * (len(stages) - 1))
    each = zip(stages, config.stages, folders, strict=True)
    return tuple(_refit(stage, table, tuned, final, folder) for stage, table, folder in each)


def _refit(stage: Stage, config: StageConfig, tuned: FitContext, final: Interactions, kept: Path | None) -> Stage:
    """Fit a stage's retrievers again, on the validation cases too: `tuned` is what they were fitted on before."""
    context, retrievers = replace(tuned, train=final, validation=None), []
    for settings, (done, depth) in zip(_settings(config, "retriever"), stage.retrievers, strict=True):
        about = "" if kept is None else fit_key(settings, tuned)
        retrievers.append((_fit_one(settings, replace(context, earlier=done), kept, about), depth))
    return replace(stage, retrievers=tuple(retrievers))


def _settings(config: StageConfig, role: Literal["retriever", "scorer"]) -> list[Settings]:
    tables = config.retrievers if role == "retriever" else config.scorers
    return [resolve(name, table, role, config.name) for name, table in tables.items()]


def _fit_one(settings: Settings, context: FitContext, kept: Path | None = None, about: str = "") -> Any:
    context = replace(context, name=settings.name)
    context.progress(f"fitting {settings.name}")
    if kept is None:
        return settings.component.fit(context, settings.values)
    return fit_kept(settings, context, kept, about)


def _prepared(cases: Holdout, policies: tuple[Policy, ...]) -> Holdout:
    """Ask as the finished recommender will: what policies keep out must not compete with the targets."""
    queries = reduce(lambda q, policy: policy.prepare(q), policies, cases.queries)
    return replace(cases, queries=queries)


def _shared(cases: Holdout, config: Config) -> tuple[Holdout, dict[str, Holdout]]:
    """Set half of the cases aside where scorers take cases: what tunes on all others has not seen their targets.

    Each of these scorers, by name, has a part of its own: the lists that a later one learns from are those of an
    earlier one that has not seen their targets.
    """
    takers = [s.name for stage in config.stages for s in _settings(stage, "scorer") if s.component.takes_cases]
    order = np.random.default_rng((config.seed, len(cases))).permutation(len(cases)).astype(np.int64)
    aside = len(cases) // 2 if takers else 0
    shares = zip(takers, np.array_split(order[:aside], max(1, len(takers))), strict=False)
    own = {name: _taken(cases, np.sort(rows)) for name, rows in shares}
    return _taken(cases, np.sort(order[aside:])), own


def _some(cases: Holdout | None, count: int, seed: int) -> Holdout:
    """Draw at most `count` cases; the same ones for the same seed."""
    if cases is None:
        raise ValueError("a fusion is tuned on validation cases")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(cases.targets))[:count])
    return _taken(cases, chosen.astype(np.int64))


def _taken(cases: Holdout, rows: Int64Array) -> Holdout:
    return Holdout(cases.user_rows[rows], cases.queries.take(rows), cases.targets[rows])


def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="llmrec-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
