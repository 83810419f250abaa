"""A small search for a better template: chosen on one half of the users, reported on the other beside the start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from llmrec.errors import ConfigError, LlmrecError, MissingExtraError
from llmrec.lab.compare import METRICS, Compared, Lab, compare_templates, measure_template
from llmrec.lab.ground import Ground, report_of
from llmrec.lab.judges import Judge
from llmrec.lab.sketch import LENGTHS, SEPARATORS, STYLES, Sketch, check_start, sketched
from llmrec.text import Template

__all__ = ["Searched", "Trial", "search_template"]

METRIC = METRICS[0]


@dataclass(frozen=True, slots=True)
class Trial:
    """A template that was tried.

    Attributes:
        number: 0 is the template the search started from.
        template: the template.
        value: its metric on the users that are chosen on; None if it failed.
        error: why it failed, or "".
    """

    number: int
    template: Template
    value: float | None
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "number": self.number,
            "description": self.template.description,
            "fingerprint": self.template.fingerprint,
            "value": self.value,
            "error": self.error,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Searched:
    """What a search found.

    Attributes:
        trials: in order; the first is the start.
        best: the template with the highest metric on the users it was chosen on; the start if none is better.
        chosen_on: how many users it was chosen on.
        held: start and best on the other users, or the start alone where it was the best.
    """

    trials: tuple[Trial, ...]
    best: Template
    chosen_on: int
    held: Compared


def search_template(
    lab: Lab,
    start: Template,
    judges: tuple[Judge, Judge],
    *,
    trials: int = 20,
    fields: Sequence[str] = (),
    wordings: Sequence[str] = (),
) -> Searched:
    """Search fields, their order, length of history and wordings for a better template.

    What is tried next follows from what was tried and from the seed (tree-structured Parzen estimator, Bergstra et al.,
    NeurIPS 2011, as Optuna has it); measured templates come from the store, so a search that was stopped goes on.

    Args:
        lab: the data, where results are kept, and the seed of the search.
        start: an item, user or pair template.
        judges: the same judge over the users to choose on, and over others to report on.
        trials: templates to try, the start among them.
        fields: columns of the catalog to try beside those the start declares.
        wordings: words to try before a history.

    Raises:
        ConfigError: the start is a chat or writes reasons, or the catalog lacks a field.
        MissingExtraError: Optuna is not installed.
    """
    check_start(start)
    if find_spec("optuna") is None:
        raise MissingExtraError("optuna", "tune")
    names = _fields(start, lab.ground, fields)
    chosen, held = judges
    about = chosen.about()
    done = [_tried(lab, 0, start, chosen, about)]
    if done[0].value is None:
        raise ConfigError(f"the search cannot begin: {done[0].error}")
    lab.progress(f"start: {METRIC} {done[0].value:.4f} on {len(chosen.cases)} users")
    for sketch, tell in _proposals(start, names, wordings, trials - 1, lab.seed):
        template = sketched(start, sketch, f"{start.name} (trial {len(done)})")
        known = next((t for t in done if t.template.fingerprint == template.fingerprint), None)
        trial = known or _tried(lab, len(done), template, chosen, about)
        tell(trial.value)
        if known is None:
            done.append(trial)
            told = "failed: " + trial.error if trial.value is None else f"{METRIC} {trial.value:.4f}"
            lab.progress(f"trial {trial.number}: {template.description} {told}")
    best = max((t for t in done if t.value is not None), key=lambda t: (t.value or 0.0, -t.number))
    templates = [start] if best.number == 0 else [start, best.template]
    compared = compare_templates(lab, [held], templates)
    return Searched(tuple(done), best.template, len(chosen.cases), compared)


def _fields(start: Template, ground: Ground, more: Sequence[str]) -> list[str]:
    """Fields of items to choose from: those that the catalog has, required ones first."""
    for name in more:
        if name not in ground.catalog.columns:
            raise ConfigError(f"the catalog has no field {name!r}; it has: {', '.join(ground.catalog.columns)}")
    declared = start.fields_of("item")
    names = sorted((n for n in declared if n in ground.catalog.columns), key=lambda n: not declared[n].required)
    names += [name for name in more if name not in names]
    if not names:
        raise ConfigError(f"template {start.name} declares no field that the catalog has: name some with --fields")
    return names


def _tried(lab: Lab, number: int, template: Template, judge: Judge, about: Mapping[str, Any]) -> Trial:
    try:
        run, _ = measure_template(lab, judge, template, about)
    except LlmrecError as error:
        return Trial(number, template, None, str(error))
    report = report_of(lab.ground.card(judge.cases), judge.cases, run.measured.ranks)
    return Trial(number, replace(template), report.metrics[METRIC].mean)


def _proposals(start: Template, names: Sequence[str], wordings: Sequence[str], count: int, seed: int) -> Any:
    """Yield sketches, and for each a function to tell its metric to."""
    import optuna

    from llmrec.tune.sampler import quiet_optuna

    with quiet_optuna():
        sampler = optuna.samplers.TPESampler(n_startup_trials=max(4, count // 3), multivariate=True, seed=seed)
        study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(count):
        with quiet_optuna():
            asked = study.ask()
            sketch = _sketch(asked, start, names, wordings)

        def tell(value: float | None, asked: Any = asked) -> None:
            state = optuna.trial.TrialState.FAIL if value is None else optuna.trial.TrialState.COMPLETE
            with quiet_optuna():
                study.tell(asked, value, state=state)

        yield sketch, tell


def _sketch(asked: Any, start: Template, names: Sequence[str], wordings: Sequence[str]) -> Sketch:
    """Draw the choices that a template of this kind has."""
    fields = _drawn_fields(asked, "item", names)
    style = asked.suggest_categorical("style", list(STYLES)) if start.kind in ("item", "pair") else "plain"
    if start.kind == "item":
        return Sketch(fields, style)
    return Sketch(
        fields=fields,
        style=style,
        entry=fields if start.kind == "user" else _drawn_fields(asked, "entry", names),
        length=asked.suggest_categorical("length", list(LENGTHS)),
        separator=asked.suggest_categorical("separator", list(SEPARATORS)),
        wording=asked.suggest_categorical("wording", ["", *wordings]),
        profile=tuple(n for n in start.fields_of("user") if asked.suggest_categorical(f"profile {n}", [True, False])),
    )


def _drawn_fields(asked: Any, part: str, names: Sequence[str]) -> tuple[str, ...]:
    """The first field is always in; of the others each may be; the order is that of a drawn number for each."""
    kept = [
        name
        for place, name in enumerate(names)
        if place == 0 or asked.suggest_categorical(f"{part} {name}", [True, False])
    ]
    places = {name: asked.suggest_float(f"{part} place of {name}", 0.0, 1.0) for name in names}
    return tuple(sorted(kept, key=lambda name: (places[name], names.index(name))))
