"""Likelihoods of candidates under a language model: prompts read once beside the plain loop, on the same machine.

    python scripts/bench/language_model.py --rounds 5 --json
    python scripts/bench/language_model.py --dataset FOLDER --model HuggingFaceTB/SmolLM2-360M-Instruct

For each user a chat with the titles of the last interactions, and how likely each of some candidates' titles is as the
answer. The plain loop gives transformers one prompt with one candidate after the other, in the same number format, and
takes the logits of the candidate's tokens. Both take turns, and a ratio is of one round. Differences are the largest of
all candidates, in float32 in a run of its own. Prints Markdown, or JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np

import llmrec
from llmrec.data import leave_last_out
from llmrec.models import LanguageModel, Message, Placement, best_placement
from llmrec.models._causal import Asked, plain_log_likelihoods

HISTORY = 10


def main() -> None:
    """Measure, print."""
    args = _arguments()
    prompts, candidates = _questions(args)
    found = measure(args, prompts, candidates)
    print(json.dumps(found) if args.json else _markdown(found))


def measure(args: argparse.Namespace, prompts: list[str], candidates: list[list[str]]) -> dict[str, Any]:
    """All of it, as JSON values."""
    exact = LanguageModel.load(args.model, placement=Placement("cpu", "float32"))
    off = max(
        float(np.abs(_ours(exact, prompt, titles) - _plain(exact, prompt, titles)).max())
        for prompt, titles in zip(prompts[:2], candidates[:2], strict=True)
    )
    model = LanguageModel.load(args.model)
    _ours(model, prompts[0], candidates[0])
    _plain(model, prompts[0], candidates[0][:1])
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    before = model.usage
    for turn, (prompt, titles) in enumerate(zip(prompts, candidates, strict=True)):
        for name in ("ours", "plain")[:: 1 if turn % 2 else -1]:
            start = time.perf_counter()
            (_ours if name == "ours" else _plain)(model, prompt, titles)
            seconds[name].append(time.perf_counter() - start)
    usage = model.usage
    read, asked = usage.read - before.read, usage.prompts - before.prompts + usage.continuations - before.continuations
    ratios = np.array(seconds["plain"]) / np.array(seconds["ours"])
    return {
        "model": model.name,
        "dtype": best_placement().floating.dtype,
        "users": len(prompts),
        "candidates": args.candidates,
        "seconds": {name: float(np.median(values)) for name, values in seconds.items()},
        "ratio": {"median": float(np.median(ratios)), "least": float(ratios.min()), "most": float(ratios.max())},
        "tokens_asked": asked,
        "tokens_read": read,
        "tokens_per_second": {name: asked / sum(values) for name, values in seconds.items()},
        "largest_difference_float32": off,
    }


def _ours(model: LanguageModel, prompt: str, titles: list[str]) -> np.ndarray[Any, Any]:
    return model.log_likelihood([model.chat([Message("user", prompt)])], [titles])[0]


def _plain(model: LanguageModel, prompt: str, titles: list[str]) -> np.ndarray[Any, Any]:
    ids = model.chat([Message("user", prompt)])
    model.log_likelihood([ids], [[]])  # weights are read
    return plain_log_likelihoods(model._module, [Asked(ids, model.tokens.text(title)) for title in titles])


def _questions(args: argparse.Namespace) -> tuple[list[str], list[list[str]]]:
    """Prompts of some users, and the titles of the most popular items as candidates."""
    data = llmrec.load_dataset(args.dataset)
    queries = leave_last_out(data.interactions).validation.queries
    titles = [str(title) for title in data.catalog.table["title"].to_pylist()]
    popular = np.argsort(-np.bincount(data.interactions.items, minlength=len(titles)), kind="stable")
    rows = np.flatnonzero(np.diff(queries.offsets) >= HISTORY)[: args.rounds]
    prompts = []
    for row in rows:
        history = queries.items[queries.offsets[row] : queries.offsets[row + 1]][-HISTORY:]
        liked = "; ".join(titles[item] for item in history[::-1])
        prompts.append(f"I watched these films, the latest first: {liked}. Which film should I watch next?")
    return prompts, [[titles[item] for item in popular[: args.candidates]]] * len(rows)


def _markdown(found: dict[str, Any]) -> str:
    ratio, speed = found["ratio"], found["tokens_per_second"]
    return "\n".join(
        [
            f"{found['model']} in {found['dtype']}, {found['users']} users, {found['candidates']} candidates each\n",
            "| | seconds a user | tokens asked for a second |",
            "|---|---|---|",
            *(f"| {name} | {found['seconds'][name]:.2f} | {speed[name]:,.0f} |" for name in ("ours", "plain")),
            "",
            f"{ratio['median']:.1f} times as fast ({ratio['least']:.1f} to {ratio['most']:.1f}): "
            f"{found['tokens_read']:,} tokens were read for {found['tokens_asked']:,} asked for. In float32 no "
            f"likelihood differs by more than {found['largest_difference_float32']:.1e}.",
        ]
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="ml-100k", help="a data set llmrec knows, or a folder")
    parser.add_argument("--model", default="smollm2", help="a named model, a folder, or a hub id")
    parser.add_argument("--rounds", type=int, default=8, help="users")
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
