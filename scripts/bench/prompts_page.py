"""What the templates that ship are worth, on validation cases of a data set: the page docs/prompts.md.

    python scripts/bench/prompts_page.py --store runs/lab.sqlite --out docs/prompts.md
    python scripts/bench/prompts_page.py --dataset FOLDER --kinds item user --json

Item and user templates are judged by the zero-shot retriever over all users, pair templates by a small cross-encoder
tuned for each and chat templates by a language model, both over 100 users, and the user templates of `FOUR` by all
three. Everything is what `llmrec prompt compare` measures: results are kept in the store, so that a run that was killed
goes on, and a second one writes the page at once. Prints Markdown, or JSON.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import llmrec
from llmrec.evaluate import to_markdown
from llmrec.lab import (
    Compared,
    Ground,
    Lab,
    Setup,
    Store,
    Wanted,
    compare_templates,
    compared_to_dict,
    difference_rows,
    remarks,
    score_rows,
    verdict_of,
)
from llmrec.text import Template, list_templates, load_template

BASELINES = {"item": "item/title", "user": "user/recent", "pair": "pair/history"}
FOUR = ("user/recent", "user/genres", "user/profile", "user/sentence")
ASKED = {"chat/yes-no": "yes_no", "chat/next": "title_likelihood"}
"""How the language model is asked, by chat."""

HEADINGS = {
    "item": "Items, as the retriever reads them",
    "user": "Users, as the retriever reads them",
    "pair": "Pairs, as a cross-encoder reads them",
    "chat": "Chats, as a language model reads them",
    "four": "Four user templates under all three",
}
KINDS = tuple(HEADINGS)

HOW = (
    "and the same as `llmrec prompt compare` prints; [the guide](guides/prompts.md) says how to read it."
    " Differences are paired over the same users, with 95% bootstrap intervals;"
    " p-values are corrected for all comparisons of a heading (Holm)."
    " Milliseconds are left out, for they are your machine's: `llmrec prompt compare` takes them."
)


def main() -> None:
    """Measure what is not in the store, print or write."""
    args = _arguments()
    data = llmrec.load_dataset(args.dataset)
    lab = Lab(Ground.of(data.catalog, data.interactions, data.users), Store(args.store), data.name, args.seed, _say)
    found = {kind: _measured(lab, args, kind) for kind in args.kinds}
    if args.json:
        told = {kind: [compared_to_dict(one) for one in compared] for kind, compared in found.items()}
        print(json.dumps(told))
        return
    page = _page(args, found)
    if args.out is None:
        print(page)
    else:
        args.out.write_text(page, encoding="utf-8")


def _measured(lab: Lab, args: argparse.Namespace, kind: str) -> list[Compared]:
    """The comparisons of one heading."""
    if kind == "four":
        return [_compared(lab, args, FOUR, ("retriever", "cross-encoder", "lm"), "title_likelihood")]
    if kind == "chat":  # the two are asked in different ways, and each stands alone
        return [_compared(lab, args, (name,), ("lm",), scorer) for name, scorer in ASKED.items()]
    first = BASELINES[kind]
    names = [first, *(t.name for t in _shipped(kind) if t.name != first)]
    return [_compared(lab, args, names, ("cross-encoder" if kind == "pair" else "retriever",), "yes_no")]


def _compared(lab: Lab, args: argparse.Namespace, names: Sequence[str], judges: Sequence[str], scorer: str) -> Compared:
    wanted = Wanted(users=args.users, rerank_users=args.rerank_users, encoder=args.encoder, lm=args.lm, scorer=scorer)
    work = lab.store.path.with_name(f"{lab.store.path.stem}-models")
    setup = Setup(replace(wanted, seed=args.seed), lab.ground, work, lab.progress)
    return compare_templates(lab, [setup.judge(name) for name in judges], [load_template(name) for name in names])


def _shipped(kind: str) -> list[Template]:
    """Templates of one kind in English, as the data sets are."""
    return [template for template in list_templates() if template.kind == kind and template.language == "en"]


def _page(args: argparse.Namespace, found: dict[str, list[Compared]]) -> str:
    names = {name for compared in found.values() for one in compared for judged in one.judged for name in judged.runs}
    first = next(iter(found.values()))[0]
    lines = [
        "# Shipped templates, measured",
        "",
        f"What {len(names)} of the templates that ship are worth on {first.data}. Every number is from validation "
        "cases (the second-last interaction of each user is foretold); the test was never asked. Written by",
        "",
        "```text",
        _command(args),
        "```",
        "",
        HOW,
        "",
    ]
    for kind, compared in found.items():
        lines += [f"## {HEADINGS[kind]}", ""]
        for one in compared:
            for judged in one.judged:
                lines += [f"### {judged.judge}", ""] if len(one.judged) > 1 else []
                lines += [to_markdown([row[:-1] for row in score_rows(judged)]), ""]
                lines += [to_markdown(difference_rows(judged)), ""] if judged.comparisons else []
                lines += [*(f"- {remark}" for remark in remarks(judged)), "", verdict_of(judged), ""]
    lines += ["## What they say", ""]
    lines += [to_markdown([("template", "version", "fingerprint", "what it is for"), *_about(sorted(names))]), ""]
    lines += [f"Data {first.data_hash[:12]}, seed {first.seed}."]
    return "\n".join(lines) + "\n"


def _command(args: argparse.Namespace) -> str:
    """What writes this page: all that its numbers depend on and that is not as usual, and the data in any case."""
    usual, words = _parser(), ["python", "scripts/bench/prompts_page.py", "--dataset", args.dataset]
    if set(args.kinds) != set(KINDS):
        words += ["--kinds", *args.kinds]
    for name in ("users", "rerank_users", "encoder", "lm", "seed"):
        value = getattr(args, name)
        if value != usual.get_default(name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join([*words, "--out", "docs/prompts.md"])


def _about(names: Sequence[str]) -> list[tuple[str, ...]]:
    found = (load_template(name) for name in names)
    return [(t.name, str(t.version), t.fingerprint[:12], t.description) for t in found]


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _arguments() -> Any:
    return _parser().parse_args()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="ml-100k", help="a data set llmrec knows, or a folder")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="headings of the page")
    parser.add_argument("--store", type=Path, default=Path("runs/lab.sqlite"), help="where results are kept")
    parser.add_argument("--users", type=int, help="of the retriever; default: all")
    parser.add_argument("--rerank-users", type=int, default=100, help="of the cross-encoder and the language model")
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--lm", default="smollm2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the page there")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


if __name__ == "__main__":
    main()
