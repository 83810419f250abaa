"""Reranking with a language model, every way of asking it in one table: zero-shot, with examples, tuned, as a list.

    llmrec train language-model --dataset ml-100k --out runs/lm/yes-no
    llmrec train language-model --dataset ml-100k --out runs/lm/title --setting task=next_title
    python scripts/bench/language_model_quality.py --tuned yes_no=runs/lm/yes-no --tuned title=runs/lm/title
    python scripts/bench/language_model_quality.py --rows yes_no,yes_no_tuned --users 600 --json

Leave last out; EASE, fitted on what may be learned from, ranks the catalog, and every row puts its best 20 in order.
NDCG@10 is over all users asked: one whose list does not hold what they took has 0 whatever the order, and is not shown
to the model. "alone" is the model's order, ties as EASE has them; "both" adds reciprocal ranks of the two. Each is
compared with EASE's order, and a tuned row or one with examples with the same question zero-shot, on the same users;
p-values are corrected (Holm) for all comparisons of the page. Validation cases, unless --part test: a tuning with
--holdout last chose its checkpoint by validation cases, so tuned rows are too good there; for them take --part test.
Scores are kept in --work, some users at a time: a run that was killed goes on, and a row is asked again only if its
settings, its model, the seed or the data changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import llmrec
from llmrec.component import FitContext, find_component
from llmrec.data import Dataset, Holdout, split_by
from llmrec.evaluate import bootstrap_interval, holm, paired_test
from llmrec.evaluate.metrics import ndcg
from llmrec.models import LanguageModel
from llmrec.retrieve import EaseConfig, fit_ease
from llmrec.text import load_template
from llmrec.train import read_record

CUT, RRF = 10, 60
AT_ONCE = 20
"""Users whose scores are kept together."""

OPTIMISTIC = (
    "Tuned rows are optimistic: their checkpoints were chosen by validation cases, which these are. --part test asks "
    "others."
)

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "yes_no": ("yes_no", {}),
    "yes_no_shots": ("yes_no", {"shots": 4, "max_tokens": 1024}),
    "yes_no_tuned": ("yes_no", {"model": "tuned:yes_no"}),
    "title": ("title_likelihood", {}),
    "title_shots": ("title_likelihood", {"shots": 4, "max_tokens": 1024}),
    "title_tuned": ("title_likelihood", {"model": "tuned:title"}),
    "listwise": ("listwise", {}),
    "listwise_shots": ("listwise", {"shots": 2, "max_tokens": 2048}),
    "listwise_tuned": ("listwise", {"model": "tuned:listwise"}),
    "pairwise": ("pairwise", {}),
}
"""By name: which scorer, and its settings; a model "tuned:X" is the folder of --tuned X=FOLDER, with its max_tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Whom everything is measured with.

    Attributes:
        context: what a scorer may learn from.
        cases: users whose list holds what they took.
        lists: Int32[n, k], best first.
        users: all that were asked, those without a hit too.
    """

    context: FitContext
    cases: Holdout
    lists: np.ndarray[Any, np.dtype[np.int32]]
    users: int


def main() -> None:
    """Measure what is not measured yet, print all."""
    args = _arguments()
    tuned = dict(entry.split("=", 1) for entry in args.tuned)
    data = llmrec.load_dataset(args.dataset)
    material = gather(data, args)
    found: dict[str, dict[str, Any]] = {}
    for name in args.rows.split(","):
        kind, settings = ROWS[name]
        model = str(settings.get("model", args.model))
        if model.startswith("tuned:"):
            if model.removeprefix("tuned:") not in tuned:
                _say(f"{name}: left out; it takes --tuned {model.removeprefix('tuned:')}=FOLDER")
                continue
            settings = {**_tuned_with(Path(tuned[model.removeprefix("tuned:")])), **settings}
            model = tuned[model.removeprefix("tuned:")]
        found[name] = measure(name, kind, {**settings, "model": model}, material, args)
    report = compare(material, found, args.part)
    print(json.dumps(report) if args.json else _markdown(report))


def gather(data: Dataset, args: argparse.Namespace) -> Material:
    """Split, fit EASE, ask it, keep the lists with a hit."""
    split = split_by("last", data.interactions, data.catalog.items, 3)
    train, cases = (split.train, split.validation) if args.part == "validation" else (split.known, split.test)
    some = np.sort(np.random.default_rng(args.seed).permutation(len(cases))[: args.users]).astype(np.int64)
    cases = Holdout(cases.user_rows[some], cases.queries.take(some), cases.targets[some])
    asked = replace(cases.queries, exclude=cases.queries.histories)
    lists = fit_ease(train, data.catalog, EaseConfig()).retrieve(asked, args.depth).items
    held = np.flatnonzero((lists == cases.targets[:, None]).any(axis=1)).astype(np.int64)
    if len(held) == 0:
        sys.exit("no list holds what was taken; ask more users, or a greater --depth")
    context = FitContext("scorer", data.catalog, train, seed=args.seed, users=data.users)
    kept = Holdout(cases.user_rows[held], asked.take(held), cases.targets[held])
    _say(f"{len(held)} of {len(cases)} lists hold what was taken")
    return Material(context, kept, lists[held], len(cases))


def _tuned_with(folder: Path) -> dict[str, Any]:
    """What a scorer must be told of how its model was tuned."""
    settings = read_record(folder)["settings"]
    own = {"yes_no": ("yes", "no"), "listwise": ("window",)}.get(settings["task"], ())
    names = ("max_tokens", "item_tokens", "template", *own)
    told = {name: settings[name] for name in names if settings.get(name) is not None}
    # as the tuning asks: the scorer's own step may be too long for a small window
    return told | ({"step": told["window"] // 2} if "window" in told else {})


def measure(
    name: str, kind: str, settings: dict[str, Any], material: Material, args: argparse.Namespace
) -> dict[str, Any]:
    """Scores of all lists, Float32[n, k], with seconds and tokens; from the folder as far as they are there."""
    component = find_component(kind)
    config = component.config.model_validate(settings)
    scorer = component.fit(material.context, config)
    key = _key(kind, config.model_dump(mode="json", exclude={"model"}), settings["model"], material)
    folder = Path(args.work) / f"{name}-{key[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(material.cases), AT_ONCE):
        path = folder / f"{start}.json"
        if path.is_file():
            continue
        rows = np.arange(start, min(start + AT_ONCE, len(material.cases)))
        model = getattr(getattr(scorer, "reader", None), "model", None)
        before, begun = getattr(model, "usage", None), time.perf_counter()
        scores = scorer.score(material.cases.queries.take(rows), material.lists[rows])
        spent, after = time.perf_counter() - begun, getattr(model, "usage", None)
        tokens = after.read + after.said - before.read - before.said if before and after else 0
        value = {"scores": np.where(np.isfinite(scores), scores, -1e30).tolist(), "seconds": spent, "tokens": tokens}
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(value))
        fresh.replace(path)
        _say(f"{name}: {rows[-1] + 1} of {len(material.cases)} lists")
    parts = [json.loads((folder / f"{start}.json").read_text()) for start in range(0, len(material.cases), AT_ONCE)]
    totals = {what: sum(part[what] for part in parts) / len(material.cases) for what in ("seconds", "tokens")}
    return {"scores": np.concatenate([np.array(part["scores"]) for part in parts]), **totals}


def _key(kind: str, settings: dict[str, Any], model: str, material: Material) -> str:
    """Of all that the scores depend on but the code."""
    read = LanguageModel.load(model, max_tokens=settings["max_tokens"]).fingerprint
    parts = [kind, settings, read, load_template(settings["template"]).fingerprint, material.cases.fingerprint]
    parts.append(material.context.seed)  # of examples, aliases and pairs
    digest = hashlib.sha256(json.dumps([*parts, material.context.train.fingerprint]).encode())
    digest.update(np.ascontiguousarray(material.lists).tobytes())
    return digest.hexdigest()


def compare(material: Material, found: dict[str, dict[str, Any]], part: str) -> dict[str, Any]:
    """NDCG of every row with its interval, and paired comparisons."""
    first = -np.broadcast_to(np.arange(material.lists.shape[1], dtype=np.float64), material.lists.shape)
    values = {"first stage": {"alone": _ndcg(material, first)}}
    for name, row in found.items():
        values[name] = {"alone": _ndcg(material, row["scores"]), "both": _ndcg(material, _both(first, row["scores"]))}
    pairs = [(name, "first stage", how) for name in found for how in ("alone", "both")]
    pairs += [(name, name.rpartition("_")[0], "alone") for name in found if name.rpartition("_")[0] in found]
    tests = [paired_test(values[a][how], values[b][how if b in found else "alone"]) for a, b, how in pairs]
    corrected = holm([test.p_value for test in tests])
    return {
        "part": part,
        "users": material.users,
        "lists_with_a_hit": len(material.cases),
        "rows": {
            name: {how: bootstrap_interval(values).to_dict() for how, values in row.items()}
            | {what: found[name][what] for what in ("seconds", "tokens") if name in found}
            for name, row in values.items()
        },
        "comparisons": [
            {"a": a, "b": b, "how": how, "difference": t.difference, "low": t.low, "high": t.high, "p": float(p)}
            for (a, b, how), t, p in zip(pairs, tests, corrected, strict=True)
        ],
    }


def _ndcg(material: Material, scores: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Float64[users]: 0 for those whose list holds nothing they took."""
    order = np.argsort(-scores, axis=1, kind="stable")
    hits = np.take_along_axis(material.lists, order, axis=1)[:, :CUT] == material.cases.targets[:, None]
    found = np.zeros(material.users)
    found[: len(hits)] = ndcg(hits, np.ones(len(hits), dtype=np.int64), CUT)
    return found


