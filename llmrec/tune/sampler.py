"""What to try next, and what mattered: Optuna, asked as a function of what was tried before."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llmrec.tune.parameters import Parameter
from llmrec.tune.trials import Trial

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

__all__ = ["as_optuna", "importance", "propose", "quiet_optuna"]

ENOUGH = 10
"""So many trials are drawn at random at first, and before so many are done nothing is said about what mattered."""
ATTEMPTS = 50
"""So often is drawn again what was tried already."""


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Let Optuna neither log nor warn that a part of it is new."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def propose(parameters: Sequence[Parameter], trials: Sequence[Trial], metric: str, seed: int) -> dict[str, Any] | None:
    """Say what to try next, by path; never what was tried before.

    It depends on what was tried and on the seed alone, so a search that was stopped goes on as if it had not been.

    Source: the tree-structured Parzen estimator, Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS
    2011, with its joint density over all settings, as Optuna has it.

    Args:
        parameters: what is searched.
        trials: what was tried; failures are not learned from.
        metric: what is searched for.
        seed: of the search.

    Returns:
        The values; None: nothing new is left, as far as `ATTEMPTS` draws can tell.
    """
    from optuna.samplers import TPESampler

    with quiet_optuna():
        for attempt in range(ATTEMPTS):
            drawn = _seed(seed, len(trials), attempt)
            sampler = TPESampler(n_startup_trials=ENOUGH, multivariate=True, seed=drawn)
            asked = _study(parameters, trials, metric, sampler).ask(
                {one.path: one.distribution() for one in parameters}
            )
            values = {one.path: one.value(asked.params[one.path]) for one in parameters}
            if all(trial.values != values for trial in trials):
                return values
    return None


def importance(parameters: Sequence[Parameter], trials: Sequence[Trial], metric: str) -> dict[str, float]:
    """Say how much each setting has to do with being among the best trials, largest first; empty: too few to say.

    Source: PED-ANOVA, Watanabe et al., IJCAI 2023.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    with quiet_optuna():
        study = _study(parameters, trials, metric, None)
        if len(study.trials) < ENOUGH or len({trial.value for trial in study.trials}) < 2:
            return {}
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return {path: float(share) for path, share in found.items()}


def as_optuna(parameters: Sequence[Parameter], trial: Trial, metric: str) -> FrozenTrial:
    """The same trial for Optuna; values outside of what is searched are left out."""
    from optuna.trial import TrialState, create_trial

    drawn = {one.path: one.drawn(trial.values[one.path]) for one in parameters}
    inside = {path: value for path, value in drawn.items() if value is not None}
    return create_trial(
        state=TrialState.FAIL if trial.error else TrialState.COMPLETE,
        value=None if trial.error else trial.metrics[metric].mean,
        params=inside,
        distributions={one.path: one.distribution() for one in parameters if one.path in inside},
        user_attrs={"trial": trial.to_dict()},
    )


def _study(parameters: Sequence[Parameter], trials: Sequence[Trial], metric: str, sampler: Any) -> Study:
    """The trials that lie within what is searched, for Optuna, which learns from what all of them have."""
    import optuna

    study = optuna.create_study(direction="maximize", sampler=sampler)
    for trial in trials:
        if not trial.error and (known := as_optuna(parameters, trial, metric)).params.keys() == trial.values.keys():
            study.add_trial(known)
    return study


def _seed(*parts: int) -> int:
    import numpy as np

    return int(np.random.SeedSequence([part % 2**32 for part in parts]).generate_state(1)[0])
