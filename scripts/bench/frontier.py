"""Cross-encoders that are faster: what each adds at which depth, for how long a wait; validation targets only.

    python scripts/bench/frontier.py --out docs/benchmarks/frontier                # ML-100K, cross-validated over users
    python scripts/bench/frontier.py --layers 2 6 --depths 20 --json --set epochs=1 --work runs/frontier
    python scripts/bench/frontier.py --dataset FOLDER --first FIRST.toml --users 5000 --cases 20000

The protocol is that of `cross_encoder.py`. In every fold a model of each number of layers learns what was taken, and
another the scores of the deepest of these, its teacher, which has learned from the same users; a third learns what was
taken, and reads a history once for all candidates (`shared_history`). Each puts the best of the first stage's list in
order, by its scores added to what the place says, as in its training; NDCG@10 is that of the
whole list. Milliseconds are the median for one user's list, texts and tokens included, models of all depths in turn.
A point is on the frontier if no faster one is as good. Prints Markdown, or JSON; `--out FILE` writes FILE.png,
FILE.json and the page FILE.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from _rerank_folds import CUT, FOLDS, Measured, first_config, folds, gains, measure, milliseconds

import llmrec
from llmrec.component import FitContext, find_component
from llmrec.data import Holdout
from llmrec.data.split_last import leave_last_out
from llmrec.pipeline import Recommender
from llmrec.rerank import CrossEncoder

TAKEN, TEACHER, ONCE = "what was taken", "teacher", "what was taken, history read once"
COLOURS = {TAKEN: "#0072B2", TEACHER: "#D55E00", ONCE: "#009E73"}
MARKERS = "osD^vP*X"
DOTS = 150
PAGE = """\
# Smaller cross-encoders: quality against the wait

From `{command}` on {dataset}; the JSON is beside this page.
Each model puts the best of the first stage's list in order, by its scores added to what the place says. It has learned
what the users of the other folds took; or the scores of the deepest of these models, its teacher; or what they took,
in a form that reads a history once for all its candidates. Milliseconds are the median for one user's list on two
cores, texts and tokens included.

{rows}