def _both(first: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Sums of reciprocal ranks."""
    ranks = [np.argsort(np.argsort(-column, axis=1, kind="stable"), axis=1) + 1 for column in (first, scores)]
    total: np.ndarray[Any, Any] = sum(1.0 / (RRF + rank) for rank in ranks)
    return total


def _markdown(report: dict[str, Any]) -> str:
    lines = [
        f"{report['users']} users, {report['lists_with_a_hit']} lists with what they took\n",
        "| | NDCG@10 alone | with the first stage | seconds a list | tokens a list |",
        "|---|---|---|---|---|",
    ]
    for name, row in report["rows"].items():
        cells = [_cell(row.get("alone")), _cell(row.get("both"))]
        cells += [
            f"{row['seconds']:.2f}" if "seconds" in row else "",
            f"{row['tokens']:,.0f}" if "tokens" in row else "",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "| | against | order | difference | p (Holm) |", "|---|---|---|---|---|"]
    for one in report["comparisons"]:
        difference = f"{one['difference']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}]"
        lines.append(f"| {one['a']} | {one['b']} | {one['how']} | {difference} | {one['p']:.4f} |")
    if report["part"] == "validation" and any(name.endswith("_tuned") for name in report["rows"]):
        lines += ["", OPTIMISTIC]
    return "\n".join(lines)


def _cell(value: dict[str, float] | None) -> str:
    return "" if value is None else f"{value['mean']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="ml-100k", help="a data set llmrec knows, or a folder")
    parser.add_argument("--model", default="smollm2", help="of the rows that are not tuned")
    parser.add_argument("--tuned", action="append", default=[], metavar="NAME=FOLDER", help="a tuned model")
    parser.add_argument("--rows", default=",".join(ROWS), help="which; separated by commas")
    parser.add_argument("--users", type=int, default=943, help="asked at most")
    parser.add_argument("--depth", type=int, default=20, help="candidates")
    parser.add_argument("--part", choices=["validation", "test"], default="validation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", default="runs/language-model-quality", help="where scores are kept")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
