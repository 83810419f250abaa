"""``llmrec doctor``: what llmrec finds on this machine, what is wrong, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec.cli.output import print_json, printable, progress, results
from llmrec.cli.source import JsonOption

if TYPE_CHECKING:
    from llmrec.cli.checkup import Finding

__all__ = ["doctor"]

MeasureOption = Annotated[
    bool,
    typer.Option("--measure", help="Measure how fast texts are encoded here, and from now on run in what is fastest."),
]


def doctor(as_json: JsonOption = False, measure: MeasureOption = False) -> None:
    """Check this installation: versions, device, memory, disk, cache, models, hub. Exit code 1: something is broken.

    Never shows tokens; asks the hub once, for 3 s at most, and not at all when offline.
    """
    from llmrec.cli.checkup import check_all

    if measure:
        from llmrec.models import measure_speeds

        with progress() as say:
            measure_speeds(progress=say)
    checked = check_all()
    found = [finding for _, findings in checked.values() for finding in findings]
    usable = all(finding.severity != "error" for finding in found)
    if as_json:
        facts = {name: facts for name, (facts, _) in checked.items()}
        problems = [{"severity": f.severity, "message": f.message, "remedy": f.remedy} for f in found]
        print_json({"usable": usable, **facts, "problems": problems})
    else:
        _show({name: facts for name, (facts, _) in checked.items()}, found)
    if not usable:
        raise typer.Exit(1)


def _show(facts: Mapping[str, Mapping[str, Any]], found: list[Finding]) -> None:
    console = results()
    lines = {
        "versions": (f"{name} {value}" for name, value in facts["versions"].items()),
        "models": _chosen(facts["models"]),
        "machine": _machine(facts["machine"]),
        "cache": _cache(facts["cache"]),
        "assets": (f"{name}: {path or 'not here yet'}" for name, path in facts["assets"].items()),
        "hub": [_hub(facts["hub"])],
        "extras": (f"{name}: {_missing(extra['missing'])}" for name, extra in facts["extras"].items()),
        "settings": (f"{name}={value}" for name, value in facts["settings"].items()),
        "leftovers": facts["leftovers"]["folders"],
    }
    for name, shown in lines.items():
        for line in shown:
            console.print(f"[bold]{name:10}[/bold]", printable(line), soft_wrap=True)
    for finding in found:
        console.print(f"[bold]{finding.severity}:[/bold]", printable(finding.message), soft_wrap=True)
        console.print(printable(f"  {finding.remedy}"), soft_wrap=True)
    if not found:
        console.print("no problems")


def _chosen(models: Mapping[str, Any]) -> Iterator[str]:
    for name, why in models["why"].items():
        yield f"{name} {models[name]}: {why}"
    for dtype, speed in models["texts_per_second"].items():
        yield f"{dtype}: {speed:,.0f} texts a second"


def _machine(machine: Mapping[str, Any]) -> Iterator[str]:
    memory, free = (f"{b / 1e9:.1f} GB" if b is not None else "?" for b in (machine["memory"], machine["memory_free"]))
    yield f"{machine['system']}, {machine['cpus']} CPUs"
    yield f"memory {memory}, free {free}"


def _cache(cache: Mapping[str, Any]) -> Iterator[str]:
    yield f"{cache['folder']}: {cache['bytes'] / 1e6:,.0f} MB{'' if cache['writable'] else ', not writable'}"
    yield f"disk: {cache['disk_free'] / 1e9:.1f} GB free"


def _hub(hub: Mapping[str, Any]) -> str:
    return f"{'reachable' if hub['reachable'] else 'not reachable' if hub['asked'] else 'not asked'}: {hub['why']}"


def _missing(missing: list[str]) -> str:
    return f"missing {', '.join(missing)}" if missing else "installed"