![quality against milliseconds]({picture}.png)
"""


@dataclass(frozen=True, slots=True)
class Point:
    """A cross-encoder over the best of the first stage.

    Attributes:
        layers: of the model.
        learned: what was taken; or a teacher's scores; or the first, with a history read once.
        depth: so many of the list are put in order.
        ndcg: NDCG@10, the mean over users.
        gain: over the first stage's order.
        error: the paired standard error of the gain.
        ms: milliseconds for one user's list.
        frontier: whether no faster one is as good, the first stage alone (0 ms) included.
    """

    layers: int
    learned: str
    depth: int
    ndcg: float
    gain: float
    error: float
    ms: float
    frontier: bool = False


def main() -> None:
    """Fit the first stage once, all models in each fold, print."""
    args = _arguments()
    data = llmrec.load_dataset(args.dataset)
    split = leave_last_out(data.interactions)
    config = first_config(args.first, max(args.depths))
    first = llmrec.fit(config, data.catalog, data.interactions, holdout="last", progress=_say)
    parts: dict[tuple[int, str], list[Measured]] = {}
    taken = []
    with tempfile.TemporaryDirectory() as work:
        for fold, (taught, asked) in enumerate(islice(folds(split.validation, args), args.folds)):
            folder = (args.work or Path(work)) / f"fold{fold}"
            context = FitContext(
                "cross_encoder", data.catalog, split.train, taught, first_stage=first, work=folder, progress=_say
            )
            found = _models(context, args)
            measured = _measured(first, found, taught, asked, max(args.depths), folder)
            for name, one in zip(found, measured, strict=True):
                parts.setdefault(name, []).append(one)
            timed = [found[layers, learned] for learned in (TAKEN, ONCE) for layers in args.layers]
            taken.append(milliseconds(first, timed, asked, args.depths, args.timed))
            _say(f"fold {fold + 1} measured")
    ms = np.median(np.concatenate(taken, axis=2), axis=2)
    joined = {name: Measured.joined(some) for name, some in parts.items()}
    kinds = [(layers, once) for once in (False, True) for layers in args.layers]
    times = {(*kind, k): float(ms[row, col]) for row, kind in enumerate(kinds) for col, k in enumerate(args.depths)}
    _report(args, joined, times)


def _measured(
    first: Recommender,
    models: dict[tuple[int, str], CrossEncoder],
    taught: Holdout,
    asked: Holdout,
    depth: int,
    folder: Path,
) -> list[Measured]:
    """What each model does to the lists of the users asked; kept beside the models, so that times can be taken anew."""
    names = [model.model.files()["config.json"].parent.name for model in models.values()]  # of what they learned from
    known = json.dumps([names, taught.fingerprint, asked.fingerprint, depth, str(first.about)])
    path = folder / f"measured-{hashlib.sha256(known.encode()).hexdigest()[:12]}.npz"
    parts = Measured.__slots__
    if not path.is_file():
        found = measure(first, list(models.values()), taught, asked, depth)
        fresh = path.with_suffix(".new.npz")
        np.savez(fresh, **{f"{part}-{at}": getattr(one, part) for at, one in enumerate(found) for part in parts})
        fresh.replace(path)
    with np.load(path) as kept:
        return [Measured(*(kept[f"{part}-{at}"] for part in parts)) for at in range(len(models))]


def _models(context: FitContext, args: argparse.Namespace) -> dict[tuple[int, str], CrossEncoder]:
    """Cross-encoders of each number of layers: that learned what was taken, from the deepest, or to read once."""
    component, deepest = find_component("cross_encoder"), max(args.layers)
    settings = {key: json.loads(value) for key, _, value in (text.partition("=") for text in args.set)}
    found: dict[tuple[int, str], CrossEncoder] = {}
    for learned in COLOURS:
        for layers in args.layers:
            context.progress(f"{layers} layers learn from: {learned}")
            table = settings | {"layers": layers, "shared_history": learned == ONCE}
            if learned == TEACHER:
                table["teacher"] = str(found[deepest, TAKEN].model.files()["config.json"].parent)
            found[layers, learned] = component.fit(context, component.config.model_validate(table))
    return found


def _report(
    args: argparse.Namespace, found: dict[tuple[int, str], Measured], times: dict[tuple[int, bool, int], float]
) -> None:
    some = next(iter(found.values()))
    before = gains(some.places, some.prior, some.prior.shape[1])
    points = []
    for (layers, learned), one in found.items():
        for depth in args.depths:
            after = gains(one.places, one.prior + one.scores, depth)
            gain, error = after - before, (after - before).std(ddof=1) / np.sqrt(len(before))
            means = float(after.mean()), float(gain.mean()), float(error)
            points.append(Point(layers, learned, depth, *means, times[layers, learned == ONCE, depth]))
    alone = float(before.mean())
    points = [replace(point, frontier=_leads(point, points, alone)) for point in points]
    table = {
        "dataset": args.dataset, "users": len(before), "settings": args.set, "first_stage": alone,
        "points": [asdict(point) for point in points],
    }  # fmt: skip
    rows = _markdown(points, len(before), alone)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        plot(points, alone).savefig(args.out.with_suffix(".png"), dpi=DOTS)
        args.out.with_suffix(".json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        page = PAGE.format(command=_command(args), dataset=args.dataset, rows=rows, picture=args.out.stem)
        args.out.with_suffix(".md").write_text(page, encoding="utf-8")
    print(json.dumps(table, indent=1) if args.json else rows)


def _command(args: argparse.Namespace) -> str:
    """What to type for the same page."""
    parts = ["--folds", str(args.folds), "--layers", *map(str, args.layers), "--depths", *map(str, args.depths)]
    parts += [part for setting in args.set for part in ("--set", setting)]
    return f"python scripts/bench/frontier.py {' '.join([*parts, '--timed', str(args.timed), '--out', 'FILE'])}"


def _leads(point: Point, points: Sequence[Point], alone: float) -> bool:
    """Whether a point is better than everything that is as fast, the first stage alone included."""
    others = [other.ndcg for other in points if other is not point and other.ms <= point.ms]
    return point.ndcg > max([alone, *others])


def _markdown(points: Sequence[Point], users: int, alone: float) -> str:
    lines = [
        f"LOO, validation, {users:,} users; NDCG@{CUT} of the first stage {alone:.4f}; * is on the frontier\n",
        f"| layers | learned | depth | NDCG@{CUT} | gain | s.e. | ms a user | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for p in sorted(points, key=lambda p: (p.layers, p.depth, p.learned)):
        numbers = f"{p.ndcg:.4f} | {p.gain:+.4f} | {p.error:.4f} | {p.ms:.0f} | {'*' if p.frontier else ''}"
        lines.append(f"| {p.layers} | {p.learned} | {p.depth} | {numbers} |")
    return "\n".join(lines)


def plot(points: Sequence[Point], alone: float) -> Any:
    """Draw quality against the wait, a line for each model over its depths."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.8), layout="constrained")
    axis = figure.subplots()
    axis.axhline(alone, color="grey", linestyle=":", label="first stage alone")
    for place, layers in enumerate(sorted({point.layers for point in points})):
        for learned, colour in COLOURS.items():
            line = sorted((p for p in points if (p.layers, p.learned) == (layers, learned)), key=lambda p: p.ms)
            label = f"{layers} layers, {learned}"
            marker = MARKERS[place % len(MARKERS)]
            axis.plot([p.ms for p in line], [p.ndcg for p in line], color=colour, marker=marker, label=label)
    axis.set_xscale("log")
    axis.set_xlabel("milliseconds for one user's list (median)")
    axis.set_ylabel(f"NDCG@{CUT} (mean over users)")
    axis.grid(visible=True, alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", fontsize=8, frameon=False, ncols=3)
    return figure


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="ml-100k", help="a data set llmrec knows, or a folder")
    parser.add_argument("--first", help="TOML of the stages before; without it, four retrievers by rank")
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2, 3, 6], help="numbers of layers")
    parser.add_argument("--depths", type=int, nargs="+", default=[10, 20, 50], help="so many are put in order")
    parser.add_argument("--users", type=int, default=0, help="measure on a random sample of so many; 0: all, in folds")
    parser.add_argument("--folds", type=int, default=FOLDS, help="measure only so many of the folds")
    parser.add_argument("--cases", type=int, default=20_000, help="other users to learn from, at most")
    parser.add_argument("--timed", type=int, default=20, help="users of each fold to time")
    parser.add_argument("--set", action="append", default=[], help="a setting of the cross-encoder: KEY=JSON")
    parser.add_argument("--work", type=Path, help="keep models here; a run that was stopped goes on")
    parser.add_argument("--out", type=Path, help="where to draw the plot: FILE.png")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
